"""The planner: timed moves to a camera on the frame times of a video.

The camera starts at the origin and looks along +z at a subject that stands at distance START_DISTANCE on its
optical axis. `direction` moves it on and towards the sphere round the subject, which it keeps looking at, or carries it
straight along together with the point it looks at; `rotate` turns it about its own axes on top; `zoom` changes its
focal length. Rates of overlapping segments add, and the path is their exact integral: no grid of its own, no smoothing.
Every value is tabled in docs/trajectory-language.md.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from camera.intrinsics import default_intrinsics
from camera.language import Move
from camera.rates import (
    APPROACH_PER_S,
    AZIMUTH_DEG_PER_S,
    ELEVATION_DEG_PER_S,
    MIN_DISTANCE,
    MIN_FOCAL,
    START_DISTANCE,
    TURN_DEG_PER_S,
    ZOOM,
)
from camera.rig import coordinates, rig_poses
from camera.timeline import Timeline, extreme_times, timeline
from camera.track import CameraTrack

__all__ = [
    "APPROACH_PER_S",
    "AZIMUTH_DEG_PER_S",
    "ELEVATION_DEG_PER_S",
    "MIN_DISTANCE",
    "MIN_FOCAL",
    "START_DISTANCE",
    "TURN_DEG_PER_S",
    "compile",
    "compile_at",
]

_DEFAULT_ASPECT = 16 / 9
_DISTANCE = 2


def compile(
    moves: Sequence[Move],
    frames: int,
    fps: float,
    intrinsics: Float[Tensor, "4"] | Float[Tensor, "F 4"] | Sequence[float] | None = None,
) -> CameraTrack:
    """Camera of `frames` frames at times i / fps that makes `moves`; frame 0 is the identity.

    What the moves do after the last frame is not seen; between and after moves the camera stands.

    Args:
        moves: in any order; none gives a camera that stands.
        frames: number of video frames, 1 or more.
        fps: frames per second, above 0.
        intrinsics: normalised (fx/W, fy/H, cx/W, cy/H) of the lens before any zoom, for all frames or for each; None
            for the default camera of a 16:9 picture (`default_intrinsics`).

    Raises:
        ValueError: the moves bring the camera nearer than MIN_DISTANCE to the subject, or the focal length below
            MIN_FOCAL of the starting one, or an argument is out of range.
    """
    if frames < 1:
        raise ValueError(f"frames {frames}: expected 1 or more")
    if not (math.isfinite(fps) and fps > 0 and math.isfinite(frames / fps)):
        raise ValueError(f"fps {fps}: expected a number above 0")
    return compile_at(moves, torch.arange(frames, dtype=torch.float64) / fps, intrinsics)


def compile_at(
    moves: Sequence[Move],
    times: Float64[Tensor, "F"],
    intrinsics: Float[Tensor, "4"] | Float[Tensor, "F 4"] | Sequence[float] | None = None,
) -> CameraTrack:
    """Camera at any `times` (s, increasing, 0 or more) that makes `moves`; its pose at 0 s is the identity.

    Otherwise as `compile`, for videos whose frames are not evenly spaced.
    """
    if not (len(times) and bool(times.isfinite().all()) and float(times[0]) >= 0 and bool((times.diff() > 0).all())):
        raise ValueError("times: expected one or more numbers of seconds, 0 or more, increasing")
    seconds = times.detach().cpu().numpy()
    line = timeline(moves)
    last = float(seconds[-1])
    _refuse_collision(line, last)
    _refuse_wide_lens(line, last)
    lens = _per_frame(intrinsics, len(times))
    if line.rates[:, ZOOM].any():
        lens[:, :2] *= torch.from_numpy(coordinates(line, seconds)[3])[:, None]
    return CameraTrack(torch.from_numpy(rig_poses(line, seconds)), lens, times, scale="relative")


def _per_frame(
    intrinsics: Float[Tensor, "4"] | Float[Tensor, "F 4"] | Sequence[float] | None, frames: int
) -> Float64[Tensor, "F 4"]:
    given = default_intrinsics(_DEFAULT_ASPECT) if intrinsics is None else intrinsics
    rows = torch.as_tensor(given, dtype=torch.float64)
    if rows.shape not in {(4,), (frames, 4)}:
        raise ValueError(f"intrinsics {list(rows.shape)}: expected [4] or [{frames}, 4], normalised fx, fy, cx, cy")
    return rows.expand(frames, 4).clone()


def _refuse_collision(line: Timeline, last: float) -> None:
    """Look at every time of the video, not only at its frames."""
    if not line.rates[:, _DISTANCE].any():
        return
    times = extreme_times(line, _DISTANCE, last)
    distance = coordinates(line, times)[2]
    near = np.flatnonzero(distance < MIN_DISTANCE)
    if len(near):
        raise ValueError(
            f"the moves bring the camera to {distance[near[0]]:.3g} of the subject by {times[near[0]]:g} s, "
            f"nearer than {MIN_DISTANCE} (the start distance is {START_DISTANCE}): make the forward moves shorter or "
            "slower, or go backward first"
        )


def _refuse_wide_lens(line: Timeline, last: float) -> None:
    if not line.rates[:, ZOOM].any():
        return
    times = extreme_times(line, ZOOM, last)
    focal = coordinates(line, times)[3]
    wide = np.flatnonzero(focal < MIN_FOCAL)
    if len(wide):
        raise ValueError(
            f"the moves bring the focal length to {focal[wide[0]]:.3g} of the starting one by {times[wide[0]]:g} s, "
            f"below {MIN_FOCAL}: make the moves that zoom out shorter or slower, or zoom in first"
        )
