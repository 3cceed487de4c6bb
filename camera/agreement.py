"""Whether a camera and a picture belong together: the first frame, moved by the camera alone, against the others.

Nothing is known of the depth, so the first frame is taken for a plane that faces the first camera, at the distance at
which it fits best (`camera.parallax.plane_frames`). A camera that only turns needs no distance, and is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from camera.intrinsics import k_px_of
from camera.parallax import plane_frames, scene_distance
from camera.poses import invert
from camera.track import CameraTrack

_LONGEST_SIDE = 160
_COMPARED = 5
_DISTANCES = tuple(2.0 ** (step / 2) for step in range(-6, 9))
_LEAST_COVER = 0.3
_NEAREST = 1e-3
_WHITE = 255


@dataclass(frozen=True)
class Agreement:
    """How well a camera explains the pictures of a clip; differences are mean grey levels, 0 to 255."""

    distance: float
    """Of the plane at which the camera fits best, in the track's unit."""
    camera: float
    """Between the frames and the first one, moved by the camera."""
    still: float
    """Between the frames and the first one as it is: what a camera that stands leaves unexplained."""
    inverted: float
    """The same as `camera`, with every pose inverted: smaller when world-to-camera was taken for camera-to-world."""

    def in_words(self) -> str:
        """One line for a person."""
        numbers = f"camera {self.camera:.1f}, still {self.still:.1f}, inverted {self.inverted:.1f} grey levels"
        best = min(self.camera, self.still, self.inverted)
        if self.camera == best:
            verdict = "the camera fits best" if self.camera < self.still else "no camera fits better than another"
        else:
            verdict = "a camera that stands fits better" if self.still == best else "the inverted camera fits better"
        return f"{verdict} ({numbers})"


def agreement_of(frames: UInt8[np.ndarray, "F H W 3"], track: CameraTrack) -> Agreement:
    """Compare some frames of a clip with its first one, moved by the camera, by a standing and by the inverted one.

    Args:
        frames: RGB, one per frame of the track.
        track: the clip's own camera, with its crop.
    """
    assert len(frames) == len(track), (len(frames), len(track))
    picked = sorted({round(place) for place in np.linspace(0, len(frames) - 1, _COMPARED)})
    small = [_small(frames[index]) for index in picked]
    base = track.rebased()
    seen = replace(base, c2w=base.c2w[picked], intrinsics=base.intrinsics[picked], times=base.times[picked])
    turned = replace(seen, c2w=invert(seen.c2w))
    still = float(np.mean([_difference(small[0], other) for other in small]))
    distance, camera = _best_plane(small, seen, scene_distance(base))
    return Agreement(distance, camera, still, _best_plane(small, turned, scene_distance(base))[1])


def plane_points(track: CameraTrack, points: Float64[Tensor, "N 2"], distance: float) -> Float64[Tensor, "F N 2"]:
    """Where every frame sees points of the first picture that lie on a plane in front of the first camera.

    Args:
        track: poses and intrinsics of the frames.
        points: (x, y) in the first picture, divided by its width and height.
        distance: of the plane, in the track's unit.

    Returns:
        (x, y) divided by width and height; NaN for what is behind a camera.
    """
    lenses = k_px_of(track.intrinsics, (1, 1))
    homogeneous = torch.cat((points, torch.ones_like(points[:, :1])), dim=1)
    world = distance * homogeneous @ torch.linalg.inv(lenses[0]).T
    w2c = invert(track.rebased().c2w)
    local = world @ w2c[:, :3, :3].mT + w2c[:, None, :3, 3]
    depth = local[..., 2:]
    seen = (local @ lenses.mT)[..., :2] / depth
    return torch.where(depth > _NEAREST * distance, seen, torch.nan)


def _best_plane(small: Sequence[np.ndarray], track: CameraTrack, around: float) -> tuple[float, float]:
    """The distance at which the plane's pictures differ least from the frames, and by how much."""
    best: tuple[float, float] | None = None
    white = np.full_like(small[0], _WHITE)
    # the usual distance first: where all fit alike, it stays
    for factor in sorted(_DISTANCES, key=lambda factor: abs(factor - 1)):
        moved = plane_frames(small[0], track, around * factor)
        covers = [cover[..., 0] == _WHITE for cover in plane_frames(white, track, around * factor)]
        if min(float(cover.mean()) for cover in covers) < _LEAST_COVER:
            continue
        compared = zip(moved, small, covers, strict=True)
        difference = float(np.mean([_difference(one[cover], other[cover]) for one, other, cover in compared]))
        if best is None or difference < best[1]:
            best = around * factor, difference
    return best or (around, float(_WHITE))


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float32) - other).mean())


def _small(frame: UInt8[np.ndarray, "H W 3"]) -> np.ndarray:
    """A frame in a size at which comparing is quick."""
    height, width = frame.shape[:2]
    scale = min(1.0, _LONGEST_SIDE / max(height, width))
    return cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
