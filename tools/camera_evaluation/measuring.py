"""From videos to what is kept of a row: the measured cameras, how near the pictures are to the truth, and examples."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64, Int, UInt8
from torch import Tensor

from common.weights import read_metadata, read_tensors, write_tensors
from tools.camera_evaluation.truth import Truth
from tools.camera_tracking import TrackedCamera, track_camera

STRIP_FRAMES = 6
_PSNR_BATCH = 32


@dataclass(frozen=True)
class MeasuredRow:
    """What is kept of a row of N clips of F frames; E of them are examples."""

    c2w: Float64[Tensor, "N F 4 4"]
    """Measured, relative to frame 0."""
    found: Bool[Tensor, "N F"]
    """False where the tracker failed and the pose is held."""
    inliers: Int[Tensor, "N F"]
    psnr: Float64[Tensor, "N"]
    """dB against the rendered truth, frames after the first; NaN where they are equal."""
    psnr_seen: Float64[Tensor, "N"]
    """The same of the pixels whose surface frame 0 shows."""
    strips: UInt8[Tensor, "E S H W 3"]
    """Some frames of each example, evenly spread, the first and the last among them."""


@dataclass(frozen=True)
class Measurement:
    """A row that is being measured."""

    cameras: Iterator[TrackedCamera]
    psnr: Float64[Tensor, "N"]
    psnr_seen: Float64[Tensor, "N"]
    strips: UInt8[Tensor, "E S H W 3"]

    def finish(self) -> MeasuredRow:
        """Wait for the cameras."""
        cameras = list(self.cameras)
        return MeasuredRow(
            c2w=torch.stack([camera.c2w for camera in cameras]),
            found=torch.stack([camera.found for camera in cameras]),
            inliers=torch.stack([camera.inliers for camera in cameras]),
            psnr=self.psnr,
            psnr_seen=self.psnr_seen,
            strips=self.strips,
        )


def tracking_pool(workers: int) -> ProcessPoolExecutor | None:
    """Processes that track one clip each, or None for 0: then this process does it."""
    if not workers:
        return None
    # forking would copy a process that already holds a CUDA context
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread)


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def start_measuring(
    videos: UInt8[Tensor, "N F H W 3"],
    truth: Truth,
    intrinsics: Float64[Tensor, "N F 4"],
    examples: Sequence[int],
    pool: Executor | None,
    device: torch.device,
) -> Measurement:
    """Hand the videos to the trackers and compare the pictures meanwhile.

    Args:
        videos: of one row; on the CPU.
        truth: of the same clips.
        intrinsics: normalised, of the clips.
        examples: numbers of the clips to keep strips of.
        pool: of `tracking_pool`.
        device: compares the pictures.
    """
    jobs = (
        (video.numpy(), depth.numpy(), lens.numpy())
        for video, depth, lens in zip(videos, truth.depth, intrinsics, strict=True)
    )
    cameras = map(_track, jobs) if pool is None else map(_as_camera, pool.map(_track_arrays, jobs))
    shown = torch.linspace(0, videos.shape[1] - 1, STRIP_FRAMES).round().long()
    return Measurement(cameras, *psnr(videos, truth.frames, truth.seen, device), videos[list(examples)][:, shown])


_Job = tuple[np.ndarray, np.ndarray, np.ndarray]


def _track(job: _Job) -> TrackedCamera:
    frames, depth, intrinsics = job
    return track_camera(frames, depth, torch.from_numpy(intrinsics))


def _track_arrays(job: _Job) -> _Job:
    """Arrays, since tensors would travel between processes by shared memory, one file each."""
    camera = _track(job)
    return camera.c2w.numpy(), camera.found.numpy(), camera.inliers.numpy()


def _as_camera(arrays: _Job) -> TrackedCamera:
    c2w, found, inliers = (torch.from_numpy(array) for array in arrays)
    return TrackedCamera(c2w, found, inliers)


def psnr(
    videos: UInt8[Tensor, "N F H W 3"],
    truth: UInt8[Tensor, "N F H W 3"],
    seen: Bool[Tensor, "N F H W"],
    device: torch.device,
) -> tuple[Float64[Tensor, "N"], Float64[Tensor, "N"]]:
    """Peak signal-to-noise ratio of each clip over its frames after the first, 10 log10(255^2 / mean square), in dB.

    Args:
        videos, truth: levels 0 to 255.
        seen: pixels that count in the second result.
        device: computes.

    Returns:
        of all pixels, and of those in `seen`; NaN where nothing differs or nothing counts.
    """
    ratios = []
    for first in range(0, len(videos), _PSNR_BATCH):
        part = slice(first, first + _PSNR_BATCH)
        made, true, counts = (tensor[part, 1:].to(device).float() for tensor in (videos, truth, seen))
        error = (made - true).square().mean(dim=-1)
        sums = [mean.sum(dim=(1, 2, 3)).double() for mean in (error * counts, counts)]
        squares = torch.stack((error.mean(dim=(1, 2, 3)).double(), sums[0] / sums[1]))
        ratios.append(torch.where(squares > 0, 10 * torch.log10(255**2 / squares), torch.nan))
    of_all, of_seen = torch.cat(ratios, dim=1).cpu()
    return of_all, of_seen


def save_row(path: Path, row: MeasuredRow, fingerprint: str) -> None:
    """Keep a finished row."""
    write_tensors(path, vars(row), {"fingerprint": fingerprint})


def load_row(path: Path, fingerprint: str) -> MeasuredRow | None:
    """A row of an earlier run with the same settings and weights; None if there is none."""
    if not path.exists() or read_metadata(path).get("fingerprint") != fingerprint:
        return None
    return MeasuredRow(**read_tensors(path))
