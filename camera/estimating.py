"""Cameras found in pictures: what an estimator is asked and answers, and the unit that its translations are given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from camera.intrinsics import default_intrinsics
from camera.track import CameraTrack
from common.media import SampledVideo

_FEWEST_POINTS = 16
"""A median of fewer is chance."""
_STILL = 1e-6
"""A path shorter than this, in any unit an estimator may have, is a camera that only turns."""


class FoundTrack(Protocol):
    """A trajectory that an estimator found; `Dust3rP.estimate.Estimate` is one."""

    @property
    def track(self) -> CameraTrack:
        """A pose for every picture, the first the identity."""
        ...

    @property
    def backend(self) -> str:
        """Who found it."""
        ...

    @property
    def confidence(self) -> float:
        """0 (do not use) to 1."""
        ...

    @property
    def points(self) -> Tensor:
        """Points of the scene in the camera of frame 0, [N, 3]; N may be 0."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know, a sentence each."""
        ...


class FoundLens(Protocol):
    """Intrinsics that an estimator found; `Dust3rP.estimate.Lens` is one."""

    @property
    def intrinsics(self) -> Tensor:
        """Normalised (fx/W, fy/H, cx/W, cy/H), float64 [4]."""
        ...

    @property
    def confidence(self) -> float:
        """0 (a guess) to 1."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know, a sentence each."""
        ...


@dataclass(frozen=True)
class Estimators:
    """Who finds cameras in pictures. Either raises ValueError where it cannot, saying why and what to do."""

    track: Callable[[SampledVideo, Sequence[float] | None], FoundTrack]
    """The trajectory of a video of two frames or more, given its normalised intrinsics where they are known."""
    lens: Callable[[SampledVideo], FoundLens]
    """The one lens of a video or picture."""


def in_subject_distances(track: CameraTrack, points: Float[Tensor, "N 3"]) -> tuple[CameraTrack, str]:
    """An estimated track in the planner's unit, the distance of what the first frame shows, and what that was made of.

    The unit is the median depth of the points in front of the first camera and inside its picture ("median depth").
    Where there are fewer than 16 of them it is the length of the path ("path length"), and of a camera that only turns
    there is none ("none"). A track in metres stays as it is ("metres").

    Args:
        track: its first pose is the identity.
        points: of the scene, in the first camera, in the unit of the track.
    """
    if track.scale == "metric":
        return track, "metres"
    depths = _depths_in_view(points.double(), track.intrinsics[0])
    if len(depths) >= _FEWEST_POINTS:
        return track.scaled(1 / float(depths.median())), "median depth"
    length = float(track.c2w[:, :3, 3].diff(dim=0).norm(dim=1).sum())
    return (track.scaled(1 / length), "path length") if length > _STILL else (track, "none")


def _depths_in_view(points: Float64[Tensor, "N 3"], intrinsics: Float64[Tensor, "4"]) -> Float64[Tensor, "M"]:
    """z of those points that the first frame shows."""
    points = points[points.isfinite().all(dim=1) & (points[:, 2] > 0)]
    focal, centre = intrinsics.split(2)
    seen = points[:, :2] / points[:, 2:] * focal + centre
    return points[((seen >= 0) & (seen <= 1)).all(dim=1), 2]


def known_intrinsics(lens: float | Sequence[float], aspect: float) -> Float64[Tensor, "4"]:
    """Intrinsics of a picture of `aspect` (width / height) from a field of view in degrees, or as they are given."""
    if isinstance(lens, int | float):
        return default_intrinsics(aspect, lens)
    return torch.as_tensor(lens, dtype=torch.float64)
