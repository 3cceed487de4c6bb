"""Trajectory extraction by DUSt3R; its room is reserved and empty for now."""
