"""Scenes with known cameras by which the alignment is measured, and its errors: shared by bench and tests."""

import random
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor

from camera.alignment import align as align_paths
from camera.intrinsics import Size, default_intrinsics
from camera.language import parse
from camera.poses import invert, rotation_angle
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves
from tools.procedural_world.pair_points import PERFECT, PairNoise, RenderedPairs
from tools.procedural_world.rooms import build_world

_SEGMENT = (
    "<starttime>{}</starttime><endtime>{}</endtime><speed>low</speed><direction>{}</direction><rotate>{}</rotate>"
)
PATHS = {
    "arc": ((0, 5, "left", "stay"),),
    "dolly": ((0, 5, "forward", "stay"),),
    "pan": ((0, 5, "stay", "left"),),
    "corners": ((0, 2, "right", "stay"), (2, 3.5, "forward", "right"), (3.5, 5, "leftup45", "stay")),
}
"""Moves (start, end, direction, rotate) of 5 s at low speed: an orbit of 50 degrees about the subject, 0.5 subject
distances forward, a turn of 50 degrees in place, and a path that changes its way abruptly."""
SIZE: Size = (36, 64)
"""512 x 288 at stride 8."""
_SECONDS = 5.0
_HFOV_DEG = 60.0


class PathErrors(NamedTuple):
    """Of an estimated path, against the true one."""

    turn_deg: float
    """Mean error of the relative rotations of all pairs of frames, degrees."""
    worst_deg: float
    """The largest of them."""
    ate_share: float
    """Root mean square distance of the centres after the best similarity, as a share of the path's length; NaN for a
    path without one."""


def open_case(path: str, frames: int, noise: PairNoise = PERFECT, seed: int = 0, size: Size = SIZE) -> RenderedPairs:
    """The pairs of a room seen along one of PATHS; every seed is another room and other noise."""
    text = "A room; Camera: " + "<sep>".join(_SEGMENT.format(*move) for move in PATHS[path])
    lens = default_intrinsics(size[1] / size[0], _HFOV_DEG)
    track = compile_moves(parse(text), frames, (frames - 1) / _SECONDS, lens)
    world = build_world(random.Random(seed), track.c2w[:, :3, 3].numpy(), _HFOV_DEG)
    return RenderedPairs(world, track, size, noise, seed)


def all_pairs(frames: int, reach: int | None = None) -> list[tuple[int, int]]:
    """Ordered pairs of different frames, of those no more than `reach` apart where it is given."""
    return [(i, j) for i, j in permutations(range(frames), 2) if reach is None or abs(i - j) <= reach]


def path_errors(estimated: Tensor, track: CameraTrack) -> PathErrors:
    """Errors of poses c2w [F, 4, 4] in any world and unit."""
    true, estimated = track.c2w, estimated.double()
    first, second = torch.triu_indices(len(true), len(true), offset=1)
    turns = [(invert(poses[first]) @ poses[second])[:, :3, :3] for poses in (true, estimated)]
    angle = rotation_angle(turns[0].mT @ turns[1]).rad2deg()
    length = float(true[:, :3, 3].diff(dim=0).norm(dim=1).sum())
    moved = align_paths(estimated, true, "sim3").apply(estimated)
    distance = float((moved - true)[:, :3, 3].norm(dim=1).square().mean().sqrt())
    return PathErrors(float(angle.mean()), float(angle.max()), distance / length if length > 1e-6 else float("nan"))


def focal_error(focal_px: float, track: CameraTrack, width: int) -> float:
    """Error of a focal length in pixels of pictures of this width, as a share."""
    return abs(focal_px / (float(track.intrinsics[0, 0]) * width) - 1)
