"""What caching the latents of a clip costs, and how busy the GPU is, for the real VAE with random weights.

It draws clips and encodes them as H.264 (kept in --folder for the next time), then times each step alone: decode and
resize (one worker), stack and transfer, encode (clip and condition in one call), write. Then it caches the whole set
with each number of workers, in processes and in threads, and says which share of the time the device was encoding:
CUDA events around every batch, against the time from the first batch's start to the last file. CLIP is left out
(24 ms for 32 pictures on an H200, against a second and more for a clip).

    python tools/bench/bench_caching.py --clips 64 --workers 8

One line of JSON for the steps and one for each way of loading; --output appends them to a file. `--small` takes a VAE
of few channels, for a rehearsal on a CPU.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor

from common import arguments, cli
from common.logs import get_logger, setup_logging
from common.precision import compute_dtype, pick_device
from dataset.caching import CachingPlan, plan_caching, run_caching
from dataset.config import load_config
from dataset.kinds import LatentCaching
from dataset.sources import load_items
from tools.bench.caching_world import write_data_set
from tools.bench.full_size import peak_memory, vae_shapes, write_random
from wan.clip_latents import encode_pictures
from wan.config import WAN_CONFIGS
from wan.loading import load_vae
from wan.pixels import stack_frames
from wan.vae import WanVAE

log = get_logger("bench_caching")

Pictures = tuple[Tensor, Tensor | None]


def build_parser() -> argparse.ArgumentParser:
    """The options of this benchmark."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("--folder", metavar="PATH", default="outputs/bench/caching", help="where clips, weights and caches go")
    add("--clips", type=int, default=32, help="clips of the set")
    add("--frames", type=int, default=81, help="frames of each, 4n + 1")
    add("--source", type=int, nargs=2, default=[720, 1280], metavar=("H", "W"), help="size of the videos")
    add("--size", type=int, nargs=2, default=[480, 832], metavar=("H", "W"), help="size that they are cached in")
    add("--batch_size", type=int, default=1, help="clips that are encoded together")
    add("--workers", type=int, nargs="+", default=[8], help="numbers of workers that load ahead")
    add("--repeats", type=int, default=5, help="clips that are timed step by step")
    add("--vae_dtype", help="default: bfloat16 on a GPU, float32 on a CPU")
    add("--small", action="store_true", help="a VAE of few channels")
    add("--output", metavar="PATH", help="file that the JSON lines are appended to")
    arguments.add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, time the steps, then time the whole."""
    args = build_parser().parse_args(argv)
    setup_logging()
    arguments.check_ranges(args, clips=1, frames=1, batch_size=1, workers=1, repeats=1, source=16, size=16)
    device, folder = pick_device(args.device), Path(args.folder).absolute()
    size = f"{args.clips}x{args.frames}f_{args.source[0]}x{args.source[1]}"
    config = write_data_set(folder / size, args.clips, args.frames, args.source, args.size, args.batch_size)
    vae = _random_vae(args, folder / "vae.safetensors", device)
    encode = partial(encode_pictures, encode=vae.encode, clip=None, device=device, image=True)
    prepare = partial(_stack, device=device)
    kind = LatentCaching(("latents", "latents_image"))
    plan = plan_caching(load_items(load_config(config)), kind, skip_existing=False)
    facts = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "small": args.small,
        "dtype": str(vae.dtype),
        "clips": args.clips,
        "frames": args.frames,
        "source": args.source,
        "size": args.size,
        "batch_size": args.batch_size,
    }
    _report(args, {**facts, **_steps(plan, prepare, encode, device, args.repeats)})
    for workers in args.workers:
        for processes in (True, False):
            ways = {"workers": workers, "loading": "processes" if processes else "threads"}
            _report(args, {**facts, **ways, **_whole(plan, prepare, encode, device, workers, processes)})
    return 0


def _report(args: argparse.Namespace, measured: Mapping[str, Any]) -> None:
    line = json.dumps(measured)
    log.info(line)
    if args.output:
        with Path(args.output).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _random_vae(args: argparse.Namespace, file: Path, device: torch.device) -> WanVAE:
    config = WAN_CONFIGS["i2v-14B"].vae
    config = replace(config, dim=16) if args.small else config
    write_random(file, vae_shapes(config), device, seed=3)
    return load_vae(file, config, device=device, dtype=compute_dtype(args.vae_dtype, device, torch.bfloat16))


def _stack(clips: list[Any], device: torch.device) -> Pictures:
    return stack_frames([clip.frames for clip in clips], device), None


def _steps(
    plan: CachingPlan[Any, Any, Any],
    prepare: Callable[[list[Any]], Pictures],
    encode: Callable[[Pictures], Sequence[Any]],
    device: torch.device,
    repeats: int,
) -> dict[str, float]:
    """Seconds a clip of each step alone, the median of `repeats` batches after one that is not counted."""
    taken: dict[str, list[float]] = {"decode": [], "stack": [], "transfer": [], "encode": [], "write": []}
    batches = [plan.batches[index % len(plan.batches)] for index in range(repeats + 1)]
    with peak_memory(device) as peak:
        for batch in batches:
            loaded = _timed(taken["decode"], device, lambda batch=batch: [plan.kind.load(job) for job in batch.jobs])
            pictures = _timed(taken["stack"], device, lambda loaded=loaded: prepare(loaded))
            there = _timed(
                taken["transfer"], device, lambda pictures=pictures: (pictures[0].to(device, non_blocking=True), None)
            )
            results = _timed(taken["encode"], device, lambda there=there: encode(there))
            _timed(
                taken["write"],
                device,
                lambda batch=batch, results=results: [
                    plan.kind.write(job, result) for job, result in zip(batch.jobs, results, strict=True)
                ],
            )
    counts = [len(batch.jobs) for batch in batches]
    medians = {
        f"{name}_seconds": round(statistics.median(s / n for s, n in list(zip(seconds, counts, strict=True))[1:]), 4)
        for name, seconds in taken.items()
    }
    return medians | {f"encode_peak_{name}": round(value, 2) for name, value in peak.items()}


def _timed(seconds: list[float], device: torch.device, step: Callable[[], Any]) -> Any:
    begin = time.perf_counter()
    result = step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds.append(time.perf_counter() - begin)
    return result


class _Busy:
    """Adds up how long the device encodes, without making it wait."""

    def __init__(self, encode: Callable[[Pictures], Sequence[Any]], device: torch.device) -> None:
        self._encode, self._device = encode, device
        self._spans: list[tuple[Any, Any]] = []
        self.begin = 0.0

    def __call__(self, pictures: Pictures) -> Sequence[Any]:
        self.begin = self.begin or time.perf_counter()
        start = self._mark()
        results = self._encode(pictures)
        self._spans.append((start, self._mark()))
        return results

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self) -> float:
        """Of all batches together."""
        if self._device.type != "cuda":
            return sum(end - start for start, end in self._spans)
        torch.cuda.synchronize(self._device)
        return sum(start.elapsed_time(end) for start, end in self._spans) / 1000


def _whole(
    plan: CachingPlan[Any, Any, Any],
    prepare: Callable[[list[Any]], Pictures],
    encode: Callable[[Pictures], Sequence[Any]],
    device: torch.device,
    workers: int,
    processes: bool,
) -> dict[str, float]:
    """The whole set: seconds a clip, seconds until the first batch was loaded, and the device's busy share."""
    busy = _Busy(encode, device)
    begin = time.perf_counter()
    count = run_caching(plan, busy, prepare, num_workers=workers, processes=processes)
    end = time.perf_counter()
    return {
        "seconds_per_clip": round((end - begin) / count, 4),
        "start_seconds": round(busy.begin - begin, 2),
        "busy_share": round(busy.seconds() / (end - busy.begin), 4),
    }


if __name__ == "__main__":
    sys.exit(cli.run(main))
