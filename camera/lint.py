"""What is legal in a trajectory but odd: things that a user probably did not mean, or will not see in the video."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from camera.language import Move
from camera.rates import APPROACH_PER_S, ORBIT, TRUCK, TURN, ZOOM
from camera.rig import coordinates
from camera.timeline import Timeline, extreme_times, timeline

KINDS = ("gap", "overlap", "cancel", "fast", "short", "long", "cut", "unseen", "pole", "zoom")
"""Every kind of finding, in the order in which they are told for one segment."""
# the largest p'(u) of each ease: how much faster than its mean rate a move gets
_PEAK = {"linear": 1.0, "in": 2.0, "out": 2.0, "inout": 1.5}
# of the larger of two opposite rates: what is left when they count as cancelling each other
_LEFT_OVER = 0.05
_ELEVATION = 1


@dataclass(frozen=True)
class Limits:
    """From where on a motion counts as too fast or too strong. The defaults are three times the speed "high"."""

    turn_deg_per_s: float = 60.0
    """Of the orbit (azimuth and elevation together) and of the camera's own turn, each, degrees per second."""
    move_per_s: float = 3 * APPROACH_PER_S
    """Of forward, backward, trucks and pedestals, units per second."""
    zoom_factor: float = 3.0
    """Focal length over the starting one, either way: 3 allows a third to three times."""


@dataclass(frozen=True)
class Finding:
    """One thing that is legal but odd."""

    segment: int
    """Number of the segment, from 1; 0 when the trajectory as a whole is meant."""
    kind: str
    """One of KINDS."""
    message: str

    def __str__(self) -> str:
        place = f"segment {self.segment}" if self.segment else "trajectory"
        return f"{place}, {self.kind}: {self.message}"


def lint(moves: Sequence[Move], frames: int, fps: float, limits: Limits | None = None) -> list[Finding]:
    """Everything that is odd about moves in a video; never raises for moves of the language.

    Args:
        moves: as parsed; their numbers are their places, from 1.
        frames: of the video, 1 or more.
        fps: frames per second, above 0.
        limits: what counts as too fast and too strong; None for the defaults.

    Returns:
        Findings ordered by segment (the whole trajectory first), then by kind.
    """
    if frames < 1 or not fps > 0:
        raise ValueError(f"frames {frames}, fps {fps}: expected 1 or more, and a number above 0")
    limits = limits or Limits()
    line, last = timeline(moves), (frames - 1) / fps
    found = [*_gaps(moves), *_overlaps(moves, line), *_too_fast(moves, line, limits)]
    found += [*_against_the_video(moves, last, 1 / fps), *_poles(line, last), *_strong_zoom(line, last, limits)]
    return sorted(found, key=lambda finding: (finding.segment, KINDS.index(finding.kind)))


def _gaps(moves: Sequence[Move]) -> Iterator[Finding]:
    covered = None
    for number, move in sorted(enumerate(moves, start=1), key=lambda item: item[1].start):
        if covered is not None and move.start > covered:
            yield Finding(number, "gap", f"the camera stands still from {covered:g} to {move.start:g} s, before it")
        covered = move.end if covered is None else max(covered, move.end)


def _overlaps(moves: Sequence[Move], line: Timeline) -> Iterator[Finding]:
    """Overlapping is how two motions are made at once, so it is only told; opposite ones are a likely mistake."""
    for later, move in enumerate(moves):
        shared = (line.starts[:later] < move.end) & (move.start < line.ends[:later])
        others = np.flatnonzero(shared)
        if len(others):
            numbers = ", ".join(str(other + 1) for other in others[:5]) + (" ..." if len(others) > 5 else "")
            yield Finding(later + 1, "overlap", f"it runs at the same time as segment {numbers}; their rates add")
        rates, before = line.rates[later], line.rates[others]
        against = (rates * before < 0) & (
            np.abs(rates + before) <= _LEFT_OVER * np.maximum(np.abs(rates), np.abs(before))
        )
        for other in others[against.any(axis=1)][:1]:
            yield Finding(later + 1, "cancel", f"it undoes what segment {other + 1} does at the same time")


def _too_fast(moves: Sequence[Move], line: Timeline, limits: Limits) -> Iterator[Finding]:
    orbit = np.rad2deg(np.linalg.norm(line.rates[:, ORBIT][:, :2], axis=1))
    turn = np.rad2deg(np.linalg.norm(line.rates[:, TURN], axis=1))
    straight = np.abs(line.rates[:, 2]) + np.abs(line.rates[:, TRUCK]).sum(axis=1)
    kinds = (
        ("goes round the subject at", orbit, limits.turn_deg_per_s, "degrees/s"),
        ("turns the camera at", turn, limits.turn_deg_per_s, "degrees/s"),
        ("moves at", straight, limits.move_per_s, "units/s"),
    )
    for number, move in enumerate(moves, start=1):
        for what, rates, limit, unit in kinds:
            peak = float(rates[number - 1]) * _PEAK[move.ease]
            # the margin keeps "exactly at the limit" from depending on rounding
            if peak > limit * (1 + 1e-9):
                yield Finding(number, "fast", f"it {what} {peak:.4g} {unit}; the limit is {limit:.4g}")


def _against_the_video(moves: Sequence[Move], last: float, frame: float) -> Iterator[Finding]:
    """A move that ends within a frame of the last frame ends with the video."""
    if not moves:
        return
    end = max(move.end for move in moves)
    if end > last + frame:
        yield Finding(0, "long", f"it lasts until {end:g} s, the video until {last:.4g} s")
    elif end < last - frame:
        yield Finding(0, "short", f"it ends at {end:g} s; then the camera stands still until {last:.4g} s")
    for number, move in enumerate(moves, start=1):
        if move.start >= last:
            yield Finding(number, "unseen", f"it starts at {move.start:g} s; the last frame is at {last:.4g} s")
        elif move.end > last + frame:
            yield Finding(number, "cut", f"the video ends at {last:.4g} s, {move.end - last:.4g} s before it does")


def _poles(line: Timeline, last: float) -> Iterator[Finding]:
    times = extreme_times(line, _ELEVATION, last)
    elevation = np.rad2deg(coordinates(line, times)[1])
    past = np.flatnonzero(np.abs(elevation) > 90)
    if len(past):
        # the turning point at which it is past the pole belongs to the move that ends or is there
        climbing = (line.starts < times[past[0]]) & (times[past[0]] <= line.ends) & (line.rates[:, _ELEVATION] != 0)
        segment = int(np.flatnonzero(climbing)[0]) + 1 if climbing.any() else 0
        where = "over the top of" if elevation[past[0]] > 0 else "under"
        yield Finding(segment, "pole", f"the camera passes {where} the subject; beyond, the picture is upside down")


def _strong_zoom(line: Timeline, last: float, limits: Limits) -> Iterator[Finding]:
    focal = coordinates(line, extreme_times(line, ZOOM, last))[3]
    for extreme in (float(focal.min()), float(focal.max())):
        if not 1 / limits.zoom_factor <= extreme <= limits.zoom_factor:
            limit = f"1/{limits.zoom_factor:g} to {limits.zoom_factor:g}"
            yield Finding(0, "zoom", f"the focal length becomes {extreme:.3g} times the starting one; usual is {limit}")
