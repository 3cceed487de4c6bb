"""Videos out."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from common.files import atomic_path


def write_video(path: str | Path, frames: np.ndarray, fps: float, crf: int = 18) -> None:
    """Write [F, H, W, 3] uint8 as H.264 mp4 (yuv420p, so H and W must be even); whole or not there."""
    count, height, width, _ = frames.shape
    if count == 0 or height % 2 or width % 2:
        raise ValueError(f"{path}: cannot write {count} frames of {height}x{width} as H.264; sides must be even")
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # without mbtree=0 the same frames give other bytes, and so other fingerprints, from run to run
        stream.options = {"crf": str(crf), "x264-params": "mbtree=0"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
