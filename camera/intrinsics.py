"""Normalised intrinsics (fx/W, fy/H, cx/W, cy/H) that follow the pixels: resize, crop, padding, flip, quarter turns.

Image coordinates are continuous: the picture spans [0, W] x [0, H] and pixel i has its centre at i + 0.5. A resize
alone, also one that changes the shape of the picture, leaves normalised intrinsics as they are; where a rule rounds
sides and corners to whole pixels, its function here rounds as well, so results are exact and not only nearly right.
Everything is batch first, so one row per frame follows a zoom.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

Size = tuple[int, int]
"""(height, width) in pixels, the order of tensors."""

DEFAULT_SIZE = (480, 832)
"""(height, width) of the picture whose shape a lens has when nobody states one: Wan2.1's own at 480p."""

_PINHOLE = 1e-6
SIDES = ("horizontal", "vertical", "diagonal")
"""The side of the picture along which a field of view is stated."""


def default_intrinsics(
    aspect: float = DEFAULT_SIZE[1] / DEFAULT_SIZE[0], hfov_deg: float = 60.0
) -> Float64[Tensor, "4"]:
    """Intrinsics of a camera with square pixels and a centred optical axis, when nothing better is known.

    Args:
        aspect: width / height of the picture, above 0; that of DEFAULT_SIZE when nobody states it.
        hfov_deg: horizontal field of view in degrees, between 0 and 180.
    """
    return intrinsics_of_fov(hfov_deg, aspect)


def intrinsics_of_fov(fov_deg: float, aspect: float, side: str = "horizontal") -> Float64[Tensor, "4"]:
    """Intrinsics of a camera with square pixels and a centred optical axis, from its field of view.

    Args:
        fov_deg: field of view in degrees, between 0 and 180.
        aspect: width / height of the picture, above 0.
        side: the side along which it is stated, one of SIDES.
    """
    _check_aspect(aspect)
    if not 0 < fov_deg < 180:
        raise ValueError(f"field of view {fov_deg}: expected an angle between 0 and 180 degrees")
    _check_side(side)
    # the length of that side in widths of the picture
    length = {"horizontal": 1.0, "vertical": 1 / aspect, "diagonal": math.hypot(1, 1 / aspect)}[side]
    return _centred(0.5 * length / math.tan(math.radians(fov_deg) / 2), aspect)


def fov_deg_of(intrinsics: Float[Tensor, "*batch 4"], side: str = "horizontal") -> Float[Tensor, "*batch"]:
    """Field of view in degrees: the angle between the rays through the two ends of a side, at the optical axis.

    Exact also where the optical axis is not in the middle. The diagonal goes from the upper left to the lower right
    corner.

    Args:
        intrinsics: normalised.
        side: one of SIDES.
    """
    _check_side(side)
    focal, centre = intrinsics.split(2, dim=-1)
    along = torch.tensor([side != "vertical", side != "horizontal"], device=intrinsics.device)
    zero = torch.zeros_like(focal)
    start = torch.where(along, -centre / focal, zero)
    end = torch.where(along, (1 - centre) / focal, zero)
    start, end = (torch.nn.functional.pad(ray, (0, 1), value=1.0) for ray in (start, end))
    # atan2 is exact for narrow angles, where the arc cosine of the scalar product is not
    return torch.atan2(torch.linalg.cross(start, end).norm(dim=-1), (start * end).sum(dim=-1)).rad2deg()


def intrinsics_of_focal_mm(focal_mm: float, sensor_width_mm: float, aspect: float) -> Float64[Tensor, "4"]:
    """Intrinsics of a camera with square pixels and a centred optical axis, from what is printed on lens and camera.

    Args:
        focal_mm: focal length in millimetres, above 0.
        sensor_width_mm: width of the part of the sensor that the picture shows (36 for a full-frame camera).
        aspect: width / height of the picture, above 0.
    """
    _check_aspect(aspect)
    if not (0 < focal_mm < math.inf and 0 < sensor_width_mm < math.inf):
        raise ValueError(f"focal length {focal_mm} mm, sensor width {sensor_width_mm} mm: expected numbers above 0")
    return _centred(focal_mm / sensor_width_mm, aspect)


