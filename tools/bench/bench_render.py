"""Measure the ray caster: frames per second of whole clips, baked, rendered and captioned."""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common import cli
from common.arguments import add_device, make_parser
from common.logs import get_logger, setup_logging
from common.precision import pick_device
from tools.procedural_world.clips import ClipPlan, plan_clip, render_clip
from tools.procedural_world.parallel import run_each

logger = get_logger("bench_render")


def main(argv: list[str] | None = None) -> int:
    """Render the same few clips again and again and report the rate."""
    setup_logging()
    parser = make_parser("Frames per second of the demo data set's ray caster, 2 x 2 rays per pixel.")
    parser.add_argument("--clips", type=int, default=8, help="number of different clips")
    parser.add_argument("--repeats", type=int, default=3, help="rounds that are timed, after one that is not")
    parser.add_argument("--frames", type=int, default=33, help="frames of each clip")
    parser.add_argument("--size", type=int, nargs=2, default=[96, 160], metavar=("HEIGHT", "WIDTH"), help="pixels")
    add_device(parser)
    args = parser.parse_args(argv)
    if args.clips < 1 or args.repeats < 1:
        raise ValueError(f"--clips {args.clips} --repeats {args.repeats}: expected 1 or more of both")
    height, width = args.size
    device = pick_device(args.device)
    plans = [plan_clip(0, index, args.frames, 16.0, width / height) for index in range(args.clips)]

    def render(plan: ClipPlan) -> int:
        # copying the result waits for the device
        return len(render_clip(plan, height, width, device).frames.cpu())

    sum(run_each(render, plans[:2], device))
    rates = []
    for _ in range(args.repeats):
        begin = time.perf_counter()
        frames = sum(run_each(render, plans, device))
        rates.append(frames / (time.perf_counter() - begin))
    logger.info(
        f"{args.clips} clips of {args.frames} frames {height}x{width} on {device}: "
        f"median {statistics.median(rates):.0f} frames/s (slowest round {min(rates):.0f}, fastest {max(rates):.0f})"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
