"""Corners followed from frame to frame of a video: the Lucas-Kanade tracker on pyramids, in OpenCV.

Consecutive frames of a video differ little, so following corners is both denser and finer (a tenth of a pixel) than
matching descriptors of each frame anew. Bouguet, "Pyramidal implementation of the Lucas Kanade feature tracker", 2000;
corners: Shi, Tomasi 1994; a corner that does not come back when followed backward is dropped (Kalal et al. 2010).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from camera.intrinsics import Size
from common.progress import progress

LONG_SIDE = 640
"""Pixels of the long side at which corners are followed, at most."""
_SMALL_SIDE = 320
_MOST_CORNERS = 1000
_WINDOW = 11
_LEVELS = 4
_ROUND_TRIP_PX = 0.3
_QUALITY = 0.003
_SPACING = 90
_FEW = 50
_FLOW = {
    "winSize": (_WINDOW, _WINDOW),
    "maxLevel": _LEVELS,
    "criteria": (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 0.005),
}


@dataclass(frozen=True, eq=False)
class PointTracks:
    """Where each of many points of the scene is seen; one entry of the tuples for each of F frames."""

    numbers: tuple[Int64[np.ndarray, "N"], ...]
    """Which points a frame sees, increasing; a point keeps its number."""
    xy: tuple[Float32[np.ndarray, "N 2"], ...]
    """Where, in pixels of `size`; the centre of pixel i is at i + 0.5."""
    size: Size
    """(height, width) of the pictures that were looked at, which may be scaled."""

    def __len__(self) -> int:
        return len(self.numbers)

    def shared(self, first: int, second: int) -> tuple[Int64[np.ndarray, "S"], Int64[np.ndarray, "S"]]:
        """Indices, in each of two frames, of the points that both see."""
        _, one, two = np.intersect1d(self.numbers[first], self.numbers[second], True, return_indices=True)
        return one, two

    def seen_in_both(self, first: int, second: int) -> tuple[Float32[np.ndarray, "S 2"], Float32[np.ndarray, "S 2"]]:
        """Places of the points that both frames see, in the first and in the second."""
        one, two = self.shared(first, second)
        return self.xy[first][one], self.xy[second][two]

    def displacement(self, first: int, second: int) -> float:
        """Median way of the points that both frames see, as a share of the picture's diagonal; 0 without any."""
        here, there = self.seen_in_both(first, second)
        way = np.linalg.norm(there - here, axis=1)
        return float(np.median(way)) / float(np.hypot(*self.size)) if len(way) else 0.0


def track_points(frames: UInt8[np.ndarray, "F H W 3"]) -> PointTracks:
    """Follow up to _MOST_CORNERS corners through the frames; where they get lost or leave, others begin."""
    size = working_size(frames.shape[1:3])
    numbers, places = [], []
    following, ids, count = np.zeros((0, 2), np.float32), np.zeros(0, np.int64), 0
    before: np.ndarray | None = None
    for frame in progress(frames, "following points", "frame", disable=len(frames) < 100):
        grey = grey_picture(frame, size)
        if before is not None and len(following):
            there, kept = _followed(before, grey, following)
            following, ids = there[kept], ids[kept]
        fresh = _corners(grey, following)
        following = np.concatenate((following, fresh))
        ids = np.concatenate((ids, count + np.arange(len(fresh))))
        count += len(fresh)
        numbers.append(ids)
        places.append(following + np.float32(0.5))
        before = grey
    return PointTracks(tuple(numbers), tuple(places), size)


def working_size(source: Sequence[int]) -> Size:
    """(height, width) at which a picture of that size is looked at: large ones smaller, small ones twice as large."""
    long_side = max(source)
    scale = min(1.0, LONG_SIDE / long_side) if long_side >= _SMALL_SIDE else 2.0
    return max(1, round(source[0] * scale)), max(1, round(source[1] * scale))


def grey_picture(frame: UInt8[np.ndarray, "H W 3"], size: Size) -> UInt8[np.ndarray, "h w"]:
    """A frame in grey at a size (height, width)."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    if grey.shape == size:
        return grey
    way = cv2.INTER_AREA if size[0] < grey.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(grey, size[::-1], interpolation=way)


def motion(tracks: PointTracks) -> Float64[np.ndarray, "F"]:
    """Way of the picture since the first frame, step by step, as a share of its diagonal (0 at the first)."""
    steps = [tracks.displacement(index, index + 1) for index in range(len(tracks) - 1)]
    return np.concatenate(((0.0,), np.cumsum(steps)))


def _followed(
    before: UInt8[np.ndarray, "h w"], after: UInt8[np.ndarray, "h w"], places: Float32[np.ndarray, "N 2"]
) -> tuple[Float32[np.ndarray, "N 2"], np.ndarray]:
    """Where the points went, and which of them to believe."""
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, places, np.empty(0), **_FLOW)
    back, again, _ = cv2.calcOpticalFlowPyrLK(after, before, there, np.empty(0), **_FLOW)
    margin, (height, width) = _WINDOW // 2, after.shape
    inside = ((there >= margin) & (there <= (width - 1 - margin, height - 1 - margin))).all(axis=1)
    returned = np.linalg.norm(back - places, axis=1) < _ROUND_TRIP_PX
    return there, (found[:, 0] > 0) & (again[:, 0] > 0) & returned & inside


def _corners(grey: UInt8[np.ndarray, "h w"], taken: Float32[np.ndarray, "N 2"]) -> Float32[np.ndarray, "M 2"]:
    """New corners, away from those that are followed already."""
    most = _MOST_CORNERS - len(taken)
    apart = max(4, max(grey.shape) // _SPACING)
    free = np.full(grey.shape, 255, np.uint8)
    for x, y in taken.round().astype(int).tolist():
        cv2.circle(free, (x, y), apart, 0, -1)
    found = cv2.goodFeaturesToTrack(grey, most, _QUALITY, apart, mask=free, blockSize=5) if most > 0 else None
    return np.zeros((0, 2), np.float32) if found is None else found[:, 0].astype(np.float32)


def parallax(tracks: PointTracks, first: int, second: int) -> float:
    """How much the scene's points moved against each other between two frames, as a share of the picture's diagonal.

    The upper quartile of the distances to the homography that fits best: a camera that only turns or zooms, and one
    that sees a single plane, moves all points by one homography (Hartley, Zisserman, "Multiple View Geometry", 13).
    0 where the frames share too few points to tell.
    """
    here, there = tracks.seen_in_both(first, second)
    if len(here) < _FEW:
        return 0.0
    matrix, _ = cv2.findHomography(here, there, cv2.RANSAC, _ROUND_TRIP_PX * 4, maxIters=500)
    if matrix is None:
        return 0.0
    expected = cv2.perspectiveTransform(here[:, None].astype(np.float64), matrix)[:, 0]
    away = np.linalg.norm(expected - there, axis=1)
    return float(np.quantile(away, 0.75)) / float(np.hypot(*tracks.size))


def widest_pair(tracks: PointTracks, chosen: Sequence[int]) -> tuple[int, int, float]:
    """The two of the chosen frames with the most parallax (indices of `chosen`), and how much it is."""
    steps = {1, len(chosen) - 1, *(max(1, round((len(chosen) - 1) * share)) for share in (0.25, 0.5, 0.75))}
    pairs = [
        (first, first + step) for step in sorted(steps) for first in range(0, len(chosen) - step, max(1, step // 2))
    ]
    found = [(parallax(tracks, chosen[first], chosen[second]), first, second) for first, second in pairs]
    most, first, second = max(found, default=(0.0, 0, 0))
    return first, second, most
