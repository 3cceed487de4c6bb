"""Where and in which format a command writes a trajectory."""

from pathlib import Path
from typing import TYPE_CHECKING

from common.logs import get_logger

if TYPE_CHECKING:
    from camera.track import CameraTrack

BY_SUFFIX = {".safetensors": "omnicam", ".txt": "realestate10k", ".json": "nerfstudio", ".tum": "tum"}
"""The format that is meant when only the name of the file says it."""
_SQUARE = 0.01
logger = get_logger("camera")


def save(
    track: "CameraTrack",
    path: str,
    format: str | None,
    size: tuple[int, int] | None,
    size_flag: str,
    caption: str | None = None,
) -> str:
    """Write the track in the named format, or the one of the suffix; returns the format's name.

    Args:
        track: what to write.
        path: where.
        format: one of `camera.formats.FORMATS`; None for that of the suffix.
        size: (height, width) in pixels of the picture, for formats that need it.
        size_flag: what states it on the command line.
        caption: the text that the track was compiled from.

    Raises:
        ValueError: neither says the format, the size is missing, or the format cannot hold the track.
    """
    from camera.formats import FORMATS, save_trajectory

    suffix = Path(path).suffix.lower()
    chosen = format or BY_SUFFIX.get(suffix)
    if chosen is None:
        known = ", ".join(f"{end} is {name}" for end, name in BY_SUFFIX.items())
        writable = ", ".join(name for name, each in FORMATS.items() if each.write is not None)
        raise ValueError(f"{path}: its name does not say which format to write ({known}); give --to: {writable}")
    if size is None and chosen in FORMATS and FORMATS[chosen].needs_size:
        raise ValueError(f"{path}: format '{chosen}' has its intrinsics in pixels; give {size_flag} HEIGHT WIDTH")
    save_trajectory(track, path, chosen, size, caption)
    if size is not None and chosen in FORMATS and FORMATS[chosen].needs_size:
        _tell_skewed_pixels(track, path, size, size_flag)
    return chosen


def _tell_skewed_pixels(track: "CameraTrack", path: str, size: tuple[int, int], size_flag: str) -> None:
    """Warn where the picture has another shape than the lens, so that one focal length in pixels becomes two."""
    fx, fy = track.intrinsics[0, :2].tolist()
    across, down = fx * size[1], fy * size[0]
    if abs(across / down - 1) > _SQUARE:
        told = "%s: its pixels are not square (fx %.6g, fy %.6g): the lens is of another shape than %s %d %d"
        logger.warning(told, path, across, down, size_flag, *size)
