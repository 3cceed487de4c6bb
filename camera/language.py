"""The trajectory language: timed camera moves written as tags in a caption.

One segment is five tags and up to two more in any order, segments are separated by ``<sep>``::

    <starttime>1</starttime> <endtime>2</endtime> <speed>high</speed>
    <direction>forward</direction> <rotate>stay</rotate> <zoom>in</zoom> <ease>inout</ease> <sep> ...

Times are seconds of the video. The words are in `camera.words`; what they do is in `camera.rates` and
docs/trajectory-language.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from camera.words import (
    ALLOWED,
    CHECKS,
    DIRECTIONS,
    MAX_SPEED,
    OPTIONAL_TAGS,
    READERS,
    ROTATIONS,
    SPEEDS,
    TAGS,
    nearest,
    split_diagonal,
    split_turn,
    suggest,
)

__all__ = [
    "DIRECTIONS",
    "MAX_SPEED",
    "ROTATIONS",
    "SPEEDS",
    "TAGS",
    "CameraTextError",
    "Mistake",
    "Move",
    "format",
    "format_number",
    "has_camera",
    "mirror_caption",
    "parse",
    "split_caption",
    "split_diagonal",
    "split_turn",
]

_KNOWN_TAGS = (*TAGS, *OPTIONAL_TAGS)
_ALL_TAGS = "the tags <" + ">, <".join(TAGS) + "> and, if wanted, <" + ">, <".join(OPTIONAL_TAGS) + ">"
_NO_JUNK = "complete tags only; the scene goes before 'Camera:'"
_ELEMENT = re.compile(r"<\s*([A-Za-z_]\w*)\s*>([^<>]*)<\s*/\s*\1\s*>")
_SEPARATOR = re.compile(r"<\s*sep\s*>")
_ANY_TAG = re.compile(rf"<\s*(?:/\s*)?(?:{'|'.join(_KNOWN_TAGS)}|sep)\s*>")
_SIDED = re.compile(r"(<\s*(direction|rotate)\s*>)([^<>]*)(?=<\s*/\s*\2\s*>)")
_SIDE = re.compile("counterclockwise|clockwise|left|right")
_OTHER_SIDE = {"left": "right", "right": "left", "clockwise": "counterclockwise", "counterclockwise": "clockwise"}
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
    hint: str = ""
    """What was probably meant, or ""."""

    def __str__(self) -> str:
        place = f"segment {self.segment}" if self.segment else "text"
        tag = f", <{self.tag}>" if self.tag else ""
        hint = f" (did you mean {self.hint}?)" if self.hint else ""
        return f"{place}{tag}: found {self.found}{hint}; allowed: {self.allowed}"


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
    zoom: str = "stay"
    """Change of the focal length: one of ZOOMS, or one with percent of the starting one per second ("in30")."""
    ease: str = "linear"
    """Progress of direction, rotate and zoom from `start` to `end`: one of EASES."""

    def __post_init__(self) -> None:
        values = (self.start, self.end, self.speed, self.direction, self.rotate, self.zoom, self.ease)
        for (tag, allowed), value in zip(CHECKS.items(), values, strict=True):
            if not allowed(value):
                raise ValueError(f"move with {tag} {value!r}; allowed: {ALLOWED[tag]}")
        if not self.start < self.end:
            raise ValueError(f"move with endtime {self.end}; allowed: a time after its start time, {self.start} s")


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
    for name in found:
        if name not in _KNOWN_TAGS:
            meant = nearest(name, _KNOWN_TAGS)
            mistakes.append(Mistake(number, name, "an unknown tag", _ALL_TAGS, f"<{meant}>" if meant else ""))
    values: dict[str, Any] = {tag: _read_value(number, tag, found.get(tag, []), mistakes) for tag in _KNOWN_TAGS}
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
    if not found and tag in OPTIONAL_TAGS:
        return OPTIONAL_TAGS[tag]
    value = READERS[tag](found[0]) if len(found) == 1 else None
    if not found:
        mistakes.append(Mistake(number, tag, "nothing", ALLOWED[tag]))
    elif len(found) > 1:
        mistakes.append(Mistake(number, tag, "it more than once: " + ", ".join(map(_quoted, found)), "the tag once"))
    elif value is None:
        mistakes.append(Mistake(number, tag, _quoted(found[0]), ALLOWED[tag], suggest(tag, found[0])))
    return value


def mirror_caption(caption: str) -> str:
    """The caption of the horizontally flipped video: left and right of its camera tags exchanged, nothing else.

    What the text compiles to is then the `CameraTrack.mirrored` of the original's, and mirrored twice it is the
    original again. The scene before the tags stays as it is, and so does a tag whose value is not of the language.
    """
    return _SIDED.sub(_mirror_tag, caption)


def _mirror_tag(element: re.Match[str]) -> str:
    opening, tag, value = element.groups()
    if READERS[tag](value.strip()) is None:
        return element[0]
    return opening + _SIDE.sub(lambda side: _OTHER_SIDE[side[0]], value)


def format(moves: Sequence[Move]) -> str:
    """Write moves as a camera text that `parse` reads back to equal moves.

    Raises:
        ValueError: when there are no moves; a still camera is one move with direction and rotate "stay".
    """
    if not moves:
        raise ValueError("no moves to write; for a still camera give one Move with direction 'stay'")
    return " ".join(_format_move(move) for move in moves)


def _format_move(move: Move) -> str:
    speed = next((name for name, multiplier in SPEEDS.items() if multiplier == move.speed), format_number(move.speed))
    values = {
        "starttime": format_number(move.start),
        "endtime": format_number(move.end),
        "speed": speed,
        "direction": move.direction,
        "rotate": move.rotate,
        "zoom": move.zoom,
        "ease": move.ease,
    }
    # what is left out means the default, so texts without the optional tags print as they were read
    written = {tag: value for tag, value in values.items() if value != OPTIONAL_TAGS.get(tag)}
    return " ".join(f"<{tag}>{value}</{tag}>" for tag, value in written.items()) + " <sep>"


def format_number(number: float) -> str:
    """The shortest text that reads back to the same float; whole numbers without the point."""
    return repr(float(number)).removesuffix(".0")
