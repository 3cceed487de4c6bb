"""From a path, or pictures, to a camera in one call."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from camera.track import CameraTrack
from common.arguments import DUST3R_WEIGHTS, ROOT
from common.media import VideoInfo, pick_frames, probe_folder, probe_video, shrink
from common.precision import compute_dtype, pick_device
from common.progress import progress
from Dust3rP.backends import open_backend
from Dust3rP.estimate import Lens, TrajectoryBackend, VideoFrames

LONG_SIDE = 640
"""Pixels of the longer side of the pictures that backends are given."""
MOST_FRAMES = 1000
DEFAULT_FPS = 16.0
"""Of a folder of pictures."""


def probe(path: str | Path, fps: float = DEFAULT_FPS) -> VideoInfo:
    """Size, rate and length of a video file, or of a folder of pictures taken as `fps` a second."""
    return probe_folder(path, fps) if Path(path).is_dir() else probe_video(path)


def read_frames(
    path: str | Path, fps: float = DEFAULT_FPS, start: float = 0.0, end: float | None = None, every: int = 1
) -> VideoFrames:
    """Frames of a video or folder of pictures, scaled down to LONG_SIDE, with their times in it.

    Args:
        path: the file or folder.
        fps: of a folder; a file has its own times.
        start: seconds from which on frames are taken.
        end: seconds up to which, inclusive; None for the end.
        every: take each `every`-th of those.

    Raises:
        FileNotFoundError, ValueError: it cannot be read, the part holds no frame, or more than MOST_FRAMES.
    """
    info = probe(path, fps)
    times = [info.time_of(index) for index in range(info.frames)]
    last = times[-1] if end is None else end
    chosen = [index for index, time in enumerate(times) if start - 1e-6 <= time <= last + 1e-6][::every]
    if not chosen:
        raise ValueError(f"{path}: no frame from {start:g} to {last:g} s; it lasts {times[-1]:.2f} s")
    if len(chosen) > MOST_FRAMES:
        raise ValueError(
            f"{path}: {len(chosen)} frames, at most {MOST_FRAMES} are taken at once: give a part by --start and --end, "
            f"or --every {-(-len(chosen) // MOST_FRAMES)}"
        )
    pictures = list(progress(_shrunk(path, chosen), "reading", "frame", disable=len(chosen) < 100))
    return VideoFrames(
        np.stack(pictures), torch.tensor([times[index] for index in chosen], dtype=torch.float64), str(path)
    )


def _shrunk(path: str | Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    return (shrink(frame, LONG_SIDE) for frame in pick_frames(path, indices))


def default_backend(name: str = "auto", weights: str | Path | None = None) -> TrajectoryBackend:
    """`open_backend` with the weights where `tools/download_weights.py` puts them, on the device there is."""
    device = pick_device(None)
    place = ROOT / DUST3R_WEIGHTS if weights is None else Path(weights)
    return open_backend(
        name,
        weights=place if weights is not None or place.exists() else None,
        device=device,
        dtype=compute_dtype(None, device, torch.bfloat16),
    )


def estimate_trajectory(
    video: str | Path | VideoFrames,
    *,
    intrinsics: Sequence[float] | None = None,
    backend: TrajectoryBackend | None = None,
) -> CameraTrack:
    """The camera of a video, a pose for each of its frames, relative to its first.

    Args:
        video: a video file, a folder of pictures, or frames.
        intrinsics: normalised, where they are known.
        backend: who estimates; None for `default_backend()`.

    Raises:
        ValueError: it cannot be found; says why and what to do.
    """
    frames = video if isinstance(video, VideoFrames) else read_frames(video)
    return (backend or default_backend()).estimate(frames, intrinsics).track


def estimate_intrinsics(
    images: np.ndarray | str | Path | VideoFrames, *, shared: bool = True, backend: TrajectoryBackend | None = None
) -> Lens:
    """The lens of one picture or more.

    Args:
        images: uint8 RGB [H, W, 3] or [F, H, W, 3], a video file, a folder of pictures, or frames.
        shared: one lens for all; else one for each.
        backend: who estimates; None for `default_backend()`.

    Raises:
        ValueError: it cannot be found; says why and what to do.
    """
    if isinstance(images, np.ndarray):
        several = images if images.ndim == 4 else images[None]
        images = VideoFrames(several, torch.arange(len(several), dtype=torch.float64) / DEFAULT_FPS, "pictures")
    frames = images if isinstance(images, VideoFrames) else read_frames(images)
    return (backend or default_backend()).intrinsics(frames, shared)
