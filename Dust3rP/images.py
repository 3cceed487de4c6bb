"""Pictures as DUSt3R wants them: its sizes, its pixel values, and how intrinsics follow."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from camera.intrinsics import Size
from Dust3rP.pairs import PictureCrop

PATCH = 16
"""Sides of the network's pictures are multiples of it."""

_SQUARE = 224


def picture_crop(source_size: Size, resolution: int = 512) -> PictureCrop:
    """How DUSt3R's picture follows from one of `source_size` (height, width).

    At 512 the long side becomes 512 and the middle is cut to multiples of 16; a square becomes 512 x 384, since the
    network never saw squares. At 224 the short side becomes 224 and the middle square is cut out. Sides are rounded as
    Python does, half to even.

    Args:
        source_size: (height, width) of the picture.
        resolution: what the network was trained at, 512 or 224.

    Raises:
        ValueError: the picture is so narrow that nothing would be left of it.
    """
    height, width = source_size
    reference = min(source_size) if resolution == _SQUARE else max(source_size)
    scaled = round(height * resolution / reference), round(width * resolution / reference)
    middle = scaled[0] // 2, scaled[1] // 2
    if resolution == _SQUARE:
        half = (min(middle), min(middle))
    else:
        half = tuple(2 * side // PATCH * PATCH // 2 for side in middle)
        if scaled[0] == scaled[1]:
            half = (3 * half[1] // 4, half[1])
    if min(half) < PATCH // 2:
        raise ValueError(
            f"a picture of {width}x{height} is too narrow for DUSt3R: at {scaled[1]}x{scaled[0]} a side has fewer than "
            f"{PATCH} pixels; crop it to a shape that is less extreme"
        )
    return PictureCrop(scaled, (middle[0] - half[0], middle[1] - half[1]), (2 * half[0], 2 * half[1]))


def crop_pictures(frames: np.ndarray, crop: PictureCrop) -> np.ndarray:
    """Scale pictures and cut out their middle: Lanczos to shrink them, bicubic to enlarge them.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        crop: of `picture_crop` for their size.

    Returns:
        uint8 RGB [F, *crop.size, 3].
    """
    height, width = crop.scaled_size
    shrinks = max(frames.shape[1:3]) > max(crop.scaled_size)
    resampling = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    top, left = crop.corner
    rows, columns = slice(top, top + crop.size[0]), slice(left, left + crop.size[1])
    if frames.shape[1:3] == crop.scaled_size:
        return np.ascontiguousarray(frames[:, rows, columns])
    result = np.empty((len(frames), *crop.size, 3), dtype=np.uint8)
    for picture, frame in zip(result, frames, strict=True):
        picture[:] = np.asarray(Image.fromarray(frame).resize((width, height), resampling))[rows, columns]
    return result


def to_input(pictures: np.ndarray, device: torch.device) -> Tensor:
    """uint8 RGB [B, H, W, 3] to float32 [B, 3, H, W] in [-1, 1]."""
    levels = torch.from_numpy(pictures).to(device).movedim(-1, 1).float()
    return (levels / 255 - 0.5) / 0.5
