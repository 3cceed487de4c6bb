"""Captions from the files that data sets come with: jsonl, json, csv, or a text beside each video."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from common.files import require_file

VIDEO_KEYS = ("video_path", "video", "file_name")
"""What a record calls its video: that of musubi-tuner and the fork, another, and that of hub "videofolder" sets."""
CAPTION_KEYS = ("caption", "text", "prompt")
"""What a record calls its caption."""


@dataclass(frozen=True)
class Captioned:
    """A line of a list of videos."""

    video: str
    """The video as it is written there."""
    caption: str
    where: str
    """File and line, for messages."""


def read_listing(path: Path) -> list[Captioned]:
    """The videos and captions of a .jsonl, .json (list of objects, or {video: caption}) or .csv file.

    Raises:
        ValueError: no text, no JSON, or a record without a video or caption; names file, line and keys.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error})") from None
    suffix = path.suffix.lower()
    if suffix == ".csv":
        rows = csv.DictReader(text.splitlines())
        return [_captioned(row, f"{path} line {number}") for number, row in enumerate(rows, start=2)]
    if suffix == ".jsonl":
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        return [_captioned(_json(line, f"{path} line {number}"), f"{path} line {number}") for number, line in lines]
    document = _json(text, str(path))
    if isinstance(document, dict):
        document = [{VIDEO_KEYS[0]: name, CAPTION_KEYS[0]: value} for name, value in document.items()]
    if not isinstance(document, list):
        raise ValueError(f"{path}: expected a list of objects, or an object of captions by video")
    return [_captioned(record, f"{path} number {number}") for number, record in enumerate(document, start=1)]


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from None


def _captioned(record: Any, where: str) -> Captioned:
    if not isinstance(record, Mapping):
        raise ValueError(f"{where}: expected an object, found {type(record).__name__}")
    video, caption = (next((record[key] for key in keys if key in record), None) for keys in (VIDEO_KEYS, CAPTION_KEYS))
    if isinstance(caption, list) and len(caption) == 1:
        caption = caption[0]
    if not isinstance(video, str) or not video or not isinstance(caption, str):
        found = ", ".join(map(str, record)) or "none"
        raise ValueError(
            f"{where}: expected a text in one of {', '.join(VIDEO_KEYS)} and in one of {', '.join(CAPTION_KEYS)}; "
            f"its keys are {found}"
        )
    return Captioned(video, caption.strip(), where)


@dataclass(frozen=True)
class CaptionBook:
    """Captions by the stem of the video's name, and the one for all others."""

    by_stem: Mapping[str, str]
    fallback: str | None

    def find(self, stem: str, beside: Path | None = None) -> str:
        """The caption of a video: of the list, else of the text file beside it, else the one for all.

        Raises:
            ValueError: there is none.
        """
        if stem in self.by_stem:
            return self.by_stem[stem]
        if beside is not None and beside.is_file():
            return read_text_file(beside)
        if self.fallback is None:
            places = "--captions" if beside is None else f"{beside.name} or --captions"
            raise ValueError(f'no caption in {places}, and no --caption TEXT for all that have none (may be "")')
        return self.fallback


def read_book(listing: str | None, fallback: str | None) -> CaptionBook:
    """The captions that `--captions` and `--caption` name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, or two captions for one stem.
    """
    if listing is None:
        return CaptionBook({}, fallback)
    return CaptionBook(_by_stem(read_listing(require_file(listing, "--captions"))), fallback)


def _by_stem(lines: Iterable[Captioned]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        stem = PurePosixPath(line.video).stem
        if found.setdefault(stem, line.caption) != line.caption:
            raise ValueError(f"{line.where}: another caption for {stem!r}, which has one already")
    return found


def read_text_file(path: Path) -> str:
    """A caption file, stripped; ValueError when it is no UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the caption is not UTF-8 text ({error})") from None
