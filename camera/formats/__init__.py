"""Trajectory files of other projects: read into a CameraTrack, and written from one.

The page for users is `docs/trajectory-files.md`. A format is a module with a tuple `FORMATS`; adding it to `_MODULES`
makes it known to the three functions here.
"""

from pathlib import Path

from camera.formats import (
    actions,
    arrays,
    colmap,
    fork,
    matrices,
    nerfstudio,
    omnicam,
    orbits,
    realcam,
    realestate10k,
    recammaster,
    tum,
    worldplay,
)
from camera.formats.core import DEFAULT_FPS, Format, RawTrack, Request, SourceVideo, Unstated, check_size, to_track
from camera.formats.documents import read_json
from camera.formats.losses import check_holds
from camera.formats.sample import Sample
from camera.intrinsics import Size
from camera.track import CameraTrack
from common.files import require_file

_TEXT = (omnicam, realestate10k, tum, matrices, recammaster, nerfstudio, worldplay, orbits, actions)
_BINARY = (fork, colmap, arrays, realcam)
_MODULES = (*_TEXT, *_BINARY)
FORMATS: dict[str, Format] = {each.name: each for module in _MODULES for each in module.FORMATS}
"""Every format by the name that users type."""


def load_trajectory(
    path: str | Path,
    convention: str | None = None,
    fps: float | None = None,
    size: Size | None = None,
    format: str | None = None,
    video: SourceVideo | None = None,
) -> CameraTrack:
    """Read a trajectory of any format that we know; the poses keep the file's world.

    Args:
        path: a file or folder. PATH#NAME names one of several trajectories of a file.
        convention: one of `camera.conventions.CONVENTIONS`, for files that do not say it, or against what they say.
        fps: frames per second, for files without times.
        size: (height, width) in pixels of the picture that intrinsics in pixels belong to.
        format: one of FORMATS, when the content is not enough to tell.
        video: the video whose camera this is. Its rate, size and lens are used where neither the file, nor its format,
            nor the arguments above say them; its size only when the principal point can be that of such a picture.

    Raises:
        FileNotFoundError: no such file or folder.
        Unstated: a ValueError; the file leaves open what one of the arguments could say, which it names.
        ValueError: an unknown or damaged file; names the file and the place in it.
    """
    found, member = split_member(path)
    request = Request(convention, fps, size, member, video)
    sample = Sample(found)
    chosen = _named(format) if format is not None else recognise(found)
    if member is not None and not chosen.members:
        raise ValueError(f"{found}: a file of '{chosen.name}' has one trajectory; leave out '#{member}'")
    try:
        _check_place(chosen, found)
        raw = chosen.read(found, request)
    except ValueError as error:
        if format is None or isinstance(error, Unstated):
            raise
        raise ValueError(f"{error}{_looks_otherwise(sample, chosen)}") from None
    return to_track(raw, request, found)


def save_trajectory(
    track: CameraTrack, path: str | Path, format: str, size: Size | None = None, caption: str | None = None
) -> None:
    """Write a trajectory, atomically, in one of FORMATS.

    Args:
        track: what to write.
        path: where; existing files are replaced, all of them or none.
        format: one of FORMATS.
        size: (height, width) of the picture, for formats with intrinsics in pixels.
        caption: the text that the track was compiled from; `omnicam` keeps it, the others have no place for it.

    Raises:
        ValueError: the format is not written, needs a size or another suffix, or cannot hold the track (a zoom, uneven
            times). What is lost otherwise, such as intrinsics where a format has none, is logged as a warning.
    """
    chosen, target = _named(format), Path(path)
    if chosen.write is None:
        writable = ", ".join(name for name, each in FORMATS.items() if each.write is not None)
        raise ValueError(f"format '{format}' is read only: it cannot hold any path. Write one of {writable}")
    if chosen.needs_size and size is None:
        raise ValueError(f"format '{format}' has its intrinsics in pixels; pass size=(height, width)")
    if size is not None:
        check_size(size)
    if chosen.suffix not in (None, target.suffix):
        raise ValueError(f"{target}: format '{format}' is read by the end of its name; end it in {chosen.suffix}")
    if target.exists() and target.is_dir() != (chosen.place == "folder"):
        other = "file" if target.is_dir() else "folder"
        raise ValueError(f"{target}: is a {_kind(target)}; format '{format}' is written as a {other}")
    check_holds(chosen, track, target)
    if caption is not None and chosen.write_captioned is not None:
        chosen.write_captioned(track, target, caption)
    else:
        chosen.write(track, target, size)


def recognise(path: str | Path) -> Format:
    """The format of a file or folder, by its content.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: of no format (tells what was looked for) or of several (tells the evidence for each).
    """
    found, _ = split_member(path)
    sample = Sample(found)
    evidence = _evidence(sample)
    if len(evidence) == 1:
        return FORMATS[next(iter(evidence))]
    if evidence:
        shown = "; ".join(f"{name} ({reason})" for name, reason in evidence.items())
        raise Unstated(
            f"{found} may be of several formats: {shown}. State it by format= ({', '.join(evidence)})",
            "format",
        )
    known = "; ".join(f"{each.name}: {each.title}" for each in FORMATS.values())
    raise ValueError(f"{found} is of no format that we know{_why_not_json(sample)}. Looked for were: {known}")


def _evidence(sample: Sample) -> dict[str, str]:
    found = {name: each.recognise(sample) for name, each in FORMATS.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def split_member(path: str | Path) -> tuple[Path, str | None]:
    """The file or folder, and what stands behind #; a file whose own name has a # is taken as it is.

    Raises:
        FileNotFoundError: no such file or folder.
    """
    whole = Path(path)
    if not whole.exists() and "#" in whole.name:
        name, member = whole.name.rsplit("#", 1)
        return require_file(whole.with_name(name) if name else None, "trajectory"), member
    return require_file(whole, "trajectory"), None


def _named(name: str) -> Format:
    if name not in FORMATS:
        raise ValueError(f"format '{name}': expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _check_place(chosen: Format, path: Path) -> None:
    if chosen.place not in ("either", _kind(path)):
        raise ValueError(f"{path}: is a {_kind(path)}; format '{chosen.name}' is a {chosen.place}")


def _kind(path: Path) -> str:
    return "folder" if path.is_dir() else "file"


def _looks_otherwise(sample: Sample, chosen: Format) -> str:
    evidence = _evidence(sample)
    if chosen.name in evidence or not evidence:
        return ""
    shown = "; ".join(f"{name} ({reason})" for name, reason in evidence.items())
    return f". It was read as '{chosen.name}' because you asked for it; it looks like {shown}"


def _why_not_json(sample: Sample) -> str:
    """For a file that wants to be JSON and is none: where it breaks."""
    if sample.is_folder or not sample.head.lstrip().startswith((b"{", b"[")):
        return ""
    try:
        read_json(sample.path)
    except ValueError as error:
        return f" ({error})"
    return ""


__all__ = [
    "DEFAULT_FPS",
    "FORMATS",
    "Format",
    "RawTrack",
    "Request",
    "SourceVideo",
    "Unstated",
    "load_trajectory",
    "recognise",
    "save_trajectory",
    "split_member",
]
