"""Write the camera trajectory of every video of a data set: from its camera file, from its caption, or found in it."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from common import arguments, cli
from common.logs import get_logger, setup_logging

if TYPE_CHECKING:
    from dataset.estimating import Estimation

log = get_logger("cache")


def build_parser() -> argparse.ArgumentParser:
    """The options of this script; of the fork's model flags `--t5` only draws a warning."""
    parser = arguments.make_parser(__doc__ or "")
    arguments.add_caching(parser)
    arguments.add_lens(parser, f"{arguments.DEFAULT_FOV_DEG:g} degrees, and found with a trajectory that is found")
    _add_estimation(parser.add_argument_group("cameras found in the pictures"))
    parser.add_argument("--t5", metavar="PATH", help="accepted for old commands; no text encoder is loaded")
    parser.add_argument("--device", help="of DUSt3R: cuda, cuda:1, cpu; default: cuda where there is one")
    return parser


def _add_estimation(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--estimate_trajectory", action="store_true", help="find the camera of a video that has none in the video")
    arguments.add_pose_backend(group)
    add(
        "--estimate_frames",
        type=int,
        default=241,
        help="look at no more frames of a video than this, evenly spread; the camera between them is interpolated",
    )
    add(
        "--min_confidence",
        type=float,
        default=arguments.LOW_CONFIDENCE,
        help="name what is found with less confidence than this, 0 to 1; it is cached all the same",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, open a backend if something is to be found, resolve each item's camera, write, prune, report."""
    args = build_parser().parse_args(argv)
    setup_logging()
    arguments.check_ranges(args, batch_size=1, num_workers=1, estimate_frames=2, min_confidence=0)
    if args.min_confidence > 1:
        raise ValueError(f"--min_confidence {args.min_confidence:g}: expected a number from 0 to 1")
    from common.ranks import device_of_rank, read_ranks
    from dataset.caching import plan_caching, run_caching
    from dataset.config import load_config
    from dataset.estimating import CameraReport
    from dataset.kinds import CameraCaching
    from dataset.sources import load_items

    if args.t5 is not None:
        log.warning("--t5 is not needed here and is not used: camera caches are made without a text encoder")
    ranks, lens = read_ranks(), arguments.lens_choice_of(args)
    groups = load_items(load_config(args.dataset_config))
    stated = arguments.DEFAULT_FOV_DEG if lens is None or lens == "estimate" else lens
    kind = CameraCaching(stated, _estimation(args, lens))
    plan = plan_caching(
        groups,
        kind,
        skip_existing=args.skip_existing,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        ranks=ranks,
    )
    estimators = None
    if any(job.needs != "nothing" for job in plan.todo):
        from Dust3rP.estimators import open_estimators

        weights = arguments.dust3r_weights(args)
        estimators = open_estimators(args.pose_backend, weights, device_of_rank(args.device, ranks))
    report = CameraReport(args.min_confidence)
    encode = partial(kind.tracks, estimators=estimators, report=report)
    run_caching(plan, encode, pruning=arguments.pruning_of(args), num_workers=args.num_workers)
    report.tell(groups, ranks)
    if report.failed and ranks.world == 1:
        return cli.report(ValueError(report.verdict()))
    return 0


def _estimation(args: argparse.Namespace, lens: arguments.LensChoice) -> "Estimation | None":
    """What is to be found in pictures, None for nothing; flags without effect draw a warning."""
    if not args.estimate_trajectory and lens != "estimate":
        reason = "it is for --estimate_trajectory and --intrinsics estimate, which were not given"
        for flag in ("dust3r", "device"):
            if getattr(args, flag) is not None:
                log.warning("--%s is not used: %s", flag, reason)
        return None
    from dataset.estimating import Estimation
    from dataset.fingerprint import file_fingerprint

    weights = arguments.dust3r_weights(args) if args.pose_backend != "colmap" else None
    identity = " ".join([args.pose_backend, *([] if weights is None else [file_fingerprint(weights)])])
    return Estimation(identity, args.estimate_trajectory, lens, args.estimate_frames)


if __name__ == "__main__":
    sys.exit(cli.run(main))
