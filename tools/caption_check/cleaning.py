"""The list of a data set without its wrong captions, in a new file beside the old one."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from common.files import atomic_path
from dataset.jsonl import read_records
from dataset.sources import ItemGroup, MediaItem
from tools.caption_check.phrases import strip_phrases
from tools.caption_check.work import Subject, subject_of

Action = Literal["drop", "strip"]
Unwanted = Callable[[Subject], Sequence[str]]
"""The wrong phrases of a caption."""


def cleaned_caption(caption: str, unwanted: Sequence[str], action: Action) -> str | None:
    """The caption to keep, as it was where nothing is unwanted; None where the item goes.

    "drop" lets an item go for one wrong phrase; "strip" takes the phrase out of the caption, and lets the item go where
    nothing of the scene would be left. The camera text is the same, byte for byte.
    """
    if not unwanted:
        return caption
    if action == "drop":
        return None
    return strip_phrases(caption, unwanted)


def cleaned_file(group: ItemGroup) -> Path:
    """Where the cleaned list of a data set goes: beside its jsonl file, or into its folder of media."""
    entry = group.entry
    if entry.jsonl_file is not None:
        return entry.jsonl_file.with_name(f"{entry.jsonl_file.stem}.cleaned.jsonl")
    assert entry.directory is not None
    return entry.directory / f"{entry.media}s.cleaned.jsonl"


def cleaned_lines(group: ItemGroup, unwanted: Unwanted, action: Action) -> list[str]:
    """The lines of the cleaned list; of a jsonl file the unchanged ones are as they were, to the character.

    Raises:
        ValueError: the jsonl file has been changed in the meantime, and is wrong now.
    """
    lines = _of_jsonl(group, unwanted, action) if group.entry.jsonl_file else _of_folder(group, unwanted, action)
    return list(lines)


def _of_jsonl(group: ItemGroup, unwanted: Unwanted, action: Action) -> Iterator[str]:
    file = group.entry.jsonl_file
    assert file is not None
    lines = [line for line in file.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    for line, record in zip(lines, read_records(group.entry), strict=True):
        medium, caption = record.path(f"{group.entry.media}_path"), record.values["caption"]
        assert medium is not None
        kept = cleaned_caption(caption, unwanted(subject_of(medium, caption)), action)
        if kept == caption:
            yield line.rstrip("\r")
        elif kept is not None:
            yield json.dumps({**json.loads(line), "caption": kept}, ensure_ascii=False)


def _of_folder(group: ItemGroup, unwanted: Unwanted, action: Action) -> Iterator[str]:
    for item in group.items:
        if item.mirrored:
            continue
        kept = cleaned_caption(item.caption, unwanted(subject_of(item.path, item.caption)), action)
        if kept is not None:
            yield json.dumps(_record(item, kept), ensure_ascii=False)


def _record(item: MediaItem, caption: str) -> dict[str, str]:
    """A line for an item of a folder; the medium is named as seen from there, what goes with it by its whole path."""
    beside = {"control_path": item.control, "camera_file": item.camera_file}
    named = {key: str(path.absolute()) for key, path in beside.items() if path is not None}
    return {f"{item.entry.media}_path": item.path.name, "caption": caption, **named}


def write_cleaned(path: Path, lines: Sequence[str], overwrite: bool) -> None:
    """Write the cleaned list, whole or not at all.

    Raises:
        ValueError: no line is left, or another file is there and `overwrite` is not set.
    """
    if not lines:
        raise ValueError(f"{path}: every item would be dropped; nothing was written. Choose a lower --threshold")
    text = "".join(line + "\n" for line in lines)
    if path.exists() and not overwrite:
        if path.read_bytes() == text.encode():
            return
        raise ValueError(f"{path} is there already, with other lines; pass --overwrite, or move it away")
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
