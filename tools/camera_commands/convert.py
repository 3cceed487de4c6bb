"""Convert a trajectory between formats (`tools/camera.py formats` lists them).

The input's format is recognised; where its content leaves something open (which convention, how many frames per
second), the error says which flag answers it.
"""

import argparse

from common import arguments
from common.files import require_seekable
from tools.camera_commands.output import say
from tools.camera_commands.saving import save
from tools.trajectory_input import flags_told, size_of

SUMMARY = "a pose file of one format as a file of another"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two files and what the first leaves open."""
    add = parser.add_argument
    add("source", metavar="IN", help="pose file or folder; PATH#NAME picks one camera of several")
    add("target", metavar="OUT", help="file to write")
    add("--from", dest="source_format", metavar="FORMAT", help="format of IN, where its content does not tell")
    add("--to", dest="target_format", metavar="FORMAT", help="format of OUT, where its suffix does not say it")
    add("--convention", metavar="NAME", help="convention of the poses of IN, such as opencv_w2c")
    add("--fps", type=float, help="frames per second of IN, where it has no times")
    sides = ("HEIGHT", "WIDTH")
    add(
        "--from_size", type=int, nargs=2, metavar=sides, help="picture of IN, where it has pixels and does not state it"
    )
    add("--size", type=int, nargs=2, metavar=sides, help="picture of OUT, for formats with intrinsics in pixels")


def run(args: argparse.Namespace) -> int:
    """Read, write, say what was done."""
    from camera.formats import load_trajectory, recognise

    arguments.check_ranges(args, fps=None)
    from_size, size = size_of(args, "from_size"), size_of(args, "size")
    arguments.named(args.target, "OUT")
    require_seekable(args.source, "IN")
    with flags_told(arguments.CONVERT_FLAGS):
        source_format = args.source_format or recognise(args.source).name
        track = load_trajectory(args.source, args.convention, args.fps, from_size, source_format)
    written = save(track, args.target, args.target_format, size, "--size")
    say(f"{args.source} ({source_format}, {len(track)} poses) to {args.target} ({written})")
    return 0
