"""Prepare RealCam-Vid: a camera file for every clip whose video is there, and a data set for each of its sources.

NPZ is RealCam-Vid_train.npz or _test.npz. It is a pickle, which can run any code when it is loaded; it is not loaded
but read opcode by opcode (tools/convert_realcam.py), and nothing in it runs. The videos stay where they are, or are
unpacked with --archives.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import cli
from common.arguments import check_ranges
from common.files import require_file
from common.logs import get_logger, setup_logging
from tools.preparation import options

logger = get_logger("prepare")


def main(argv: list[str] | None = None) -> int:
    """Unpack, read the clips, match them with videos, list them."""
    parser = options.build_parser(__doc__ or "", (832, 480), (77,))
    parser.add_argument("npz", metavar="NPZ", help="RealCam-Vid_train.npz or RealCam-Vid_test.npz")
    options.add_source(parser, "the videos: video_path of a clip is looked for below it", "of the videos")
    parser.add_argument("--fps", type=float, help="frames per second of all videos; default: each video's own")
    parser.add_argument("--metric", action="store_true", help="translations in metres, by each clip's align_factor")
    parser.add_argument("--caption", choices=("long", "short"), default="long", help="which caption to list")
    parser.add_argument("--memory_gb", type=float, default=8.0, help="refuse an NPZ that needs more memory")
    args = parser.parse_args(argv)
    setup_logging()
    common = options.read_common(args)
    check_ranges(args, fps=0.01, memory_gb=0.001)
    npz = require_file(args.npz, "RealCam-Vid file")
    from camera.formats.realcam import read_clips
    from tools.convert_realcam import Settings
    from tools.preparation import realcam
    from tools.preparation.output import Sought, finish, prepare_each

    roots = tuple(options.source_roots(args, common))
    logger.info(f"reading {npz}; nothing in it is run")
    clips = list(enumerate(read_clips(npz, int(args.memory_gb * 2**30))))
    settings = Settings(npz.name, common.folder, args.fps, None, args.metric, f"{args.caption}_caption")
    prepare = partial(realcam.prepare_clip, told=realcam.Told(roots, settings), common=common, taken=set())
    outcome = prepare_each(clips, prepare, realcam.clip_name, common, "clip")
    sought = Sought(f"the videos of the clips, {realcam.example_path(clips)}", roots)
    return finish(outcome, common, f"{npz} with {len(clips)} clips", sought)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
