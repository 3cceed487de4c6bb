"""What a step of the tiny model's training costs, part by part: planning, rendering, encoding, drawing, the step.

python tools/bench/bench_tiny_training.py --weights weights/tiny --compile --kernels 25
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

from common import arguments, cli  # noqa: E402
from common.logs import get_logger, setup_logging  # noqa: E402
from common.precision import pick_device  # noqa: E402
from tools.bench.full_size import machine  # noqa: E402
from tools.tiny_model import dit_stage  # noqa: E402
from tools.tiny_model.dit_data import ClipRing, encode_clips  # noqa: E402
from tools.tiny_model.dit_training import DiTRun  # noqa: E402
from tools.tiny_model.stage import stream  # noqa: E402
from tools.train_tiny_model import build_parser as training_parser  # noqa: E402

log = get_logger("bench")
T = TypeVar("T")


def build_parser() -> argparse.ArgumentParser:
    """The options of this benchmark."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("--weights", metavar="PATH", default="weights/tiny", help="folder with the VAE and the encoders")
    add("--adapter", default="v2", help="design of the adapter")
    add("--batch_size", type=int, nargs="+", default=[64, 128], help="clips in a step")
    add("--render_batch", type=int, default=32, help="clips rendered at once")
    add("--rounds", type=int, default=10, help="repeats; the median counts")
    add("--workers", type=int, default=8, help="processes that plan clips")
    add("--compile", action="store_true", help="as in training")
    add(
        "--kernels", type=int, default=0, help="also list so many operations of a step, the longest on the device first"
    )
    arguments.add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print one JSON line."""
    args = build_parser().parse_args(argv)
    setup_logging()
    arguments.check_ranges(args, render_batch=1, rounds=1, workers=0, kernels=0)
    torch.set_float32_matmul_precision("high")
    device = pick_device(args.device)
    words = ["--stage", "dit", "--steps", "1", "--output_dir", args.weights, "--adapter", args.adapter]
    words += ["--render_batch", f"{args.render_batch}", "--workers", f"{args.workers}"]
    options = training_parser().parse_args(words + ["--compile"] * args.compile)
    encoders = dit_stage.load_encoders(Path(args.weights), device)
    run = dit_stage.make_run(options, device)
    largest = max(args.batch_size)
    ring = ClipRing(encoders, stream(options, device, 0), -(-largest // args.render_batch) * args.render_batch)
    while ring.filled < largest:
        ring.refill()
    found = {"machine": machine(device), "adapter": args.adapter, "compile": args.compile}
    found["refill_ms"] = _parts_of_refill(ring, device, args.rounds)
    found["step_ms"] = {size: _step(run, ring, size, device, args.rounds) for size in args.batch_size}
    if args.kernels:
        log.info(_kernels(run, ring, args.batch_size[0], args.kernels))
    ring.clips.close()
    log.info(json.dumps(found))
    return 0


def _time(work: Callable[[], T], device: torch.device, rounds: int) -> tuple[float, T]:
    """Median milliseconds, after one turn that does not count, and what the work gave."""
    result, times = work(), []
    for _ in range(rounds):
        _wait(device)
        begun = time.perf_counter()
        result = work()
        _wait(device)
        times.append(1e3 * (time.perf_counter() - begun))
    return round(median(times), 2), result


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _parts_of_refill(ring: ClipRing, device: torch.device, rounds: int) -> dict[str, float]:
    whole, _ = _time(ring.refill, device, rounds)
    render, clips = _time(ring.clips.take, device, rounds)
    encode, encoded = _time(lambda: encode_clips(ring.encoders, clips, clips.scenes), device, rounds)
    camera, _ = _time(encoded.camera, device, rounds)
    text, _ = _time(lambda: ring.encoders.t5.encode(clips.scenes), device, rounds)
    return {"whole": whole, "plan and render": render, "encode": encode, "of which text": text, "camera": camera}


def _step(run: DiTRun, ring: ClipRing, size: int, device: torch.device, rounds: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    draw, drawn = _time(lambda: ring.draw(size, generator), device, rounds)
    step, _ = _time(lambda: run.train_step(*drawn, generator, 1e-4), device, rounds)
    return {"draw": draw, "step": step}


def _kernels(run: DiTRun, ring: ClipRing, size: int, rows: int) -> str:
    generator = torch.Generator().manual_seed(0)
    drawn = ring.draw(size, generator)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        for _ in range(3):
            run.train_step(*drawn, generator, 1e-4)
    return seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=rows, max_name_column_width=60)


if __name__ == "__main__":
    sys.exit(cli.run(main))
