"""Text files of numbers: read with the line named in every error, written so that every digit comes back."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from common.files import atomic_path

SIZE_LIMIT = 2**28
"""Bytes of the largest text file that is read; a trajectory of an hour has about a tenth of it."""
_SHOWN = 60


@dataclass(frozen=True)
class Table:
    """The rows of numbers of a text file."""

    values: Float64[Tensor, "rows columns"]
    """All of them finite."""
    lines: tuple[int, ...]
    """Line number, from 1, of each row."""


def read_text(path: Path) -> str:
    """The whole file as text with line ends as newlines, without a byte order mark.

    Raises:
        ValueError: larger than SIZE_LIMIT, or no UTF-8 text.
    """
    if path.is_dir():
        raise ValueError(f"{path}: is a folder, expected a text file")
    size = path.stat().st_size
    if size > SIZE_LIMIT:
        raise ValueError(f"{path}: {size} bytes, more than the {SIZE_LIMIT} of the largest trajectory that is read")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no UTF-8 text (byte {error.start})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def number(word: str, where: str) -> float:
    """A finite number written as plain digits; `where` begins the ValueError of anything else."""
    try:
        # float() would take 1_000 and digits of other scripts too
        value = float(word) if word.isascii() and "_" not in word else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: '{word[:_SHOWN]}' is no finite number")
    return value


def read_table(path: Path, columns: Sequence[int], text: str, skip: int = 0) -> Table:
    """The rows of numbers of `text`; blank lines and lines that begin with # are passed over.

    Args:
        path: the file, for errors.
        columns: the allowed numbers of columns, one for the whole file.
        text: the file's content, from `read_text`.
        skip: lines at the start that are a header.

    Raises:
        ValueError: no rows, a row of another length, a word that is no finite number; names the line.
    """
    rows, lines = [], []
    for line, content in enumerate(text.split("\n")[skip:], skip + 1):
        words = content.split()
        if not words or words[0].startswith("#"):
            continue
        expected = columns if not rows else (len(rows[0]),)
        if len(words) not in expected:
            shown = " or ".join(map(str, expected))
            raise ValueError(f"{path}: line {line}: {len(words)} columns, expected {shown}: '{content[:_SHOWN]}'")
        rows.append([number(word, f"{path}: line {line}") for word in words])
        lines.append(line)
    if not rows:
        raise ValueError(f"{path}: no line of {' or '.join(map(str, columns))} numbers")
    return Table(torch.tensor(rows, dtype=torch.float64), tuple(lines))


def require_growing(path: Path, table: Table, what: str) -> None:
    """Refuse a first column that does not grow from row to row, naming the line."""
    first = table.values[:, 0]
    wrong = (first.diff() <= 0).nonzero()
    if len(wrong):
        row = int(wrong[0]) + 1
        raise ValueError(
            f"{path}: line {table.lines[row]}: {what} {first[row]:.17g} is not later than {first[row - 1]:.17g} in the "
            "line before"
        )


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines as UTF-8 text, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def digits(values: Iterable[float]) -> str:
    """Numbers between spaces, each in the fewest digits that give the same float64 again."""
    return " ".join(repr(float(value)) for value in values)
