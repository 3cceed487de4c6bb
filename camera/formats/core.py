"""What every trajectory format shares: what a caller asks for, what a file says, and the way to a CameraTrack.

A format's module reads its file into a `RawTrack` as it is stored and names the convention that the format documents.
Checking it, asking the user where the file is silent, and turning it into our convention happen here, once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.conventions import CONVENTIONS, to_opencv_c2w
from camera.formats.sample import Sample
from camera.intrinsics import DEFAULT_SIZE, Size, default_intrinsics, fov_deg_of, from_pixels
from camera.poses import ORTHONORMAL, assemble, is_mirrored, nearest_rotation, skewness
from camera.track import CameraTrack
from common.logs import get_logger

logger = get_logger("camera")

DEFAULT_FPS = 16.0
"""Frames per second of a file without times, when nobody states it: that of Wan's videos."""
_NEAR_CENTRE = 0.1
"""Of a side: how far a principal point lies from the middle of the picture that its pixels are of, at most."""


class Unstated(ValueError):
    """A file leaves something open that only its user knows."""

    def __init__(self, message: str, argument: str) -> None:
        super().__init__(message)
        self.argument = argument
        """The argument of `load_trajectory` that states it: convention, fps, size or format."""


@dataclass(frozen=True, eq=False)
class SourceVideo:
    """The video that a trajectory file belongs to; stands in for what neither the file nor its format says."""

    fps: float
    """Frames per second."""
    size: Size
    """(height, width) in pixels."""
    intrinsics: Float64[Tensor, "4"]
    """Normalised (fx/W, fy/H, cx/W, cy/H)."""


