"""Convert a trajectory between formats (`tools/camera.py formats` lists them).

The input's format is recognised; where its content leaves something open (which convention, how many frames per
second), the error says which flag answers it.
"""

import argparse

from common import arguments
from tools.camera_commands.output import say
from tools.camera_commands.saving import save

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
    add("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="picture that intrinsics in pixels belong to")


def run(args: argparse.Namespace) -> int:
    """Read, write, say what was done."""
    from camera.formats import load_trajectory, recognise

    arguments.check_ranges(args, fps=None, size=1)
    source_format = args.source_format or recognise(args.source).name
    size = None if args.size is None else (args.size[0], args.size[1])
    track = load_trajectory(args.source, args.convention, args.fps, size, source_format)
    written = save(track, args.target, args.target_format, args.size)
    say(f"{args.source} ({source_format}) to {args.target} ({written}): {len(track)} poses")
    return 0
