"""Prepare a plain folder of videos: captions from text files, cameras from tags in them or from camera files.

It writes metadata.jsonl, safetensors/ (camera files in our format) and dataset.toml; the videos stay where they are.
Videos without a camera are listed in without_camera.jsonl: give them tags in the caption or a camera file, and run the
same command again. Nothing here estimates trajectories from pictures.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import cli
from common.arguments import check_ranges
from common.logs import get_logger, setup_logging
from tools.preparation import options

logger = get_logger("prepare")


def main(argv: list[str] | None = None) -> int:
    """Look at every video, convert its camera, list it."""
    parser = options.build_parser(__doc__ or "", (832, 480), (81,))
    parser.add_argument("source", metavar="DIR", help="folder of videos, at any depth")
    options.add_captions(parser)
    parser.add_argument("--caption_extension", default=".txt", help="of the caption beside a video: STEM + this")
    parser.add_argument("--cameras", metavar="DIR", help="camera files of any format, named as the videos")
    parser.add_argument("--convention", help="of camera files that do not say it, such as opencv_c2w")
    parser.add_argument("--fov_deg", type=float, default=60.0, help="lens of camera files that state none")
    parser.add_argument("--fps", type=float, help="the rate the videos really have, if their containers are wrong")
    args = parser.parse_args(argv)
    setup_logging()
    common = options.read_common(args)
    check_ranges(args, fps=0.01, fov_deg=1)
    source = options.require_folder(args.source, "DIR")
    cameras = None if args.cameras is None else options.require_folder(args.cameras, "--cameras")
    from common.media import VIDEO_EXTENSIONS
    from tools.preparation import videos
    from tools.preparation.cameras import told_once
    from tools.preparation.captions import read_book
    from tools.preparation.output import Sought, finish, prepare_each

    book = read_book(args.captions, args.caption)
    told = videos.VideoFolder(
        source, book, args.caption_extension, cameras, args.convention, args.fov_deg, args.fps
    )  # fmt: skip
    found = videos.find_videos(source)
    with told_once():
        outcome = prepare_each(found, partial(videos.prepare_video, told=told, common=common), str, common)
    sought = Sought(f"videos ({', '.join(VIDEO_EXTENSIONS)}) with captions", [source])
    code = finish(outcome, common, f"{source} with {len(found)} videos", sought)
    if not outcome.names():
        logger.warning("no video has a camera yet: add tags to the captions, or camera files by --cameras")
    return code


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
