"""A whole video in little memory: frames spread evenly over it, scaled down."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.media.frames import pick_frames
from common.media.timeline import VideoInfo


@dataclass(frozen=True, eq=False)
class SampledVideo:
    """Pictures of a video, or one picture."""

    frames: np.ndarray
    """uint8 RGB [F, H, W, 3], of the source's shape up to the rounding of the sides."""
    times: tuple[float, ...]
    """Seconds after the first frame of the video, one per picture."""
    name: str
    """What messages call it, usually the path."""


def sample_indices(frames: int, most: int) -> list[int]:
    """At most `most` (2 or more) of the numbers 0 to `frames` - 1, evenly spread, the first and the last among them."""
    assert frames > 0 and most > 1
    return np.linspace(0, frames - 1, min(frames, most)).round().astype(int).tolist()


def sample_video(path: str | Path, info: VideoInfo, most: int, long_side: int) -> SampledVideo:
    """A video or folder of images as at most `most` frames, none of whose sides is longer than `long_side` pixels.

    Frames are scaled down as they are decoded, by area averaging and never up; no more than the result is held.

    Raises:
        FileNotFoundError, ValueError: as `common.media.pick_frames`.
    """
    indices = sample_indices(info.frames, most)
    frames = np.stack([shrink(frame, long_side) for frame in pick_frames(path, indices)])
    return SampledVideo(frames, tuple(info.time_of(index) for index in indices), str(path))


def shrink(picture: np.ndarray, long_side: int) -> np.ndarray:
    """[H, W, 3] scaled down until its longer side is `long_side`; a smaller picture as it is."""
    height, width = picture.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(picture)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
