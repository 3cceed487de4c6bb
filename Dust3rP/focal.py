"""Focal lengths from points that a picture's own camera sees."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from Dust3rP.robust import weighted_median

PLAUSIBLE_FOV_DEG = (20.0, 130.0)
"""Fields of view along the longer side that lenses of videos have: 100 mm to a wide action camera (full frame)."""
_ROUNDS = 10
_NEAREST = 1e-8


class SharedFocal(NamedTuple):
    """One focal length for many pictures."""

    focal_px: float
    spread: float
    """Standard deviation of the pictures' own ones, as a share of it (from the median deviation)."""


def pixel_offsets(
    height: int, width: int, middle_px: tuple[float, float], like: Tensor
) -> Float[Tensor, "height width 2"]:
    """(x, y) from the optical axis of every pixel; pixel u, v is at the integers u, v, as is `middle_px`."""
    kind = {"dtype": like.dtype, "device": like.device}
    x = torch.arange(width, **kind) - middle_px[0]
    y = torch.arange(height, **kind) - middle_px[1]
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def weiszfeld_focal(
    points: Float[Tensor, "B H W 3"], offsets: Float[Tensor, "H W 2"], weights: Float[Tensor, "B H W"]
) -> Float[Tensor, "B"]:
    """Focal lengths (px) by which points of a camera fall onto their pixels, each minimising a sum of distances.

    Weiszfeld's iterations for min_f sum w |p - f (x/z, y/z)|, as DUSt3R's section 3.3 (arXiv 2312.14132) has them; here
    with weights. NaN where no point is in front of its camera.

    Args:
        points: in each picture's own camera, OpenCV axes.
        offsets: of the pixels from the optical axis (`pixel_offsets`).
        weights: of the pixels, 0 or more.
    """
    depth = points[..., 2]
    usable = (depth > 0) & points.isfinite().all(dim=-1)
    rays = torch.where(usable[..., None], points[..., :2] / torch.where(usable, depth, 1.0)[..., None], 0.0)
    weights = torch.where(usable, weights, 0.0)
    along, length = (rays * offsets).sum(dim=-1), rays.square().sum(dim=-1)
    focal, now = torch.zeros_like(depth[:, 0, 0]), weights
    for _ in range(_ROUNDS + 1):
        focal = (now * along).sum(dim=(1, 2)) / (now * length).sum(dim=(1, 2))
        now = weights / (offsets - focal[:, None, None, None] * rays).norm(dim=-1).clamp_min(_NEAREST)
    return focal


def shared_focal(focal_px: Float[Tensor, "B"], weights: Float[Tensor, "B"]) -> SharedFocal:
    """The one focal length of pictures that were taken by one lens.

    The mean of their logarithms without those more than 3 standard deviations off the weighted median: as robust as
    the median, and its error is 20 % smaller.

    Raises:
        ValueError: none of them is a positive number.
    """
    usable = focal_px.isfinite() & (focal_px > 0) & (weights > 0)
    if not usable.any():
        raise ValueError("no picture shows its focal length: its points are not in front of the camera")
    logs, weights = focal_px[usable].double().log(), weights[usable].double()
    middle = weighted_median(logs, weights)
    deviation = 1.4826 * weighted_median((logs - middle).abs(), weights)
    near = (logs - middle).abs() <= 3 * deviation
    mean = (weights * logs)[near].sum() / weights[near].sum()
    return SharedFocal(math.exp(float(mean)), float(deviation))


def field_of_view_deg(focal_px: float, size: tuple[int, int]) -> float:
    """Field of view along the longer side of a picture of `size` (height, width)."""
    return math.degrees(2 * math.atan(max(size) / (2 * focal_px)))


def implausible(focal_px: float, size: tuple[int, int]) -> str:
    """What to know about a focal length that no usual lens has, or ""."""
    angle = field_of_view_deg(focal_px, size)
    least, most = PLAUSIBLE_FOV_DEG
    if least <= angle <= most:
        return ""
    return (
        f"the estimated field of view along the longer side is {angle:.0f} degrees, outside {least:g} to {most:g}: "
        "the focal length is probably wrong; give --intrinsics if you know it"
    )


def focal_confidence(spread: float) -> float:
    """0 to 1 from how far the pictures' own focal lengths are apart: 0.5 at 10 %."""
    return 1 / (1 + (spread / 0.1) ** 2)
