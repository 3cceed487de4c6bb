"""List the presets, or print the camera text of some: "orbit", "orbit seconds=4 degrees=90"."""

import argparse

from tools.camera_commands.output import say, table

SUMMARY = "list the presets, or print their texts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Names, with options behind them."""
    parser.add_argument("name", nargs="*", metavar="NAME", help="a preset and its options, as one argument")


def run(args: argparse.Namespace) -> int:
    """The list, or one text a line."""
    from camera.language import format as format_moves
    from camera.presets import PRESETS, preset_from_text

    if not args.name:
        rows = [[name, each.description, ", ".join(each.options)] for name, each in PRESETS.items()]
        say(table([["preset", "what it does", "options"], *rows]))
    for text in args.name:
        say(f"Camera: {format_moves(preset_from_text(text))}")
    return 0
