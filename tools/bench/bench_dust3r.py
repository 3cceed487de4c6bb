"""DUSt3R at full size with random weights: from the pictures of a video to a trajectory, or to points of pairs.

A random checkpoint in the official structure is written to --file once and loaded; the pictures are a texture that
slides by. Timed are: scaling and encoding of all pictures, decoding of pairs, and the rest of the chain
(`Dust3rP.lifting.lift`: keyframes, alignment, registration). Random weights give random points, so the trajectory means
nothing, and where there is none the line says why. `--network_only` aligns nothing: it decodes the pairs of --keyframes
keyframes, each with each, and of every other picture with its two nearest keyframes, both ways.

Prints one line of JSON; --output appends it to a file. `--tiny` takes small dimensions, for a rehearsal.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from PIL import Image

from common import arguments, cli
from common.logs import setup_logging
from common.precision import compute_dtype, dtype_name, pick_device
from Dust3rP.config import DPTConfig, Dust3RConfig
from Dust3rP.estimate import VideoFrames
from Dust3rP.features import NetworkPairs
from Dust3rP.keys import HEAD_DIM, key_table
from Dust3rP.loading import load_dust3r
from Dust3rP.model import Dust3R
from Dust3rP.pairs import PairPoints
from tools.bench.full_size import add_rounds, machine, peak_memory, report, seconds_of, write_random

TINY = Dust3RConfig(
    encoder_dim=HEAD_DIM,
    encoder_depth=2,
    encoder_heads=1,
    encoder_mlp=4 * HEAD_DIM,
    decoder_dim=HEAD_DIM,
    decoder_depth=4,
    decoder_heads=1,
    decoder_mlp=4 * HEAD_DIM,
    dpt=DPTConfig(widths=(8, 12, 16, 24), features=16, half=8, last=8),
)


def build_parser() -> argparse.ArgumentParser:
    """The options of this benchmark."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("--file", metavar="PATH", default="outputs/bench/dust3r.safetensors", help="the random checkpoint")
    add("--frames", type=int, default=81, help="pictures of the video")
    add("--size", type=int, nargs=2, default=[288, 512], metavar=("HEIGHT", "WIDTH"), help="of the video's pictures")
    add("--dtype", help="of the transformer; bf16 on a GPU and fp32 on a CPU unless given")
    add("--network_only", action="store_true", help="decode pairs and align nothing")
    add("--keyframes", type=int, default=17, help="keyframes of --network_only")
    add("--stride", type=int, default=8, help="pixel stride of --network_only")
    add("--tiny", action="store_true", help="small dimensions")
    add_rounds(parser, warmup=1)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the chain, or the network alone."""
    args = build_parser().parse_args(argv)
    setup_logging()
    _check(args)
    device = pick_device(args.device)
    network, load_seconds = _network(args, device)
    video = sliding_texture(args.frames, *args.size)
    with peak_memory(device) as peak:
        rounds = [_measure(args, network, video) for _ in range(args.warmup + args.repeats)]
    timed = rounds[args.warmup :]
    report(
        {
            "part": "network" if args.network_only else "all",
            "tiny": args.tiny,
            **machine(device),
            "dtype": dtype_name(network.decoders.embed.weight.dtype),
            "frames": args.frames,
            "size": args.size,
            "load_seconds": load_seconds,
            "seconds": {part: statistics.median(taken.seconds[part] for taken in timed) for part in timed[0].seconds},
            "pairs": timed[-1].pairs,
            "outcome": timed[-1].outcome,
            "peak_gib": peak.get("gib", 0.0),
            "weights_gib": sum(weight.nbytes for weight in network.parameters()) / 2**30,
        },
        args.output,
    )
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.frames < 2 or args.stride < 1 or args.repeats < 1 or args.warmup < 0 or min(args.size) < 16:
        raise ValueError(
            f"--frames {args.frames} --stride {args.stride} --repeats {args.repeats} --warmup {args.warmup} --size "
            f"{args.size}: expected 2 frames or more, a stride and repeats of 1 or more, and sides of 16 or more"
        )
    if args.network_only and not 2 <= args.keyframes <= args.frames:
        raise ValueError(f"--keyframes {args.keyframes}: expected 2 to {args.frames}, the number of --frames")


def _network(args: argparse.Namespace, device: torch.device) -> tuple[Dust3R, float]:
    """A DUSt3R of random weights, and the seconds to load it."""
    path = Path(args.file)
    config = TINY if args.tiny else Dust3RConfig()
    if not path.exists():
        with torch.device("meta"):
            state = Dust3R(config).state_dict()
        names = {key: ours for key, ours in key_table(config).items() if ours is not None}
        write_random(path, {key: state[ours].shape for key, ours in names.items()}, device, seed=0)
    begin = time.perf_counter()
    network = load_dust3r(path, device=device, dtype=compute_dtype(args.dtype, device, torch.bfloat16))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return network, time.perf_counter() - begin


def sliding_texture(frames: int, height: int, width: int) -> VideoFrames:
    """Pictures of a smooth random texture that moves by two pixels a frame, 16 frames a second."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, (width + 2 * frames) // 8 + 1, 3), dtype=np.uint8)
    size = (width + 2 * frames, height)
    texture = np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC))
    pictures = np.stack([texture[:, 2 * n : 2 * n + width] for n in range(frames)])
    return VideoFrames(pictures, torch.arange(frames, dtype=torch.float64) / 16, "texture")


class _TimedPairs(NetworkPairs):
    """Counts pairs, and the seconds that decoding them takes."""

    seconds = 0.0
    decoded = 0

    def points(self, pairs: Sequence[tuple[int, int]], stride: int = 1) -> PairPoints:
        """As the network's own."""
        results: list[PairPoints] = []
        self.seconds += seconds_of(lambda: results.append(super(_TimedPairs, self).points(pairs, stride)), self.device)
        self.decoded += len(pairs)
        return results[0]

    @property
    def device(self) -> torch.device:
        """Of the network."""
        return self.network.device


class _Round(NamedTuple):
    seconds: dict[str, float]
    """Of each part."""
    pairs: int
    """Decoded."""
    outcome: str
    """What the chain ended in."""


def _measure(args: argparse.Namespace, network: Dust3R, video: VideoFrames) -> _Round:
    sources: list[_TimedPairs] = []
    encode = seconds_of(lambda: sources.append(_TimedPairs(network, video)), network.device)
    source, outcomes = sources[0], ["no trajectory was asked for"]
    if args.network_only:
        rest = seconds_of(lambda: _decode_all(source, args.keyframes, args.stride), network.device)
    else:
        rest = seconds_of(lambda: outcomes.append(_lift(source, video)), network.device)
    parts = {"encode": encode, "decode": source.seconds, "align": rest - source.seconds, "total": encode + rest}
    return _Round(parts, source.decoded, outcomes[-1])


def _lift(source: _TimedPairs, video: VideoFrames) -> str:
    """Run the rest of the chain; says what came of it."""
    from Dust3rP.lifting import lift

    try:
        estimate = lift(source, video)
    except ValueError as error:
        return str(error)
    return f"a trajectory of confidence {estimate.confidence:.2f}"


def _decode_all(source: _TimedPairs, keyframes: int, stride: int) -> None:
    chosen = np.linspace(0, len(source) - 1, keyframes).round().astype(int).tolist()
    source.points(list(itertools.permutations(chosen, 2)), stride)
    others = [n for n in range(len(source)) if n not in chosen]
    near = [(n, key) for n in others for key in sorted(chosen, key=lambda key: abs(key - n))[:2]]
    if near:
        source.points([*near, *((key, n) for n, key in near)], stride)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
