"""The planner: timed moves to a camera on the frame times of a video.

The camera starts at the origin and looks along +z at a subject that stands at distance START_DISTANCE on its
optical axis. `direction` moves it on and towards the sphere round the subject, which it keeps looking at; `rotate`
turns it about its own axes on top. Rates are constant within a segment, rates of overlapping segments add, and the
path is their exact integral: no grid of its own, no smoothing. Every value is tabled in docs/conventions.md.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from camera.intrinsics import default_intrinsics
from camera.language import Move, split_diagonal, split_turn
from camera.poses import assemble, turn
from camera.track import CameraTrack

START_DISTANCE = 1.003
"""Distance of the subject in the planner's unit; the radius of the anchor camera of the OmniCam-Wan fork."""
MIN_DISTANCE = 0.05
"""The camera may not come nearer to the subject than this."""
AZIMUTH_DEG_PER_S = 20.0
ELEVATION_DEG_PER_S = 15.0
TURN_DEG_PER_S = 20.0
APPROACH_PER_S = 0.2 * START_DISTANCE

_DEFAULT_ASPECT = 16 / 9
_SIGN = {"left": -1, "right": 1, "down": -1, "up": 1}
# (azimuth deg, elevation deg, distance) per second at speed 1
_ORBIT_RATES = {
    "stay": (0.0, 0.0, 0.0),
    "forward": (0.0, 0.0, -APPROACH_PER_S),
    "backward": (0.0, 0.0, APPROACH_PER_S),
    "left": (-AZIMUTH_DEG_PER_S, 0.0, 0.0),
    "right": (AZIMUTH_DEG_PER_S, 0.0, 0.0),
    "up": (0.0, ELEVATION_DEG_PER_S, 0.0),
    "down": (0.0, -ELEVATION_DEG_PER_S, 0.0),
}
# the camera's own axis (x right, y down, z forward) about which each turn is right-handed
_TURN_AXES = {
    "left": (0.0, -1.0, 0.0),
    "right": (0.0, 1.0, 0.0),
    "up": (1.0, 0.0, 0.0),
    "down": (-1.0, 0.0, 0.0),
    "clockwise": (0.0, 0.0, 1.0),
    "counterclockwise": (0.0, 0.0, -1.0),
}


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
        intrinsics: normalised (fx/W, fy/H, cx/W, cy/H) for all frames or for each; None for the default camera
            of a 16:9 picture (`default_intrinsics`).

    Raises:
        ValueError: the moves bring the camera nearer than MIN_DISTANCE to the subject, or an argument is out of
            range.
    """
    if frames < 1:
        raise ValueError(f"frames {frames}: expected 1 or more")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps {fps}: expected a number above 0")
    times = torch.arange(frames, dtype=torch.float64) / fps
    azimuth, elevation, distance = _spherical(moves, times)
    _refuse_collision(moves, float(times[-1]))
    zero = torch.zeros_like(azimuth)
    yaw, pitch = turn(torch.stack((zero, -azimuth, zero), dim=-1)), turn(torch.stack((-elevation, zero, zero), dim=-1))
    looking_at_subject = yaw @ pitch
    centre = -distance[:, None] * looking_at_subject[:, :, 2]
    centre[:, 2] += START_DISTANCE
    c2w = assemble(looking_at_subject @ _own_turns(moves, times), centre)
    return CameraTrack(c2w, _per_frame(intrinsics, frames), times, scale="relative")


def _per_frame(
    intrinsics: Float[Tensor, "4"] | Float[Tensor, "F 4"] | Sequence[float] | None, frames: int
) -> Float64[Tensor, "F 4"]:
    given = default_intrinsics(_DEFAULT_ASPECT) if intrinsics is None else intrinsics
    rows = torch.as_tensor(given, dtype=torch.float64)
    if rows.shape not in {(4,), (frames, 4)}:
        raise ValueError(f"intrinsics {list(rows.shape)}: expected [4] or [{frames}, 4], normalised fx, fy, cx, cy")
    return rows.expand(frames, 4).clone()


def _orbit_rates(move: Move) -> tuple[float, float, float]:
    """Azimuth (deg/s), elevation (deg/s) and distance (units/s) rates of a move."""
    diagonal = split_diagonal(move.direction)
    if diagonal is None:
        rates = _ORBIT_RATES[move.direction]
    else:
        side, height, angle_deg = diagonal
        sideways, upwards = math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))
        rates = (_SIGN[side] * sideways * AZIMUTH_DEG_PER_S, _SIGN[height] * upwards * ELEVATION_DEG_PER_S, 0.0)
    return rates[0] * move.speed, rates[1] * move.speed, rates[2] * move.speed


def _turn_rates(move: Move) -> tuple[float, float, float]:
    """Angular velocity (deg/s) about the camera's own x, y and z axis. A stated angle per second is not sped up."""
    split = split_turn(move.rotate)
    if split is None:
        return 0.0, 0.0, 0.0
    axis, stated = split
    rate = TURN_DEG_PER_S * move.speed if stated is None else stated
    x, y, z = _TURN_AXES[axis]
    return x * rate, y * rate, z * rate


