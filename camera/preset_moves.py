"""The moves of each preset of `camera.presets`."""

import math
import random
from dataclasses import dataclass
from itertools import pairwise

from camera.language import Move
from camera.rates import APPROACH_PER_S, AZIMUTH_DEG_PER_S, START_DISTANCE, TRUCK_PER_S

_ORBIT_DEG, _ARC_DEG = 360.0, 45.0
_LEAST_LEFT = 0.4
"""Share of the distance or focal length that a preset without a stated speed leaves."""
_SPIRAL_END = 0.5
_CRANE_PIECE_S = 0.25
_TREMBLE_S = 0.5
# the farthest the hand goes to each side: degrees of pan and tilt, and units across and up
_TREMBLE_DEG, _TREMBLE_UNITS = 0.5, 0.008
# the words for a negative and a positive swing: across with a pan, upright with a tilt
_SWINGS = ((("truckleft", "truckright"), ("left", "right")), (("pedestaldown", "pedestalup"), ("down", "up")))


@dataclass(frozen=True)
class Wish:
    """What is wished of a preset; `side`, `degrees` and `seed` mean something to some of them only."""

    seconds: float
    speed: float | None = None
    """None: the language's speed "high", or slower where a limit is near."""
    side: str = ""
    degrees: float | None = None
    seed: int = 0


def path(wish: Wish, direction: str, zoom: str, limited: bool) -> list[Move]:
    """One move; a limited one slows down so as to end with _LEAST_LEFT of what it uses up."""
    return [Move(0, wish.seconds, _speed(wish, limited), direction, "stay", zoom)]


def _speed(wish: Wish, limited: bool) -> float:
    if wish.speed is not None:
        return wish.speed
    share_per_s = APPROACH_PER_S / START_DISTANCE
    return min(1.0, (1 - _LEAST_LEFT) / (share_per_s * wish.seconds)) if limited else 1.0


def turn(wish: Wish, word: str) -> list[Move]:
    """A turn at a speed, or by degrees in all."""
    rotate = word if wish.degrees is None else f"{word}{_fixed(wish.degrees / wish.seconds)}"
    return [Move(0, wish.seconds, 1.0 if wish.speed is None else wish.speed, "stay", rotate)]


def roll(wish: Wish) -> list[Move]:
    """A turn about the optical axis."""
    return turn(wish, wish.side)


def orbit(wish: Wish) -> list[Move]:
    """Round the subject at an even speed."""
    return [Move(0, wish.seconds, _azimuth_speed(wish, _ORBIT_DEG), wish.side)]


def arc(wish: Wish) -> list[Move]:
    """A part of a round, eased."""
    return [Move(0, wish.seconds, _azimuth_speed(wish, _ARC_DEG), wish.side, ease="inout")]


def _azimuth_speed(wish: Wish, degrees: float) -> float:
    return (degrees if wish.degrees is None else wish.degrees) / wish.seconds / AZIMUTH_DEG_PER_S


def spiral(wish: Wish) -> list[Move]:
    """Round the subject and nearer."""
    nearing = (1 - _SPIRAL_END) * START_DISTANCE / wish.seconds / APPROACH_PER_S
    return [*orbit(wish), Move(0, wish.seconds, nearing, "forward")]


def dolly_zoom(wish: Wish) -> list[Move]:
    """Distance and focal length shrink or grow by the same share (the "Vertigo" shot)."""
    direction, zoom = ("forward", "out") if wish.side == "in" else ("backward", "in")
    return path(wish, direction, zoom, limited=wish.side == "in")


def crane(wish: Wish) -> list[Move]:
    """One straight move, and turns the other way that meet the subject's direction at the end of each short piece."""
    direction, tilt = ("pedestalup", "down") if wish.side == "up" else ("pedestaldown", "up")
    speed = _speed(wish, limited=False)
    joints = _even_times(wish.seconds, _CRANE_PIECE_S)
    angles = [math.degrees(math.atan2(TRUCK_PER_S * speed * time, START_DISTANCE)) for time in joints]
    moves = [Move(0, wish.seconds, speed, direction)]
    for (start, angle), (end, next_angle) in pairwise(zip(joints, angles, strict=True)):
        moves.append(Move(start, end, 1.0, "stay", f"{tilt}{_fixed((next_angle - angle) / (end - start))}"))
    return moves


def handheld(wish: Wish) -> list[Move]:
    """Eased swings between random places near the start, so that the camera stands for a moment at each."""
    rng = random.Random(wish.seed)
    strength = _speed(wish, limited=False)
    moves: list[Move] = []
    places = [(0.0, 0.0)] * len(_SWINGS)
    for start, end in pairwise(_even_times(wish.seconds, _TREMBLE_S)):
        for axis, (directions, turns) in enumerate(_SWINGS):
            units, degrees = places[axis]
            places[axis] = rng.uniform(-1, 1) * _TREMBLE_UNITS * strength, rng.uniform(-1, 1) * _TREMBLE_DEG * strength
            units_per_s = (places[axis][0] - units) / (end - start)
            deg_per_s = (places[axis][1] - degrees) / (end - start)
            direction, rotate = directions[units_per_s > 0], f"{turns[deg_per_s > 0]}{_fixed(abs(deg_per_s))}"
            moves.append(Move(start, end, abs(units_per_s) / TRUCK_PER_S, direction, rotate, ease="inout"))
    return moves


def hold(wish: Wish) -> list[Move]:
    """A camera that stands."""
    return [Move(0, wish.seconds, 1.0, "stay")]


def _even_times(seconds: float, piece: float) -> list[float]:
    """0 ... seconds in equal pieces of about `piece`."""
    count = max(1, round(seconds / piece))
    return [seconds * index / count for index in range(count)] + [seconds]


def _fixed(number: float) -> str:
    """Without an exponent, to a billionth: the rates of turns take none."""
    return f"{number:.9f}".rstrip("0").rstrip(".")
