"""Depth maps as people have them (16-bit PNG, .npy) made into z-depth in the unit of a track."""

import math
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image, UnidentifiedImageError

from camera.formats.npz import read_array
from camera.intrinsics import Size, after_resize_crop
from common.files import require_file

DEPTH_KINDS = ("near", "metric")
"""near: larger is nearer, on a scale of its own (Depth Anything, MiDaS). metric: larger is farther, z-depth."""
_NEAREST, _FARTHEST = 0.5, 4.0
_SHAPES = ((None, None), (1, None, None), (None, None, 1))
_GREY_MODES = ("L", "I", "I;16", "I;16B", "I;16L", "I;16N")
_PNG_DAMAGE = (
    *(UnidentifiedImageError, OSError, SyntaxError, EOFError, ValueError, struct.error, zlib.error),
    Image.DecompressionBombError,
)
"""What PIL raises for damaged or oversized files."""


def read_depth(path: str | Path) -> Float32[np.ndarray, "H W"]:
    """The numbers of a depth file as they are: a grey .png of 8 or 16 bits, or a .npy of shape [H, W].

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, a damaged one, colours, another shape, or numbers that are not finite.
    """
    file = require_file(path, "depth")
    suffix = file.suffix.lower()
    if suffix not in (".png", ".npy"):
        raise ValueError(f"{file}: a depth map is a .png of grey levels (8 or 16 bits) or a .npy of shape [H, W]")
    values = read_array(file, "", *_SHAPES).float().numpy() if suffix == ".npy" else _read_png(file)
    if values.ndim == 3:
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.size == 0:
        raise ValueError(f"{file}: expected numbers of shape [H, W], found none ({list(values.shape)})")
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{file}: holds NaN or infinity; fill these places first")
    return values


def _read_png(file: Path) -> np.ndarray:
    try:
        with Image.open(file, formats=["PNG"]) as opened:
            mode, values = opened.mode, np.array(opened)
    except _PNG_DAMAGE as error:
        raise ValueError(f"{file}: not a readable PNG ({error})") from None
    if mode not in _GREY_MODES:
        raise ValueError(f"{file}: is a coloured picture (mode {mode}); a depth map has grey levels only")
    return values


def z_depth(
    values: Float32[np.ndarray, "H W"], kind: str, distance: float | None, factor: float = 1.0
) -> Float32[np.ndarray, "H W"]:
    """The numbers of a depth file as z-depth in the unit of a track.

    The inverse of depth is linear in values of kind "near"; how far it reaches is not in the file, so from the nearest
    to the farthest value depth is taken to grow eightfold.

    Args:
        values: what `read_depth` gave.
        kind: one of DEPTH_KINDS.
        distance: depth that the middle of the picture (the median of its middle ninth) shall have, where the subject
            stands; None leaves metric values alone.
        factor: track units of one metric value; 0.001 for millimetres and a track in metres.

    Raises:
        ValueError: metric values that are not above 0; values that are all equal; depths that overflow.
    """
    if kind not in DEPTH_KINDS:
        raise ValueError(f"depth kind '{kind}': expected one of {', '.join(DEPTH_KINDS)}")
    low, high = float(values.min()), float(values.max())
    if kind == "metric":
        if low <= 0:
            raise ValueError(f"metric depths must be above 0; the smallest is {low:g} (fill the places without depth)")
        with np.errstate(over="ignore"):
            depth = values * np.float32(factor)
    elif high <= low:
        raise ValueError(f"all depths are {low:g}: that is no depth map")
    else:
        nearness = (values - low) / (high - low)
        depth = 1 / (1 / _FARTHEST + nearness * (1 / _NEAREST - 1 / _FARTHEST))
    middle = _middle_depth(depth)
    scale = 1.0 if distance is None else distance / middle if middle > 0 else math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (depth * scale).astype(np.float32)
    if not (np.isfinite(scaled).all() and scaled.min() > 0):
        raise ValueError(
            f"depths of {low:g} to {high:g}, times {factor:g}, with the subject at {distance}: single precision cannot "
            "hold that; give another factor or distance"
        )
    return scaled


def _middle_depth(depth: Float32[np.ndarray, "H W"]) -> float:
    top, left = (side // 3 for side in depth.shape)
    return float(np.median(depth[top : len(depth) - top, left : depth.shape[1] - left]))


def fit_depth(depth: Float32[np.ndarray, "H W"], image_size: Size, size: Size) -> Float32[np.ndarray, "h w"]:
    """Depth of the pixels that `common.media.fit_to_size` makes of an image; nearest, since edges do not mix.

    Args:
        depth: of the whole image, at any resolution of its shape.
        image_size: (height, width) of the image.
        size: (height, width) of the picture made of it.

    Raises:
        ValueError: depth map and image have not the same shape (to 2 %).
    """
    aspect, wanted = depth.shape[1] / depth.shape[0], image_size[1] / image_size[0]
    if abs(aspect / wanted - 1) > 0.02:
        raise ValueError(
            f"the depth map (height {depth.shape[0]}, width {depth.shape[1]}) has another shape than the image "
            f"(height {image_size[0]}, width {image_size[1]}); make it from the whole image"
        )
    whole = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    scale_x, scale_y, left, top = after_resize_crop(whole, image_size, size).tolist()
    x = ((np.arange(size[1]) + 0.5) / size[1] - left) / scale_x * depth.shape[1] - 0.5
    y = ((np.arange(size[0]) + 0.5) / size[0] - top) / scale_y * depth.shape[0] - 0.5
    columns, rows = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return cv2.remap(depth, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
