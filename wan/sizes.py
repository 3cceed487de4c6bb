"""Which sizes a video may have, and what they become in latent space."""

import math

SPATIAL_STEP = 16
"""Pixels per patch: VAE stride 8 times patch 2."""


def check_frames(frames: int) -> int:
    """Return `frames` if the VAE can make them: 1 + 4n, as latent frame 0 stands for one picture, the others for four.

    Raises:
        ValueError: it is not of that form; the nearest two that are get named.
    """
    if frames < 1 or frames % 4 != 1:
        lower = max(1, (frames - 1) // 4 * 4 + 1)
        raise ValueError(f"--video_length {frames} is not 4n+1; use {lower} or {lower + 4}")
    return frames


def check_size(height: int, width: int) -> tuple[int, int]:
    """Return (height, width) if both are positive multiples of 8, as musubi-tuner asks of `--video_size`."""
    if height < SPATIAL_STEP or width < SPATIAL_STEP or height % 8 or width % 8:
        raise ValueError(f"--video_size {height} {width} (height width): both must be multiples of 8, at least 16")
    return height, width


def size_for_image(image_height: int, image_width: int, area: int) -> tuple[int, int]:
    """Height and width of the video made from an image: its shape, within a budget of `area` pixels.

    Both sides are rounded down to whole patches (16 pixels), as Wan2.1's image-to-video pipeline does
    (official module `wan/image2video.py`: latent height = sqrt(area · H/W) // 8 // 2 · 2).
    """
    ratio = image_height / image_width
    # a side that is a whole number of patches must not fall to the next lower one by rounding
    height = int(math.sqrt(area * ratio) / SPATIAL_STEP + 1e-6) * SPATIAL_STEP
    width = int(math.sqrt(area / ratio) / SPATIAL_STEP + 1e-6) * SPATIAL_STEP
    if min(height, width) < SPATIAL_STEP:
        raise ValueError(
            f"an image of {image_height}x{image_width} within {area} pixels leaves {height}x{width}; "
            f"crop the image or raise --video_size"
        )
    return height, width
