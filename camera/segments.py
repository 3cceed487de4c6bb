"""Did the camera do, segment by segment, what it was told? A measured track against the commanded one.

For each timed move: have the commanded components the right sign, how much of the motion was made, when did it start
and stop. The commanded motion is read off the compiled track, not off the words, so every tag of the language counts.

Motion here is the sum of the steps between frames, each along and about the camera's own axes at that time: six
numbers (pitch up, yaw right, roll clockwise in degrees; x right, y down, z forward in the track's unit) that do not
wrap on a full circle, plus zoom, the binary logarithm of the focal length's growth (1 is twice as long).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.language import Move
from camera.poses import rotation_vector
from camera.track import CameraTrack

COMPONENTS = ("pitch", "yaw", "roll", "x", "y", "z", "zoom")
SIGN_SHARE = 0.3
"""A component is commanded when it is above this share of the largest of its kind (rotation, translation)."""
MIN_MOTION = (*[0.1] * 3, *[1e-3] * 3, 0.01)
"""Degrees, scene depths and powers of two below which nothing is commanded."""
_KINDS = {"rotation": slice(0, 3), "translation": slice(3, 6), "zoom": slice(6, 7)}
_STEP_SHARE = 0.3
_LEAST_STEPS = 4


@dataclass(frozen=True)
class SegmentCheck:
    """What became of one move. A number is NaN where the command gives nothing to measure."""

    number: int
    """From 1, in the order of the text."""
    start: float
    """Seconds, cut to the track."""
    end: float
    commanded: dict[str, float]
    """The commanded motion by COMPONENTS: degrees, units of the track, powers of two."""
    measured: dict[str, float]
    signs: dict[str, bool]
    """For each commanded component: did the camera go the right way?"""
    rotation_gain: float
    """Measured motion projected on the commanded, over the commanded: 1 as told, 0 none, below 0 the wrong way."""
    translation_gain: float
    joint_gain: float
    """Rotation (radians), translation (scene depths) and zoom (natural logarithm) as one vector."""
    joint_speed: float
    """Measured motion along the commanded direction, per second, in the joint unit (radians, scene depths)."""
    start_error: float
    """Frames from the commanded to the measured start; above 0 is late."""
    stop_error: float
    """Frames from the commanded to the measured stop; above 0 is late."""

    @property
    def sign_accuracy(self) -> float:
        """Share of the commanded components with the right sign, 0 to 1; NaN when none is commanded."""
        return sum(self.signs.values()) / len(self.signs) if self.signs else math.nan


def check_segments(
    moves: Sequence[Move], commanded: CameraTrack, measured: CameraTrack, scene_depth: float = 1.0
) -> list[SegmentCheck]:
    """Check every move that starts within the track, in the order of `moves`.

    A move is checked by all of the motion in its time, so moves that overlap are judged by what they make together.

    Args:
        moves: what was compiled; only their times are used.
        commanded: `camera.trajectory.compile(moves, ...)`.
        measured: the track estimated from the video, at least as long, in the same unit: scale an estimate of unknown
            scale first, once for the whole clip (`camera.alignment.fitted_scale`).
        scene_depth: distance to the scene in the unit of the tracks, above 0; joins turning and moving.

    Raises:
        ValueError: the measured track does not cover the commanded one, or a track has fewer than 2 frames.
    """
    if not (math.isfinite(scene_depth) and scene_depth > 0):
        raise ValueError(f"scene_depth {scene_depth}: expected a finite number above 0")
    if min(len(commanded), len(measured)) < 2:
        raise ValueError(f"tracks of {len(commanded)} and {len(measured)} frames: expected 2 or more")
    step = float(commanded.times.diff().min())
    if measured.times[0] > commanded.times[0] + step / 2 or measured.times[-1] < commanded.times[-1] - step / 2:
        raise ValueError(
            f"the measured track covers {float(measured.times[0]):g} to {float(measured.times[-1]):g} s, the commanded "
            f"one {float(commanded.times[0]):g} to {float(commanded.times[-1]):g} s: give both the same times"
        )
    last = float(commanded.times[-1])
    shown = [(number, move) for number, move in enumerate(moves, start=1) if move.start < last]
    return [_check(number, move, commanded, measured, scene_depth) for number, move in shown]


def speed_ratio(fast: Sequence[SegmentCheck], slow: Sequence[SegmentCheck]) -> float:
    """How much faster the segments of `fast` were than those of `slow`; "high" over "low" should give 2.

    The ratio of the mean joint speeds, pooled over all clips: a quotient of sums, so that one slow clip does not rule
    as it would in a mean of quotients. NaN when either has nothing to measure or `slow` did not move as told.
    """
    means = []
    for checks in (fast, slow):
        speeds = [check.joint_speed for check in checks if not math.isnan(check.joint_speed)]
        means.append(sum(speeds) / len(speeds) if speeds else math.nan)
    return means[0] / means[1] if means[1] > 0 else math.nan


def motion_steps(track: CameraTrack) -> Float64[Tensor, "G 7"]:
    """Motion between each frame and the next in the earlier camera's axes, as COMPONENTS; F = G + 1 frames."""
    rotation = track.c2w[:, :3, :3]
    turned_deg = rotation_vector(rotation[:-1].mT @ rotation[1:]).rad2deg()
    moved = (rotation[:-1].mT @ track.c2w[:, :3, 3].diff(dim=0)[..., None])[..., 0]
    zoomed = track.intrinsics[:, :1].log2().diff(dim=0)
    return torch.cat((turned_deg, moved, zoomed), dim=1)


