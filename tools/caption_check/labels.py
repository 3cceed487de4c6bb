"""The labelled sample: for some phrases of some videos, whether what they name is to be seen.

A .jsonl file, {"path": "a.mp4", "phrase": "a woman", "present": "no"} a line, or a .csv file with these columns.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import require_file
from dataset.paths import normalised, resolve

_ANSWERS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_COLUMNS = ("path", "phrase", "present")


@dataclass(frozen=True)
class Label:
    """One answer of a person."""

    path: Path
    """The whole path of the medium."""
    phrase: str
    present: bool


def read_labels(file: str | Path, media: Iterable[Path]) -> list[Label]:
    """The labels of a file.

    Args:
        file: .jsonl or .csv; relative paths in it are as seen from the current directory if that exists, else from
            the file's folder. A bare file name will do where only one medium has it.
        media: paths of the media of the data set.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is empty, or a line is wrong or speaks of no medium of the data set; names file and line.
    """
    place = require_file(file, "--labels")
    known = {normalised(path) for path in media}
    by_name: dict[str, set[Path]] = defaultdict(set)
    for path in known:
        by_name[path.name].add(path)
    labels = []
    for number, record in _records(place):
        where = f"{place} line {number}"
        missing = [name for name in _COLUMNS if record.get(name) in (None, "")]
        if missing:
            raise ValueError(f"{where}: has no {', '.join(missing)}; expected {', '.join(_COLUMNS)}")
        answer = _ANSWERS.get(str(record["present"]).strip().casefold())
        if answer is None:
            raise ValueError(f"{where}: present = {record['present']!r}; expected yes or no")
        path = _medium(str(record["path"]), place.parent, known, by_name)
        if path is None:
            raise ValueError(f"{where}: path {record['path']!r} is no medium of the data set, or the name of several")
        labels.append(Label(path, str(record["phrase"]), answer))
    if not labels:
        raise ValueError(f"{place}: holds no labels; expected lines of {', '.join(_COLUMNS)}")
    return labels


def phrases_by_medium(labels: Sequence[Label]) -> dict[Path, list[str]]:
    """The labelled phrases of each medium."""
    found: dict[Path, list[str]] = defaultdict(list)
    for label in labels:
        if label.phrase not in found[label.path]:
            found[label.path].append(label.phrase)
    return dict(found)


def _medium(text: str, base: Path, known: set[Path], by_name: Mapping[str, set[Path]]) -> Path | None:
    path = normalised(resolve(text, base))
    if path in known:
        return path
    named = by_name.get(text, set())
    return next(iter(named)) if len(named) == 1 else None


def _records(place: Path) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise ValueError(f"{place}: not a file of UTF-8 text ({error})") from None
    if place.suffix.lower() == ".csv":
        rows = csv.DictReader(text.splitlines())
        return [(rows.line_num, row) for row in rows]
    return [(number, _parsed(line, f"{place} line {number}")) for number, line in _lines(text)]


def _lines(text: str) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _parsed(line: str, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error}); for a table of commas, name the file .csv") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected an object with {{...}}, found {type(record).__name__}")
    return record
