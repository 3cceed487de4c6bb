"""What the tests of the preparation tools build small data sets of, and look at."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from camera.language import Move
from camera.track import CameraTrack
from camera.trajectory import compile
from common import media
from dataset.config import load_config
from dataset.sources import MediaItem, load_items
from tools.preparation.video import encode_video

TAGS = (
    "<starttime>0</starttime> <endtime>1</endtime> <speed>high</speed> <direction>right</direction> "
    "<rotate>stay</rotate>"
)


def grey_video(path: Path, frames: int, fps: float = 8, size: tuple[int, int] = (32, 48)) -> Path:
    """A video whose frame number k is of grey level 10 + 5k."""
    pictures = (np.full((*size, 3), 10 + 5 * k, np.uint8) for k in range(frames))
    encode_video(path, pictures, Fraction(fps).limit_denominator(1001))
    return path


def levels(path: Path) -> list[int]:
    """The numbers of the frames of a grey video, as their grey says."""
    return [round((float(frame.mean()) - 10) / 5) for frame in media.read_video(path)]


def moving_track(frames: int, fps: float) -> CameraTrack:
    """A camera that goes round to the right."""
    return compile([Move(0, frames / fps, 1.0, "right")], frames, fps)


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def listing(folder: Path, records: list[dict[str, str]], name: str = "metadata.jsonl") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")


def loaded(folder: Path) -> list[MediaItem]:
    """The items of the folder's dataset.toml, as the cache scripts see them."""
    return [item for group in load_items(load_config(folder / "dataset.toml")) for item in group.items]


def assert_same_path(track: CameraTrack, expected: CameraTrack) -> None:
    torch.testing.assert_close(track.rebased().c2w, expected.rebased().c2w, atol=1e-5, rtol=0)


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with its time of writing, mode and content."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in files}
