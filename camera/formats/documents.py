"""JSON documents: read strictly, with the key named in every error, and written atomically."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.formats.text import read_text
from common.files import atomic_path

_SHOWN = 60


def read_json(path: Path) -> object:
    """A JSON document.

    Raises:
        ValueError: no JSON, a key twice in one object, NaN or Infinity, nested too deeply; names the place.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: line {error.lineno}, column {error.colno}: no JSON ({error.msg})") from None
    except RecursionError:
        raise ValueError(f"{path}: JSON that is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_json(path: Path, document: object) -> None:
    """Write a document atomically; numbers in the fewest digits that give the same float64 again."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8", newline="\n")


def table(value: object, where: str) -> dict[str, object]:
    """A JSON object; `where` (file and key) begins the ValueError of anything else."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {_shown(value)}, expected an object {{...}}")
    return value


def entry(document: Mapping[str, object], key: str, where: str) -> object:
    """The value of a key that has to be there."""
    if key not in document:
        found = ", ".join(sorted(document)[:8]) or "none"
        raise ValueError(f"{where}: no key '{key}' (keys found: {found})")
    return document[key]


def items(value: object, where: str) -> list[object]:
    """A JSON list."""
    if not isinstance(value, list):
        raise ValueError(f"{where}: {_shown(value)}, expected a list [...]")
    return value


def finite(value: object, where: str) -> float:
    """A finite number; true, false and numbers in quotes are none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
        if math.isfinite(result):
            return result
    raise ValueError(f"{where}: {_shown(value)}, expected a finite number")


def numbers(value: object, rows: tuple[int, ...], columns: int, where: str) -> list[list[float]]:
    """A matrix as a list of rows, with one of the allowed numbers of rows."""
    found = items(value, where)
    if len(found) not in rows:
        raise ValueError(f"{where}: {len(found)} rows, expected {' or '.join(map(str, rows))}")
    result = []
    for index, row in enumerate(found):
        cells = items(row, f"{where}[{index}]")
        if len(cells) != columns:
            raise ValueError(f"{where}[{index}]: {len(cells)} numbers, expected {columns}")
        result.append([finite(cell, f"{where}[{index}][{column}]") for column, cell in enumerate(cells)])
    return result


def pose(value: object, where: str) -> Float64[Tensor, "4 4"]:
    """A matrix of 4x4, or of 3x4 whose last row 0 0 0 1 is left out."""
    rows = numbers(value, (3, 4), 4, where)
    return torch.tensor([*rows, [0.0, 0.0, 0.0, 1.0]][:4], dtype=torch.float64)


def _shown(value: object) -> str:
    text = str(value)
    return f"{type(value).__name__} {text[:_SHOWN]}{'...' if len(text) > _SHOWN else ''}"


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key '{key[:_SHOWN]}' twice in one object")
        result[key] = value
    return result


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
