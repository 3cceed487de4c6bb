"""Rates written as words: the moves with the fewest digits whose rates lie in given ranges."""

import math

import numpy as np
from jaxtyping import Float64

from camera.language import Move
from camera.rates import (
    APPROACH_PER_S,
    AZIMUTH_DEG_PER_S,
    COLUMNS,
    ELEVATION_DEG_PER_S,
    TRUCK_PER_S,
    TURN,
    ZOOM,
    rates_of,
)
from camera.words import MAX_SPEED, MAX_TURN_DEG_PER_S, MAX_ZOOM_PERCENT_PER_S

_RANGES = Float64[np.ndarray, "9"]
# of each path column: the rate at speed 1, and the words for its negative and its positive rate
_UNITS = (math.radians(AZIMUTH_DEG_PER_S), math.radians(ELEVATION_DEG_PER_S), APPROACH_PER_S, TRUCK_PER_S, TRUCK_PER_S)
_NAMES = (
    ("left", "right"),
    ("down", "up"),
    ("forward", "backward"),
    ("truckleft", "truckright"),
    ("pedestalup", "pedestaldown"),
)
_TURNS = (("down", "up"), ("left", "right"), ("counterclockwise", "clockwise"))
_ZOOM = ("out", "in")
_MOST_DIGITS = 17

MOST_RATES = np.array(
    [unit * MAX_SPEED for unit in _UNITS] + [math.radians(MAX_TURN_DEG_PER_S)] * 3 + [MAX_ZOOM_PERCENT_PER_S / 100]
)
"""The largest rate of each column (`camera.rates`) that one move can have."""


def spell(span: tuple[float, float], low: _RANGES, high: _RANGES) -> list[Move]:
    """Overlapping moves over a span (start, end in seconds) whose rates add up to one in each range.

    Args:
        span: start and end of all of them, seconds.
        low, high: range of each of the COLUMNS rates, within MOST_RATES; one that holds 0 is left out.
    """
    assert (low <= high).all() and len(low) == COLUMNS, (low, high)
    moving = (low > 0) | (high < 0)
    paths = _paths(low, high, moving)
    turns = [
        _word(names, math.degrees(low[column]), math.degrees(high[column]), MAX_TURN_DEG_PER_S)
        for column, names in zip(range(TURN.start, TURN.stop), _TURNS, strict=True)
        if moving[column]
    ]
    zooms = [_word(_ZOOM, low[ZOOM] * 100, high[ZOOM] * 100, MAX_ZOOM_PERCENT_PER_S)] if moving[ZOOM] else []
    count = max(len(paths), len(turns), len(zooms))
    paths += [(1.0, "stay")] * (count - len(paths))
    turns += ["stay"] * (count - len(turns))
    zooms += ["stay"] * (count - len(zooms))
    rows = zip(paths, turns, zooms, strict=True)
    return [Move(*span, speed, direction, rotate, zoom) for (speed, direction), rotate, zoom in rows]


def _paths(low: _RANGES, high: _RANGES, moving: np.ndarray) -> list[tuple[float, str]]:
    """(speed, direction) of each; azimuth and elevation together as one diagonal where that can be."""
    diagonal = _diagonal(low[:2], high[:2]) if moving[:2].all() else None
    first = 0 if diagonal is None else 2
    paths = [] if diagonal is None else [diagonal]
    for column in range(first, len(_UNITS)):
        if moving[column]:
            size = _shortest(*_sizes(low[column] / _UNITS[column], high[column] / _UNITS[column]), MAX_SPEED)
            paths.append((size, _NAMES[column][int(low[column] > 0)]))
    return paths


def _diagonal(low: Float64[np.ndarray, "2"], high: Float64[np.ndarray, "2"]) -> tuple[float, str] | None:
    """(speed, "leftup30") with the fewest digits of both; None when the angle is nearly upright or level."""
    sideways, upwards = np.abs((low + high) / 2) / _UNITS[:2]
    speed, angle_deg = math.hypot(sideways, upwards), math.degrees(math.atan2(sideways, upwards))
    words = _NAMES[0][int(low[0] > 0)] + _NAMES[1][int(low[1] > 0)]
    for digits in range(1, _MOST_DIGITS + 1):
        rounded, angle = _rounded(speed, digits), _rounded(angle_deg, digits)
        if not (0 < rounded <= MAX_SPEED and 1 <= angle <= 89):
            continue
        direction = words + _positional(angle)
        made = np.array(rates_of(Move(0, 1, rounded, direction))[:2])
        if ((low <= made) & (made <= high)).all():
            return rounded, direction
    return None


def _word(names: tuple[str, str], low: float, high: float, most: float) -> str:
    """A turn or a zoom with its rate, such as "left15"."""
    return names[int(low > 0)] + _positional(_shortest(*_sizes(low, high), most))


def _sizes(low: float, high: float) -> tuple[float, float]:
    """The range of absolute values of a range that does not hold 0."""
    return (low, high) if low > 0 else (-high, -low)


def _shortest(low: float, high: float, most: float) -> float:
    """The number with the fewest significant digits in a range of positive numbers, at most `most`."""
    middle = (low + high) / 2
    candidates = (_rounded(middle, digits) for digits in range(1, _MOST_DIGITS + 1))
    return next((number for number in candidates if low <= number <= min(high, most) and number > 0), middle)


def _rounded(number: float, digits: int) -> float:
    return float(f"{number:.{digits - 1}e}")


def _positional(number: float) -> str:
    """Without an exponent: the tags direction, rotate and zoom take none."""
    return np.format_float_positional(number, trim="-")
