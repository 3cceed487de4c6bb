"""A camera track written as moves of the trajectory language: the inverse of the planner.

The track is cut, from its start, into the longest stretches that one set of even rates makes. Each stretch is read in
two ways and the one that reaches farther is taken: as an orbit (azimuth, elevation and distance about the point the rig
looks at) or as a truck (straight, along the rig's own axes); the camera's own turns and its lens come on top. Rates are
written with as few digits as the tolerance allows, and each stretch starts where the planner will then be, so that
errors do not add up. Greedy segments from a cone of slopes: Reumann, Witkam 1974 (strip), Bristol 1990 (swinging door).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from camera.language import Move
from camera.poses import rotation_vector, turn
from camera.rates import COLUMNS, MIN_DISTANCE, MIN_FOCAL, START_DISTANCE, TURN, ZOOM, rates_of
from camera.rig import look_at
from camera.spelling import MOST_RATES, spell
from camera.track import CameraTrack

# of the tolerance, per coordinate: a pose is then within it, since a few coordinates add up
_SHARE = 0.25
# the planner adds in another order; its limits are kept with this to spare
_MARGIN = 1e-12

_Rates = Float64[np.ndarray, "9"]
"""One number per column of `camera.rates`: rates, or what they amount to."""


@dataclass(frozen=True, eq=False)
class _Rig:
    """Where the planner's rig stands when it has made the moves written so far."""

    angles: tuple[float, float]
    """Azimuth and elevation (rad)."""
    distance: float
    zoom: float
    point: Float64[np.ndarray, "3"]
    own: Float64[np.ndarray, "3 3"]

    @property
    def axes(self) -> Float64[np.ndarray, "3 3"]:
        """Columns: right, down, forward."""
        return look_at(np.array(self.angles[0]), np.array(self.angles[1]))


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Frames that even rates make: the last of them, and the range of each rate that keeps all within the tolerance."""

    end: int
    low: _Rates
    high: _Rates


_Reading = Callable[[_Rig, Float64[np.ndarray, "4 4"], _Rates], "_Rates | None"]


def describe(track: CameraTrack, tolerance: float = 1e-9) -> list[Move]:
    """Moves from which `camera.trajectory.compile_at` makes the same poses and the same zoom at the track's frames.

    Between the frames the camera may go another way. Times are counted from the first frame, and the poses are those
    of `track.rebased()`; translations are taken as planner units, whatever their scale is. Even moves come back as one
    segment each, eased ones as many short ones.

    Args:
        track: any camera track; a lens that moves or changes its aspect has no words.
        tolerance: largest error of an entry of a pose and of the focal factor, above 0. A track read from a float32
            file needs about 1e-6.

    Raises:
        ValueError: the language cannot say it: the camera comes nearer than MIN_DISTANCE to the point it looks at, a
            rate is above the language's largest, the lens gets too wide or changes otherwise than by zooming.
    """
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"tolerance {tolerance}: expected a number above 0")
    poses = track.rebased().c2w.cpu().numpy()
    times = (track.times - track.times[0]).cpu().numpy()
    zoom = _zoom_factors(track, tolerance)
    rig = _Rig((0.0, 0.0), START_DISTANCE, 1.0, np.array((0.0, 0.0, START_DISTANCE)), np.eye(3))
    moves: list[Move] = []
    frame = 0
    while frame < len(times) - 1:
        stretch, written = _next_stretch(rig, frame, times, poses, zoom, tolerance)
        moves.extend(written)
        amount = sum((np.array(rates_of(move)) for move in written), np.zeros(COLUMNS))
        rig = _after(rig, amount * (times[stretch.end] - times[frame]))
        frame = stretch.end
    return moves or [Move(0.0, float(times[-1]) or 1.0, 1.0, "stay")]


def _zoom_factors(track: CameraTrack, tolerance: float) -> Float64[np.ndarray, "F"]:
    lens = track.intrinsics.cpu().numpy()
    factors = lens[:, :2] / lens[0, :2]
    if np.ptp(factors, axis=1).max() > tolerance or np.ptp(lens[:, 2:], axis=0).max() > tolerance:
        raise ValueError(
            "the lens of the track changes its aspect or its centre, which no tag can say: only the focal length, fx "
            f"and fy by the same factor to {tolerance:g}, can be written (<zoom>)"
        )
    if factors[:, 0].min() < MIN_FOCAL:
        raise ValueError(f"the focal length falls to {factors.min():.3g} of the first; the language allows {MIN_FOCAL}")
    return factors[:, 0]


def _next_stretch(
    rig: _Rig,
    frame: int,
    times: Float64[np.ndarray, "F"],
    poses: Float64[np.ndarray, "F 4 4"],
    zoom: Float64[np.ndarray, "F"],
    tolerance: float,
) -> tuple[_Stretch, list[Move]]:
    """The longer of the two readings of the frames after `frame`, then the one with fewer moves, then the orbit."""
    found: list[tuple[_Stretch, list[Move]]] = []
    for reading in (_as_orbit, _as_truck):
        stretch = _reach(reading, rig, frame, times, poses, zoom, tolerance)
        if stretch is not None:
            span = float(times[frame]), float(times[stretch.end])
            found.append((stretch, spell(span, stretch.low, stretch.high)))
    if not found:
        raise ValueError(
            f"the camera at {times[frame + 1]:g} s cannot be written: it comes nearer than {MIN_DISTANCE} to the point "
            "it looks at, or moves, turns or zooms faster than the language's largest speed"
        )
    return min(found, key=lambda item: (-item[0].end, len(item[1])))


def _reach(
    reading: _Reading,
    rig: _Rig,
    frame: int,
    times: Float64[np.ndarray, "F"],
    poses: Float64[np.ndarray, "F 4 4"],
    zoom: Float64[np.ndarray, "F"],
    tolerance: float,
) -> _Stretch | None:
    """The longest stretch from `frame` on in one reading; None when it does not even reach the next frame.

    Each frame allows a range of slopes per coordinate; the stretch ends where they have none in common.
    """
    room = np.full(COLUMNS, tolerance * _SHARE)
    floor = np.full(COLUMNS, -np.inf)
    floor[2], floor[ZOOM] = MIN_DISTANCE - rig.distance + _MARGIN, MIN_FOCAL - rig.zoom + _MARGIN
    low, high, made = -MOST_RATES, MOST_RATES, np.zeros(COLUMNS)
    stretch = None
    for later in range(frame + 1, len(times)):
        amount = reading(rig, poses[later], made)
        if amount is None:
            break
        made = amount
        made[ZOOM] = zoom[later] - rig.zoom
        slack = room.copy()
        # an angle moves the camera by the distance times as much
        slack[:2] /= max(1.0, rig.distance + made[2])
        span = times[later] - times[frame]
        low = np.maximum(low, np.maximum(made - slack, floor) / span)
        high = np.minimum(high, (made + slack) / span)
        if (low > high).any():
            break
        stretch = _Stretch(later, low, high)
    return stretch


def _as_orbit(rig: _Rig, c2w: Float64[np.ndarray, "4 4"], made: _Rates) -> _Rates | None:
    """How far the rig goes to a pose round its point; near `made`, what it had made a frame before."""
    view = rig.point - c2w[:3, 3]
    distance = float(np.linalg.norm(view))
    if distance < MIN_DISTANCE:
        return None
    before = rig.angles[0] + made[0], rig.angles[1] + made[1]
    angles = _angles(view / distance, before)
    axes = look_at(np.array(angles[0]), np.array(angles[1]))
    amount = np.zeros(COLUMNS)
    amount[:3] = angles[0] - rig.angles[0], angles[1] - rig.angles[1], distance - rig.distance
    amount[TURN] = _own_turn(rig, axes, c2w, made[TURN])
    return amount


def _as_truck(rig: _Rig, c2w: Float64[np.ndarray, "4 4"], made: _Rates) -> _Rates | None:
    """How far the rig goes straight to a pose, along its own axes, with its point."""
    axes = rig.axes
    right, down, forward = axes.T @ (c2w[:3, 3] - rig.point) + (0.0, 0.0, rig.distance)
    if rig.distance - forward < MIN_DISTANCE:
        return None
    amount = np.zeros(COLUMNS)
    amount[2:5] = -forward, right, down
    amount[TURN] = _own_turn(rig, axes, c2w, made[TURN])
    return amount


def _angles(view: Float64[np.ndarray, "3"], before: tuple[float, float]) -> tuple[float, float]:
    """Azimuth and elevation of a unit optical axis; of all that fit, those nearest to the ones before.

    At a pole every azimuth fits; past it the elevation goes on above 90 degrees and the azimuth stays.
    """
    level = math.hypot(view[0], view[2])
    azimuth = math.atan2(-view[0], view[2]) if level > _MARGIN else before[0]
    elevation = math.atan2(view[1], level)
    fits = [(azimuth, elevation), (azimuth + math.pi, math.pi - elevation)]
    near = [(_wrapped(fit[0], before[0]), _wrapped(fit[1], before[1])) for fit in fits]
    return min(near, key=lambda fit: abs(fit[0] - before[0]) + abs(fit[1] - before[1]))


def _wrapped(angle: float, near: float) -> float:
    return angle + 2 * math.pi * round((near - angle) / (2 * math.pi))


def _own_turn(
    rig: _Rig, axes: Float64[np.ndarray, "3 3"], c2w: Float64[np.ndarray, "4 4"], before: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "3"]:
    """Rotation vector (rad) of the camera's own turn since the stretch began, nearest to the one a frame before."""
    vector = rotation_vector(torch.from_numpy(rig.own.T @ axes.T @ c2w[:3, :3])).numpy()
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return vector
    axis = vector / angle
    return axis * _wrapped(angle, float(before @ axis))


def _after(rig: _Rig, amount: _Rates) -> _Rig:
    """The rig when it has made an amount of an orbit or of a truck."""
    azimuth, elevation, distance, right, down = amount[:5].tolist()
    own = turn(torch.from_numpy(amount[TURN])).numpy()
    return _Rig(
        (rig.angles[0] + azimuth, rig.angles[1] + elevation),
        rig.distance + distance,
        rig.zoom + float(amount[ZOOM]),
        rig.point + rig.axes[:, :2] @ (right, down),
        rig.own @ own,
    )
