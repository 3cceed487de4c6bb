"""From the points of pairs of a video's frames to its trajectory: the whole chain after the network."""

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from camera.poses import relative_to
from camera.smoothing import smooth_poses
from camera.track import CameraTrack
from Dust3rP.alignment import Alignment, align
from Dust3rP.estimate import Estimate, VideoFrames
from Dust3rP.focal import focal_confidence, implausible
from Dust3rP.intrinsics import network_lens, pixel_stride, source_intrinsics, strided_middle
from Dust3rP.jitter import without_noise
from Dust3rP.keyframes import choose_keyframes, image_motion, keyframe_pairs
from Dust3rP.pairs import PairSource
from Dust3rP.registration import Registered, register
from Dust3rP.robust import weighted_median

_PIXELS, _FEWEST = 2304, 500
"""Pixels used of each picture: 512 x 288 at stride 8, and fewer in long videos ..."""
_ALL_PIXELS = 2_500_000
"""... so that all pairs of keyframes have about as many together."""
_UNSURE = 0.15
"""Below this confidence the estimate says so."""
_STILL = 0.01
"""A camera whose centres stay within this share of the scene's depth does not travel ..."""
_STILL_NOISES = 4.0
"""... nor does one that stays within as many times the noise of its centres."""
_POINTS = 100_000


def lift(
    source: PairSource,
    video: VideoFrames,
    intrinsics: Sequence[float] | None = None,
    *,
    smoothing: float | None = None,
    backend: str = "dust3r",
) -> Estimate:
    """The trajectory of a video: keyframes, their global alignment, every other frame placed among them, smoothing.

    Args:
        source: points of pairs of the video's frames.
        video: the frames.
        intrinsics: normalised, of the video's pictures, where they are known; else one focal length is estimated.
        smoothing: standard deviation in seconds of `camera.smoothing`'s Gaussian, 0 for none; None: as the noise of the
            poses wants it (`jitter.without_noise`).
        backend: its name in the estimate.

    Raises:
        ValueError: fewer than 2 frames, smoothing out of range, or frames that have nothing in common with the others.
    """
    assert len(source) == len(video), "the source is of the video's frames"
    if len(video) < 2:
        raise ValueError(f"{video.name}: {len(video)} frame; a trajectory takes 2 or more")
    keyframes = choose_keyframes(image_motion(video.frames))
    pairs = keyframe_pairs(len(keyframes))
    stride = pixel_stride(source.size, max(_FEWEST, min(_PIXELS, _ALL_PIXELS // len(pairs))))
    middle_px, focal_px = strided_middle(source, stride), None
    if intrinsics is not None:
        focal, axis = network_lens(source, torch.tensor(list(intrinsics), dtype=torch.float64))
        focal_px, middle_px = focal / stride, (axis[0] / stride, axis[1] / stride)
    try:
        numbered = [(keyframes[i], keyframes[j]) for i, j in pairs]
        alignment = align(pairs, *source.points(numbered, stride), middle_px=middle_px, focal_px=focal_px)
    except ValueError as error:
        raise ValueError(f"{video.name}: no trajectory found in it: {error}") from None
    registered = register(source, keyframes, alignment, stride, middle_px)
    remark = ""
    if intrinsics is None:
        lens = source_intrinsics(source, alignment.focal_px * stride)
        remark = implausible(alignment.focal_px * stride, source.size)
    else:
        lens = torch.tensor(list(intrinsics), dtype=torch.float64)
    found = _estimate(source, video, lens, alignment, registered, keyframes, stride, smoothing, backend)
    return replace(found, remarks=(*found.remarks, remark)) if remark else found


def _estimate(
    source: PairSource,
    video: VideoFrames,
    lens: Float64[Tensor, "4"],
    alignment: Alignment,
    registered: Registered,
    keyframes: Sequence[int],
    stride: int,
    smoothing: float | None,
    backend: str,
) -> Estimate:
    """What the user is given of the poses found: smooth, relative to frame 0, with points and remarks."""
    registered = Registered(*(values.cpu() for values in registered))
    times = video.times.double().cpu()
    if smoothing is None:
        smooth = without_noise(registered.c2w, times, registered.turn_noise, registered.way_noise)
    else:
        smooth = smooth_poses(registered.c2w, times, smoothing) if smoothing else registered.c2w
    c2w = relative_to(smooth, smooth[0])
    points, colours = _cloud(source, video, alignment, keyframes, stride)
    points = (points - smooth[0, :3, 3]) @ smooth[0, :3, :3]
    overall = float(registered.confidence.mean()) * focal_confidence(alignment.focal_spread)
    remarks = _remarks(alignment, registered, c2w, overall)
    track = CameraTrack(c2w, lens.expand(len(video), 4).clone(), times, "relative")
    return Estimate(track, backend, overall, registered.confidence, points.float(), colours, remarks)


def _remarks(
    alignment: Alignment,
    registered: Registered,
    c2w: Float64[Tensor, "F 4 4"],
    confidence: float,
) -> tuple[str, ...]:
    """What a user should know, a sentence each."""
    remarks = []
    depth = float(weighted_median(alignment.depth.flatten(), alignment.weights.flatten()))
    travel = float(c2w[:, :3, 3].norm(dim=1).max())
    if travel < max(_STILL * depth, _STILL_NOISES * float(registered.way_noise.median())):
        remarks.append(
            f"the camera hardly travels ({100 * travel / depth:.1f} % of the scene's depth): it turns or stands, and "
            "what is there of a translation means nothing"
        )
    if confidence < _UNSURE:
        remarks.append(f"the pairs of frames hardly agree (confidence {confidence:.2f}): do not trust this trajectory")
    if not alignment.converged:
        remarks.append("the alignment had not settled when its steps ended")
    return tuple(remarks)


def _cloud(
    source: PairSource, video: VideoFrames, alignment: Alignment, keyframes: Sequence[int], stride: int
) -> tuple[Float[Tensor, "N 3"], Tensor]:
    """Points of the keyframes in the alignment's world and their colours, without those that few pairs agree on."""
    height, width = alignment.depth.shape[1:]
    weights = alignment.weights.cpu()
    sure = weights > weights[weights > 0].median() / 2 if (weights > 0).any() else weights > 0
    columns, rows = _source_pixels(source, video, (height, width), stride)
    colours = torch.stack(
        [torch.from_numpy(cv2.remap(video.frames[k], columns, rows, cv2.INTER_LINEAR)) for k in keyframes]
    )
    points, colours = alignment.points.cpu()[sure], colours[sure]
    keep = slice(None, None, max(1, math.ceil(len(points) / _POINTS)))
    return points[keep], colours[keep]


def _source_pixels(
    source: PairSource, video: VideoFrames, grid: tuple[int, int], stride: int
) -> tuple[np.ndarray, np.ndarray]:
    """x and y, float32 [H, W], of the strided pixels in the video's pictures, in whole-pixel coordinates."""
    axes = []
    for side, count in enumerate(grid):
        ours = np.arange(count) * stride + 0.5 + source.crop.corner[side]
        axes.append(ours / source.crop.scaled_size[side] * video.frames.shape[1 + side] - 0.5)
    rows, columns = np.meshgrid(*axes, indexing="ij")
    return columns.astype(np.float32), rows.astype(np.float32)
