"""Prepare DL3DV-10K, or any scenes of pictures with a transforms.json: one video and camera file for each scene.

The pictures are those that DL3DV's own download script fetches after its terms were accepted (480P or 960P are enough),
unpacked or, with --archives, its HASH.zip files. Lens distortion is taken out of the pictures. DL3DV has no captions:
give some by --captions, or one for all by --caption.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import cli
from common.arguments import check_ranges
from common.logs import setup_logging
from tools.preparation import options


def main(argv: list[str] | None = None) -> int:
    """Unpack, find scenes, make their videos and cameras, list them."""
    parser = options.build_parser(__doc__ or "", (832, 480), (81,))
    options.add_source(parser, "scenes, each with pictures and a transforms.json", "HASH.zip of DL3DV-ALL-480P")
    options.add_captions(parser)
    parser.add_argument("--images", metavar="NAME", help="folder of the pictures; default: images_4, images_8 ...")
    parser.add_argument("--fps", type=float, default=16.0, help="frames per second of the videos")
    parser.add_argument("--min_frames", type=int, default=17, help="leave out shorter runs of pictures with poses")
    args = parser.parse_args(argv)
    setup_logging()
    common = options.read_common(args)
    check_ranges(args, fps=1, min_frames=2)
    from tools.preparation import dl3dv
    from tools.preparation.cameras import told_once
    from tools.preparation.captions import read_book
    from tools.preparation.output import Sought, finish, prepare_each

    told = dl3dv.Told(read_book(args.captions, args.caption), args.fps, args.images, args.min_frames)
    roots = options.source_roots(args, common)
    scenes = dl3dv.find_scenes(roots)
    prepare = partial(dl3dv.prepare_scene, told=told, common=common, taken={})
    with told_once():
        outcome = prepare_each(scenes, prepare, lambda scene: str(scene.path), common, "scene")
    sought = Sought("SUBSET/HASH/transforms.json with a folder of pictures beside it", roots)
    return finish(outcome, common, f"{args.source or args.archives} with {len(scenes)} transforms.json", sought)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
