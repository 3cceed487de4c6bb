"""Pure camera mathematics: language, planner, poses, rays, plots."""