def _table(rows: list[tuple[float, ...]], columns: int) -> Float64[Tensor, "M columns"]:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, columns)


def _spherical(
    moves: Sequence[Move], times: Float64[Tensor, "F"]
) -> tuple[Float64[Tensor, "F"], Float64[Tensor, "F"], Float64[Tensor, "F"]]:
    """Azimuth (rad, positive to the right), elevation (rad, positive up) and distance to the subject at `times`."""
    spans = _table([(move.start, move.end) for move in moves], 2)
    rates = _table([_orbit_rates(move) for move in moves], 3)
    spent = (torch.minimum(times[:, None], spans[:, 1]) - spans[:, 0]).clamp(min=0)
    azimuth, elevation, distance = (spent @ rates).unbind(-1)
    return azimuth.deg2rad(), elevation.deg2rad(), START_DISTANCE + distance


def _joints(moves: Sequence[Move], last: float) -> Float64[Tensor, "J"]:
    """0, `last`, and the times between them at which a move starts or ends: rates are constant from one to the next."""
    joints = {0.0, last} | {time for move in moves for time in (move.start, move.end) if 0 < time < last}
    return torch.tensor(sorted(joints), dtype=torch.float64)


def _refuse_collision(moves: Sequence[Move], last: float) -> None:
    """The distance is linear between joints, so its smallest value up to the last frame is at one of them."""
    joints = _joints(moves, last)
    _, _, distance = _spherical(moves, joints)
    near = (distance < MIN_DISTANCE).nonzero()
    if len(near):
        first = int(near[0])
        raise ValueError(
            f"the moves bring the camera to {float(distance[first]):.3g} of the subject by {float(joints[first]):g} s, "
            f"nearer than {MIN_DISTANCE} (the start distance is {START_DISTANCE}): make the forward moves shorter or "
            "slower, or go backward first"
        )


def _own_turns(moves: Sequence[Move], times: Float64[Tensor, "F"]) -> Float64[Tensor, "F 3 3"]:
    """Rotation of the camera about its own axes at `times`: the product of one constant turn per joint interval."""
    joints = _joints(moves, float(times[-1]))
    rates = _table([_turn_rates(move) for move in moves], 3).deg2rad()
    spans = _table([(move.start, move.end) for move in moves], 2)
    active = ((spans[:, 0] <= joints[:, None]) & (joints[:, None] < spans[:, 1])).to(torch.float64)
    velocity = active @ rates
    steps = turn(velocity[:-1] * joints.diff()[:, None])
    at_joints = [torch.eye(3, dtype=torch.float64)]
    for step in steps:
        at_joints.append(at_joints[-1] @ step)
    interval = (torch.searchsorted(joints, times, right=True) - 1).clamp(min=0)
    since = (times - joints[interval])[:, None]
    return torch.stack(at_joints)[interval] @ turn(velocity[interval] * since)
