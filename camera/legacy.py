"""The OmniCam-Wan fork's camera, faults and all: only to run files that were trained on it.

Source: Yangxiaoda1/OmniCam-Wan2 `wan_cache_camera_encoder_outputs.py` and `wan/modules/model.py` at b8f8f88 (facts of
its arithmetic). Its planner counts 8 poses a second, keeps the first 25, lays scipy's smoothing spline through the
three coordinates, and writes world-to-camera matrices in PyTorch3D axes, which its network then takes for
camera-to-world in OpenCV axes. So a move to the right reaches the network as a turn without any translation, and up
and down are exchanged. Nothing is re-based.
"""

import importlib.util
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from camera.conventions import from_opencv_c2w
from camera.language import Move
from camera.words import SPEEDS, split_diagonal

LEGACY_FPS = 8
MOST_POSES = 25
"""The fork's planner drops the rest: its videos stand still after 3.1 s of the trajectory."""
FEWEST_POSES = 4
"""Its cubic spline needs so many."""

_AZIMUTH, _ELEVATION, _RADIUS = 20.0, 15.0, 0.2
_DIAGONALS = {30.0: (0.5, 0.866), 45.0: (0.707, 0.707), 60.0: (0.866, 0.5)}
_SINGLE = {
    "left": (-_AZIMUTH, 0.0, 0.0),
    "right": (_AZIMUTH, 0.0, 0.0),
    "up": (0.0, -_ELEVATION, 0.0),
    "down": (0.0, _ELEVATION, 0.0),
    "forward": (0.0, 0.0, -_RADIUS),
    "backward": (0.0, 0.0, _RADIUS),
}
# camera-to-world in OpenCV axes, of the fork's constant
_ANCHOR = (
    (1.0, -8.6427e-07, 2.3283e-09, 1.4707e-09),
    (8.6069e-07, -9.9609e-01, -8.7158e-02, 8.7708e-02),
    (-7.7647e-08, 8.7159e-02, -9.9609e-01, 1.0029),
    (-2.6349e-15, 3.0323e-09, -6.1118e-09, 1.0),
)


def legacy_poses(moves: Sequence[Move], frames: int) -> Float64[Tensor, "{frames} 4 4"]:
    """What the fork's network is given as camera-to-world poses of `frames` video frames, for the same text.

    With fewer poses than frames the last is repeated; with more, some are left out.

    Args:
        moves: in the order in which they are written; the fork knows no others than those that follow each other.
        frames: of the video.

    Raises:
        ValueError: the fork's planner cannot make this trajectory, or scipy is not installed.
    """
    poses = _planner_poses(_coordinates(moves))
    count = len(poses)
    if frames > count:
        indices = torch.arange(frames).clamp(max=count - 1)
    else:
        indices = torch.linspace(0, count - 1, steps=frames).long()
    return poses[indices]


def _coordinates(moves: Sequence[Move]) -> Float64[np.ndarray, "T 3"]:
    """Azimuth (degrees), elevation (degrees, downward) and change of radius at each pose."""
    rows, last = [np.zeros(3)], 0.0
    for number, move in enumerate(moves, 1):
        still, count = int(LEGACY_FPS * (move.start - last)), int(LEGACY_FPS * (move.end - move.start))
        if still < 0 or count < 1:
            raise ValueError(
                f"segment {number}: starts before the one before it ends, or is shorter than 1/{LEGACY_FPS} s: the "
                "fork's planner cannot make it; use an adapter of another geometry"
            )
        rows += [rows[-1]] * still
        rows += [rows[-1] + np.array(_rates(move)) / LEGACY_FPS * (step + 1) for step in range(count)]
        last = move.end
    return np.round(np.stack(rows), 3)[:MOST_POSES]


def _rates(move: Move) -> tuple[float, float, float]:
    """Per second; an unknown word stands still, as in the fork, and every speed but low is high."""
    diagonal = split_diagonal(move.direction)
    if diagonal is not None:
        side, height, angle = diagonal
        across, along = _DIAGONALS.get(angle, (0.0, 0.0))
        rates = (
            across * _AZIMUTH * (1 if side == "right" else -1),
            along * _ELEVATION * (1 if height == "down" else -1),
            0.0,
        )
    else:
        rates = _SINGLE.get(move.direction, (0.0, 0.0, 0.0))
    factor = SPEEDS["low"] if move.speed == SPEEDS["low"] else 1.0
    return (rates[0] * factor, rates[1] * factor, rates[2] * factor)


def _planner_poses(coordinates: Float64[np.ndarray, "T 3"]) -> Float64[Tensor, "T 4 4"]:
    azimuth, elevation, radius = (torch.from_numpy(_smoothed(column)) for column in coordinates.T)
    anchor = torch.tensor(_ANCHOR, dtype=torch.float64)
    pose = anchor.repeat(len(azimuth), 1, 1)
    pose[:, 2, 3] += radius * anchor[2, 3]
    c2w = _about(1, azimuth.deg2rad()) @ _about(0, elevation.deg2rad()) @ pose
    # the constant's last row is rigid only to rounding, so the general inverse, as there
    return torch.linalg.inv(from_opencv_c2w(_closed(c2w), "pytorch3d_c2w"))


def _closed(c2w: Float64[Tensor, "T 4 4"]) -> Float64[Tensor, "T 4 4"]:
    """The matrices with the last row 0 0 0 1."""
    closed = c2w.clone()
    closed[:, 3] = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    return closed


def _about(axis: int, angle: Float64[Tensor, "T"]) -> Float64[Tensor, "T 4 4"]:
    """Right-handed turns about the x (0) or the y axis (1) of the world."""
    turned = torch.eye(4, dtype=torch.float64).repeat(len(angle), 1, 1)
    first, second = (1, 2) if axis == 0 else (2, 0)
    turned[:, first, first] = turned[:, second, second] = angle.cos()
    turned[:, second, first] = angle.sin()
    turned[:, first, second] = -angle.sin()
    return turned


def _smoothed(values: Float64[np.ndarray, "T"]) -> Float64[np.ndarray, "T"]:
    """scipy's smoothing spline at its default smoothness, which for so few values is one cubic, and the ends put back.

    Raises:
        ValueError: too few values, or scipy is not installed.
    """
    if len(values) < FEWEST_POSES:
        raise ValueError(
            f"the trajectory has {len(values)} poses at {LEGACY_FPS} a second; the fork's planner needs {FEWEST_POSES}"
        )
    if importlib.util.find_spec("scipy") is None:
        raise ValueError("the fork's geometry needs the package scipy, for its spline; pip install scipy")
    interpolate = importlib.import_module("scipy.interpolate")
    places = np.linspace(0, 1, len(values))
    smooth = np.asarray(interpolate.UnivariateSpline(places, values, k=3)(places), dtype=np.float64)
    smooth[0], smooth[-1] = values[0], values[-1]
    return smooth