def _check(number: int, move: Move, commanded: CameraTrack, measured: CameraTrack, scene_depth: float) -> SegmentCheck:
    start, end = move.start, min(move.end, float(commanded.times[-1]))
    inner = [time for time in commanded.times.tolist() if start < time < end]
    times = [start, *inner, end]
    told, made = (motion_steps(track.at(times)).sum(dim=0) for track in (commanded, measured))
    unit = _joint_unit(scene_depth)
    command, answer = told * unit, made * unit
    signs = {COMPONENTS[index]: bool(told[index] * made[index] > 0) for index in _commanded(told, scene_depth)}
    strength = float(command.norm())
    starts, stops = (
        _onset_error(commanded, measured, command, unit, window) if signs else math.nan
        for window in _windows(commanded.times, start, end)
    )
    return SegmentCheck(
        number=number,
        start=start,
        end=end,
        commanded=dict(zip(COMPONENTS, told.tolist(), strict=True)),
        measured=dict(zip(COMPONENTS, made.tolist(), strict=True)),
        signs=signs,
        rotation_gain=_gain(command, answer, signs, "rotation"),
        translation_gain=_gain(command, answer, signs, "translation"),
        joint_gain=float(answer @ command) / strength**2 if signs else math.nan,
        joint_speed=float(answer @ command) / strength / (end - start) if signs else math.nan,
        start_error=starts,
        stop_error=stops,
    )


def _joint_unit(scene_depth: float) -> Float64[Tensor, "7"]:
    """Factors that bring COMPONENTS to radians, scene depths and natural logarithms."""
    degree, depth = math.radians(1), 1 / scene_depth
    return torch.tensor([degree, degree, degree, depth, depth, depth, math.log(2)], dtype=torch.float64)


def _commanded(told: Float64[Tensor, "7"], scene_depth: float) -> list[int]:
    """Indices of the components that the command is about."""
    least = torch.tensor(MIN_MOTION, dtype=torch.float64)
    least[_KINDS["translation"]] *= scene_depth
    for kind in _KINDS.values():
        least[kind] = torch.maximum(least[kind], SIGN_SHARE * told[kind].abs().max())
    return (told.abs() >= least).nonzero()[:, 0].tolist()


def _gain(command: Float64[Tensor, "7"], answer: Float64[Tensor, "7"], signs: dict[str, bool], kind: str) -> float:
    """Projection of the answer on the command within one kind; NaN when that kind is not commanded."""
    part = _KINDS[kind]
    if not set(COMPONENTS[part]) & set(signs):
        return math.nan
    return float(answer[part] @ command[part]) / float(command[part] @ command[part])


def _windows(times: Float64[Tensor, "F"], start: float, end: float) -> tuple[slice, slice]:
    """Steps between frames in which to look for the start and for the stop: half a segment to either side."""
    half, middle = (end - start) / 2, (start + end) / 2
    centres = (times[:-1] + times[1:]) / 2
    first, mid, last = torch.searchsorted(
        centres, torch.tensor([start - half, middle, end + half], dtype=torch.float64)
    ).tolist()
    return slice(first, mid), slice(mid, last)


def _onset_error(
    commanded: CameraTrack,
    measured: CameraTrack,
    command: Float64[Tensor, "7"],
    unit: Float64[Tensor, "7"],
    window: slice,
) -> float:
    """Frames between the best-fitting steps in the commanded and in the measured speed along the command.

    NaN when there is no such step: the move begins with the video, goes on as before, or the measured speed changes
    the other way or by less than a share of the commanded change.
    """
    direction = command / command.norm()
    speeds = [(motion_steps(track.at(commanded.times))[window] * unit) @ direction for track in (commanded, measured)]
    if len(speeds[0]) < _LEAST_STEPS:
        return math.nan
    (told, told_height), (made, made_height) = (_best_step(speed) for speed in speeds)
    if abs(told_height) < _STEP_SHARE * float(speeds[0].abs().max()) or told_height == 0:
        return math.nan
    return float(made - told) if made_height / told_height > _STEP_SHARE else math.nan


def _best_step(speed: Float64[Tensor, "N"]) -> tuple[int, float]:
    """Number of samples before the step that fits `speed` best (least squares, one mean on each side), and its height.

    The step that leaves the smallest squared error is the one with the largest sum of count * mean^2 of both sides.
    """
    count = torch.arange(1, len(speed), dtype=torch.float64)
    sums = speed.cumsum(dim=0)
    before, after = sums[:-1] / count, (sums[-1] - sums[:-1]) / (len(speed) - count)
    best = int((count * before.square() + (len(speed) - count) * after.square()).argmax())
    return best + 1, float(after[best] - before[best])
