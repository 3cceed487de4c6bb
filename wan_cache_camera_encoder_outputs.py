"""Write the camera trajectory of every video of a data set, from its camera file or the tags of its caption."""

import argparse
import sys
from collections.abc import Sequence

from common import arguments, cli
from common.logs import get_logger, setup_logging

log = get_logger("cache")


def build_parser() -> argparse.ArgumentParser:
    """The options of this script; no network is needed, so the fork's model flags only draw a warning."""
    parser = arguments.make_parser(__doc__ or "")
    arguments.add_caching(parser)
    arguments.add_intrinsics(parser)
    parser.add_argument("--t5", metavar="PATH", help="accepted for old commands; no text encoder is loaded")
    parser.add_argument("--device", help="accepted for old commands; everything here runs on the CPU")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, resolve each item's camera, write, prune."""
    args = build_parser().parse_args(argv)
    setup_logging()
    arguments.check_ranges(args, batch_size=1, num_workers=1)
    from common.ranks import read_ranks
    from dataset.caching import plan_caching, run_caching
    from dataset.config import load_config
    from dataset.kinds import CameraCaching
    from dataset.sources import load_items

    for flag in ("t5", "device"):
        if getattr(args, flag) is not None:
            log.warning("--%s is not needed here and is not used: camera caches are made without a network", flag)
    groups = load_items(load_config(args.dataset_config))
    kind = CameraCaching(arguments.lens_of(args))
    plan = plan_caching(
        groups,
        kind,
        skip_existing=args.skip_existing,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        ranks=read_ranks(),
    )
    run_caching(plan, kind.tracks, pruning=arguments.pruning_of(args), num_workers=args.num_workers)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
