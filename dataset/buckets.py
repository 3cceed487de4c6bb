"""Aspect buckets: the picture sizes of about one area into which media are sorted.

The algorithm and its step of 16 are musubi-tuner's (dataset/image_video_dataset.py, BucketSelector), so that a cache
made there carries the size we expect. There, training recomputes the bucket from a file name by other rules than
caching; here training takes the size that lies in the cache.
"""

import math
from functools import cache

from dataset.config import BUCKET_STEP, DatasetEntry

Resolution = tuple[int, int]
"""(width, height) in pixels, the order of the TOML."""


@cache
def bucket_resolutions(resolution: Resolution) -> tuple[Resolution, ...]:
    """All buckets of about the area of `resolution`, sorted; both sides are multiples of 16."""
    area = resolution[0] * resolution[1]
    side = math.isqrt(area)
    widths = range(_floor_step(side // 2), side + BUCKET_STEP, BUCKET_STEP)
    buckets: set[Resolution] = set()
    for width in widths:
        height = _floor_step(area // width) if width else 0
        if height:
            buckets |= {(width, height), (height, width)}
    return tuple(sorted(buckets))


def bucket_of(entry: DatasetEntry, source: Resolution) -> Resolution:
    """The (width, height) to which a medium of size `source` is brought.

    Videos always go to the bucket of the nearest aspect ratio. Images do with `enable_bucket`, else to the one
    configured size; with `bucket_no_upscale` an image of no more than the area keeps its size, rounded down.

    Raises:
        ValueError: the image is smaller than 16 pixels and may not be enlarged.
    """
    if entry.media == "image":
        if not entry.enable_bucket:
            return entry.resolution
        if entry.bucket_no_upscale and source[0] * source[1] <= entry.resolution[0] * entry.resolution[1]:
            own = _floor_step(source[0]), _floor_step(source[1])
            if 0 in own:
                raise ValueError(f"a picture of {source[0]}x{source[1]} is too small for bucket_no_upscale")
            return own
    ratio = source[0] / source[1]
    return min(bucket_resolutions(entry.resolution), key=lambda size: abs(size[0] / size[1] - ratio))


def _floor_step(side: int) -> int:
    return side - side % BUCKET_STEP