def focal_mm_of(intrinsics: Float[Tensor, "*batch 4"], sensor_width_mm: float) -> Float[Tensor, "*batch"]:
    """Focal length in millimetres, in front of a sensor of which the picture shows `sensor_width_mm`."""
    return intrinsics[..., 0] * sensor_width_mm


def to_pixels(intrinsics: Float[Tensor, "*batch 4"], size: Size) -> Float[Tensor, "*batch 4"]:
    """(fx, fy, cx, cy) in pixels of a picture of `size` (height, width)."""
    return intrinsics * _sides(size, intrinsics).repeat(2)


def from_pixels(intrinsics_px: Float[Tensor, "*batch 4"], size: Size) -> Float[Tensor, "*batch 4"]:
    """The inverse of `to_pixels`."""
    return intrinsics_px / _sides(size, intrinsics_px).repeat(2)


def k_px_of(intrinsics: Float[Tensor, "*batch 4"], size: Size) -> Float[Tensor, "*batch 3 3"]:
    """Matrices K_px [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels of a picture of `size` (height, width)."""
    fx, fy, cx, cy = to_pixels(intrinsics, size).unbind(-1)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    return torch.stack((fx, zero, cx, zero, fy, cy, zero, zero, one), dim=-1).unflatten(-1, (3, 3))


def intrinsics_of_k_px(k_px: Float[Tensor, "*batch 3 3"], size: Size) -> Float[Tensor, "*batch 4"]:
    """The inverse of `k_px_of`.

    Raises:
        ValueError: a matrix has skew (our cameras have none), focal lengths not above 0, a last row that is not
            0 0 1, or NaN; says which.
    """
    fx, _, cx, _, fy, cy, _, _, _ = k_px.flatten(-2).unbind(-1)
    lens = torch.stack((fx, fy, cx, cy), dim=-1)
    off = (k_px - k_px_of(lens, (1, 1))).abs().amax(dim=(-2, -1))
    # written so that a NaN is wrong too
    wrong = ~(off <= _PINHOLE * (1 + lens.abs().amax(dim=-1))) | ~(lens[..., :2] > 0).all(dim=-1)
    if wrong.any():
        number = int(wrong.flatten().nonzero()[0])
        raise ValueError(
            "K_px: expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx and fy above 0; matrix "
            f"{number} (from 0) is {k_px.reshape(-1, 3, 3)[number].tolist()}"
        )
    return from_pixels(lens, size)


def after_crop(
    intrinsics: Float[Tensor, "*batch 4"], source_size: Size, corner: tuple[int, int], target_size: Size
) -> Float[Tensor, "*batch 4"]:
    """Intrinsics of a rectangle of the picture. Where it reaches outside the picture, that is padding.

    Args:
        intrinsics: normalised by `source_size`.
        source_size: (height, width) of the picture before.
        corner: (top, left) pixel of the rectangle, negative for padding above and on the left.
        target_size: (height, width) of the rectangle.
    """
    source, target = _sides(source_size, intrinsics), _sides(target_size, intrinsics)
    start = torch.tensor(corner[::-1], dtype=intrinsics.dtype, device=intrinsics.device)
    focal, centre = intrinsics.split(2, dim=-1)
    return torch.cat((focal * source / target, (centre * source - start) / target), dim=-1)


