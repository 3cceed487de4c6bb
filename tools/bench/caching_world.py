"""Clips for the benchmark and the stress test of caching: drawn, encoded as H.264, and listed in a dataset file."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.files import atomic_path
from common.media import write_video
from common.progress import progress

CAPTION = (
    "Object: a room, number {number} ; Camera: <starttime>0</starttime> <endtime>{end}</endtime> <speed>high</speed> "
    "<direction>left</direction> <rotate>stay</rotate> <sep>"
)
FPS = 16.0
_CELL = 8
_STEP = 2


def moving_clip(seed: int, frames: int, height: int, width: int) -> np.ndarray:
    """A coarse texture with fine grain that slides by two pixels a frame; uint8 [F, H, W, 3]."""
    random = np.random.default_rng(seed)
    wide = width + _STEP * frames
    cells = random.integers(0, 224, (-(-height // _CELL), -(-wide // _CELL), 3), dtype=np.uint8)
    picture = cells.repeat(_CELL, 0).repeat(_CELL, 1)[:height, :wide]
    picture = picture + random.integers(0, 32, picture.shape, dtype=np.uint8)
    return np.stack([picture[:, _STEP * index : _STEP * index + width] for index in range(frames)])


def write_data_set(
    folder: Path,
    count: int,
    frames: int,
    size: Sequence[int],
    target: Sequence[int],
    batch_size: int,
    fps: float = 16.0,
) -> Path:
    """A data set of `count` clips; what is there already is kept.

    Args:
        folder: gets videos/, metadata.jsonl, and the dataset file with the caches in cache/.
        count: videos, one clip each.
        frames: of each, 4n + 1.
        size: (height, width) of the videos.
        target: (height, width) of the clips.
        batch_size: of the dataset file.

    Returns:
        the dataset file.
    """
    lines = []
    for number in progress(range(count), "drawing clips", "clip"):
        path = folder / "videos" / f"v{number:05d}.mp4"
        if not path.exists():
            write_video(path, moving_clip(number, frames, *size), FPS)
        text = CAPTION.format(number=number % 97, end=round(frames / FPS, 2))
        lines.append(json.dumps({"video_path": f"videos/{path.name}", "caption": text}) + "\n")
    _write(folder / "metadata.jsonl", "".join(lines))
    config = folder / "dataset.toml"
    _write(
        config,
        f"[general]\nresolution = [{target[1]}, {target[0]}]\nbatch_size = {batch_size}\n\n[[datasets]]\n"
        f'video_jsonl_file = "metadata.jsonl"\ncache_directory = "cache"\ntarget_frames = [{frames}]\n',
    )
    return config


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
