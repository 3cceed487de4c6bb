"""Measure the camera room: captions per minute from text to the rays that the network is given, and each stage."""

import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from camera.language import DIRECTIONS, ROTATIONS, Move, format, parse
from camera.plucker import latent_rays
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves
from common import cli
from common.arguments import make_parser
from common.logs import get_logger, setup_logging

logger = get_logger("bench_camera")

_SCENE = "Take {}: a quiet street after rain, lanterns reflected in the wet stone; Camera:"
_BATCHES_PER_PROCESS = 8
_ZOOM = 1.5


class Shape(NamedTuple):
    """What every caption is turned into."""

    frames: int
    fps: float
    height: int
    """Of the latent grid, like `width`."""
    width: int


class Timing(NamedTuple):
    """Milliseconds per caption."""

    wall: float
    """Median over the rounds."""
    cpu: float
    """Time of the processor in user and system, mean over all rounds: a machine that is busy with more does not
    change it much."""


def main(argv: list[str] | None = None) -> int:
    """Time each stage on one thread, then the whole way in several processes, and report the rates."""
    setup_logging()
    parser = make_parser("Captions per minute that parse, compile and turn to Plücker rays on the latent grid.")
    parser.add_argument("--captions", type=int, default=400, help="number of different captions, 1 to 4 segments each")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that are timed, after one that is not")
    parser.add_argument("--frames", type=int, default=81, help="video frames, 4n + 1")
    parser.add_argument("--fps", type=float, default=16.0, help="frames per second")
    parser.add_argument("--grid", type=int, nargs=2, default=[30, 52], metavar=("HEIGHT", "WIDTH"), help="latent grid")
    parser.add_argument("--processes", type=int, default=2, help="processes of one thread each")
    args = parser.parse_args(argv)
    if min(args.captions, args.repeats, args.processes, *args.grid) < 1:
        raise ValueError("--captions, --repeats, --processes and --grid: expected 1 or more of each")
    shape = Shape(args.frames, args.fps, *args.grid)
    captions = make_captions(args.captions, (args.frames - 1) / args.fps)
    torch.set_num_threads(1)
    logger.info("%s; Python %s, torch %s", _cpu_name(), platform.python_version(), torch.__version__)
    logger.info(
        "%d captions, %d frames at %g fps, grid %dx%d; %d rounds",
        len(captions), *shape, args.repeats,
    )  # fmt: skip
    for name, timing in _stages(captions, shape, args.repeats).items():
        logger.info("%-36s %7.3f ms wall, %7.3f ms CPU a caption", name, *timing)
    whole = _whole_way(captions, shape, args.repeats, args.processes)
    logger.info("%-36s %7.3f ms wall, %7.3f ms CPU a caption", f"all, {args.processes} processes", *whole)
    logger.info("%.0f captions a minute", 60_000 / whole.wall)
    return 0


def make_captions(count: int, seconds: float) -> list[str]:
    """Different captions of 1 to 4 segments within `seconds`, the same in every run.

    No more than 3/4 of the fastest speed, so that none of 5 seconds runs into the subject.
    """
    chance = random.Random(0)
    captions = []
    for index in range(count):
        segments = chance.randint(1, 4)
        joints = [seconds * joint / segments for joint in range(segments + 1)]
        moves = [
            Move(start, end, chance.choice((0.5, 0.75, 0.6)), _direction(chance), chance.choice(ROTATIONS))
            for start, end in pairwise(joints)
        ]
        captions.append(f"{_SCENE.format(index)} {format(moves)}")
    return captions


def _direction(chance: random.Random) -> str:
    diagonal = f"{chance.choice(('left', 'right'))}{chance.choice(('up', 'down'))}{chance.randint(1, 89)}"
    return chance.choice((*DIRECTIONS, diagonal))


def _rays(caption: str, shape: Shape) -> torch.Tensor:
    track = compile_moves(parse(caption), shape.frames, shape.fps)
    return latent_rays(track.c2w, track.intrinsics, shape.height, shape.width)


def _stages(captions: Sequence[str], shape: Shape, repeats: int) -> dict[str, Timing]:
    """The time of each stage, on this thread."""
    moves = [parse(caption) for caption in captions]
    tracks = [compile_moves(each, shape.frames, shape.fps) for each in moves]
    zoom = torch.linspace(1, _ZOOM, shape.frames, dtype=torch.float64)[:, None]
    zoomed = tracks[0].intrinsics * torch.cat((zoom, zoom, torch.ones_like(zoom), torch.ones_like(zoom)), dim=1)
    size = shape.height, shape.width
    stages: dict[str, tuple[Callable[..., object], Sequence[object]]] = {
        "parse": (parse, captions),
        "compile": (lambda each: compile_moves(each, shape.frames, shape.fps), moves),
        "  of which the track's checks": (lambda t: CameraTrack(t.c2w, t.intrinsics, t.times), tracks),
        "rays, one lens": (lambda t: latent_rays(t.c2w, t.intrinsics, *size), tracks),
        "rays, a lens for each frame (zoom)": (lambda t: latent_rays(t.c2w, zoomed, *size), tracks),
        "all, this thread alone": (lambda caption: _rays(caption, shape), captions),
    }
    return {name: _time(function, items, repeats) for name, (function, items) in stages.items()}


def _time(function: Callable[..., object], items: Sequence[object], repeats: int) -> Timing:
    for item in items:
        function(item)
    wall, cpu = [], []
    for _ in range(repeats):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        for item in items:
            function(item)
        cpu.append(time.process_time() - begin_cpu)
        wall.append(time.perf_counter() - begin)
    return _per_item(wall, cpu, len(items))


def _per_item(wall: Sequence[float], cpu: Sequence[float], items: int) -> Timing:
    return Timing(1000 * statistics.median(wall) / items, 1000 * statistics.mean(cpu) / items)


def _whole_way(captions: Sequence[str], shape: Shape, repeats: int, processes: int) -> Timing:
    """Text to rays, the captions dealt out to processes that are up and warm."""
    step = max(1, len(captions) // (_BATCHES_PER_PROCESS * processes))
    batches = [captions[start : start + step] for start in range(0, len(captions), step)]
    wall, cpu = [], []
    # not forked: a copy of a process in which torch has threads may hang
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            spent = sum(pool.map(_batch, batches, [shape] * len(batches)))
            wall.append(time.perf_counter() - begin)
            cpu.append(spent)
    return _per_item(wall[1:], cpu[1:], len(captions))


def _batch(captions: Sequence[str], shape: Shape) -> float:
    """Turn captions to rays; the seconds of processor that it took."""
    torch.set_num_threads(1)
    begin = time.process_time()
    for caption in captions:
        _rays(caption, shape)
    return time.process_time() - begin


def _cpu_name() -> str:
    """The processor as Linux names it, with the number of its cores; elsewhere, what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
