"""The parts of tools/evaluate_camera.py."""