@dataclass(frozen=True)
class Request:
    """What the caller of `load_trajectory` says beyond the file; ValueError on construction where it makes no sense."""

    convention: str | None = None
    """One of CONVENTIONS; overrides what the format documents."""
    fps: float | None = None
    """Frames per second, for files without times."""
    size: Size | None = None
    """(height, width) in pixels of the picture that the intrinsics belong to; overrides what the file says."""
    member: str | None = None
    """Which of several trajectories of one file: what the user wrote after # behind the path."""
    video: SourceVideo | None = None
    """What is used where neither the file, nor its format, nor the fields above say it."""

    def __post_init__(self) -> None:
        if self.convention is not None and self.convention not in CONVENTIONS:
            raise ValueError(f"convention '{self.convention}': expected one of {', '.join(CONVENTIONS)}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(f"fps {self.fps}: expected a number above 0")
        if self.size is not None:
            check_size(self.size)

    @property
    def known_fps(self) -> float | None:
        """Frames per second that the caller states or that the video has; None when nobody knows."""
        return self.video.fps if self.fps is None and self.video is not None else self.fps


def check_size(size: Size) -> None:
    """Refuse a (height, width) that is no picture's."""
    if min(size) < 1:
        raise ValueError(f"size {size}: expected (height, width) in pixels, both 1 or more")


@dataclass(frozen=True)
class RawTrack:
    """A file's content as it is stored, and what the format documents about it."""

    matrices: Float64[Tensor, "F 4 4"]
    """Poses; with `convention` they become ours."""
    convention: str | None
    """One of CONVENTIONS; None when neither the file nor its format says."""
    candidates: tuple[str, ...] = ("opencv_c2w", "opencv_w2c")
    """The conventions among which the user has to choose when `convention` is None."""
    evidence: str = ""
    """What else in the file speaks for one of the candidates; shown where the user has to choose."""
    intrinsics: Float64[Tensor, "F 4"] | None = None
    """Normalised (fx/W, fy/H, cx/W, cy/H); None when the file has none, or has them in pixels."""
    intrinsics_px: Float64[Tensor, "F 4"] | None = None
    """(fx, fy, cx, cy) in pixels of `size`."""
    size: Size | None = None
    """(height, width) of the picture, that the file states or that the format documents."""
    times: Float64[Tensor, "F"] | None = None
    """Seconds; None when the file has none."""
    frame_step: int = 1
    """Video frames from one pose to the next, where there are no times (4: one pose for each latent frame)."""
    fps: float | None = None
    """Frames per second that the file states, where there are no times."""
    scale: str = "unknown"
    """One of `camera.track.SCALES`."""
    fewest: int = 2
    """Poses that make a whole trajectory; 1 where the file may be the camera of an image."""
    notes: tuple[str, ...] = ()
    """What a user should know, such as a default that was taken; logged as warnings."""


@dataclass(frozen=True)
class Format:
    """One way of writing a trajectory: its name, and how to recognise, read and write it."""

    name: str
    """What users type."""
    title: str
    """One line: whose format, which convention, what the intrinsics are in."""
    recognise: Callable[[Sample], str | None]
    """The evidence that a file is of this format ("19 numbers a line"), or None."""
    read: Callable[[Path, Request], RawTrack]
    """Raises ValueError, naming line, key or member, when the file is damaged."""
    write: Callable[[CameraTrack, Path, Size | None], None] | None
    """Writes atomically; raises ValueError when the format cannot hold the track. None when we do not write it."""
    write_captioned: Callable[[CameraTrack, Path, str], None] | None = None
    """Writes the track with the text that it was compiled from; None when the format has no place for a text."""
    precision: float = 1e-6
    """Largest difference of a matrix entry after writing and reading again."""
    needs_size: bool = False
    """Writing needs the picture's size, since its intrinsics are in pixels."""
    place: str = "file"
    """What a trajectory is stored in: file, folder (of several files), either (then a file is written)."""
    suffix: str | None = None
    """What the name of a written file must end in, where readers go by it."""
    lens: str = "per frame"
    """What intrinsics it can hold: per frame, constant (one for all frames), none."""
    holds_times: bool = True
    """False: poses at an even pace that the file does not state; the reader has to be told it."""
    holds_start: bool = False
    """False: times are read back from 0 on."""
    scale: str = "unknown"
    """What its translations are read as: metric, relative, unknown; "any" where the file says it."""
    members: bool = False
    """True: one file may hold several trajectories, told apart by PATH#NAME."""


def to_track(raw: RawTrack, request: Request, path: Path) -> CameraTrack:
    """Check what a file says, complete it by the request, and turn it into our convention.

    The poses keep the file's world; `CameraTrack.rebased` puts them into the first camera.

    Raises:
        ValueError: fewer than 2 poses; numbers that are not finite; matrices that are no rotations; times that do not
            increase; a convention that nobody states (with the evidence and what to pass); pixels of unknown size.
    """
    matrices = _rigid(raw.matrices, raw.fewest, path)
    c2w = to_opencv_c2w(matrices, _convention(raw, matrices, request, path))
    intrinsics, times = _intrinsics(raw, request, path), _times(raw, request, path)
    for note in raw.notes:
        logger.warning("%s: %s", path, note)
    try:
        return CameraTrack(c2w, intrinsics, times, raw.scale)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _rigid(matrices: Float64[Tensor, "F 4 4"], fewest: int, path: Path) -> Float64[Tensor, "F 4 4"]:
    """The poses with their rotations brought onto the rotations, once they are near enough to be meant so."""
    if len(matrices) < fewest:
        found = f"{len(matrices)} pose{'' if len(matrices) == 1 else 's'}"
        raise ValueError(f"{path}: {found}; a trajectory has {fewest} or more")
    finite = matrices.isfinite().all(dim=2).all(dim=1)
    if not finite.all():
        raise ValueError(f"{path}: pose {int((~finite).nonzero()[0])} (from 0) holds NaN or infinity")
    rotation = matrices[:, :3, :3]
    skew = skewness(rotation)
    mirrored = is_mirrored(rotation) & (skew <= ORTHONORMAL)
    bottom = (matrices[:, 3] - torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)).abs().amax(dim=1)
    # written so that a NaN, of entries so large that R^T R overflows, is bad too
    bad = (~(skew <= ORTHONORMAL) | ~(bottom <= ORTHONORMAL) | mirrored).nonzero()
    if len(bad):
        frame = int(bad[0])
        reason = (
            "is a mirror image (determinant -1): its axes are left-handed"
            if mirrored[frame]
            else f"is no rigid pose: R^T R differs from the identity by {float(skew[frame]):.2g}, the last row from "
            f"0 0 0 1 by {float(bottom[frame]):.2g}; allowed {ORTHONORMAL:g}"
        )
        raise ValueError(f"{path}: pose {frame} (from 0) {reason}")
    return assemble(nearest_rotation(rotation), matrices[:, :3, 3])


def _convention(raw: RawTrack, matrices: Float64[Tensor, "F 4 4"], request: Request, path: Path) -> str:
    if request.convention is not None:
        if raw.convention not in (None, request.convention):
            logger.warning(
                "%s: read as %s because you asked for it; this format documents %s",
                path, request.convention, raw.convention,
            )  # fmt: skip
        return request.convention
    if raw.convention is None:
        readings = [f"read as {name}, {_smoothness(matrices, name)}" for name in raw.candidates]
        evidence = "; ".join([raw.evidence, *readings] if raw.evidence else readings)
        raise Unstated(
            f"{path} does not say in which convention its poses are: {evidence}. The smoother path is more likely, but "
            f"it is no proof. State it by convention= ({', '.join(raw.candidates)})",
            "convention",
        )
    return raw.convention


