"""Results for people: lines and tables on standard output."""

import math
import sys
from collections.abc import Mapping, Sequence

_WORDS = {
    "x": ("right", "left"),
    "y": ("down", "up"),
    "z": ("forward", "backward"),
    "pitch": ("tilts up", "tilts down"),
    "yaw": ("pans right", "pans left"),
    "roll": ("rolls clockwise", "rolls counterclockwise"),
}
_SHOWN = {"x": 5e-4, "y": 5e-4, "z": 5e-4, "pitch": 0.05, "yaw": 0.05, "roll": 0.05}
_SHOWN_ZOOM = 0.005
_ROUNDING = 1e-12


def say(text: str = "") -> None:
    """Write one line of results."""
    sys.stdout.write(f"{text}\n")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, as wide as their widest cell; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in padded)


def motion_words(motion: Mapping[str, float]) -> str:
    """A motion by the components of camera.segments in words: "goes right 0.343; pans left 20.0°"."""
    moved, turned = [], []
    for name, (positive, negative) in _WORDS.items():
        value = motion[name]
        if abs(value) < _SHOWN[name]:
            continue
        word = positive if value > 0 else negative
        if name in ("x", "y", "z"):
            moved.append(f"{word} {abs(value):.3f}")
        else:
            turned.append(f"{word} {abs(value):.1f}°")
    parts = [f"goes {', '.join(moved)}"] if moved else []
    parts += turned
    if abs(motion["zoom"]) > _SHOWN_ZOOM:
        parts.append(f"zooms {'in' if motion['zoom'] > 0 else 'out'} {2 ** abs(motion['zoom']):.2f}x")
    return "; ".join(parts) or "stands still"


def number(value: float) -> str:
    """Four significant digits; "-" for NaN, 0 for what is only rounding."""
    if math.isnan(value):
        return "-"
    return f"{value:.4g}" if abs(value) > _ROUNDING else "0"
