"""Pictures, in and out. Arrays are uint8, RGB, [H, W, 3]."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.files import atomic_path, require_file
from common.media.remarks import remark_once

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif")

_EXIF_ORIENTATION = 0x0112
_QUARTER_TURNS = range(5, 9)


def probe_image(path: str | Path) -> tuple[int, int]:
    """Width and height of an image as `read_image` would give it; only its header is read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not an image.
    """
    file = require_file(path, "image")
    try:
        with Image.open(file) as opened:
            width, height = opened.size
            return (height, width) if opened.getexif().get(_EXIF_ORIENTATION) in _QUARTER_TURNS else (width, height)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file}: not a readable image ({error})") from None


def read_image(path: str | Path) -> np.ndarray:
    """An image as [H, W, 3]: turned as its EXIF says, grey, palette and CMYK made RGB.

    As in musubi-tuner, alpha is cut off, not blended with a ground, and of an animation the first picture is taken;
    the first file of either kind is named in a warning.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not an image, is truncated, or has grey levels of more than 8 bits, whose range is unknown.
    """
    file = require_file(path, "image")
    try:
        with Image.open(file) as opened:
            # MPO is how phones store a photo with its preview or depth
            if getattr(opened, "is_animated", False) and opened.format != "MPO":
                remark_once("animation", f"{file} is an animation; its first picture is taken")
            turned = ImageOps.exif_transpose(opened)
            if turned.mode.startswith(("I", "F")):
                raise ValueError(
                    f"{file}: holds grey levels of more than 8 bits (mode {turned.mode}); save it as 8-bit RGB"
                )
            if turned.has_transparency_data:
                remark_once("image alpha", f"{file} has an alpha channel, which is cut off")
                turned = turned.convert("RGBA")
            return np.array(turned.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file}: not a readable image ({error})") from None


def fit_to_size(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale [H, W, 3] to cover width × height, then crop the centre.

    The rule of musubi-tuner: the larger of the two side ratios, sides rounded half up, Lanczos to enlarge and
    area averaging to shrink. `camera.intrinsics.after_resize_crop` is its counterpart for intrinsics.
    """
    source_height, source_width = image.shape[:2]
    if (source_width, source_height) == (width, height):
        return np.ascontiguousarray(image)
    scale = max(width / source_width, height / source_height)
    scaled_width = max(width, math.floor(source_width * scale + 0.5))
    scaled_height = max(height, math.floor(source_height * scale + 0.5))
    if scale > 1:
        enlarged = Image.fromarray(image).resize((scaled_width, scaled_height), Image.Resampling.LANCZOS)
        scaled = np.asarray(enlarged)
    else:
        scaled = cv2.resize(image, (scaled_width, scaled_height), interpolation=cv2.INTER_AREA)
    left, top = (scaled_width - width) // 2, (scaled_height - height) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write [H, W, 3] uint8 in the format of the path's suffix; whole or not there."""
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)


def contact_sheet(frames: np.ndarray | Sequence[np.ndarray], columns: int, count: int | None = None) -> np.ndarray:
    """Lay frames [F, H, W, 3] out in rows of `columns` with a thin white gap; `count` picks that many, evenly."""
    picked = np.asarray(frames)
    if count is not None and count < len(picked):
        picked = picked[np.linspace(0, len(picked) - 1, count).round().astype(int)]
    total, height, width, _ = picked.shape
    columns = min(columns, total)
    rows, gap = math.ceil(total / columns), 2
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, frame in enumerate(picked):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return sheet
