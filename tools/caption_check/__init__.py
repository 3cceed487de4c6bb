"""The parts of tools/check_captions.py: phrases, scores, threshold, report, cleaned lists."""
