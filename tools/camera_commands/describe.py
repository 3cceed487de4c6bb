"""Write a pose file as a text of the trajectory language, which compiles to the same poses."""

import argparse

from tools.camera_commands.output import say
from tools.trajectory_input import add_trajectory_input, trajectory_of

SUMMARY = "a pose file as a camera text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The trajectory, and how exact its text has to be."""
    add_trajectory_input(parser)
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-6,
        help="largest error of a pose's entry; larger gives a shorter text (files in float32 hold about 1e-7)",
    )


def run(args: argparse.Namespace) -> int:
    """The text, alone on standard output."""
    from camera.describe import describe
    from camera.language import format as format_moves

    moves = describe(trajectory_of(args), tolerance=args.tolerance)
    say(f"Camera: {format_moves(moves)}")
    return 0
