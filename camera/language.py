"""The trajectory language: timed camera moves written as tags in a caption.

One segment is five tags in any order, segments are separated by ``<sep>``::

    <starttime>1</starttime> <endtime>2</endtime> <speed>high</speed>
    <direction>forward</direction> <rotate>stay</rotate> <sep> ...

Times are seconds of the video. What the values do is in `camera.trajectory` and docs/conventions.md.
The tags and the values low, high, forward ... leftdown30 are those of the OmniCam-Wan fork's captions.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

SPEEDS = {"low": 0.5, "medium": 0.75, "high": 1.0}
MAX_SPEED = 100.0
DIRECTIONS = ("forward", "backward", "left", "right", "up", "down", "stay")
ROTATIONS = ("left", "right", "up", "down", "clockwise", "counterclockwise", "stay")
MAX_TURN_DEG_PER_S = 360.0
TAGS = ("starttime", "endtime", "speed", "direction", "rotate")

_ALL_TAGS = "the tags <" + ">, <".join(TAGS) + ">"
_NO_JUNK = "complete tags only; the scene goes before 'Camera:'"
_TIME_ALLOWED = "a number of seconds, 0 or more"
_SPEED_ALLOWED = f"low, medium, high or a number above 0 and up to {MAX_SPEED:g}"
_DIRECTION_ALLOWED = (
    ", ".join(DIRECTIONS) + " or left/right + up/down + an angle from the vertical of 1 to 89 degrees (leftup30)"
)
_ROTATE_ALLOWED = (
    ", ".join(ROTATIONS) + f", or a turn and its degrees per second, above 0 and up to {MAX_TURN_DEG_PER_S:g} (left15)"
)

_UNSIGNED = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(rf"[+-]?{_UNSIGNED}(?:[eE][+-]?[0-9]+)?")
_DIAGONAL = re.compile(rf"(left|right)(up|down)({_UNSIGNED})")
_TURN = re.compile(rf"({'|'.join(ROTATIONS[:-1])})({_UNSIGNED})?")
_ELEMENT = re.compile(r"<\s*([A-Za-z_]\w*)\s*>([^<>]*)<\s*/\s*\1\s*>")
_SEPARATOR = re.compile(r"<\s*sep\s*>")
_ANY_TAG = re.compile(rf"<\s*/?\s*(?:{'|'.join(TAGS)}|sep)\s*>")
_MARKER = re.compile(r"(?:^|;)\s*Camera\s*:|\bCamera\s*:(?=\s*<)")


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong in a camera text: where, what was found, what is allowed."""

    segment: int
    """Number of the segment, from 1; 0 when the text as a whole is meant."""
    tag: str
    """Name of the tag, or "" when no tag is meant."""
    found: str
    allowed: str

    def __str__(self) -> str:
        place = f"segment {self.segment}" if self.segment else "text"
        tag = f", <{self.tag}>" if self.tag else ""
        return f"{place}{tag}: found {self.found}; allowed: {self.allowed}"


class CameraTextError(ValueError):
    """All mistakes of one camera text; `mistakes` lists them in the order of the text."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        lines = "".join(f"\n  {mistake}" for mistake in self.mistakes)
        super().__init__(f"the camera text has {count}:{lines}")


@dataclass(frozen=True)
class Move:
    """One timed segment of a trajectory. Raises ValueError when a value is outside the language."""

    start: float
    """Seconds of the video, 0 or more."""
    end: float
    """Seconds of the video, after `start`."""
    speed: float
    """Multiplier of the planner's rates: high 1.0, medium 0.75, low 0.5, or any number in (0, MAX_SPEED]."""
    direction: str
    """Path of the camera: one of DIRECTIONS or a diagonal such as "leftup30"."""
    rotate: str = "stay"
    """Turn of the camera about its own axes: one of ROTATIONS, or one with degrees per second ("left15")."""

    def __post_init__(self) -> None:
        fields = {
            "starttime": (self.start, _is_time(self.start)),
            "endtime": (self.end, _is_time(self.end)),
            "speed": (self.speed, _is_speed(self.speed)),
            "direction": (self.direction, is_direction(self.direction)),
            "rotate": (self.rotate, is_rotation(self.rotate)),
        }
        for tag, (value, allowed) in fields.items():
            if not allowed:
                raise ValueError(f"move with {tag} {value!r}; allowed: {_READERS[tag][1]}")
        if not self.start < self.end:
            raise ValueError(f"move with endtime {self.end}; allowed: a time after its start time, {self.start} s")


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _is_time(value: float) -> bool:
    return _is_number(value) and value >= 0


def _is_speed(value: float) -> bool:
    return _is_number(value) and 0 < value <= MAX_SPEED


def is_direction(value: str) -> bool:
    """True when `value` is a word of DIRECTIONS or a diagonal of 1 to 89 degrees."""
    return value in DIRECTIONS or split_diagonal(value) is not None


def is_rotation(value: str) -> bool:
    """True when `value` is a word of ROTATIONS or a turn with its degrees per second."""
    return value == "stay" or split_turn(value) is not None


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
    match = _TURN.fullmatch(rotate)
    if match is None:
        return None
    if match[2] is None:
        return match[1], None
    rate = float(match[2])
    return (match[1], rate) if 0 < rate <= MAX_TURN_DEG_PER_S else None


def _read_number(text: str) -> float | None:
    """A finite number, else None; float() alone would also take "1_0", "nan" and non-Latin digits."""
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def _read_time(text: str) -> float | None:
    number = _read_number(text)
    return number if number is not None and _is_time(number) else None


