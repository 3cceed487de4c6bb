"""Camera moves for the clips: more orbits, diagonals and elevation than pans, one or two segments, some holds."""

import random

from camera.language import SPEEDS, Move
from camera.rates import APPROACH_PER_S, AZIMUTH_DEG_PER_S, ELEVATION_DEG_PER_S, TRUCK_PER_S, ZOOM_PER_S

KINDS = {
    "orbit": 6,
    "diagonal": 6,
    "elevation": 5,
    "dolly": 3,
    "truck": 2,
    "pedestal": 1,
    "pan": 2,
    "tilt": 2,
    "roll": 1,
    "zoom": 1,
    "hold": 1,
}
"""Kinds of motion and how many clips of DECK_SIZE have each as their main one."""
DECK_SIZE = sum(KINDS.values())
SHORTEST_S = 0.6
"""Least duration of a segment."""

_MOST_FORWARD, _MOST_BACKWARD, _MOST_TRUCK, _MOST_ZOOM = 0.45, 0.6, 0.5, 0.4
_MOST_ELEVATION_DEG, _MOST_AZIMUTH_DEG, _MOST_TURN_DEG = 40.0, 90.0, 36.0
_SPEED_RANGE = (0.4, 1.2)
_TURN_TOO = 0.15
"""Share of the moves along a path in which the camera turns on top."""


def main_kind(seed: int, index: int) -> str:
    """The kind of clip `index`: cards of one shuffled deck after the other, so that short sets are mixed too."""
    block, card = divmod(index, DECK_SIZE)
    deck = [kind for kind, count in KINDS.items() for _ in range(count)]
    random.Random(f"deck/{seed}/{block}").shuffle(deck)
    return deck[card]


def sample_moves(rng: random.Random, seconds: float, kind: str) -> list[Move]:
    """One segment of `kind`, or two of which it is the first, within `seconds` of video.

    Gaps before and between segments are holds. The whole motion stays small enough for a room: the camera comes
    no nearer than about half the subject's distance.
    """
    if kind == "hold":
        return [Move(0.0, max(round(seconds, 2), 0.01), 1.0, "stay")]
    segments = 2 if seconds >= 3 * SHORTEST_S and rng.random() < 0.5 else 1
    start = _times(rng.choice((0.0, 0.0, 0.0, 0.2)) * seconds)
    if segments == 1:
        return [_move(rng, kind, start, _times(seconds), 1)]
    middle = _times(rng.uniform(start + SHORTEST_S, seconds - SHORTEST_S))
    second = rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
    first = _move(rng, kind, start, middle, 2)
    if second == "hold":
        return [first, Move(middle, _times(seconds), 1.0, "stay")]
    return [first, _move(rng, second, middle, _times(seconds), 2)]


def _times(seconds: float) -> float:
    """Hundredths of a second: short in the caption, and far finer than a frame."""
    return max(round(seconds, 2), 0.0)


def _move(rng: random.Random, kind: str, start: float, end: float, share: int) -> Move:
    """A segment that begins at `start` and lasts until `end`, or until its share of the allowed motion is used up."""
    speed = rng.choice(tuple(SPEEDS.values())) if rng.random() < 0.5 else _odd_speed(rng)
    direction, rotate, zoom = _words(rng, kind)
    rate, most = _budget(direction, rotate, zoom)
    end = min(end, start + most / share / (rate * (1.0 if rotate[-1].isdigit() else speed)))
    if direction != "stay" and rng.random() < _TURN_TOO:
        rotate = rng.choice(("left", "right", "up", "down")) + str(rng.randint(3, 10))
    return Move(start, max(_times(end), _times(start + 0.01)), speed, direction, rotate, zoom)


def _odd_speed(rng: random.Random) -> float:
    """A number, log-uniform, so that "high" and "low" lie inside the range that is seen."""
    slow, fast = _SPEED_RANGE
    return round(slow * (fast / slow) ** rng.random(), 2)


def _words(rng: random.Random, kind: str) -> tuple[str, str, str]:
    """Direction, rotation and zoom of a kind of motion, in the words of `camera.language`."""
    side, height = rng.choice(("left", "right")), rng.choice(("up", "down"))
    paths = {
        "orbit": side,
        "elevation": height,
        "diagonal": f"{side}{height}{rng.choice((30, 45, 60))}",
        "dolly": rng.choice(("forward", "backward")),
        "truck": f"truck{side}",
        "pedestal": f"pedestal{height}",
    }
    if kind in paths:
        return paths[kind], "stay", "stay"
    if kind == "zoom":
        return "stay", "stay", rng.choice(("in", "out"))
    turn = {"pan": side, "tilt": height, "roll": rng.choice(("clockwise", "counterclockwise"))}[kind]
    return "stay", turn + str(rng.randint(6, 14)) if rng.random() < 0.7 else turn, "stay"


def _budget(direction: str, rotate: str, zoom: str) -> tuple[float, float]:
    """Rate at speed 1, and how much of it one clip may have: degrees, units on a straight way, share for the zoom."""
    if zoom != "stay":
        return ZOOM_PER_S, _MOST_ZOOM
    if direction == "stay":
        stated = rotate.lstrip("abcdefghijklmnopqrstuvwxyz")
        return float(stated or 20.0), _MOST_TURN_DEG
    if direction in {"forward", "backward"}:
        return APPROACH_PER_S, _MOST_FORWARD if direction == "forward" else _MOST_BACKWARD
    if direction.startswith(("truck", "pedestal")):
        return TRUCK_PER_S, _MOST_TRUCK
    if direction in {"left", "right"}:
        return AZIMUTH_DEG_PER_S, _MOST_AZIMUTH_DEG
    return ELEVATION_DEG_PER_S, _MOST_ELEVATION_DEG
