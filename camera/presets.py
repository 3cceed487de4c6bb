"""Camera moves that people ask for by name, written in the trajectory language.

Every preset is a list of `Move`, so it can be printed, changed by hand and put into a caption.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch

from camera import preset_moves as made
from camera.language import Move
from camera.preset_moves import Wish
from camera.trajectory import compile_at
from camera.words import is_number, nearest, read_number

DEFAULT_SECONDS = 5.0
"""The 81 frames at 16 fps that Wan2.1 makes."""
_LEVEL = ("right", "left")


@dataclass(frozen=True)
class Preset:
    """A named move."""

    description: str
    """One line, for lists of presets."""
    make: Callable[[Wish], list[Move]]
    """Makes the moves from what is wished."""
    options: tuple[str, ...] = ("speed",)
    """What it takes beside `seconds`: of speed, side, degrees, seed."""
    sides: tuple[str, ...] = ()
    """Allowed values of the option `side`, the default first."""


def _path(description: str, direction: str, zoom: str = "stay", limited: bool = False) -> Preset:
    return Preset(description, partial(made.path, direction=direction, zoom=zoom, limited=limited))


def _turn(description: str, word: str) -> Preset:
    return Preset(description, partial(made.turn, word=word), ("speed", "degrees"))


PRESETS: dict[str, Preset] = {
    "orbit": Preset("Goes once round the subject, or `degrees` of it.", made.orbit, ("side", "degrees"), _LEVEL),
    "arc": Preset("Goes 45 degrees, or `degrees`, round the subject, softly.", made.arc, ("side", "degrees"), _LEVEL),
    "dolly-in": _path("Goes straight towards the subject.", "forward", limited=True),
    "dolly-out": _path("Goes straight away from the subject.", "backward"),
    "truck-left": _path("Goes straight to the left, without turning.", "truckleft"),
    "truck-right": _path("Goes straight to the right, without turning.", "truckright"),
    "pedestal-up": _path("Rises straight, without turning.", "pedestalup"),
    "pedestal-down": _path("Sinks straight, without turning.", "pedestaldown"),
    "pan-left": _turn("Turns to the left where it stands.", "left"),
    "pan-right": _turn("Turns to the right where it stands.", "right"),
    "tilt-up": _turn("Turns up where it stands.", "up"),
    "tilt-down": _turn("Turns down where it stands.", "down"),
    "roll": Preset(
        "Rolls about its optical axis where it stands.",
        made.roll,
        ("speed", "side", "degrees"),
        ("clockwise", "counterclockwise"),
    ),
    "crane": Preset(
        "Rises or sinks straight and tilts so that it keeps looking at the subject.",
        made.crane,
        ("speed", "side"),
        ("up", "down"),
    ),
    "zoom-in": _path("Lengthens the focal length.", "stay", "in"),
    "zoom-out": _path("Shortens the focal length.", "stay", "out", limited=True),
    "dolly-zoom": Preset(
        "Nears the subject (in) or leaves it (out) and zooms the other way, so that its size stays.",
        made.dolly_zoom,
        ("speed", "side"),
        ("in", "out"),
    ),
    "spiral": Preset(
        "Goes once, or `degrees`, round the subject and to half its distance.",
        made.spiral,
        ("side", "degrees"),
        _LEVEL,
    ),
    "handheld": Preset(
        "Trembles a little, as in the hand; another `seed` trembles another way.", made.handheld, ("speed", "seed")
    ),
    "hold": Preset("Stands still.", made.hold, ()),
}


def preset(
    name: str,
    seconds: float = DEFAULT_SECONDS,
    *,
    speed: float | None = None,
    side: str | None = None,
    degrees: float | None = None,
    seed: int | None = None,
) -> list[Move]:
    """The moves of a preset, from 0 to `seconds`.

    Args:
        name: one of PRESETS.
        seconds: duration, above 0.
        speed: multiplier as in the language. None is "high" (1), but for moves that would run into a limit (nearing
            the subject, zooming out) as slow as it takes to keep 40 % of the distance or focal length. For
            handheld it multiplies how far it trembles.
        side: to which side, for presets that have sides.
        degrees: how far in all, above 0; not together with a speed.
        seed: of handheld, 0 or more; None is 0.

    Raises:
        ValueError: no such preset, an option that it does not take, or a value outside the language.
    """
    found = _find(name)
    given = {"speed": speed, "side": side, "degrees": degrees, "seed": seed}
    wrong = [option for option, value in given.items() if value is not None and option not in found.options]
    if wrong:
        takes = ", ".join(("seconds", *found.options))
        raise ValueError(f"preset '{name}' takes no {' and no '.join(wrong)}; it takes: {takes}")
    if side is not None and side not in found.sides:
        hint = _did_you_mean(side, found.sides)
        raise ValueError(f"preset '{name}' with side '{side}'{hint}; allowed: {', '.join(found.sides)}")
    if speed is not None and degrees is not None:
        raise ValueError(f"preset '{name}' with a speed and with degrees: give one of them")
    for option, value in (("seconds", seconds), ("speed", speed), ("degrees", degrees)):
        if value is not None and not (is_number(value) and value > 0):
            raise ValueError(f"preset '{name}' with {option} {value}: expected a number above 0")
    if seed is not None and seed < 0:
        raise ValueError(f"preset '{name}' with seed {seed}: expected a whole number, 0 or more")
    chosen = side or (found.sides[0] if found.sides else "")
    try:
        moves = found.make(Wish(seconds, speed, chosen, degrees, seed or 0))
        compile_at(moves, torch.tensor([0.0, seconds], dtype=torch.float64))
    except ValueError as error:
        raise ValueError(f"preset '{name}' of {seconds:g} s: {error}") from None
    return moves


def preset_from_text(text: str, seconds: float = DEFAULT_SECONDS) -> list[Move]:
    """The moves of a preset written on one line, such as "orbit seconds=4 degrees=90 side=left".

    Args:
        text: the name, then option=value, parted by white space. Options are those of `preset`.
        seconds: duration when the text does not give one.

    Raises:
        ValueError: as `preset`, and for anything else in the text; names the word and what is allowed.
    """
    words = text.split()
    if not words:
        raise ValueError(f"no preset given; there are: {', '.join(PRESETS)}")
    found = _find(words[0])
    allowed = ("seconds", *found.options)
    values: dict[str, str] = {}
    for word in words[1:]:
        option, equals, value = word.partition("=")
        if not (equals and value):
            raise ValueError(f"preset '{words[0]}': found '{word}', expected option=value, such as {allowed[0]}=4")
        if option not in allowed:
            hint = _did_you_mean(option, allowed)
            raise ValueError(f"preset '{words[0]}' takes no {option}{hint}; it takes: {', '.join(allowed)}")
        if option in values:
            raise ValueError(f"preset '{words[0]}': {option} is given twice")
        values[option] = value
    numbers = {option: _number(words[0], option, values[option]) for option in values if option != "side"}
    seed = numbers.get("seed")
    if seed is not None and seed != int(seed):
        raise ValueError(f"preset '{words[0]}': seed '{values['seed']}', expected a whole number, 0 or more")
    return preset(
        words[0],
        numbers.get("seconds", seconds),
        speed=numbers.get("speed"),
        side=values.get("side"),
        degrees=numbers.get("degrees"),
        seed=None if seed is None else int(seed),
    )


def _find(name: str) -> Preset:
    if name not in PRESETS:
        raise ValueError(f"no preset '{name}'{_did_you_mean(name, PRESETS)}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


def _number(name: str, option: str, text: str) -> float:
    number = read_number(text)
    if number is None:
        raise ValueError(f"preset '{name}': {option} '{text}', expected a number")
    return number


def _did_you_mean(wrong: str, words: Iterable[str]) -> str:
    near = nearest(wrong, words)
    return f" (did you mean {near}?)" if near else ""
