"""Clips: the pieces of the media that are encoded, planned without decoding and decoded on demand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.media import VideoInfo, fit_to_size, pick_frames, probe_image, probe_video, read_image
from dataset.buckets import Resolution, bucket_of
from dataset.cache import LATENT_STRIDE, CacheHeader
from dataset.config import DatasetEntry
from dataset.frames import TARGET_FPS, clip_spans, kept_frames
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

    def times(self, fps: float) -> tuple[float, ...]:
        """Seconds of the video, one per frame of the clip, for a video of `fps` frames per second."""
        return tuple(round(index / fps, 6) for index in self.indices)


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
        return self.span.times(self.info.fps)

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
    """uint8 RGB [F, H, W, 3] in the size of the bucket."""
    control: np.ndarray | None = None
    """The same of the item's control; None when it has none."""


def probe_item(item: MediaItem) -> VideoInfo:
    """Size, rate and frame count of a medium; an image is a video of one frame.

    Raises:
        FileNotFoundError, ValueError: it is not there or unreadable; names the file.
    """
    if item.entry.media == "video":
        return probe_video(item.path)
    width, height = probe_image(item.path)
    return VideoInfo(width, height, TARGET_FPS, 1)


def spans_of(entry: DatasetEntry, info: VideoInfo) -> list[ClipSpan]:
    """The clips that the data set takes of a medium; none when a video is too short.

    Raises:
        ValueError: an image is too small for the data set.
    """
    size = bucket_of(entry, (info.width, info.height))
    if entry.media == "image":
        return [ClipSpan(0, (0,), size)]
    kept = kept_frames(info.frames, info.fps if entry.source_fps == "auto" else entry.source_fps)
    return [
        ClipSpan(start, tuple(kept[start : start + frames]), size) for start, frames in clip_spans(entry, len(kept))
    ]


def latent_name(item: MediaItem, span: ClipSpan, info: VideoInfo) -> LatentName:
    """The name of a clip's latent cache: with the original size for an image, with the bucket's for a video."""
    if item.entry.media == "image":
        return LatentName(item.key, info.width, info.height)
    return LatentName(item.key, *span.size, span.start, len(span.indices))


def is_cache_of(header: CacheHeader, span: ClipSpan, fps: float, tensors: Sequence[str]) -> bool:
    """True when a latent cache holds `tensors` of just this clip of a medium of `fps` frames per second."""
    if any(name not in header.keys for name in tensors):
        return False
    grid = ((len(span.indices) - 1) // 4 + 1, span.size[1] // LATENT_STRIDE, span.size[0] // LATENT_STRIDE)
    return header.shapes["latents"][1:] == grid and header.frame_times in {None, span.times(fps)}


def decode(clip: Clip) -> DecodedClip:
    """The pictures of a clip, scaled to cover the bucket and cropped to its centre; only its own frames are kept.

    Raises:
        FileNotFoundError, ValueError: the medium is not there or damaged; names the file.
    """
    if clip.item.entry.media == "image":
        pictures = iter([read_image(clip.item.path)])
    else:
        pictures = pick_frames(clip.item.path, clip.span.indices)
    width, height = clip.span.size
    return DecodedClip(clip, np.stack([fit_to_size(picture, width, height) for picture in pictures]))
