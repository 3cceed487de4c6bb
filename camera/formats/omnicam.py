"""Our own camera file, .safetensors with c2w, intrinsics and times (`docs/conventions.md`, "Camera file")."""

from pathlib import Path

from camera.formats.core import Format, RawTrack, Request
from camera.formats.sample import Sample
from camera.intrinsics import Size
from camera.track import CameraTrack


def _recognise(sample: Sample) -> str | None:
    return "keys c2w, intrinsics, times" if {"c2w", "intrinsics", "times"} <= set(sample.names) else None


def _read(path: Path, request: Request) -> RawTrack:
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected a .safetensors file")
    track = CameraTrack.load(path)
    return RawTrack(track.c2w, "opencv_c2w", intrinsics=track.intrinsics, times=track.times, scale=track.scale)


def _write(track: CameraTrack, path: Path, size: Size | None) -> None:
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: this format is written to .safetensors")
    track.save(path, {"source": "file"})


FORMATS = (
    Format("omnicam", "our camera cache: c2w, OpenCV, normalised intrinsics, seconds", _recognise, _read, _write),
)
"""The one format."""
