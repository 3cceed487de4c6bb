"""Clips to train the tiny VAE on: a folder of videos in memory, and random pieces of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.files import require_file
from common.logs import get_logger
from common.media import VIDEO_EXTENSIONS, fit_to_size, probe_video, read_video
from common.progress import progress
from wan.pixels import to_tensor

log = get_logger("tiny_vae")

MAX_BYTES = 2**30
"""Decoded videos kept in memory; the rest of the folder is left out, with a word."""
MAX_FRAMES = 129
"""Frames read of one video."""
STILL_TAIL = 0.1
"""Share of clips whose first frame is followed by mid-grey, as in the image condition of image-to-video."""


class Clips:
    """Videos of one size in memory; the last one of the first folder is held out.

    Args:
        folders: hold the videos; their subfolders are not searched.
        size: (height, width) all are scaled and cropped to.
        frames: least number of frames of a usable video.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: they hold no video that is long enough, or an unreadable one.
    """

    def __init__(self, folders: Sequence[str | Path], size: tuple[int, int], frames: int) -> None:
        paths = [path for folder in folders for path in _videos_of(folder)]
        self.videos: list[np.ndarray] = []
        last_of_first = 0
        for path in progress(paths, "reading videos", unit="video"):
            if sum(video.nbytes for video in self.videos) >= MAX_BYTES:
                log.warning("enough videos read; %s and later ones are left out", path)
                break
            there = probe_video(path).frames
            if there >= frames:
                self.videos.append(_read(path, size, min(there, MAX_FRAMES)))
                last_of_first = len(self.videos) - 1 if path.parent == Path(folders[0]) else last_of_first
        if not self.videos:
            raise ValueError(
                f"--videos {' '.join(map(str, folders))}: no video of at least {frames} frames; render some with "
                "tools/make_demo_dataset.py"
            )
        alone = len(self.videos) == 1
        self.held_out = self.videos[0] if alone else self.videos.pop(last_of_first)

    def batch(self, rng: np.random.Generator, count: int, frames: int, crop: int) -> Tensor:
        """Random pieces [count, 3, frames, crop, crop] in [-1, 1], some mirrored, some played backwards."""
        return torch.stack([self._piece(rng, frames, crop) for _ in range(count)])

    def _piece(self, rng: np.random.Generator, frames: int, crop: int) -> Tensor:
        video = self.videos[rng.integers(len(self.videos))]
        start, top, left = (
            int(rng.integers(have - want + 1)) for have, want in zip(video.shape[:3], (frames, crop, crop), strict=True)
        )
        piece = video[start : start + frames, top : top + crop, left : left + crop]
        if rng.random() < 0.5:
            piece = piece[:, :, ::-1]
        if rng.random() < 0.5:
            piece = piece[::-1]
        clip = to_video(piece)
        if rng.random() < STILL_TAIL:
            clip[:, 1:] = 0.0
        return clip


def to_video(frames: np.ndarray) -> Tensor:
    """[F, H, W, 3] uint8 -> [3, F, H, W] in [-1, 1], on the CPU."""
    return to_tensor(np.ascontiguousarray(frames), torch.device("cpu"))


def _videos_of(folder: str | Path) -> list[Path]:
    found = require_file(folder, "--videos")
    if not found.is_dir():
        raise ValueError(f"--videos {found}: expected a folder of videos")
    return sorted(path for path in found.iterdir() if path.suffix.lower() in VIDEO_EXTENSIONS)


def _read(path: Path, size: tuple[int, int], frames: int) -> np.ndarray:
    height, width = size
    return np.stack([fit_to_size(frame, width, height) for frame in read_video(path, stop=frames)])
