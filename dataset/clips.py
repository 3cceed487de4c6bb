"""Clips: the pieces of the media that are encoded, planned without decoding and decoded on demand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.media import (
    VIDEO_EXTENSIONS,
    VideoInfo,
    fit_to_size,
    pick_frames,
    probe_folder,
    probe_image,
    probe_video,
    read_image,
)
from dataset.buckets import Resolution, bucket_of
from dataset.cache import LATENT_STRIDE, CacheHeader
from dataset.control import control_indices, is_image
from dataset.frames import TARGET_FPS, clip_spans, kept_at_times, kept_frames
from dataset.names import LatentName
from dataset.sources import MediaItem


@dataclass(frozen=True)
class ClipSpan:
    """A clip as numbers: which frames of the medium it takes, and in which size."""

    start: int
    """First frame, counted among the kept frames; musubi-tuner's number in the cache's name."""
    indices: tuple[int, ...]
    """Frames of the source, one per frame of the clip."""
    size: Resolution
    """(width, height) of the bucket."""

    def times(self, info: VideoInfo) -> tuple[float, ...]:
        """Seconds of the video, one per frame of the clip."""
        return tuple(round(info.time_of(index), 6) for index in self.indices)


@dataclass(frozen=True)
class Clip:
    """A clip to be encoded."""

    item: MediaItem
    span: ClipSpan
    info: VideoInfo
    """The medium: original size, frames per second, frame count."""
    fingerprint: str
    """Of the medium's file."""

    @property
    def caption(self) -> str:
        """The whole caption of the medium."""
        return self.item.caption

    @property
    def frame_times(self) -> tuple[float, ...]:
        """Seconds of the video, one per frame."""
        return self.span.times(self.info)

    @property
    def name(self) -> LatentName:
        """The name of its latent cache."""
        return latent_name(self.item, self.span, self.info)

    @property
    def target(self) -> Path:
        """Its latent cache."""
        return self.item.entry.cache_directory / self.name.file_name()

    @property
    def bucket(self) -> tuple[int, int, int]:
        """(width, height, frames): clips of one bucket can be encoded together."""
        return (*self.span.size, len(self.span.indices))


@dataclass(frozen=True, eq=False)
class DecodedClip:
    """A clip with its pictures."""

    clip: Clip
    frames: np.ndarray
    """uint8 RGB [F, H, W, 3] in the size of the bucket, left and right exchanged for a mirrored item."""
    control: np.ndarray | None = None
    """The same of the control, where the item has one: what it shows at the times of the frames."""


def probe_item(item: MediaItem) -> VideoInfo:
    """Size, rate and frame count of a medium; an image is a video of one frame.

    The `fps` of the item, if it has one, is its rate, whatever the file says. A folder of images says nothing: it
    runs at the `source_fps` of the data set, or at 16.

    Raises:
        FileNotFoundError, ValueError: it is not there or unreadable; names the file.
    """
    if item.entry.media == "image":
        width, height = probe_image(item.path)
        return VideoInfo(width, height, TARGET_FPS, 1)
    if item.path.is_dir():
        return probe_folder(item.path, stated_fps(item) or TARGET_FPS)
    return at_stated_rate(item, probe_video(item.path))


def stated_fps(item: MediaItem) -> float | None:
    """The rate that the dataset file gives a medium, whatever that says itself; None where it leaves it to the medium.

    A folder of images runs at the rate of its data set; it need not be there any more, and is known by its name then.
    """
    is_folder = item.path.is_dir() or item.path.suffix.lower() not in VIDEO_EXTENSIONS
    if item.fps is None and is_folder and isinstance(item.entry.source_fps, float):
        return item.entry.source_fps
    return item.fps


def at_stated_rate(item: MediaItem, info: VideoInfo) -> VideoInfo:
    """A medium, with the rate of the item's jsonl line where that states one."""
    return info if item.fps is None else replace(info, fps=item.fps, times=None)


def spans_of(item: MediaItem, info: VideoInfo) -> list[ClipSpan]:
    """The clips that the data set takes of a medium; none when a video is too short.

    Args:
        item: the medium.
        info: from `probe_item`.

    Raises:
        ValueError: an image is too small for the data set.
    """
    try:
        size = bucket_of(item.entry, (info.width, info.height))
    except ValueError as error:
        raise ValueError(f"{item.where}: {item.path.name}: {error}") from None
    if item.entry.media == "image":
        return [ClipSpan(0, (0,), size)]
    kept = _kept(item, info)
    return [
        ClipSpan(start, tuple(kept[start : start + frames]), size)
        for start, frames in clip_spans(item.entry, len(kept))
    ]


