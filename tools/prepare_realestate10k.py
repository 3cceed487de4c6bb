"""Prepare RealEstate10K: clips cut out of your own downloads of its videos, with a camera file for each.

The poses are RealEstate10K.tar.gz of google.github.io/realestate10k, unpacked or, with --archives, as it is. Videos are
found by their YouTube id (--videos), or a clip's frames by its name (--frames). Clips without either are left out
and listed. RealEstate10K has no captions: give some by --captions, or one for all by --caption.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import cli
from common.logs import setup_logging
from tools.preparation import options


def main(argv: list[str] | None = None) -> int:
    """Unpack, match clips and videos, cut, list."""
    parser = options.build_parser(__doc__ or "", (832, 480), (81,))
    options.add_source(parser, "the clips' .txt, such as RealEstate10K/train", "RealEstate10K.tar.gz")
    options.add_captions(parser)
    parser.add_argument("--videos", metavar="DIR", help="whole videos, named by YouTube id")
    parser.add_argument("--frames", metavar="DIR", help="a folder HASH of pictures MICROSECONDS.png for each clip")
    args = parser.parse_args(argv)
    setup_logging()
    common = options.read_common(args)
    if args.videos is None and args.frames is None:
        raise ValueError("state where the pictures are, by --videos DIR, --frames DIR or both")
    from tools.preparation import realestate10k
    from tools.preparation.cameras import told_once
    from tools.preparation.captions import read_book
    from tools.preparation.output import Sought, finish, prepare_each

    videos = None if args.videos is None else options.require_folder(args.videos, "--videos")
    frames = None if args.frames is None else options.require_folder(args.frames, "--frames")
    found = realestate10k.find_whole_videos(videos) if videos is not None else {}
    told = realestate10k.Told(read_book(args.captions, args.caption), found, frames)
    roots = options.source_roots(args, common)
    clips = realestate10k.find_clips(roots)
    with told_once():
        outcome = prepare_each(
            clips, partial(realestate10k.prepare_clip, told=told, common=common), str, common, "clip"
        )
    folders = [*roots, *(folder for folder in (videos, frames) if folder is not None)]
    sought = Sought("HASH.txt with the poses of each clip, and ID.mp4 or HASH/MICROSECONDS.png for it", folders)
    return finish(outcome, common, f"{args.source or args.archives} with {len(clips)} clips", sought)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
