"""The words of the trajectory language: what each tag may hold, read and checked, and the nearest word to a wrong one.

The tags of TAGS and the values low, high, forward ... leftdown30 are those of the OmniCam-Wan fork's captions; the rest
is ours. What the words do to the camera is in `camera.rates` and docs/trajectory-language.md.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable

SPEEDS = {"low": 0.5, "medium": 0.75, "high": 1.0}
MAX_SPEED = 100.0
ORBITS = ("forward", "backward", "left", "right", "up", "down")
"""Moves on the sphere round the subject, or towards and away from it."""
TRUCKS = ("truckleft", "truckright", "pedestalup", "pedestaldown")
"""Straight moves that carry the camera together with the point it orbits."""
DIRECTIONS = (*ORBITS, *TRUCKS, "stay")
ROTATIONS = ("left", "right", "up", "down", "clockwise", "counterclockwise", "stay")
MAX_TURN_DEG_PER_S = 360.0
ZOOMS = ("in", "out", "stay")
MAX_ZOOM_PERCENT_PER_S = 2000.0
EASES = ("linear", "in", "out", "inout")
TAGS = ("starttime", "endtime", "speed", "direction", "rotate")
"""The tags that every segment has."""
OPTIONAL_TAGS = {"zoom": "stay", "ease": "linear"}
"""The tags that a segment may leave out, and what is meant then."""

_TIME_ALLOWED = "a number of seconds, 0 or more"
_SPEED_ALLOWED = f"low, medium, high or a number above 0 and up to {MAX_SPEED:g}"
_DIRECTION_ALLOWED = (
    ", ".join(DIRECTIONS) + " or left/right + up/down + an angle from the vertical of 1 to 89 degrees (leftup30)"
)
_ROTATE_ALLOWED = (
    ", ".join(ROTATIONS) + f", or a turn and its degrees per second, above 0 and up to {MAX_TURN_DEG_PER_S:g} (left15)"
)
_ZOOM_ALLOWED = (
    ", ".join(ZOOMS) + ", or in/out and percent of the starting focal length per second, above 0 and up to "
    f"{MAX_ZOOM_PERCENT_PER_S:g} (in30)"
)
_EASE_ALLOWED = ", ".join(EASES)

_UNSIGNED = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(rf"[+-]?{_UNSIGNED}(?:[eE][+-]?[0-9]+)?")
_DIAGONAL = re.compile(rf"(left|right)(up|down)({_UNSIGNED})")
_TURN = re.compile(rf"({'|'.join(ROTATIONS[:-1])})({_UNSIGNED})?")
_ZOOM = re.compile(rf"(in|out)({_UNSIGNED})?")
_WORD = re.compile(rf"([A-Za-z][A-Za-z\s_-]*)({_UNSIGNED})?")
_JOINERS = re.compile(r"[\s_-]")
_CORNERS = ("leftup", "leftdown", "rightup", "rightdown")
_LONGEST_WORD = 40


def is_number(value: object) -> bool:
    """True for a finite int or float."""
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def is_time(value: float) -> bool:
    """True for a number of seconds of the video, 0 or more."""
    return is_number(value) and value >= 0


def is_speed(value: float) -> bool:
    """True for a multiplier in (0, MAX_SPEED]."""
    return is_number(value) and 0 < value <= MAX_SPEED


def is_direction(value: str) -> bool:
    """True when `value` is a word of DIRECTIONS or a diagonal of 1 to 89 degrees."""
    return value in DIRECTIONS or split_diagonal(value) is not None


def is_rotation(value: str) -> bool:
    """True when `value` is a word of ROTATIONS or a turn with its degrees per second."""
    return value == "stay" or split_turn(value) is not None


def is_zoom(value: str) -> bool:
    """True when `value` is a word of ZOOMS or one with percent per second."""
    return value == "stay" or split_zoom(value) is not None


def is_ease(value: str) -> bool:
    """True when `value` is a word of EASES."""
    return value in EASES


def split_diagonal(direction: str) -> tuple[str, str, float] | None:
    """Read "leftup30" as ("left", "up", 30.0); None when `direction` is no diagonal.

    The angle is in degrees, measured from the vertical: 1 is nearly straight up, 89 nearly sideways.
    """
    match = _DIAGONAL.fullmatch(direction)
    if match is None or not 1 <= float(match[3]) <= 89:
        return None
    return match[1], match[2], float(match[3])


def split_turn(rotate: str) -> tuple[str, float | None] | None:
    """Read "left15" as ("left", 15.0 degrees per second) and "left" as ("left", None); None for anything else."""
    return _split_rate(_TURN, rotate, MAX_TURN_DEG_PER_S)


def split_zoom(zoom: str) -> tuple[str, float | None] | None:
    """Read "in30" as ("in", 30.0 percent per second) and "in" as ("in", None); None for anything else."""
    return _split_rate(_ZOOM, zoom, MAX_ZOOM_PERCENT_PER_S)


def _split_rate(pattern: re.Pattern[str], value: str, most: float) -> tuple[str, float | None] | None:
    match = pattern.fullmatch(value)
    if match is None:
        return None
    if match[2] is None:
        return match[1], None
    rate = float(match[2])
    return (match[1], rate) if 0 < rate <= most else None


def read_number(text: str) -> float | None:
    """A finite number, else None; float() alone would also take "1_0", "nan" and non-Latin digits."""
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def _read_time(text: str) -> float | None:
    number = read_number(text)
    return number if number is not None and is_time(number) else None


def _read_speed(text: str) -> float | None:
    number = SPEEDS[text] if text in SPEEDS else read_number(text)
    return number if number is not None and is_speed(number) else None


def _read_word(known: Callable[[str], bool]) -> Callable[[str], str | None]:
    return lambda text: text if known(text) else None


CHECKS: dict[str, Callable[..., bool]] = {
    "starttime": is_time,
    "endtime": is_time,
    "speed": is_speed,
    "direction": is_direction,
    "rotate": is_rotation,
    "zoom": is_zoom,
    "ease": is_ease,
}
"""Whether a tag may have a value, by tag; in the order of the fields of `camera.language.Move`."""
READERS: dict[str, Callable[[str], float | str | None]] = {
    "starttime": _read_time,
    "endtime": _read_time,
    "speed": _read_speed,
    **{tag: _read_word(CHECKS[tag]) for tag in ("direction", "rotate", "zoom", "ease")},
}
"""From the text between the tags to the value, None when it is not allowed; by tag."""
ALLOWED = {
    "starttime": _TIME_ALLOWED,
    "endtime": _TIME_ALLOWED,
    "speed": _SPEED_ALLOWED,
    "direction": _DIRECTION_ALLOWED,
    "rotate": _ROTATE_ALLOWED,
    "zoom": _ZOOM_ALLOWED,
    "ease": _EASE_ALLOWED,
}
"""What a tag may hold, for people; by tag."""
_WORDS = {
    "speed": tuple(SPEEDS),
    "direction": (*DIRECTIONS, *_CORNERS),
    "rotate": ROTATIONS,
    "zoom": ZOOMS,
    "ease": EASES,
}


def nearest(wrong: str, words: Iterable[str]) -> str:
    """The word that a misspelt one is most like, "" when none is near (difflib's ratio below 0.6)."""
    close = difflib.get_close_matches(wrong[:_LONGEST_WORD].lower(), list(words), n=1)
    return close[0] if close else ""


def suggest(tag: str, wrong: str) -> str:
    """The allowed value of a tag that a wrong one was probably meant to be ("lefft15": "left15"), or ""."""
    match = _WORD.fullmatch(wrong.strip()[:_LONGEST_WORD])
    if match is None or tag not in _WORDS:
        return ""
    word = nearest(_JOINERS.sub("", match[1]), _WORDS[tag])
    value = word + (match[2] or "")
    return value if word and READERS[tag](value) is not None else ""
