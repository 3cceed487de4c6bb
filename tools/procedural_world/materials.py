"""Named colours and solid textures, and how the rooms and the things in them choose theirs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

COLORS: dict[str, tuple[int, int, int]] = {
    "white": (238, 236, 230),
    "cream": (240, 226, 198),
    "beige": (208, 184, 148),
    "light grey": (196, 198, 200),
    "charcoal": (58, 60, 68),
    "brown": (116, 76, 50),
    "terracotta": (194, 94, 62),
    "brick red": (164, 56, 48),
    "coral": (236, 128, 110),
    "pink": (232, 166, 176),
    "orange": (228, 128, 40),
    "mustard yellow": (220, 170, 52),
    "olive green": (118, 128, 60),
    "sage green": (152, 176, 142),
    "mint green": (176, 214, 190),
    "teal": (30, 122, 124),
    "turquoise": (72, 184, 178),
    "sky blue": (132, 186, 216),
    "navy blue": (36, 54, 106),
    "lavender": (178, 166, 212),
    "plum": (116, 56, 102),
}
"""Names for captions and their 8-bit sRGB values."""

PATTERNS = ("checkered", "striped", "mosaic", "tiled", "marbled")
"""Checkered and striped alternate two colours, mosaic draws one per cell, tiled varies the first and uses the
second for the joints, marbled mixes both by smooth noise."""

_ON_THINGS = ("checkered", "checkered", "striped", "striped", "mosaic", "mosaic", "tiled", "tiled", "marbled")
_LIGHT = ("white", "cream", "light grey", "beige")
_PASTEL = ("sage green", "mint green", "sky blue", "lavender", "pink", "beige", "coral", "turquoise")
_STRONG = ("terracotta", "brick red", "orange", "mustard yellow", "olive green", "teal", "navy blue", "plum", "coral")
_DARK = ("charcoal", "navy blue", "plum", "brown", "teal")
_FLOOR = ("brown", "terracotta", "beige", "charcoal", "olive green", "navy blue", "light grey", "teal")

VERTICAL_STRIPES = (1.0, 0.0, 1.0)
LEVEL_STRIPES = (0.0, 1.0, 0.0)
PLANKS = (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Texture:
    """A solid (3-D) texture: colour as a function of the point, cut open by the surfaces of a thing."""

    pattern: str
    """One of PATTERNS."""
    colors: tuple[str, str]
    """Two keys of COLORS."""
    cell: float
    """Side of a cell (width of a stripe) in scene units."""
    contrast: float
    """How far smooth value noise changes the brightness, 0 to 1."""
    offset: tuple[float, float, float]
    """Shift of the pattern in cells: makes equal textures differ."""
    direction: tuple[float, float, float] = LEVEL_STRIPES
    """Along which the stripes alternate (striped only)."""

    def phrase(self, brief: bool = False) -> str:
        """Words for a caption: "teal and cream striped", in brief "teal striped"."""
        if brief or self.pattern == "tiled":
            return f"{self.colors[0]} {self.pattern}"
        return f"{self.colors[0]} and {self.colors[1]} {self.pattern}"


def wall_texture(rng: random.Random) -> Texture:
    """A pale pattern of low contrast with wide cells."""
    first, second = _two_colors(rng, _PASTEL, _LIGHT)
    pattern = rng.choice(("striped", "striped", "checkered", "tiled", "marbled", "mosaic"))
    return _texture(rng, pattern, (first, second), rng.uniform(0.5, 0.8), rng.uniform(0.25, 0.45), VERTICAL_STRIPES)


def floor_texture(rng: random.Random) -> Texture:
    """Planks, tiles or a chequerboard, darker than the walls."""
    first, second = _two_colors(rng, _FLOOR, _LIGHT)
    pattern = rng.choice(("checkered", "tiled", "striped", "mosaic"))
    return _texture(rng, pattern, (first, second), rng.uniform(0.45, 0.75), rng.uniform(0.25, 0.45), PLANKS)


def ceiling_texture(rng: random.Random) -> Texture:
    """Light and cloudy, with something in it to track."""
    return _texture(rng, "marbled", rng.choice((("white", "light grey"), ("cream", "white"))), 0.6, 0.25, PLANKS)


def thing_texture(rng: random.Random, width: float, taken: Sequence[str] = ()) -> Texture:
    """Strong colours, in cells of which a few fit into `width`; colours in `taken` are avoided as the first one."""
    choice = [name for name in _STRONG if name not in taken] or list(_STRONG)
    colors = _two_colors(rng, choice, _LIGHT if rng.random() < 0.7 else (*_DARK, "mustard yellow"))
    stripes = rng.choice((LEVEL_STRIPES, VERTICAL_STRIPES))
    return _texture(rng, rng.choice(_ON_THINGS), colors, _cell(rng, width), rng.uniform(0.2, 0.4), stripes)


def pedestal_texture(rng: random.Random, height: float) -> Texture:
    """Light stone, tiles or boards, in cells of which a few fit into `height`."""
    colors = _two_colors(rng, _LIGHT, ("beige", "light grey", "brown"))
    return _texture(rng, rng.choice(("marbled", "tiled", "striped")), colors, _cell(rng, height), 0.3, LEVEL_STRIPES)


def _cell(rng: random.Random, width: float) -> float:
    return min(max(width / rng.uniform(1.4, 2.4), 0.1), 0.3)


def _two_colors(rng: random.Random, first: Sequence[str], second: Sequence[str]) -> tuple[str, str]:
    """One name of each list, never the same and never two of nearly the same brightness and hue."""
    one = rng.choice(first)
    others = [name for name in second if _difference(one, name) > 60]
    return one, rng.choice(others or [name for name in second if name != one])


def _difference(one: str, other: str) -> int:
    return max(abs(a - b) for a, b in zip(COLORS[one], COLORS[other], strict=True))


def _texture(
    rng: random.Random,
    pattern: str,
    colors: tuple[str, str],
    cell: float,
    contrast: float,
    direction: tuple[float, float, float],
) -> Texture:
    offset = (rng.uniform(0, 50), rng.uniform(0, 50), rng.uniform(0, 50))
    return Texture(pattern, colors, cell, contrast, offset, direction)
