"""Aggregates of a row: means and medians with bootstrap intervals, of all clips, per class of motion and per speed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camera.segments import speed_ratio
from tools.camera_evaluation.held_out import SPEED_WORDS
from tools.camera_evaluation.scores import METRICS, ClipScore

RESAMPLES = 1000
_SEED = 0


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % percentile bootstrap interval (Efron 1979) over clips; NaN where nothing is known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Stats:
    """One metric over some clips."""

    clips: int
    """Those for which it is defined."""
    mean: Interval
    median: Interval


@dataclass(frozen=True)
class Summary:
    """One judgement of a row."""

    overall: dict[str, Stats]
    """By METRICS, over the clips that move; `static_deg` over those that were told to stand."""
    by_kind: dict[str, dict[str, Stats]]
    by_motion: dict[str, dict[str, Stats]]
    """Pairs only: forward, backward, ..."""
    by_speed: dict[str, dict[str, Stats]]
    speed_ratio: Interval
    """Pooled over the pairs of high and low; 2 as told."""
    onsets_commanded: int
    onsets_measured: int


def summarise(scores: Sequence[ClipScore]) -> Summary:
    """All aggregates of the scores of one judgement."""
    moving = [score for score in scores if score.clip.kind != "hold"]
    standing = [score for score in scores if score.clip.kind == "hold"]
    pairs = [score for score in moving if score.clip.speed]
    overall = statistics(moving)
    overall["static_deg"] = statistics(standing)["static_deg"]
    return Summary(
        overall=overall,
        by_kind=_grouped(scores, [score.clip.kind for score in scores]),
        by_motion=_grouped(pairs, [score.clip.motion for score in pairs]),
        by_speed=_grouped(pairs, [score.clip.speed for score in pairs]),
        speed_ratio=pooled_speed_ratio(pairs),
        onsets_commanded=sum(score.onsets_commanded for score in moving),
        onsets_measured=sum(score.onsets_measured for score in moving),
    )


def statistics(scores: Sequence[ClipScore]) -> dict[str, Stats]:
    """Every metric over some clips."""
    return {name: _stats(np.array([score.values[name] for score in scores])) for name in METRICS}


def _grouped(scores: Sequence[ClipScore], labels: Sequence[str]) -> dict[str, dict[str, Stats]]:
    return {
        label: statistics([score for score, own in zip(scores, labels, strict=True) if own == label])
        for label in dict.fromkeys(labels)
    }


def _stats(values: np.ndarray) -> Stats:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        unknown = Interval(np.nan, np.nan, np.nan)
        return Stats(0, unknown, unknown)
    drawn = known[_resamples(len(known))]
    return Stats(
        len(known),
        _interval(float(known.mean()), drawn.mean(axis=1)),
        _interval(float(np.median(known)), np.median(drawn, axis=1)),
    )


def _resamples(count: int) -> np.ndarray:
    """[RESAMPLES, count] numbers of clips, the same for every metric, so that results repeat."""
    return np.random.default_rng(_SEED).integers(0, count, (RESAMPLES, count))


def _interval(value: float, drawn: np.ndarray) -> Interval:
    known = drawn[np.isfinite(drawn)]
    low, high = np.percentile(known, (2.5, 97.5)) if len(known) else (np.nan, np.nan)
    return Interval(value, float(low), float(high))


def ratio_of(one: Sequence[ClipScore], other: Sequence[ClipScore], metric: str, *, median: bool = False) -> Interval:
    """Mean (or median) of a metric in one row over that in another, of the clips that move; clips are drawn in pairs.

    Args:
        one, other: scores of the same clips, in the same order.
        metric: of METRICS.
        median: take medians.
    """
    pairs = [
        (first.values[metric], second.values[metric])
        for first, second in zip(one, other, strict=True)
        if first.clip.kind != "hold"
    ]
    values = np.array(pairs).reshape(-1, 2)
    values = values[~np.isnan(values).any(axis=1)]
    if len(values) == 0:
        return Interval(np.nan, np.nan, np.nan)
    reduce = np.median if median else np.mean
    drawn = reduce(values[_resamples(len(values))], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = drawn[:, 0] / drawn[:, 1]
        return _interval(float(np.divide(*reduce(values, axis=0))), ratios)


def pooled_speed_ratio(scores: Sequence[ClipScore]) -> Interval:
    """Speed of the clips at high over that of those at low, pooled, with pairs of one scene drawn together."""
    fast, slow = ({s.clip.scene: s.checks for s in scores if s.clip.speed == word} for word in SPEED_WORDS)
    scenes = [scene for scene in fast if scene in slow]
    whole = speed_ratio(*([check for scene in scenes for check in side[scene]] for side in (fast, slow)))
    if not scenes:
        return Interval(np.nan, np.nan, np.nan)
    speeds = np.array([[side[scene][0].joint_speed for side in (fast, slow)] for scene in scenes])
    means = np.nanmean(speeds[_resamples(len(scenes))], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _interval(whole, np.where(means[:, 1] > 0, means[:, 0] / means[:, 1], np.nan))
