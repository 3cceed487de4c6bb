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
from camera.formats.core import DEFAULT_FPS, Format, RawTrack, Request, check_size, to_track
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
) -> CameraTrack:
    """Read a trajectory of any format that we know; the poses keep the file's world.

    Args:
        path: a file or folder. PATH#NAME names one of several trajectories of a file.
        convention: one of `camera.conventions.CONVENTIONS`, for files that do not say it, or against what they say.
        fps: frames per second, for files without times.
        size: (height, width) in pixels of the picture that intrinsics in pixels belong to.
        format: one of FORMATS, when the content is not enough to tell.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: an unknown, ambiguous or damaged file, or one that leaves out what the arguments could say; names
            the file and the place in it, and the argument to pass.
    """
    found, member = _split(path)
    request = Request(convention, fps, size, member)
    sample = Sample(found)
    chosen = _named(format) if format is not None else recognise(found)
    if member is not None and not chosen.members:
        raise ValueError(f"{found}: a file of '{chosen.name}' has one trajectory; leave out '#{member}'")
    try:
        raw = chosen.read(found, request)
    except ValueError as error:
        raise ValueError(f"{error}{_looks_otherwise(sample, chosen) if format is not None else ''}") from None
    return to_track(raw, request, found)


def save_trajectory(track: CameraTrack, path: str | Path, format: str, size: Size | None = None) -> None:
    """Write a trajectory, atomically, in one of FORMATS.

    Args:
        track: what to write.
        path: where; an existing file is replaced.
        format: one of FORMATS.
        size: (height, width) of the picture, for formats with intrinsics in pixels.

    Raises:
        ValueError: the format is not written, needs a size, or cannot hold the track (a zoom, uneven times). What is
            lost otherwise, such as intrinsics where a format has none, is logged as a warning.
    """
    chosen, target = _named(format), Path(path)
    if chosen.write is None:
        writable = ", ".join(name for name, each in FORMATS.items() if each.write is not None)
        raise ValueError(f"format '{format}' is read only: it cannot hold any path. Write one of {writable}")
    if chosen.needs_size and size is None:
        raise ValueError(
            f"format '{format}' has its intrinsics in pixels; pass size=(height, width) (--size HEIGHT WIDTH on the "
            "command line)"
        )
    if size is not None:
        check_size(size)
    check_holds(chosen, track, target)
    chosen.write(track, target, size)


def recognise(path: str | Path) -> Format:
    """The format of a file or folder, by its content.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: of no format (tells what was looked for) or of several (tells the evidence for each).
    """
    found, _ = _split(path)
    sample = Sample(found)
    evidence = _evidence(sample)
    if len(evidence) == 1:
        return FORMATS[next(iter(evidence))]
    if evidence:
        shown = "; ".join(f"{name} ({reason})" for name, reason in evidence.items())
        raise ValueError(
            f"{found} may be of several formats: {shown}. State it by format= (--format on the command line): "
            f"{', '.join(evidence)}"
        )
    known = "; ".join(f"{each.name}: {each.title}" for each in FORMATS.values())
    raise ValueError(f"{found} is of no format that we know{_why_not_json(sample)}. Looked for were: {known}")


def _evidence(sample: Sample) -> dict[str, str]:
    found = {name: each.recognise(sample) for name, each in FORMATS.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def _split(path: str | Path) -> tuple[Path, str | None]:
    """The file and what stands behind #; a file whose own name has a # is taken as it is."""
    whole = Path(path)
    if not whole.exists() and "#" in whole.name:
        name, member = whole.name.rsplit("#", 1)
        return require_file(whole.with_name(name) if name else None, "trajectory"), member
    return require_file(whole, "trajectory"), None


def _named(name: str) -> Format:
    if name not in FORMATS:
        raise ValueError(f"format '{name}': expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


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


__all__ = ["DEFAULT_FPS", "FORMATS", "Format", "RawTrack", "Request", "load_trajectory", "recognise", "save_trajectory"]
