"""Where and in which format a command writes a trajectory."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from camera.track import CameraTrack

BY_SUFFIX = {".safetensors": "omnicam", ".txt": "realestate10k", ".json": "nerfstudio", ".tum": "tum"}
"""The format that is meant when only the name of the file says it."""


def save(track: "CameraTrack", path: str, format: str | None, size: list[int] | None) -> str:
    """Write the track in the named format, or the one of the suffix; returns the format's name.

    Raises:
        ValueError: neither says the format, or the format cannot hold the track.
    """
    from camera.formats import FORMATS, save_trajectory

    suffix = Path(path).suffix.lower()
    chosen = format or BY_SUFFIX.get(suffix)
    if chosen is None:
        known = ", ".join(f"{end} is {name}" for end, name in BY_SUFFIX.items())
        writable = ", ".join(name for name, each in FORMATS.items() if each.write is not None)
        raise ValueError(f"{path}: its name does not say which format to write ({known}); give --to: {writable}")
    save_trajectory(track, path, chosen, size=None if size is None else (size[0], size[1]))
    return chosen
