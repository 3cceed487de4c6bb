"""Camera trajectories without a GPU: check texts, compile, convert, describe and compare paths.

    tools/camera.py check "<starttime>0</starttime> ..."      find every mistake of a camera text
    tools/camera.py compile "orbit seconds=4" -o orbit.txt    what moves, how far; write a pose file
    tools/camera.py convert poses.json out.safetensors        between the formats that `formats` lists
    tools/camera.py compare estimated.npz true.safetensors    the published metrics, each in its own protocol

`tools/camera.py COMMAND --help` tells the rest.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from common import cli  # noqa: E402
from common.arguments import HelpFormatter  # noqa: E402
from common.logs import setup_logging  # noqa: E402
from tools.camera_commands import check, compare, compile_text, convert, describe, formats, preset  # noqa: E402

COMMANDS = {
    "check": check,
    "compile": compile_text,
    "convert": convert,
    "preset": preset,
    "describe": describe,
    "compare": compare,
    "formats": formats,
}
"""Each module has `SUMMARY`, `add_arguments(parser)` and `run(args) -> exit code`."""


class _RawHelp(HelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults shown, examples as they are written."""


def build_parser() -> argparse.ArgumentParser:
    """One sub-command for each thing that people do with a trajectory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_RawHelp, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name, help=module.SUMMARY, description=module.__doc__, formatter_class=_RawHelp, allow_abbrev=False
        )
        module.add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; results go to standard output, everything else to standard error."""
    args = build_parser().parse_args(argv)
    setup_logging()
    try:
        code = COMMANDS[args.command].run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader (`| head`) has enough; nothing is left for the interpreter to flush at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


if __name__ == "__main__":
    sys.exit(cli.run(main))
