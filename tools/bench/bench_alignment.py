"""Measure the alignment of DUSt3R's pairs on scenes with known cameras: errors and seconds, case by case."""

import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from common import cli
from common.arguments import make_parser
from common.logs import get_logger, setup_logging
from Dust3rP.alignment import align
from Dust3rP.estimate import VideoFrames
from Dust3rP.lifting import lift
from Dust3rP.pairs import PairPoints
from tools.bench.alignment_cases import PATHS, PathErrors, all_pairs, focal_error, open_case, path_errors
from tools.procedural_world.pair_points import GUIDE_NOISE, PERFECT, PairNoise, RenderedPairs

logger = get_logger("bench_alignment")


class Case(NamedTuple):
    """One line of the table."""

    path: str
    frames: int
    noise: PairNoise
    reach: int | None = None
    """Pairs of frames so far apart; all where None."""
    whole: bool = False
    """Keyframes, registration and smoothing (`lift`), not the alignment of all frames alone."""

    @property
    def name(self) -> str:
        """As the table has it."""
        noise = "perfect" if self.noise == PERFECT else "noisy"
        graph = "lift" if self.whole else f"reach {self.reach}" if self.reach else "complete"
        return f"{noise} {self.path} {self.frames}, {graph}"


CASES = (
    Case("arc", 5, PERFECT),
    Case("arc", 12, PERFECT),
    Case("dolly", 12, PERFECT, reach=3),
    *(Case("arc", frames, GUIDE_NOISE) for frames in (5, 8, 12, 17)),
    Case("dolly", 12, GUIDE_NOISE, reach=3),
    *(Case(path, 17, GUIDE_NOISE) for path in ("dolly", "pan", "corners")),
    *(Case(path, 81, noise, whole=True) for noise in (PERFECT, GUIDE_NOISE) for path in PATHS),
)


class Result(NamedTuple):
    """Of one run."""

    errors: PathErrors
    focal: float
    """Error of the focal length, as a share."""
    seconds: float
    """By the clock, without the making of the pairs."""
    cpu_seconds: float
    """The same of the processor, all threads together: a machine that is busy with more does not change it much."""


def run(case: Case, seed: int) -> Result:
    """Make the pairs of a case and align them."""
    source = open_case(case.path, case.frames, case.noise, seed)
    if case.whole:
        return _lifted(source)
    pairs = all_pairs(case.frames, case.reach)
    points = source.points(pairs)
    start = _now()
    found = align(pairs, *points, middle_px=source.middle_px)
    times = _now() - start
    focal = focal_error(found.focal_px, source.track, source.size[1])
    return Result(path_errors(found.c2w, source.track), focal, *times.tolist())


def _lifted(source: RenderedPairs) -> Result:
    recorder = _Timed(source)
    blank = np.zeros((len(source), *source.size, 3), np.uint8)
    start = _now()
    found = lift(recorder, VideoFrames(blank, source.track.times, "bench"))
    times = _now() - start - recorder.times
    focal = abs(float(found.track.intrinsics[0, 0] / source.track.intrinsics[0, 0]) - 1)
    return Result(path_errors(found.track.c2w, source.track), focal, *times.tolist())


def _now() -> np.ndarray:
    """Seconds of the clock and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


class _Timed:
    """A source of pairs that knows how long it took."""

    def __init__(self, source: RenderedPairs) -> None:
        self.source, self.times = source, np.zeros(2)
        self.size, self.middle_px, self.crop = source.size, source.middle_px, source.crop

    def __len__(self) -> int:
        return len(self.source)

    def points(self, pairs: Sequence[tuple[int, int]], stride: int = 1) -> PairPoints:
        """See `PairSource.points`."""
        start = _now()
        made = self.source.points(pairs, stride)
        self.times += _now() - start
        return made


def main(argv: list[str] | None = None) -> int:
    """Run every case with several seeds and report the mean and the worst of its errors."""
    setup_logging()
    parser = make_parser("Errors and seconds of DUSt3R's alignment on scenes with known cameras.")
    parser.add_argument("--seeds", type=int, default=5, help="rooms, each with noise of its own")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    args = parser.parse_args(argv)
    if min(args.seeds, args.threads) < 1:
        raise ValueError("--seeds and --threads: expected 1 or more")
    torch.set_num_threads(args.threads)
    logger.info("Python %s, torch %s, %d threads", platform.python_version(), torch.__version__, args.threads)
    logger.info("mean (worst seed); rotation: mean over pairs of frames; last: the worst pair of frames of all seeds")
    for case in CASES:
        results = [run(case, seed) for seed in range(args.seeds)]
        logger.info(
            "%-28s rotation %s deg, worst pair %.3f deg, ATE %s %%, focal %s %%, %.1f s, CPU %.1f s (median)",
            case.name,
            _mean_and_worst([one.errors.turn_deg for one in results]),
            max(one.errors.worst_deg for one in results),
            _mean_and_worst([100 * one.errors.ate_share for one in results]),
            _mean_and_worst([100 * one.focal for one in results]),
            statistics.median(one.seconds for one in results),
            statistics.median(one.cpu_seconds for one in results),
        )
    return 0


def _mean_and_worst(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.4f} ({max(values):.4f})"


if __name__ == "__main__":
    cli.run(main)
