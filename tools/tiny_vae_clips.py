"""Clips to train the tiny VAE on: a folder of videos in memory, and random pieces of them."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.files import require_file
from common.logs import get_logger
from common.media import VIDEO_EXTENSIONS, fit_to_size, probe_video, read_video
from common.progress import progress

log = get_logger("tiny_vae")

MAX_BYTES = 2**30
"""Decoded videos kept in memory; the rest of the folder is left out, with a word."""
MAX_FRAMES = 129
"""Frames read of one video."""
STILL_TAIL = 0.1
"""Share of clips whose first frame is followed by mid-grey, as in the image condition of image-to-video."""


class Clips:
    """Videos of one size in memory, the last of them held out.

    Args:
        folder: holds the videos; its subfolders are not searched.
        size: (height, width) all are scaled and cropped to.
        frames: least number of frames of a usable video.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it holds no video that is long enough, or an unreadable one.
    """

    def __init__(self, folder: str | Path, size: tuple[int, int], frames: int) -> None:
        found = require_file(folder, "--videos")
        paths = sorted(path for path in found.iterdir() if path.suffix.lower() in VIDEO_EXTENSIONS)
        self.videos: list[np.ndarray] = []
        for path in progress(paths, "reading videos", unit="video"):
            if sum(video.nbytes for video in self.videos) >= MAX_BYTES:
                log.warning("%s: enough videos read, %d left out", folder, len(paths) - len(self.videos))
                break
            there = probe_video(path).frames
            if there >= frames:
                self.videos.append(_read(path, size, min(there, MAX_FRAMES)))
        if not self.videos:
            raise ValueError(f"--videos {folder}: no video of at least {frames} frames; render some with "
                             "tools/make_demo_dataset.py")  # fmt: skip
        self.held_out = self.videos.pop() if len(self.videos) > 1 else self.videos[0]

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
    """[F, H, W, 3] uint8 -> [3, F, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2) / 127.5 - 1.0


def to_frames(video: Tensor) -> np.ndarray:
    """[3, F, H, W] in [-1, 1] -> [F, H, W, 3] uint8."""
    scaled = (video.float().clamp(-1.0, 1.0) + 1.0) * 127.5
    return scaled.round().to(torch.uint8).permute(1, 2, 3, 0).cpu().numpy()


def _read(path: Path, size: tuple[int, int], frames: int) -> np.ndarray:
    height, width = size
    return np.stack([fit_to_size(frame, width, height) for frame in read_video(path, stop=frames)])
