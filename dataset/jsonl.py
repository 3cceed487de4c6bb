"""The lines of a jsonl file: one JSON object for each medium. Paths are as in `dataset.paths`."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from common.logs import get_logger
from dataset.config import DatasetEntry
from dataset.paths import Lookup
from dataset.schema import shown
from dataset.values import CAPTION, PATH, RATE, Kind, ValueMistake

logger = get_logger("dataset")

_NEAR_MISS = 0.75
_NUMBERED = re.compile(r"(image_path|control_path)_\d+")


@dataclass(frozen=True)
class RecordKey:
    """One key of a line."""

    kind: Kind
    """What its value must be."""
    meaning: str
    """For docs/dataset-config.md."""
    media: str = "any"
    """The kind of data set it belongs to: image, video or any."""
    needed: bool = False
    """Stands in every line."""
    ours: bool = False
    """musubi-tuner does not know it."""


RECORD_KEYS: Mapping[str, RecordKey] = {
    "video_path": RecordKey(PATH, "The video: a file, or a folder of images.", media="video", needed=True),
    "image_path": RecordKey(PATH, "The image.", media="image", needed=True),
    "caption": RecordKey(CAPTION, "The caption, with the camera tags if the camera is written there.", needed=True),
    "control_path": RecordKey(
        PATH, "The control video, folder of images or image; all lines of the file have one, or none."
    ),
    "camera_file": RecordKey(PATH, "The trajectory of the whole video: a file, a folder, or `PATH#NAME`.", ours=True),
    "fps": RecordKey(
        RATE,
        "Frames per second that the file really has, whatever it says itself; a folder of images says nothing.",
        media="video",
        ours=True,
    ),
}


@dataclass(frozen=True)
class Record:
    """One line, checked; nothing was looked up on the disk yet but which of two places a path means."""

    where: str
    """File and line."""
    values: Mapping[str, Any]
    """By key; paths are expanded texts."""
    lookup: Lookup
    """Of the jsonl file's folder."""

    def path(self, key: str) -> Path | None:
        """The path that a key of the line means, None where the line has none."""
        text = self.values.get(key)
        return None if text is None else self.lookup.resolve(text)

    def missing(self, key: str) -> FileNotFoundError:
        """The error for a path that leads nowhere."""
        folders = f"{Path.cwd()} and {self.lookup.base.resolve()}"
        return FileNotFoundError(
            f"{self.where}: {key} {self.values[key]!r} is not there (relative paths are looked up from {folders})"
        )


def read_records(entry: DatasetEntry) -> Iterator[Record]:
    """The lines of the jsonl file of a data set; empty ones are passed over.

    Raises:
        ValueError: the file is not UTF-8, or a line is no JSON object, lacks a key, or holds a wrong one or a wrong
            value; names file, line, key and value.
    """
    file = entry.jsonl_file
    assert file is not None
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 text ({error}); save it as UTF-8") from None
    known = tuple(name for name, key in RECORD_KEYS.items() if key.media in {"any", entry.media})
    ignored: set[str] = set()
    lookup = Lookup(file.parent)
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{file} line {number}"
            table = _parse(line, where)
            if entry.media == "image":
                table = _without_numbers(table, where)
            ignored |= _check_names(table, known, where)
            yield Record(where, _read_values(table, known, where), lookup)
    if ignored:
        logger.warning(f"{file}: these keys mean nothing here: {', '.join(sorted(ignored))}")


class _DoubleKey(Exception):
    """A JSON object says one key twice; its name is the argument."""


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        raise _DoubleKey(next(name for name in names if names.count(name) > 1))
    return table


_DECODER = json.JSONDecoder(object_pairs_hook=_without_doubles)


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        table = _DECODER.decode(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error.msg}, column {error.colno})") from None
    except ValueError as error:  # a number of too many digits
        raise ValueError(f"{where}: not JSON that can be read ({error})") from None
    except _DoubleKey as error:
        raise ValueError(f"{where}: the key {error.args[0]!r} stands there more than once; keep one") from None
    except RecursionError:
        raise ValueError(f"{where}: not a JSON object with {{...}}, but brackets nested too deep") from None
    if not isinstance(table, dict):
        raise ValueError(f"{where}: expected an object with {{...}}, found {type(table).__name__}")
    return table


def _without_numbers(table: dict[str, Any], where: str) -> dict[str, Any]:
    """image_path_0 and control_path_0 of musubi-tuner are the plain keys, as long as there is one of each."""
    renamed: dict[str, Any] = {}
    for name, value in table.items():
        numbered = _NUMBERED.fullmatch(name)
        plain = numbered[1] if numbered else name
        if plain in renamed:
            raise ValueError(
                f"{where}: the key {name!r} names another {plain}; several target or control pictures per item are "
                "for Qwen-Image and Flux models and not supported here: keep one"
            )
        renamed[plain] = value
    return renamed


def _check_names(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> set[str]:
    """Refuse near misses of the known keys; other unknown keys, which do no harm, are returned."""
    ignored = table.keys() - known
    for name in sorted(ignored):
        meant = next((near for near in _near_misses(name, known) if near not in table), "")
        if meant:
            raise ValueError(f"{where}: unknown key {name!r} (= {shown(table[name])}); did you mean {meant!r}?")
    return ignored


@cache
def _near_misses(name: str, known: tuple[str, ...]) -> list[str]:
    return difflib.get_close_matches(name, known, cutoff=_NEAR_MISS)


def _read_values(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in known:
        key, value = RECORD_KEYS[name], table.get(name)
        if value is None and not key.needed:
            continue
        try:
            values[name] = key.kind.read(value)
        except ValueMistake as mistake:
            found = f"{name} = {shown(value)}" if name in table else f"has no {name!r}"
            raise ValueError(f"{where}: {found}; expected {mistake}") from None
    return values