def _kept(item: MediaItem, info: VideoInfo) -> list[int]:
    """The frames that stay at 16 per second: all without `source_fps`; by counting at a stated rate; else by time."""
    rate = item.entry.source_fps
    if rate is None:
        return list(range(info.frames))
    if rate == "auto":
        return kept_at_times(map(info.time_of, range(info.frames)))
    return kept_frames(info.frames, item.fps or rate)


def latent_name(item: MediaItem, span: ClipSpan, info: VideoInfo) -> LatentName:
    """The name of a clip's latent cache: with the original size for an image, with the bucket's for a video."""
    if item.entry.media == "image":
        return LatentName(item.key, info.width, info.height)
    return LatentName(item.key, *span.size, span.start, len(span.indices))


def has_rate_of(header: CacheHeader, item: MediaItem) -> bool:
    """True when a cache was made at the rate that the dataset file states now, or when both leave it to the medium."""
    stated = stated_fps(item)
    return header.source_info is None or header.metadata.get("stated_fps") == (None if stated is None else repr(stated))


def is_cache_of(header: CacheHeader, item: MediaItem, span: ClipSpan, info: VideoInfo, tensors: Sequence[str]) -> bool:
    """True when a latent cache holds `tensors` of just this clip of this medium."""
    if any(name not in header.keys for name in tensors) or not has_rate_of(header, item):
        return False
    grid = ((len(span.indices) - 1) // 4 + 1, span.size[1] // LATENT_STRIDE, span.size[0] // LATENT_STRIDE)
    return header.shapes["latents"][1:] == grid and header.frame_times in {None, span.times(info)}


def decode(clip: Clip) -> DecodedClip:
    """The pictures of a clip, scaled to cover the bucket and cropped to its centre; only what it needs is decoded.

    Raises:
        FileNotFoundError, ValueError: the medium or its control is not there or damaged; names the file.
    """
    return next(decode_clips([clip]))


def decode_clips(clips: Sequence[Clip]) -> Iterator[DecodedClip]:
    """Several clips of one medium, decoded in one pass over it; each as `decode` gives it, by their last frames.

    For previews. Caching deals the clips of a video out to workers and ranks, each with a `decode` of its own.

    Frames are held as long as a clip that is still to come needs them. Whoever leaves off early leaves the rest
    undecoded.

    Raises:
        FileNotFoundError, ValueError: as `decode`.
    """
    if not clips:
        return
    item, size = clips[0].item, clips[0].span.size
    assert all(clip.item == item and clip.span.size == size for clip in clips), "clips of one medium, of one size"
    ordered = sorted(clips, key=lambda clip: (clip.span.indices[-1], clip.span.indices[0]))
    frames = _stacks(item, item.path, [clip.span.indices for clip in ordered], size)
    if item.control is None:
        for clip, stack in zip(ordered, frames, strict=True):
            yield DecodedClip(clip, stack)
        return
    shown = control_indices(item, clips[0].info)
    controls = _stacks(item, item.control, [[shown[index] for index in clip.span.indices] for clip in ordered], size)
    for clip, stack, control in zip(ordered, frames, controls, strict=True):
        yield DecodedClip(clip, stack, control)


def _stacks(item: MediaItem, path: Path, wanted: Sequence[Sequence[int]], size: Resolution) -> Iterator[np.ndarray]:
    """For each list of frame numbers the pictures [F, H, W, 3] in this size, from one pass over the file."""
    numbers = sorted({index for indices in wanted for index in indices})
    pictures = iter([read_image(path)]) if is_image(path) else pick_frames(path, numbers)
    numbered = zip(numbers, pictures, strict=True)
    held: dict[int, np.ndarray] = {}
    for position, indices in enumerate(wanted):
        while indices[-1] not in held:
            index, picture = next(numbered)
            turned = picture[:, ::-1] if item.mirrored else picture
            held[index] = fit_to_size(np.ascontiguousarray(turned), *size)
        yield np.stack([held[index] for index in indices])
        needed = min((later[0] for later in wanted[position + 1 :]), default=numbers[-1])
        held = {index: picture for index, picture in held.items() if index >= needed}
