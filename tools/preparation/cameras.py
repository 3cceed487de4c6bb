"""Camera files of prepared data sets: our own format, with what they were made from, so that a rerun keeps them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from camera.track import CameraTrack
from common.logs import get_logger
from common.weights import read_metadata

logger = get_logger("prepare")


def save_camera(path: Path, track: CameraTrack, caption: str, fingerprint: str) -> None:
    """Write a camera file; it is written last of an item's files and so marks them as complete."""
    track.save(path, {"source": "file", "caption": caption, "fingerprint": fingerprint})


def is_done(path: Path, fingerprint: str) -> bool:
    """True when the camera file is there, whole, and made from the same."""
    if not path.is_file():
        return False
    try:
        return read_metadata(path).get("fingerprint") == fingerprint
    except ValueError:
        return False


def check_pose_count(poses: int, frames: int, where: str) -> None:
    """Refuse a camera that cannot be that of the frames; one more or less is what containers add or drop at an end.

    Raises:
        ValueError: there is not a pose for each frame.
    """
    if abs(frames - poses) > 1:
        raise ValueError(f"{where}: {poses} poses for a video of {frames} frames; expected one for each")


@contextmanager
def told_once() -> Iterator[None]:
    """Show each kind of warning about camera files once: those of a data set are much alike."""
    seen: set[tuple[object, ...]] = set()
    repeated = 0

    def is_new(record: logging.LogRecord) -> bool:
        nonlocal repeated
        words = record.args[1:] if isinstance(record.args, tuple) else ()
        kind = (record.msg, *(word for word in words if isinstance(word, str)))
        new = kind not in seen
        seen.add(kind)
        repeated += not new
        return new

    cameras = get_logger("camera")
    cameras.addFilter(is_new)
    try:
        yield
    finally:
        cameras.removeFilter(is_new)
        if repeated:
            logger.info(f"{repeated} more warnings of the same kinds about other camera files were not shown")