def _smoothness(matrices: Float64[Tensor, "F 4 4"], convention: str) -> str:
    """How evenly the camera's centre moves under a reading: its mean change of step over its mean step."""
    steps = to_opencv_c2w(matrices, convention)[:, :3, 3].diff(dim=0)
    mean = float(steps.norm(dim=1).mean())
    change = float(steps.diff(dim=0).norm(dim=1).mean()) if len(steps) > 1 else 0.0
    jerk = f"{change / mean:.2g}" if mean > 1e-9 else "-"
    return f"the centre moves {mean:.3g} a frame and its step changes by {jerk} of that"


def _intrinsics(raw: RawTrack, request: Request, path: Path) -> Float64[Tensor, "F 4"]:
    if raw.intrinsics is not None:
        if request.size is not None:
            told = "%s: its intrinsics are normalised; the size %dx%d (width x height) is not used"
            logger.warning(told, path, request.size[1], request.size[0])
        return raw.intrinsics
    if request.size is not None and raw.size not in (None, request.size):
        logger.warning(
            "%s: read as a picture of %dx%d (width x height) because you asked for it; it states, or its format "
            "documents, %dx%d: the focal lengths differ by these sides",
            path, *request.size[::-1], *raw.size[::-1],
        )  # fmt: skip
    if raw.intrinsics_px is None:
        lens, told = assumed_lens(request, raw.size)
        logger.warning("%s: has no intrinsics; taken is %s", path, told)
        return lens.expand(len(raw.matrices), 4).clone()
    size = request.size or raw.size or _size_of_video(raw.intrinsics_px, request)
    if size is None:
        video = "" if request.video is None else "that of its video does not fit them; "
        raise Unstated(
            f"{path}: its intrinsics are in pixels and the picture is not named (fx {raw.intrinsics_px[0, 0]:g}, "
            f"cx {raw.intrinsics_px[0, 2]:g}, cy {raw.intrinsics_px[0, 3]:g}); {video}pass size=(height, width)",
            "size",
        )
    check_size(size)
    return from_pixels(raw.intrinsics_px, size)


def assumed_lens(request: Request, size: Size | None = None) -> tuple[Float64[Tensor, "4"], str]:
    """Intrinsics for a file that has none, and what to tell of them.

    Args:
        request: its size, or the lens of its video, goes before the default of 60 degrees.
        size: (height, width) that the file states.
    """
    known = request.size or size
    if known is None and request.video is not None:
        return (
            request.video.intrinsics,
            f"the video's lens of {float(fov_deg_of(request.video.intrinsics)):.3g} degrees",
        )
    height, width = known or DEFAULT_SIZE
    check_size((height, width))
    return default_intrinsics(width / height), f"a lens of 60 degrees for a {width}x{height} picture"


def _size_of_video(intrinsics_px: Float64[Tensor, "F 4"], request: Request) -> Size | None:
    """The video's size, when the pixels can be its own: networks store those of the small picture that they saw."""
    if request.video is None or not is_near_centre(intrinsics_px, request.video.size):
        return None
    return request.video.size


def is_near_centre(intrinsics_px: Float64[Tensor, "F 4"], size: Size) -> bool:
    """True when the principal points are those of a picture of (height, width): about in its middle."""
    offset = from_pixels(intrinsics_px, size)[:, 2:] - 0.5
    return bool((offset.abs() < _NEAR_CENTRE).all())


def _times(raw: RawTrack, request: Request, path: Path) -> Float64[Tensor, "F"]:
    if raw.times is None:
        return _even_times(raw, request, path)
    if request.fps is not None:
        logger.warning("%s: has times of its own; fps %g is not used", path, request.fps)
    steps = raw.times.diff(prepend=raw.times.new_tensor([-math.inf]))
    wrong = (~(steps > 0) | ~raw.times.isfinite()).nonzero()
    if len(wrong):
        frame = int(wrong[0])
        raise ValueError(
            f"{path}: the time of pose {frame} (from 0), {float(raw.times[frame]):g} s, is not later than the one "
            "before it"
        )
    return raw.times


def _even_times(raw: RawTrack, request: Request, path: Path) -> Float64[Tensor, "F"]:
    fps = next((each for each in (request.fps, raw.fps, request.known_fps) if each is not None), None)
    if fps is None:
        logger.warning("%s: has no times; taken are %g frames per second (fps= or --fps)", path, DEFAULT_FPS)
        fps = DEFAULT_FPS
    if not 0 < fps < math.inf:
        raise ValueError(f"{path}: states {fps:g} frames per second; expected a number above 0")
    return torch.arange(len(raw.matrices), dtype=torch.float64) * raw.frame_step / fps
