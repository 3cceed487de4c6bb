"""The camera of a video whose first frame's depth is known: features followed from frame 0, then a pose by PnP.

Corners of frame 0 are followed from frame to frame (Lucas and Kanade 1981, pyramidal; forward and backward must agree),
corrected against frame 0 itself, and lifted by the depth of frame 0; each frame's pose is the one under which most of
them fall where they were found (RANSAC, then Levenberg-Marquardt on the inliers). A frame without a trustworthy pose
keeps the one before it and counts as failed: dropping such frames would flatter the worst videos most.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor

ENLARGE = 3
"""Pictures are enlarged by this before anything is looked for; small ones have corners of few pixels."""
CORNERS = 800
BACKWARD_PX = 1.0
"""Largest disagreement of forward and backward tracking, in pixels of the enlarged picture."""
INLIER_PX = 3.0
LEAST_INLIERS = 12
LEAST_SHARE = 0.3
"""Of the points that are still followed, this many must agree on a pose."""
JUMP_DEG, JUMP_UNITS = 6.0, 0.12
"""A camera that turns or moves farther from one frame to the next was not tracked but lost."""
EDGE = 0.03
"""Corners where the depth around varies by more than this share lie on an outline, which slides over the background."""
_WINDOW: dict[str, Any] = {"winSize": (21, 21), "maxLevel": 3, "criteria": (3, 30, 0.01)}


@dataclass(frozen=True)
class TrackedCamera:
    """What was found in a video of F frames."""

    c2w: Float[Tensor, "F 4 4"]
    """float64, relative to frame 0, OpenCV axes, in the unit of the depth."""
    found: Bool[Tensor, "F"]
    """False where the pose is only held from the frame before."""
    inliers: Int[Tensor, "F"]
    """Points that agree on the pose."""


def track_camera(
    frames: UInt8[np.ndarray, "F H W 3"], depth: Float32[np.ndarray, "H W"], intrinsics: Float[Tensor, "F 4"]
) -> TrackedCamera:
    """Poses of all frames relative to the first.

    Args:
        frames: RGB.
        depth: z-depth of frame 0 through the pixel centres, above 0.
        intrinsics: normalised (fx/W, fy/H, cx/W, cy/H) of every frame.
    """
    grey = [_enlarged(frame) for frame in frames]
    size = np.array(grey[0].shape[::-1], dtype=np.float64)
    matrices = [_k_px(row, size) for row in intrinsics.double().numpy()]
    corners = _corners(grey[0], depth)
    points = _lift(corners, depth, matrices[0])
    poses, found, inliers = [np.eye(4)], [True], [len(corners)]
    alive, places = np.ones(len(corners), dtype=bool), corners.copy()
    for index in range(1, len(grey)):
        alive, places = _follow(grey, index, corners, places, alive)
        pose, count = _pose(points[alive], places[alive], matrices[index], np.linalg.inv(poses[-1]))
        good = pose is not None and _near(pose, poses[-1], index - _last(found))
        poses.append(pose if pose is not None and good else poses[-1])
        found.append(good)
        inliers.append(count)
    return TrackedCamera(torch.from_numpy(np.stack(poses)), torch.tensor(found), torch.tensor(inliers))


def _enlarged(frame: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)


def _k_px(row: np.ndarray, size: np.ndarray) -> np.ndarray:
    """3x3 matrix for OpenCV, which puts pixel centres at whole numbers."""
    fx, fy, cx, cy = row
    return np.array([[fx * size[0], 0, cx * size[0] - 0.5], [0, fy * size[1], cy * size[1] - 0.5], [0, 0, 1]])


def _corners(grey: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """[N, 2] corners of the enlarged first frame that do not lie on an outline of something."""
    kernel = np.ones((3, 3), np.uint8)
    step = cv2.dilate(depth, kernel) / cv2.erode(depth, kernel) - 1
    inside = cv2.resize((step < EDGE * 3).astype(np.uint8), grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
    found = cv2.goodFeaturesToTrack(grey, CORNERS, 0.002, 2 * ENLARGE, mask=inside * 255, blockSize=2 * ENLARGE + 1)
    return np.zeros((0, 2), np.float32) if found is None else found.reshape(-1, 2).astype(np.float32)


def _lift(corners: np.ndarray, depth: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """[N, 3] points of the first camera's space."""
    if len(corners) == 0:
        return np.zeros((0, 3))
    # centres of the small pixels, in whole numbers, for the centres of the enlarged ones
    small = (corners + 0.5) / ENLARGE - 0.5
    inverse = cv2.remap(
        1 / depth, small[None, :, 0], small[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    rays = np.column_stack([corners, np.ones(len(corners))]) @ np.linalg.inv(matrix).T
    return rays / inverse[0][:, None]


def _follow(
    grey: list[np.ndarray], index: int, corners: np.ndarray, places: np.ndarray, alive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places in frame `index` and which points are still followed; a point once lost stays lost."""
    rows = alive.nonzero()[0]
    if len(rows) == 0:
        return alive, places
    moved, good = _tracked(grey[index - 1], grey[index], places[rows], None)
    # drift adds up from frame to frame; where frame 0 still matches, its own answer is the better one
    direct, sure = _tracked(grey[0], grey[index], corners[rows], moved)
    better = sure & good & (np.abs(direct - moved).max(axis=1) < 2.0)
    moved[better] = direct[better]
    height, width = grey[0].shape
    good &= ((moved >= 0) & (moved <= (width - 1, height - 1))).all(axis=1)
    alive, places = alive.copy(), places.copy()
    places[rows], alive[rows] = moved, good
    return alive, places


def _tracked(
    before: np.ndarray, after: np.ndarray, points: np.ndarray, guess: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Where points went, and whether the way back leads to where they came from."""
    flags = 0 if guess is None else cv2.OPTFLOW_USE_INITIAL_FLOW
    origin = points.reshape(-1, 1, 2)
    # OpenCV writes its answer over the guess
    start = (points if guess is None else guess).reshape(-1, 1, 2).copy()
    forward, there, _ = cv2.calcOpticalFlowPyrLK(before, after, origin, start, flags=flags, **_WINDOW)
    forward = forward.reshape(-1, 1, 2)
    back, again, _ = cv2.calcOpticalFlowPyrLK(after, before, forward, origin.copy(), flags=flags, **_WINDOW)
    gap = np.linalg.norm(back.reshape(-1, 2) - points, axis=1)
    good = (there.ravel() == 1) & (again.ravel() == 1) & (gap < BACKWARD_PX)
    return forward.reshape(-1, 2), good


def _pose(
    points: np.ndarray, places: np.ndarray, matrix: np.ndarray, guess_w2c: np.ndarray
) -> tuple[np.ndarray | None, int]:
    """c2w under which most points fall on their places, and how many do."""
    if len(points) < LEAST_INLIERS:
        return None, 0
    rotation, translation = cv2.Rodrigues(guess_w2c[:3, :3])[0], guess_w2c[:3, 3:].copy()
    ok, rotation, translation, chosen = cv2.solvePnPRansac(
        points, places, matrix, None, rotation, translation, True, 300, INLIER_PX, 0.999, flags=cv2.SOLVEPNP_ITERATIVE
    )
    count = 0 if chosen is None else len(chosen)
    if not ok or count < max(LEAST_INLIERS, LEAST_SHARE * len(points)):
        return None, count
    rows = chosen.ravel().astype(np.intp)
    rotation, translation = cv2.solvePnPRefineLM(points[rows], places[rows], matrix, None, rotation, translation)
    w2c = np.eye(4)
    w2c[:3, :3], w2c[:3, 3:] = cv2.Rodrigues(rotation)[0], translation
    return (np.linalg.inv(w2c), count) if np.isfinite(w2c).all() else (None, count)


def _near(pose: np.ndarray, before: np.ndarray, frames: int) -> bool:
    relative = np.linalg.inv(before) @ pose
    angle = np.degrees(np.linalg.norm(cv2.Rodrigues(relative[:3, :3])[0]))
    return bool(angle < JUMP_DEG * frames and np.linalg.norm(relative[:3, 3]) < JUMP_UNITS * frames)


def _last(found: list[bool]) -> int:
    return max(index for index, good in enumerate(found) if good)
