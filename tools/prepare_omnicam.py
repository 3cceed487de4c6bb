"""Prepare the OmniCam sets: download if asked to, unpack, and bring each into the structure of the README.

    data/NAME/videos/ safetensors/ cache/ metadata.jsonl dataset.toml

--download fetches from the Hugging Face hub into data/NAME/download and goes on where it was stopped; --local DIR takes
DIR/NAME (or DIR, for one set) instead. Archives are unpacked into data/NAME/unpacked; videos get a second name below
videos/ that takes no room on the same disk. The captions hold the camera, as tags or as the path of a pose file, which
becomes safetensors/NAME.safetensors. Some captions speak of what is not in the picture: clean them before training.
"""

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import cli
from common.logs import get_logger, setup_logging
from tools.preparation import options
from tools.preparation.omnicam_sets import SETS, OmniCamSet

logger = get_logger("prepare")


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = options.build_parser(__doc__ or "", (1024, 576), (21,), output_dir="data")
    parser.set_defaults(resolution=None, target_frames=None)
    parser.add_argument("sets", nargs="+", metavar="NAME", help="all, or some of " + ", ".join(SETS))
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--download", action="store_true", help="fetch the sets from the Hugging Face hub")
    where.add_argument("--local", metavar="DIR", help="take what is here already: DIR/NAME, or DIR for one set")
    parser.add_argument(
        "--convention",
        default="opencv_w2c",
        help="of pose files that do not say it; those that captions of the fork name are RealCam-Vid's",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """One set after the other: fetch, unpack, match, list."""
    args = build_parser().parse_args(argv)
    setup_logging()
    unknown = [name for name in args.sets if name not in (*SETS, "all")]
    if unknown:
        raise ValueError(f"{unknown[0]}: no such set; expected all, or some of {', '.join(SETS)}")
    chosen = list(SETS.values()) if "all" in args.sets else [SETS[name] for name in dict.fromkeys(args.sets)]
    for each in chosen:
        logger.info(f"== {each.name}")
        prepare_set(each, args, alone=len(chosen) == 1)
    return 0


def prepare_set(each: OmniCamSet, args: argparse.Namespace, alone: bool) -> int:
    """Prepare one set.

    Args:
        each: the set.
        args: the command line.
        alone: it is the only one, so that `--local` may be its own folder.

    Raises:
        FileNotFoundError: nothing of it is here, and it is not to be downloaded.
        ValueError, OSError: of its parts.
    """
    told = argparse.Namespace(**vars(args))
    told.resolution = args.resolution or list(each.resolution)
    told.target_frames = args.target_frames or [each.target_frames]
    common = options.read_common(told)
    common = replace(common, folder=common.folder / each.name)
    source = local_source(each, args.local, alone) if args.local else common.folder / "download"
    if args.download:
        from tools.preparation.hub import fetch

        fetch(each.repo, source, common.dry_run)
        if common.dry_run and not source.exists():
            return 0
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: nothing of {each.name} is there; use --download or --local DIR")
    from tools.preparation import omnicam
    from tools.preparation.archives import unpack_all
    from tools.preparation.cameras import told_once
    from tools.preparation.output import Sought, finish, prepare_each

    unpacked = unpack_all(source, common.folder / "unpacked", common.dry_run)
    found = omnicam.look_through([source, *unpacked])
    if common.dry_run and not found.videos():
        logger.info("its videos are not unpacked yet; nothing more can be said of them")
        return 0
    lines = omnicam.list_captions(found)
    of_set = omnicam.Told(found, args.convention)
    prepare = partial(omnicam.prepare_line, told=of_set, common=common)
    with told_once():
        outcome = prepare_each(lines, prepare, lambda line: f"{line.video} ({line.where})", common)
    sought = Sought("the videos, and pose files, that its lists name", found.roots)
    return finish(outcome, common, f"{source} with {len(lines)} captions", sought)


def local_source(each: OmniCamSet, local: str, alone: bool) -> Path:
    """The folder of a set below `--local`."""
    folder = options.require_folder(local, "--local")
    return folder if alone and not (folder / each.name).is_dir() else folder / each.name


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