def _read_speed(text: str) -> float | None:
    number = SPEEDS.get(text, _read_number(text))
    return number if number is not None and _is_speed(number) else None


def _read_direction(text: str) -> str | None:
    return text if is_direction(text) else None


def _read_rotation(text: str) -> str | None:
    return text if is_rotation(text) else None


_READERS: dict[str, tuple[Callable[[str], float | str | None], str]] = {
    "starttime": (_read_time, _TIME_ALLOWED),
    "endtime": (_read_time, _TIME_ALLOWED),
    "speed": (_read_speed, _SPEED_ALLOWED),
    "direction": (_read_direction, _DIRECTION_ALLOWED),
    "rotate": (_read_rotation, _ROTATE_ALLOWED),
}


def _quoted(text: str) -> str:
    """The text as a user would look for it in the caption, on one line and not too long."""
    text = " ".join(text.split())
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"


def split_caption(caption: str) -> tuple[str, str | None]:
    """Part a caption into the scene and its camera text (None when the caption has no camera).

    The camera text starts after ``Camera:``, which stands at the start, after a ``;`` or before a tag.
    Tags without ``Camera:`` in front of them make the whole caption camera text, so that nothing of it is
    dropped silently: `parse` then names the text that is out of place.
    """
    marker = _MARKER.search(caption)
    tag = _ANY_TAG.search(caption)
    if marker is None and tag is None:
        return caption.strip(), None
    if marker is None or (tag is not None and tag.start() < marker.start()):
        return "", caption.strip()
    return caption[: marker.start()].strip().rstrip(";").rstrip(), caption[marker.end() :].strip()


def has_camera(caption: str) -> bool:
    """True when the caption holds a camera text, right or wrong; `parse` tells which."""
    return split_caption(caption)[1] is not None


def parse(text: str) -> list[Move]:
    """Read a camera text, or the camera text of a whole caption, into moves in the order of the text.

    Raises:
        CameraTextError: with every mistake of the text (segment number, tag, value found, what is allowed).
    """
    pieces = _SEPARATOR.split(split_caption(text)[1] or "")
    if len(pieces) > 1 and not pieces[-1].strip():
        pieces.pop()
    if pieces == [""]:
        nothing = "no camera segment" + (f" in {_quoted(text)}" if text.strip() else "")
        raise CameraTextError([Mistake(0, "", nothing, "at least one segment with " + _ALL_TAGS)])
    mistakes: list[Mistake] = []
    moves = [_parse_segment(number, piece, mistakes) for number, piece in enumerate(pieces, start=1)]
    if mistakes:
        raise CameraTextError(mistakes)
    return [move for move in moves if move is not None]


def _parse_segment(number: int, piece: str, mistakes: list[Mistake]) -> Move | None:
    """Read one segment; its mistakes are appended to `mistakes`, and then there is no move."""
    known = len(mistakes)
    if not piece.strip():
        mistakes.append(Mistake(number, "", "an empty segment", _ALL_TAGS))
        return None
    found, junk = _split_elements(piece)
    mistakes.extend(Mistake(number, "", f"{_quoted(text)} between the tags", _NO_JUNK) for text in junk)
    mistakes.extend(Mistake(number, name, "an unknown tag", _ALL_TAGS) for name in found if name not in TAGS)
    values: dict[str, Any] = {tag: _read_value(number, tag, found.get(tag, []), mistakes) for tag in TAGS}
    start, end = values["starttime"], values["endtime"]
    if start is not None and end is not None and not start < end:
        mistakes.append(Mistake(number, "endtime", f"{end:g}", f"a time after the start time, {start:g} s"))
    return Move(*values.values()) if len(mistakes) == known else None


def _split_elements(piece: str) -> tuple[dict[str, list[str]], list[str]]:
    """The values of every complete ``<tag>value</tag>``, by tag, and the texts between them that are not blank."""
    values: dict[str, list[str]] = {}
    between: list[str] = []
    position = 0
    for element in _ELEMENT.finditer(piece):
        values.setdefault(element[1], []).append(element[2].strip())
        between.append(piece[position : element.start()])
        position = element.end()
    between.append(piece[position:])
    return values, [text for text in between if text.strip()]


def _read_value(number: int, tag: str, found: list[str], mistakes: list[Mistake]) -> float | str | None:
    read, allowed = _READERS[tag]
    value = read(found[0]) if len(found) == 1 else None
    if not found:
        mistakes.append(Mistake(number, tag, "nothing", allowed))
    elif len(found) > 1:
        mistakes.append(Mistake(number, tag, "it more than once: " + ", ".join(map(_quoted, found)), "the tag once"))
    elif value is None:
        mistakes.append(Mistake(number, tag, _quoted(found[0]), allowed))
    return value


def format(moves: Sequence[Move]) -> str:
    """Write moves as a camera text that `parse` reads back to equal moves.

    Raises:
        ValueError: when there are no moves; a still camera is one move with direction and rotate "stay".
    """
    if not moves:
        raise ValueError("no moves to write; for a still camera give one Move with direction 'stay'")
    return " ".join(_format_move(move) for move in moves)


def _format_move(move: Move) -> str:
    names = {multiplier: name for name, multiplier in SPEEDS.items()}
    speed = names.get(move.speed) or _format_number(move.speed)
    values = (_format_number(move.start), _format_number(move.end), speed, move.direction, move.rotate)
    tags = " ".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(TAGS, values, strict=True))
    return f"{tags} <sep>"


def _format_number(number: float) -> str:
    """The shortest text that reads back to the same float; whole numbers without the point."""
    return repr(float(number)).removesuffix(".0")
