"""What a value of a dataset file or of a jsonl line must be: checked, converted, and told to the user."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dataset.paths import UnsetVariable, expand

EXTRACTIONS = ("head", "chunk", "slide", "uniform", "full")
_SMALLEST_SIDE, _LARGEST_SIDE = 16, 16384
_SLOWEST, _FASTEST = 1e-4, 1e4


class ValueMistake(ValueError):
    """A value of the wrong kind; the message is what was expected."""


@dataclass(frozen=True)
class Kind:
    """A kind of value."""

    expected: str
    """What it must be, for messages and for the table in docs/dataset-config.md."""
    convert: Callable[[Any], Any]
    """From the value as parsed to the value as used; None when it is of another kind."""

    def read(self, value: Any) -> Any:
        """The value as used.

        Raises:
            ValueMistake: it is of another kind.
        """
        converted = self.convert(value)
        if converted is None:
            raise ValueMistake(self.expected)
        return converted


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _count(value: Any) -> int | None:
    return value if _is_count(value) else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _extension(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    if "/" in value or "\0" in value:
        raise ValueMistake('the ending of a file name, such as ".txt", without a folder')
    return value


def _caption(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueMistake("a text of whole characters, and it holds half a character (\\ud800 to \\udfff)") from None
    return value


def _path(value: Any) -> str | None:
    if not isinstance(value, str) or not value or "\0" in value:
        return None
    try:
        os.fsencode(value)
        return expand(value)
    except UnicodeEncodeError:  # half a character, which no file name holds
        return None
    except UnsetVariable as error:
        raise ValueMistake(f"a path whose variables are set, and {error}") from None


def _resolution(value: Any) -> tuple[int, int] | None:
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or not all(_is_count(side) and side >= _SMALLEST_SIDE for side in sides):
        return None
    if max(sides) > _LARGEST_SIDE:
        raise ValueMistake(f"sides of at most {_LARGEST_SIDE} pixels")
    return sides[0], sides[1]


def _frame_counts(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not value or not all(_is_count(count) for count in value):
        return None
    return tuple(value)


def _number(value: Any) -> float:
    """As it is: a whole number may be too large for a float."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _rate(value: Any) -> float | None:
    rate = _number(value)
    if not rate > 0:
        return None
    if not _SLOWEST <= rate <= _FASTEST:
        raise ValueMistake(f"frames per second from {_SLOWEST:g} to {_FASTEST:g}")
    return float(rate)


def _rate_or_auto(value: Any) -> float | str | None:
    return value if value == "auto" else _rate(value)


def _share(value: Any) -> float | None:
    share = _number(value)
    return float(share) if 0 <= share <= 1 else None


def _extraction(value: Any) -> str | None:
    return value if value in EXTRACTIONS else None


COUNT = Kind("a whole number, 1 or more", _count)
BOOLEAN = Kind("true or false", _boolean)
EXTENSION = Kind("a text in quotes", _extension)
CAPTION = Kind("a text in quotes, which may be empty", _caption)
PATH = Kind("a path in quotes", _path)
RESOLUTION = Kind(
    f"[width, height] in pixels, or one number for a square; {_SMALLEST_SIDE} or more, whole", _resolution
)
FRAME_COUNTS = Kind("a list of frame counts such as [33] or [17, 33]", _frame_counts)
RATE = Kind("frames per second, a number above 0", _rate)
RATE_OR_AUTO = Kind('frames per second, a number above 0, or "auto"', _rate_or_auto)
SHARE = Kind("a number from 0 to 1", _share)
EXTRACTION = Kind("one of " + ", ".join(EXTRACTIONS), _extraction)
