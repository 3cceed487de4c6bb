"""The targets of the project for a trained camera adapter, and by how much they are met or missed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.camera_evaluation.held_out import MOTIONS
from tools.camera_evaluation.rows import DROPPED
from tools.camera_evaluation.scores import ClipScore
from tools.camera_evaluation.summary import Interval, Summary, ratio_of

Scores = Mapping[str, Sequence[ClipScore]]
Summaries = Mapping[str, Summary]

FROZEN = "frozen"
"""The name of the extra row whose adapter was trained on a frozen base."""


@dataclass(frozen=True)
class Target:
    """One demand and what was found."""

    name: str
    wanted: str
    low: float
    """Least value that meets it."""
    high: float
    """Largest value that meets it."""
    found: Interval

    @property
    def met(self) -> bool:
        """Whether the value, without its interval, lies within."""
        return self.low <= self.found.value <= self.high

    @property
    def miss(self) -> float:
        """Distance to the nearest value that would do; 0 when met, NaN when unknown."""
        value = self.found.value
        return math.nan if math.isnan(value) else max(self.low - value, value - self.high, 0.0)


def targets_of(scores: Scores, summaries: Summaries, judged: str) -> list[Target]:
    """Every target whose rows were measured.

    Args:
        scores, summaries: by the name of the judgement.
        judged: the row that is held to the targets.
    """
    found = [Target("clips", ">= 200", 200, math.inf, _exactly(len(next(iter(scores.values())))))]
    if judged in scores:
        found += _rotation(scores, judged) + _obedience(summaries[judged])
        found += _controls(scores, summaries, judged) + _quality(scores, summaries, judged)
    if FROZEN in scores and f"{FROZEN}_{DROPPED}" in scores:
        share = ratio_of(scores[FROZEN], scores[f"{FROZEN}_{DROPPED}"], "rotation_last_deg")
        found.append(_percent("frozen base: rotation error of camera-dropped, mean", share, 50))
        gain = summaries[FROZEN].overall["gain"].mean
        found.append(Target("frozen base: gain", ">= 0.6", 0.6, math.inf, gain))
    return found


def _exactly(value: float) -> Interval:
    return Interval(value, value, value)


def _percent(name: str, share: Interval, high: float) -> Target:
    return Target(name, f"<= {high:g} %", 0, high, _times_100(share))


def _rotation(scores: Scores, judged: str) -> list[Target]:
    found, metric = [], "rotation_last_deg"
    if DROPPED in scores:
        mean = ratio_of(scores[judged], scores[DROPPED], metric)
        median = ratio_of(scores[judged], scores[DROPPED], metric, median=True)
        found.append(_percent("rotation error of camera-dropped, mean", mean, 25))
        found.append(_percent("rotation error of camera-dropped, median", median, 15))
    if "vae" in scores:
        floor = ratio_of(scores[judged], scores["vae"], metric, median=True)
        found.append(Target("rotation error over that of the VAE row, median", "<= 3", 0, 3, floor))
    return found


def _obedience(summary: Summary) -> list[Target]:
    gains = [
        Target(f"gain, {kind}", "0.85 to 1.15", 0.85, 1.15, summary.by_kind[kind]["gain"].mean)
        for kind in MOTIONS
        if kind in summary.by_kind
    ]
    signs = {"main component": "main_sign", "all components": "all_signs"}
    right = [
        Target(f"direction signs, {name}", ">= 95 %", 95, 100, _times_100(summary.overall[metric].mean))
        for name, metric in signs.items()
    ]
    return [*gains, *right, Target("speed ratio high/low", "1.7 to 2.3", 1.7, 2.3, summary.speed_ratio)]


def _times_100(share: Interval) -> Interval:
    return Interval(100 * share.value, 100 * share.low, 100 * share.high)


def _controls(scores: Scores, summaries: Summaries, judged: str) -> list[Target]:
    found = []
    if "mirrored" in scores:
        ratio = ratio_of(scores["mirrored"], scores[judged], "rotation_last_deg")
        found.append(Target("rotation error, mirrored over unmirrored", "0.85 to 1.15", 0.85, 1.15, ratio))
    for name in (DROPPED, "shuffled"):
        if name in summaries:
            gain = summaries[name].overall["gain"].mean
            found.append(Target(f"gain, {name}", "-0.05 to 0.05", -0.05, 0.05, gain))
    return found


def _quality(scores: Scores, summaries: Summaries, judged: str) -> list[Target]:
    found = []
    for metric, name in (("psnr_db", "PSNR"), ("psnr_seen_db", "PSNR of what frame 0 shows")):
        if DROPPED in scores:
            least = summaries[DROPPED].overall[metric].mean.value
            value = summaries[judged].overall[metric].mean
            found.append(Target(f"{name}, dB", f">= {least:.2f} (camera-dropped)", least, math.inf, value))
    return found
