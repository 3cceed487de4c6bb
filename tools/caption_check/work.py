"""What is to be scored: the items of a data set, which frames of each, and by what its scores are known again."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from camera.captions import split_trajectory
from camera.language import split_caption
from common.files import require_file
from common.media import pick_frames, read_image
from dataset.clips import probe_item, spans_of
from dataset.config import DatasetConfig, DatasetEntry, Media, load_config
from dataset.fingerprint import folder_fingerprint, text_fingerprint
from dataset.paths import normalised
from dataset.sources import ItemGroup, MediaItem, load_items
from tools.caption_check.phrases import key_of, phrases_of

Subject = tuple[Path, str]
"""Whole path of a medium, and the scene of its caption: what a judgement is about, in whatever lists it stands."""


@dataclass(frozen=True)
class Work:
    """One medium and the phrases that its frames are compared with."""

    items: tuple[MediaItem, ...]
    """The medium with this scene, once for each data set that has it."""
    own: tuple[str, ...]
    """The phrases of its caption."""
    extra: tuple[str, ...]
    """Those that only the labels name."""
    fingerprint: str
    """Of medium, scene, phrases, choice of frames and encoder: the same one means the same scores."""

    @property
    def item(self) -> MediaItem:
        """Its first mention."""
        return self.items[0]

    @property
    def subject(self) -> Subject:
        """What is judged."""
        return subject_of(self.item.path, self.item.caption)


def subject_of(path: Path, caption: str) -> Subject:
    """What a line of a list is judged by; a clause `#trajectory {path}` of its caption says nothing of the scene."""
    return normalised(path), split_caption(split_trajectory(caption)[0])[0]


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
        frame_extraction="slide",  # with the default of clips of one frame: all frames
    )
    return load_items(DatasetConfig(file, (entry,)))


def _media_of(file: Path) -> Media:
    """What a jsonl file lists, by the key that its first line has; mistakes are for the reader to tell."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        first = next((line for line in lines if line.strip()), "")
    return "image" if '"image_path' in first and '"video_path"' not in first else "video"


def work_of(
    groups: Sequence[ItemGroup], labelled: Mapping[Path, Sequence[str]], frames: int, encoder: str
) -> list[Work]:
    """All there is to score, in the order of the lists. Mirrored twins show the same things and are left out.

    Args:
        groups: from `load_groups`.
        labelled: phrases to be scored besides those of the caption, by the medium's whole path.
        frames: how many frames of each medium are looked at.
        encoder: identity of the encoder and of how it is used.
    """
    mentions: dict[Subject, list[MediaItem]] = defaultdict(list)
    for item in (item for group in groups for item in group.items if not item.mirrored):
        mentions[subject_of(item.path, item.caption)].append(item)
    found = []
    for (path, scene), items in mentions.items():
        own = phrases_of(items[0].caption)
        known = {key_of(phrase) for phrase in own}
        extra = [phrase for phrase in labelled.get(path, ()) if key_of(phrase) not in known]
        if own or extra:
            choice = sorted({_choice(item) for item in items})
            made_from = (folder_fingerprint(path), scene, str(frames), *choice, encoder)
            fingerprint = text_fingerprint(*made_from, *own, *extra)
            found.append(Work(tuple(items), tuple(own), tuple(extra), fingerprint))
    return found


def _choice(item: MediaItem) -> str:
    """Everything that `spans_of` goes by, but the size."""
    entry = item.entry
    cut = (entry.frame_extraction, entry.target_frames, entry.frame_stride, entry.frame_sample, entry.max_frames)
    return repr((*cut, entry.source_fps, item.fps))


def chosen_frames(items: Sequence[MediaItem], count: int) -> list[int]:
    """Numbers of `count` frames of a medium, evenly spaced over those that its data sets train on.

    Of a video too short for any clip, over all its frames. Fewer where it has not so many.

    Raises:
        FileNotFoundError, ValueError: the medium is not there or unreadable.
    """
    infos = [(item, probe_item(item)) for item in items]
    trained = sorted({index for item, info in infos for span in spans_of(item, info) for index in span.indices})
    trained = trained or list(range(infos[0][1].frames))
    places = np.linspace(0, len(trained) - 1, min(count, len(trained))).round().astype(int)
    return [trained[place] for place in places.tolist()]


def read_frames(item: MediaItem, numbers: Sequence[int]) -> list[np.ndarray]:
    """Frames [H, W, 3], uint8, of a medium, as it is: neither scaled nor cropped.

    Raises:
        FileNotFoundError, ValueError: the medium is not there or damaged.
    """
    return [read_image(item.path)] if item.entry.media == "image" else list(pick_frames(item.path, numbers))
