"""What is to be scored: the items of a data set, which frames of each, and by what its scores are known again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.files import require_file
from common.media import pick_frames, read_image
from dataset.clips import probe_item, spans_of
from dataset.config import DatasetConfig, DatasetEntry, Media, load_config
from dataset.fingerprint import folder_fingerprint, text_fingerprint
from dataset.paths import normalised
from dataset.sources import ItemGroup, MediaItem, load_items
from tools.caption_check.phrases import key_of, phrases_of

_LONGEST = 1 << 40


@dataclass(frozen=True)
class Work:
    """One medium and the phrases that its frames are compared with."""

    item: MediaItem
    phrases: tuple[str, ...]
    """Those of its caption, then those that only the labels name."""
    fingerprint: str
    """Of medium, caption, phrases, choice of frames and encoder: the same one means the same scores."""


def load_groups(dataset_config: str | None, jsonl: str | None) -> list[ItemGroup]:
    """The items of a dataset file, or of one jsonl file whose media are then looked at from start to end.

    Raises:
        FileNotFoundError, ValueError: a file is missing or wrong; names file, line and key.
    """
    if dataset_config is not None:
        return load_items(load_config(dataset_config))
    file = require_file(jsonl, "--jsonl")
    if not file.is_file():
        raise ValueError(f"--jsonl {file}: is a folder; name the .jsonl file, or pass a TOML as --dataset_config")
    entry = DatasetEntry(
        f"--jsonl {file}",
        _media_of(file),
        cache_directory=file.parent,
        jsonl_file=file,
        frame_extraction="full",
        max_frames=_LONGEST,
    )
    return load_items(DatasetConfig(file, (entry,)))


def _media_of(file: Path) -> Media:
    """What a jsonl file lists, by the key that its first line has; what is wrong with it is told by whoever reads it."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        first = next((line for line in lines if line.strip()), "")
    return "image" if '"image_path' in first and '"video_path"' not in first else "video"


def work_of(
    groups: Sequence[ItemGroup], labelled: Mapping[Path, Sequence[str]], frames: int, encoder: str
) -> list[Work]:
    """All items that have something to score, each medium once per caption; mirrored twins show the same things.

    Args:
        groups: from `load_groups`.
        labelled: phrases to be scored besides those of the caption, by the medium's whole path.
        frames: how many frames of each medium are looked at.
        encoder: identity of the encoder and of how it is used.
    """
    found: dict[str, Work] = {}
    for item in (item for group in groups for item in group.items if not item.mirrored):
        own = phrases_of(item.caption)
        known = {key_of(phrase) for phrase in own}
        extra = [phrase for phrase in labelled.get(normalised(item.path), ()) if key_of(phrase) not in known]
        if own or extra:
            made_from = (folder_fingerprint(item.path), item.caption, _choice(item), str(frames), encoder)
            fingerprint = text_fingerprint(str(normalised(item.path)), *made_from, *own, *extra)
            found.setdefault(fingerprint, Work(item, (*own, *extra), fingerprint))
    return list(found.values())


def _choice(item: MediaItem) -> str:
    """Everything that `spans_of` goes by, but the size."""
    entry = item.entry
    cut = (entry.frame_extraction, entry.target_frames, entry.frame_stride, entry.frame_sample, entry.max_frames)
    return repr((*cut, entry.source_fps, item.fps))


def chosen_frames(item: MediaItem, count: int) -> list[int]:
    """Numbers of `count` frames of a medium, evenly spaced over those that the data set trains on.

    Of a video too short for any clip, over all its frames. Fewer where it has not so many.

    Raises:
        FileNotFoundError, ValueError: the medium is not there or unreadable.
    """
    info = probe_item(item)
    trained = sorted({index for span in spans_of(item, info) for index in span.indices}) or list(range(info.frames))
    places = np.linspace(0, len(trained) - 1, min(count, len(trained))).round().astype(int)
    return [trained[place] for place in places.tolist()]


def read_frames(item: MediaItem, numbers: Sequence[int]) -> list[np.ndarray]:
    """Frames [H, W, 3], uint8, of a medium, as it is: neither scaled nor cropped.

    Raises:
        FileNotFoundError, ValueError: the medium is not there or damaged.
    """
    return [read_image(item.path)] if item.entry.media == "image" else list(pick_frames(item.path, numbers))


def summary(item: MediaItem) -> dict[str, Any]:
    """What a list of results says of an item."""
    return {"path": str(item.path), "where": item.where, "caption": item.caption}
