"""Moves as one table, and the exact integrals of their rates: plain numpy, since a track is a handful of small arrays.

A move's progress from its start (u = 0) to its end (u = 1) is a polynomial p(u) with p(0) = 0 and p(1) = 1, so that
easing changes when a displacement is made and not how large it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from camera.language import Move
from camera.rates import COLUMNS, rates_of

# p(u) = c1 u + c2 u^2 + c3 u^3
_EASE = {"linear": (1.0, 0.0, 0.0), "in": (0.0, 1.0, 0.0), "out": (2.0, -1.0, 0.0), "inout": (0.0, 3.0, -2.0)}
# from the values of a cubic at 0, 1/3, 2/3 and 1 to its derivative's coefficients of 1, u, u^2
_CUBIC_TO_DERIVATIVE = np.array(((-5.5, 18.0, -13.5), (9.0, -45.0, 40.5), (-4.5, 36.0, -40.5), (1.0, -9.0, 13.5)))
_MOST_CELLS = 2**20


@dataclass(frozen=True, eq=False)
class Timeline:
    """The moves of a trajectory, one row each."""

    starts: Float64[np.ndarray, "M"]
    """Seconds."""
    ends: Float64[np.ndarray, "M"]
    """Seconds, after the starts."""
    ease: Float64[np.ndarray, "M 3"]
    """Coefficients of p(u)."""
    rates: Float64[np.ndarray, "M 9"]
    """Mean rates (`camera.rates`)."""

    @property
    def durations(self) -> Float64[np.ndarray, "M"]:
        """Seconds, above 0."""
        return self.ends - self.starts

    @property
    def is_eased(self) -> bool:
        """True when a move is not made at an even rate."""
        return bool(self.ease[:, 1].any())


def timeline(moves: Sequence[Move]) -> Timeline:
    """The table of moves, in their order."""
    spans = np.array([(move.start, move.end) for move in moves], dtype=np.float64).reshape(-1, 2)
    ease = np.array([_EASE[move.ease] for move in moves], dtype=np.float64).reshape(-1, 3)
    rates = np.array([rates_of(move) for move in moves], dtype=np.float64).reshape(-1, COLUMNS)
    return Timeline(spans[:, 0], spans[:, 1], ease, rates)


def amounts(line: Timeline, times: Float64[np.ndarray, "T"]) -> Float64[np.ndarray, "T M"]:
    """Seconds of its mean rate that each move has made until each time: p(u) times the duration."""
    elapsed = np.clip(times[:, None] - line.starts, 0.0, line.durations)
    if not line.is_eased:
        return elapsed
    u = elapsed / line.durations
    first, second, third = line.ease.T
    return elapsed * (first + u * (second + u * third))


def intensities(line: Timeline, times: Float64[np.ndarray, "T"]) -> Float64[np.ndarray, "T M"]:
    """Rate of each move at each time over its mean rate: p'(u), 0 outside the move. Undefined at its two ends."""
    u = (times[:, None] - line.starts) / line.durations
    first, second, third = line.ease.T
    return np.where((u > 0) & (u < 1), first + u * (2 * second + u * (3 * third)), 0.0)


def joints(line: Timeline, last: float) -> Float64[np.ndarray, "J"]:
    """0, `last`, and the times between them at which a move starts or ends; p is smooth from one to the next."""
    times = np.concatenate((line.starts, line.ends, (0.0, last)))
    return np.unique(times[(times >= 0) & (times <= last)])


def extreme_times(line: Timeline, column: int, last: float) -> Float64[np.ndarray, "E"]:
    """Times from 0 to `last`, increasing, among which one coordinate of the rig has its smallest and largest value.

    Between joints a coordinate is a cubic at most, so its turning points are the roots of a quadratic.
    """
    edges = joints(line, last)
    if not line.is_eased or len(edges) < 2:
        return edges
    spans = np.diff(edges)
    inner = edges[:-1, None] + spans[:, None] * np.arange(4) / 3
    values = (amounts(line, inner.ravel()) @ line.rates[:, column]).reshape(-1, 4)
    constant, linear, square = (values @ _CUBIC_TO_DERIVATIVE).T
    with np.errstate(divide="ignore", invalid="ignore"):
        # the two roots without cancellation: q / a and c / q
        q = -(linear + np.copysign(np.sqrt(linear * linear - 4 * square * constant), linear)) / 2
        roots = np.stack((q / square, constant / q), axis=1)
    turning = np.where((roots > 0) & (roots < 1), roots, 0.0)
    return np.unique(np.append(edges, edges[:-1, None] + spans[:, None] * turning))


def refined(edges: Float64[np.ndarray, "E"], counts: Int64[np.ndarray, "E-1"]) -> Float64[np.ndarray, "N"]:
    """The same edges with interval i cut into counts[i] equal parts."""
    first = np.repeat(edges[:-1], counts)
    part = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    cut = first + np.repeat(np.diff(edges) / counts, counts) * part
    return np.append(cut, edges[-1])


def cells(
    line: Timeline, edges: Float64[np.ndarray, "E"], angle: Float64[np.ndarray, "M"], most: float
) -> Float64[np.ndarray, "N"]:
    """Edges refined until no part turns by more than `most` radians at the rates `angle` (rad/s, not negative).

    At most _MOST_CELLS numbers are then evaluated; only a trajectory of thousands of turns is cut less finely.
    """
    turned = np.diff(amounts(line, edges) @ angle)
    limit = max(_MOST_CELLS // (len(edges) * max(len(angle), 1)), 1)
    return refined(edges, np.clip(np.ceil(turned / most), 1, limit).astype(np.int64))
