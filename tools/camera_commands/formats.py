"""List the formats of trajectory files: their convention, and what they can hold."""

import argparse

from tools.camera_commands.output import say, table
from tools.camera_commands.saving import BY_SUFFIX

SUMMARY = "list the formats of trajectory files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(args: argparse.Namespace) -> int:
    """One row for each format."""
    from camera.formats import FORMATS

    suffixes = {name: suffix for suffix, name in BY_SUFFIX.items()}
    rows = [["format", "written", "lens", "times", "size", "suffix", "what it is"]]
    for name, each in FORMATS.items():
        rows.append(
            [
                name,
                "yes" if each.write is not None else "no",
                each.lens,
                "yes" if each.holds_times else "no",
                "needed" if each.needs_size else "-",
                suffixes.get(name, "-"),
                each.title,
            ]
        )
    say(table(rows))
    return 0
