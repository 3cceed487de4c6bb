"""Which frames of a video are aligned with each other; the others are then placed among them."""

import math
from itertools import pairwise

import cv2
import numpy as np

KEYFRAMES = 17
"""Of a video of up to 81 frames that moves little, ..."""
MOST_KEYFRAMES = 21
"""... and of one that moves much."""
REACH = 10
"""In a longer video keyframes are paired with this many before and after them; up to MOST_KEYFRAMES all are."""
_FRAMES_PER_KEYFRAME = 5
_WIDTH = 128
_MUCH = 1.0
"""A way of the picture's points, in picture widths over KEYFRAMES keyframes, by which a video moves much."""
_EVEN_SHARE = 0.3
"""Share of the keyframes that are spread by time and not by motion, so that no gap gets long."""
_STILL = 1e-3
"""Of the picture's width, from frame to frame: less is noise of the camera."""

_LEAST_ROWS = 32
"""Of the small copies; some OpenCV versions end the process over the flow of flatter ones."""


def image_motion(frames: np.ndarray) -> np.ndarray:
    """How far the picture moves from each frame to the next: [F - 1] float64, in picture widths.

    The median over the picture of dense inverse search flow (Kroeger et al. 2016, OpenCV's) between small grey copies;
    the median, so that things that move on their own count little.

    Args:
        frames: uint8 RGB [F, H, W, 3].
    """
    height = max(_LEAST_ROWS, round(_WIDTH * frames.shape[1] / frames.shape[2]))
    small = [cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (_WIDTH, height), interpolation=cv2.INTER_AREA)
             for frame in frames]  # fmt: skip
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    ways = [np.median(np.linalg.norm(flow.calc(*pair, np.zeros((height, _WIDTH, 2), np.float32)), axis=-1))
            for pair in pairwise(small)]  # fmt: skip
    return np.array(ways, dtype=np.float64) / _WIDTH


def choose_keyframes(motion: np.ndarray) -> list[int]:
    """Frames, in order, evenly spread over the way that the picture goes; the first and the last are among them.

    Args:
        motion: [F - 1], as `image_motion` has it.
    """
    frames = len(motion) + 1
    moving = np.where(motion > _STILL, motion, 0.0)
    way = float(moving.sum())
    spread = min(1.0, way / _MUCH) if way else 0.0
    base = max(KEYFRAMES, math.ceil((frames - 1) / _FRAMES_PER_KEYFRAME) + 1)
    count = min(frames, base + round(spread * (MOST_KEYFRAMES - KEYFRAMES) * base / KEYFRAMES))
    even = np.linspace(0, 1, frames)
    share = _EVEN_SHARE if way else 1.0
    progress = share * even + (1 - share) * np.concatenate(([0.0], moving.cumsum())) / (way or 1.0)
    return _nearest_distinct(progress, count)


def keyframe_pairs(count: int) -> list[tuple[int, int]]:
    """Ordered pairs, both directions, of keyframes 0 to `count` - 1: all of a short video's, else those in REACH.

    Never the cyclic ones: first and last frame of a video seldom show the same.
    """
    reach = count if count <= MOST_KEYFRAMES else REACH
    return [(i, j) for i in range(count) for j in range(max(0, i - reach), min(count, i + reach + 1)) if i != j]


def _nearest_distinct(progress: np.ndarray, count: int) -> list[int]:
    """`count` different indices whose progress (increasing from 0 to 1) is nearest to even steps."""
    chosen: list[int] = []
    for step, wanted in enumerate(np.linspace(0, 1, count)):
        # each leaves room for those before and after it
        least = chosen[-1] + 1 if chosen else 0
        most = len(progress) - (count - step)
        chosen.append(int(np.clip(np.abs(progress - wanted).argmin(), least, most)))
    return chosen
