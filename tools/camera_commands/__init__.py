"""The sub-commands of tools/camera.py, one module each; torch is imported when a command runs."""
