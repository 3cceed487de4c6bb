"""A trajectory backend as the callables that `dataset` and `generation` are handed: those rooms know no backend."""

from collections.abc import Sequence
from pathlib import Path

import torch

from camera.estimating import Estimators
from common.media import SampledVideo
from common.precision import compute_dtype
from Dust3rP.estimate import Estimate, Lens, TrajectoryBackend, VideoFrames


def open_estimators(name: str, weights: Path | None, device: torch.device) -> Estimators:
    """The estimators of a backend, opened once; a network is loaded when the first picture comes.

    Args:
        name: "dust3r", "colmap" or "auto".
        weights: of DUSt3R's network; None where there are none.
        device: of the network.

    Raises:
        ValueError: what the backend needs is not there; says what to install or fetch.
    """
    from Dust3rP.backends import open_backend

    dtype = compute_dtype(None, device, torch.bfloat16)
    return estimators_of(open_backend(name, weights=weights, device=device, dtype=dtype))


def estimators_of(backend: TrajectoryBackend) -> Estimators:
    """The estimators of a backend."""

    def track(video: SampledVideo, intrinsics: Sequence[float] | None) -> Estimate:
        return backend.estimate(_frames(video), intrinsics)

    def lens(video: SampledVideo) -> Lens:
        return backend.intrinsics(_frames(video))

    return Estimators(track, lens)


def _frames(video: SampledVideo) -> VideoFrames:
    return VideoFrames(video.frames, torch.tensor(video.times, dtype=torch.float64), video.name)
