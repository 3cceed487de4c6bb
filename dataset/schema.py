"""The keys of a dataset file: which exist, where they may stand, and what they mean.

Names, types and defaults are musubi-tuner's (kohya-ss/musubi-tuner v0.3.4, dataset/config_utils.py and
docs/dataset_config.md), so that its files mean the same here; `ours` marks the others. The table of
docs/dataset-config.md is this one, and a test compares them.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from common.logs import get_logger
from dataset.values import (
    BOOLEAN,
    COUNT,
    EXTENSION,
    EXTRACTION,
    FRAME_COUNTS,
    PATH,
    RATE_OR_AUTO,
    RESOLUTION,
    SHARE,
    Kind,
    ValueMistake,
)

logger = get_logger("dataset")

SOURCE_KEYS = ("video_directory", "video_jsonl_file", "image_directory", "image_jsonl_file")
"""Exactly one of them stands in an entry; it says where the media are and what they are."""

_CONTROL_SIZE = "control pictures of their own size, for Flux Kontext and Qwen-Image-Edit; Wan's have the picture's"

WITHOUT_EFFECT = {
    "fp_latent_window_size": "FramePack",
    "no_resize_control": _CONTROL_SIZE,
    "control_resolution": _CONTROL_SIZE,
    "flux_kontext_no_resize_control": _CONTROL_SIZE,
    "qwen_image_edit_no_resize_control": _CONTROL_SIZE,
    "qwen_image_edit_control_resolution": _CONTROL_SIZE,
    "skip_corrupted_cache": "leaving damaged caches out; here a damaged cache is an error that names the file",
}
"""Keys of musubi-tuner that are read over with a warning, and what they are for."""

REFUSED = {
    "multiple_target": "several target pictures per item, for Qwen-Image-Layered",
    "fp_1f_clean_indices": "one-frame training, which is not built here",
    "fp_1f_target_index": "one-frame training, which is not built here",
    "fp_1f_no_post": "one-frame training, which is not built here",
}
"""Keys of musubi-tuner that would change what is trained, and what they are for; `false` and `[]` do no harm."""

_SHOWN_VALUE = 60


@dataclass(frozen=True)
class Key:
    """One key of the file."""

    kind: Kind
    """What its value must be."""
    meaning: str
    """One or two sentences, for docs/dataset-config.md; a default stands in `dataset.config.DatasetEntry`."""
    general: bool = False
    """May stand in [general] too."""
    media: str = "any"
    """The kind of data set it belongs to: image, video or any."""
    ours: bool = False
    """musubi-tuner does not know it."""


KEYS: Mapping[str, Key] = {
    "resolution": Key(
        RESOLUTION,
        "The area of the buckets; for images without `enable_bucket` the one size, then in multiples of 16.",
        general=True,
    ),
    "caption_extension": Key(
        EXTENSION,
        "Ending of caption files: the caption of `a.mp4` is `a` + this. Needed with a directory.",
        general=True,
    ),
    "batch_size": Key(COUNT, "Clips of one size per batch, in caching and in training.", general=True),
    "num_repeats": Key(COUNT, "How often each clip comes in an epoch.", general=True),
    "enable_bucket": Key(BOOLEAN, "Images are sorted into buckets by aspect ratio. Videos always are.", general=True),
    "bucket_no_upscale": Key(
        BOOLEAN,
        "With `enable_bucket`, an image smaller than the area keeps its size, in steps of 16.",
        general=True,
    ),
    "horizontal_flip": Key(
        BOOLEAN,
        "Every item has a twin with left and right exchanged, in pictures, camera and the camera tags of its caption.",
        general=True,
        ours=True,
    ),
    "caption_dropout_rate": Key(
        SHARE, "Share of the times that an item is trained on with the empty caption.", general=True, ours=True
    ),
    "cache_directory": Key(
        PATH, "Folder of the caches, a different one for each entry; made when needed. Needed with a jsonl file."
    ),
    "camera_directory": Key(PATH, "Folder with a trajectory for every medium, found by its stem.", ours=True),
    "control_directory": Key(
        PATH, "Folder with the control video, folder of images or image of every medium, found by its stem."
    ),
    "video_directory": Key(PATH, "Folder of videos with caption files.", media="video"),
    "video_jsonl_file": Key(PATH, "List of videos, one JSON object per line.", media="video"),
    "image_directory": Key(PATH, "Folder of images with caption files.", media="image"),
    "image_jsonl_file": Key(PATH, "List of images, one JSON object per line.", media="image"),
    "target_frames": Key(FRAME_COUNTS, "Lengths of the clips; each is brought down to 4n + 1.", media="video"),
    "frame_extraction": Key(EXTRACTION, "How clips are cut from a video.", media="video"),
    "frame_stride": Key(COUNT, "`slide`: frames from one start to the next.", media="video"),
    "frame_sample": Key(COUNT, "`uniform`: number of starts; 1 is the same as `head`.", media="video"),
    "max_frames": Key(COUNT, "`full`: longest clip.", media="video"),
    "source_fps": Key(
        RATE_OR_AUTO,
        "Rate of the videos; frames are dropped to reach 16 per second. Whole numbers will do, and `auto`, which is "
        "ours, takes each file's own rate. Without it, frames are taken as they are.",
        media="video",
    ),
}


def read_table(table: Mapping[str, Any], where: str, media: str | None) -> dict[str, Any]:
    """Check one table and convert its values. Keys that mean nothing here are left out with a warning.

    Args:
        table: the table as parsed.
        where: file and table, for the messages.
        media: "image" or "video" for an entry of [[datasets]], None for [general].

    Raises:
        ValueError: names file, table, key and value, what is expected, and for an unknown key the nearest known.
    """
    refuse_unknown(table, where)
    values = {}
    for name, value in table.items():
        if name in WITHOUT_EFFECT or name in REFUSED:
            purpose = WITHOUT_EFFECT.get(name) or REFUSED[name]
            logger.warning(f"{where}: {name} = {shown(value)} has no effect here ({purpose})")
            continue
        key = KEYS[name]
        if media is None and not key.general:
            raise ValueError(f"{where}: the key {name!r} (= {shown(value)}) belongs into a [[datasets]] entry")
        if media is not None and key.media not in {"any", media}:
            raise ValueError(
                f"{where}: the key {name!r} (= {shown(value)}) is for {key.media} data sets, this one holds {media}s"
            )
        try:
            values[name] = key.kind.read(value)
        except ValueMistake as mistake:
            raise ValueError(f"{where}: {name} = {shown(value)}; expected {mistake}") from None
    return values


def refuse_unknown(table: Mapping[str, Any], where: str) -> None:
    """Raise ValueError at the first key that does not exist here, or that asks for what we do not have."""
    for name, value in table.items():
        if name in REFUSED and value is not False and value != []:
            raise ValueError(
                f"{where}: {name} = {shown(value)} of musubi-tuner is not supported ({REFUSED[name]}); remove it"
            )
        if name not in KEYS and name not in WITHOUT_EFFECT and name not in REFUSED:
            raise ValueError(f"{where}: unknown key {name!r} (= {shown(value)}); did you mean {nearest(name, KEYS)!r}?")


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like an unknown one."""
    return difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)[0]


def shown(value: Any) -> str:
    """A value for a message, cut when it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_VALUE else f"{text[: _SHOWN_VALUE - 3]}..."