def after_centre_crop(
    intrinsics: Float[Tensor, "*batch 4"], source_size: Size, target_size: Size
) -> Float[Tensor, "*batch 4"]:
    """Intrinsics of the middle of the picture; of an odd rest, the larger half is cut on the right and below.

    Sizes are (height, width); a side of the target that is longer is padded, the larger half on the left and above.
    """
    top, left = ((before - after) // 2 for before, after in zip(source_size, target_size, strict=True))
    return after_crop(intrinsics, source_size, (top, left), target_size)


def after_padding(
    intrinsics: Float[Tensor, "*batch 4"], source_size: Size, above: int, below: int, left: int, right: int
) -> Float[Tensor, "*batch 4"]:
    """Intrinsics of the picture with bars added round it, in pixels of `source_size` (height, width)."""
    height, width = source_size
    return after_crop(intrinsics, source_size, (-above, -left), (height + above + below, width + left + right))


def after_resize_crop(
    intrinsics: Float[Tensor, "*batch 4"], source_size: Size, target_size: Size
) -> Float[Tensor, "*batch 4"]:
    """Intrinsics of a picture after it was scaled to cover `target_size` and its centre was cropped.

    The scaled sides are rounded to whole pixels and the crop starts on a whole pixel, as the resize of the
    pixels does (`common.media.fit_to_size`).

    Args:
        intrinsics: normalised by `source_size`.
        source_size: (height, width) of the picture before.
        target_size: (height, width) after.
    """
    return after_centre_crop(intrinsics, _scaled_size(source_size, target_size, cover=True), target_size)


def after_letterbox(
    intrinsics: Float[Tensor, "*batch 4"], source_size: Size, target_size: Size
) -> Float[Tensor, "*batch 4"]:
    """Intrinsics of a picture after it was scaled to fit into `target_size` and bars were added on both sides.

    The scaled sides are rounded half up to whole pixels and kept within the target; of an odd number of pixels, the
    larger bar is on the right and below. Sizes are (height, width).
    """
    height, width = _scaled_size(source_size, target_size, cover=False)
    above, left = (target_size[0] - height) // 2, (target_size[1] - width) // 2
    return after_crop(intrinsics, (height, width), (-above, -left), target_size)


def after_shape_crop(
    intrinsics: Float[Tensor, "*batch 4"], source_aspect: float, target_aspect: float
) -> Float[Tensor, "*batch 4"]:
    """Intrinsics of the largest middle part of another shape, for pictures of no stated size: nothing is rounded.

    Args:
        intrinsics: normalised by the whole picture.
        source_aspect: width / height of the picture, above 0.
        target_aspect: width / height of the part, above 0.
    """
    _check_aspect(source_aspect)
    _check_aspect(target_aspect)
    shape = target_aspect / source_aspect
    kept = torch.tensor([min(1.0, shape), min(1.0, 1 / shape)], dtype=intrinsics.dtype, device=intrinsics.device)
    focal, centre = intrinsics.split(2, dim=-1)
    return torch.cat((focal / kept, 0.5 + (centre - 0.5) / kept), dim=-1)


def after_flip(intrinsics: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Intrinsics of the picture with left and right exchanged; its poses change as well (`CameraTrack.mirrored`)."""
    fx, fy, cx, cy = intrinsics.unbind(-1)
    return torch.stack((fx, fy, 1 - cx, cy), dim=-1)


def after_quarter_turns(intrinsics: Float[Tensor, "*batch 4"], turns: int) -> Float[Tensor, "*batch 4"]:
    """Intrinsics of the picture turned clockwise by `turns` times 90 degrees (counterclockwise where negative).

    The camera's axes turn with the picture, so its poses change as well (`CameraTrack.quarter_turned`).
    """
    for _ in range(turns % 4):
        fx, fy, cx, cy = intrinsics.unbind(-1)
        intrinsics = torch.stack((fy, fx, 1 - cy, cx), dim=-1)
    return intrinsics


def _centred(focal_norm: float, aspect: float) -> Float64[Tensor, "4"]:
    return torch.tensor([focal_norm, focal_norm * aspect, 0.5, 0.5], dtype=torch.float64)


def _check_aspect(aspect: float) -> None:
    if not (math.isfinite(aspect) and aspect > 0):
        raise ValueError(f"aspect {aspect}: expected width / height, a number above 0")


def _check_side(side: str) -> None:
    if side not in SIDES:
        raise ValueError(f"side '{side}' of the picture: expected one of {', '.join(SIDES)}")


def _sides(size: Size, like: Tensor) -> Float[Tensor, "2"]:
    """(width, height), the order of intrinsics."""
    if min(size) < 1:
        raise ValueError(f"picture size (height, width) {size}: sides must be 1 or more")
    return torch.tensor(size[::-1], dtype=like.dtype, device=like.device)


def _scaled_size(source_size: Size, target_size: Size, cover: bool) -> Size:
    """The (height, width) to which the source is scaled to cover the target, or to fit in: sides rounded half up."""
    if min(*source_size, *target_size) < 1:
        raise ValueError(f"picture sizes (height, width) {source_size} -> {target_size}: sides must be 1 or more")
    ratios = (target_size[0] / source_size[0], target_size[1] / source_size[1])
    scale, bound = (max(ratios), max) if cover else (min(ratios), min)
    height, width = (max(1, math.floor(side * scale + 0.5)) for side in source_size)
    return bound(height, target_size[0]), bound(width, target_size[1])
