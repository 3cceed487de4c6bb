"""Our own camera file, .safetensors with c2w, intrinsics and times (`docs/conventions.md`, "Camera file")."""

from pathlib import Path

from camera.formats.core import Format, RawTrack, Request
from camera.formats.sample import Sample
from camera.intrinsics import Size
from camera.track import CONVENTION, CameraTrack


def _recognise(sample: Sample) -> str | None:
    return "keys c2w, intrinsics, times" if {"c2w", "intrinsics", "times"} <= set(sample.names) else None


def _read(path: Path, request: Request) -> RawTrack:
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected a .safetensors file")
    track = CameraTrack.load(path)
    if request.convention not in (None, CONVENTION):
        raise ValueError(
            f"{path}: its metadata states that its poses are {CONVENTION}; they are not read as {request.convention}"
        )
    return RawTrack(track.c2w, CONVENTION, intrinsics=track.intrinsics, times=track.times, scale=track.scale, fewest=1)


def _write(track: CameraTrack, path: Path, size: Size | None) -> None:
    track.save(path, {"source": "file"})


def _write_captioned(track: CameraTrack, path: Path, caption: str) -> None:
    track.save(path, {"source": "caption", "caption": caption})


FORMATS = (
    Format(
        "omnicam",
        "our camera cache: c2w, OpenCV, normalised intrinsics, seconds",
        _recognise,
        _read,
        _write,
        _write_captioned,
        suffix=".safetensors",
        holds_start=True,
        scale="any",
    ),
)
"""The one format."""
