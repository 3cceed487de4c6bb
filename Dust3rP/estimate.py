"""What a backend is given of a video, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from camera.track import CameraTrack


@dataclass(frozen=True)
class VideoFrames:
    """The pictures that a trajectory is lifted from."""

    frames: np.ndarray
    """uint8 RGB [F, H, W, 3], perhaps scaled down from the source; its aspect ratio is the source's."""
    times: Tensor
    """Seconds [F] float64, increasing."""
    name: str
    """What messages call it, usually the path."""

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Lens:
    """The intrinsics of pictures, estimated."""

    intrinsics: Tensor
    """Normalised (fx/W, fy/H, cx/W, cy/H), float64 [4], or one for each picture [F, 4]."""
    confidence: float
    """0 (a guess) to 1."""
    remarks: tuple[str, ...] = ()
    """What a user should know, a sentence each: for instance a focal length outside the plausible range."""


@dataclass(frozen=True)
class Estimate:
    """A trajectory lifted from pictures, and how sure its backend is of it."""

    track: CameraTrack
    """One pose for every frame given, the first the identity, at the frames' times; intrinsics normalised. Its scale
    is "relative": the unit is the backend's own until `scaled` is given a length."""
    backend: str
    """Who answered: "dust3r" or "colmap"."""
    confidence: float
    """0 (do not use) to 1, over the whole video."""
    frame_confidence: Tensor
    """The same for every frame, float64 [F]; 0 where the pose is only interpolated."""
    points: Tensor
    """Points of the scene in the camera of frame 0, float32 [N, 3]; N may be 0."""
    colours: Tensor
    """Their colours, uint8 RGB [N, 3]."""
    remarks: tuple[str, ...] = ()
    """What a user should know, a sentence each."""

    def scaled(self, factor: float, scale: str = "metric") -> "Estimate":
        """The same in a unit of which the backend's has `factor`; `scale` as in `CameraTrack`."""
        track = replace(self.track.scaled(factor), scale=scale)
        return replace(self, track=track, points=self.points * factor)


class TrajectoryBackend(Protocol):
    """Lifts cameras from pictures. Made once, used for many videos."""

    name: str

    def estimate(self, video: VideoFrames, intrinsics: Sequence[float] | None = None) -> Estimate:
        """The trajectory of a video.

        Args:
            video: two frames or more.
            intrinsics: of its pictures, normalised, where they are known; else they are estimated.

        Raises:
            ValueError: no trajectory can be found in it; says why and what to do.
        """
        ...

    def intrinsics(self, pictures: VideoFrames, shared: bool = True) -> Lens:
        """The intrinsics of one picture or more, one for all of them if `shared`.

        Raises:
            ValueError: this backend cannot tell them from these pictures; says why.
        """
        ...


def no_points() -> tuple[Tensor, Tensor]:
    """Points and colours of an estimate that has none."""
    return torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8)
