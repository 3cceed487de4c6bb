"""The keys of a dataset TOML: which exist, where they may stand, and what their values must be.

Names, types and defaults are musubi-tuner's (kohya-ss/musubi-tuner, dataset/config_utils.py), so that its files
mean the same here. `camera_directory` is ours.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

EXTRACTIONS = ("head", "chunk", "slide", "uniform", "full")

SOURCE_KEYS = ("video_directory", "video_jsonl_file", "image_directory", "image_jsonl_file")
"""Exactly one of them stands in an entry; it says where the media are and what they are."""

UNSUPPORTED = {
    "control_directory": "control images and videos",
    "no_resize_control": "control images",
    "control_resolution": "control images",
    "flux_kontext_no_resize_control": "control images",
    "qwen_image_edit_no_resize_control": "control images",
    "qwen_image_edit_control_resolution": "control images",
    "multiple_target": "several target images per item",
    "fp_latent_window_size": "FramePack",
    "fp_1f_clean_indices": "FramePack one-frame training",
    "fp_1f_target_index": "FramePack one-frame training",
    "fp_1f_no_post": "FramePack one-frame training",
    "skip_corrupted_cache": "skipping damaged caches (here a damaged cache is an error that names the file)",
}
"""Keys that musubi-tuner knows and we do not, with what they are for."""


class ValueMistake(ValueError):
    """A value of the wrong kind; the message is what was expected."""


@dataclass(frozen=True)
class Key:
    """One key of the file."""

    read: Callable[[Any], Any]
    """Checks and converts the value; raises ValueMistake with what is expected."""
    general: bool = False
    """May stand in [general] too."""
    media: str = "any"
    """The kind of data set it belongs to: image, video or any."""


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueMistake("a whole number, 1 or more")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueMistake("true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueMistake("a text in quotes")
    return value


def _resolution(value: Any) -> tuple[int, int]:
    sides = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, list) or len(sides) != 2 or not all(_is_count(side) and side >= 16 for side in sides):
        raise ValueMistake("[width, height] in pixels, or one number for a square; 16 or more")
    return sides[0], sides[1]


def _frame_counts(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or not all(_is_count(count) for count in value):
        raise ValueMistake("a list of frame counts such as [33] or [17, 33]")
    return tuple(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e4:
        raise ValueMistake("frames per second, a number above 0")
    return float(value)


def _extraction(value: Any) -> str:
    if value not in EXTRACTIONS:
        raise ValueMistake("one of " + ", ".join(EXTRACTIONS))
    return value


KEYS: Mapping[str, Key] = {
    "resolution": Key(_resolution, general=True),
    "caption_extension": Key(_text, general=True),
    "batch_size": Key(_integer, general=True),
    "num_repeats": Key(_integer, general=True),
    "enable_bucket": Key(_boolean, general=True),
    "bucket_no_upscale": Key(_boolean, general=True),
    "cache_directory": Key(_text),
    "camera_directory": Key(_text),
    "image_directory": Key(_text, media="image"),
    "image_jsonl_file": Key(_text, media="image"),
    "video_directory": Key(_text, media="video"),
    "video_jsonl_file": Key(_text, media="video"),
    "target_frames": Key(_frame_counts, media="video"),
    "frame_extraction": Key(_extraction, media="video"),
    "frame_stride": Key(_integer, media="video"),
    "frame_sample": Key(_integer, media="video"),
    "max_frames": Key(_integer, media="video"),
    "source_fps": Key(_rate, media="video"),
}


def read_table(table: Mapping[str, Any], where: str, media: str | None) -> dict[str, Any]:
    """Check one table and convert its values.

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
        key = KEYS[name]
        if media is None and not key.general:
            raise ValueError(f"{where}: the key {name!r} belongs into a [[datasets]] entry")
        if media is not None and key.media not in {"any", media}:
            raise ValueError(f"{where}: the key {name!r} is for {key.media} data sets, this one holds {media}s")
        try:
            values[name] = key.read(value)
        except ValueMistake as mistake:
            raise ValueError(f"{where}: {name} = {value!r}; expected {mistake}") from None
    return values


def refuse_unknown(table: Mapping[str, Any], where: str) -> None:
    """Raise ValueError at the first key that does not exist here."""
    for name in table:
        if name in UNSUPPORTED:
            purpose = UNSUPPORTED[name]
            raise ValueError(f"{where}: the key {name!r} of musubi-tuner is not supported yet ({purpose}); remove it")
        if name not in KEYS:
            nearest = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.0)[0]
            raise ValueError(f"{where}: unknown key {name!r}; did you mean {nearest!r}?")
