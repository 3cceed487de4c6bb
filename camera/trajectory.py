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
    "check_limits",
    "compile",
    "compile_at",
]

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
            for `default_intrinsics()`.

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
    _check_limits(line, float(seconds[-1]))
    lens = _per_frame(intrinsics, len(times))
    if line.rates[:, ZOOM].any():
        lens[:, :2] *= torch.from_numpy(coordinates(line, seconds)[3])[:, None]
    return CameraTrack(torch.from_numpy(rig_poses(line, seconds)), lens, times, scale="relative")


def check_limits(moves: Sequence[Move], seconds: float) -> None:
    """Raise the ValueError of `compile` for moves that run into a limit within a video of `seconds`, if they do."""
    _check_limits(timeline(moves), seconds)


def _check_limits(line: Timeline, last: float) -> None:
    if near := _first_below(line, _DISTANCE, MIN_DISTANCE, last):
        raise ValueError(
            f"the moves bring the camera to {near[0]:.3g} of the subject by {near[1]:g} s, nearer than {MIN_DISTANCE} "
            f"(the start distance is {START_DISTANCE}): make the forward moves shorter or slower, or go backward first"
        )
    if wide := _first_below(line, ZOOM, MIN_FOCAL, last):
        raise ValueError(
            f"the moves bring the focal length to {wide[0]:.3g} of the starting one by {wide[1]:g} s, below "
            f"{MIN_FOCAL}: make the moves that zoom out shorter or slower, or zoom in first"
        )


def _first_below(line: Timeline, column: int, limit: float, last: float) -> tuple[float, float] | None:
    """Value and time (s) of the first extreme of distance or focal factor below a limit, frame or not; or None."""
    if not line.rates[:, column].any():
        return None
    times = extreme_times(line, column, last)
    _, _, distance, focal = coordinates(line, times)
    values = distance if column == _DISTANCE else focal
    below = np.flatnonzero(values < limit)
    return (float(values[below[0]]), float(times[below[0]])) if len(below) else None


def _per_frame(
    intrinsics: Float[Tensor, "4"] | Float[Tensor, "F 4"] | Sequence[float] | None, frames: int
) -> Float64[Tensor, "F 4"]:
    given = default_intrinsics() if intrinsics is None else intrinsics
    rows = torch.as_tensor(given, dtype=torch.float64)
    if rows.shape not in {(4,), (frames, 4)}:
        raise ValueError(f"intrinsics {list(rows.shape)}: expected [4] or [{frames}, 4], normalised fx, fy, cx, cy")
    return rows.expand(frames, 4).clone()
