"""Normalised intrinsics (fx/W, fy/H, cx/W, cy/H) that follow the pixels through a resize and a crop.

Image coordinates are continuous: the picture spans [0, W] x [0, H] and pixel i has its centre at i + 0.5.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

Size = tuple[int, int]
"""(height, width) in pixels, the order of tensors."""


def default_intrinsics(aspect: float, hfov_deg: float = 60.0) -> Float64[Tensor, "4"]:
    """Intrinsics of a camera with square pixels and a centred optical axis, when nothing better is known.

    Args:
        aspect: width / height of the picture, above 0.
        hfov_deg: horizontal field of view in degrees, between 0 and 180.
    """
    if not (math.isfinite(aspect) and aspect > 0):
        raise ValueError(f"aspect {aspect}: expected width / height, a number above 0")
    if not 0 < hfov_deg < 180:
        raise ValueError(f"hfov_deg {hfov_deg}: expected an angle between 0 and 180 degrees")
    focal_norm = 0.5 / math.tan(math.radians(hfov_deg) / 2)
    return torch.tensor([focal_norm, focal_norm * aspect, 0.5, 0.5], dtype=torch.float64)


def after_resize_crop(
    intrinsics: Float[Tensor, "*batch 4"], source_size: Size, target_size: Size
) -> Float[Tensor, "*batch 4"]:
    """Intrinsics of a picture after it was scaled to cover `target_size` and its centre was cropped.

    The scaled sides are rounded to whole pixels and the crop starts on a whole pixel, as the resize of the
    pixels does (`common.media.fit_to_size`), so the result is exact and not only nearly right.

    Args:
        intrinsics: normalised by `source_size`.
        source_size: (height, width) of the picture before.
        target_size: (height, width) after.
    """
    if min(*source_size, *target_size) < 1:
        raise ValueError(f"picture sizes (height, width) {source_size} -> {target_size}: sides must be 1 or more")
    target = torch.tensor(target_size[::-1], dtype=intrinsics.dtype, device=intrinsics.device)
    scaled_size = _covering_size(source_size, target_size)[::-1]
    scaled = torch.tensor(scaled_size, dtype=intrinsics.dtype, device=intrinsics.device)
    corner = torch.div(scaled - target, 2, rounding_mode="floor")
    focal_px = intrinsics[..., :2] * scaled
    centre_px = intrinsics[..., 2:] * scaled - corner
    return torch.cat((focal_px / target, centre_px / target), dim=-1)


def _covering_size(source_size: Size, target_size: Size) -> Size:
    """The (height, width) to which the source is scaled: sides rounded half up, never below the target."""
    scale = max(target_size[0] / source_size[0], target_size[1] / source_size[1])
    rounded = (math.floor(side * scale + 0.5) for side in source_size)
    height, width = (max(side, wanted) for side, wanted in zip(rounded, target_size, strict=True))
    return height, width
