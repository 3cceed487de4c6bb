"""Trajectory files of other projects: read into a CameraTrack, and written from one."""
