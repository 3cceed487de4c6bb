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
from camera.intrinsics import Size, default_intrinsics
from camera.poses import assemble, nearest_rotation
from camera.track import CameraTrack
from common.logs import get_logger

logger = get_logger("camera")

DEFAULT_FPS = 16.0
"""Frames per second of a file without times, when nobody states it: that of Wan's videos."""
DEFAULT_SIZE = (1080, 1920)
"""(height, width) whose shape the default lens has when a file has no intrinsics and nobody states a size."""
_ORTHONORMAL = 1e-3


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

    def __post_init__(self) -> None:
        if self.convention is not None and self.convention not in CONVENTIONS:
            raise ValueError(f"convention '{self.convention}': expected one of {', '.join(CONVENTIONS)}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(f"fps {self.fps}: expected a number above 0")
        if self.size is not None:
            check_size(self.size)


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
    precision: float = 1e-6
    """Largest difference of a matrix entry after writing and reading again."""
    needs_size: bool = False
    """Writing needs the picture's size, since its intrinsics are in pixels."""
    lens: str = "per frame"
    """What intrinsics it can hold: per frame, constant (one for all frames), none."""
    holds_times: bool = True
    """False: poses at an even pace that the file does not state; the reader has to be told it."""
    scale: str = "any"
    """What its translations are read as, where it is always the same: metric, unknown; "any" where the page tells."""
    members: bool = False
    """True: one file may hold several trajectories, told apart by PATH#NAME."""


def to_pixels(intrinsics: Float64[Tensor, "F 4"], size: Size) -> Float64[Tensor, "F 4"]:
    """Normalised intrinsics in the pixels of a picture of (height, width)."""
    return intrinsics * _sides(size)


def _sides(size: Size) -> Float64[Tensor, "4"]:
    height, width = size
    return torch.tensor([width, height, width, height], dtype=torch.float64)


def to_track(raw: RawTrack, request: Request, path: Path) -> CameraTrack:
    """Check what a file says, complete it by the request, and turn it into our convention.

    The poses keep the file's world; `CameraTrack.rebased` puts them into the first camera.

    Raises:
        ValueError: fewer than 2 poses; numbers that are not finite; matrices that are no rotations; times that do not
            increase; a convention that nobody states (with the evidence and what to pass); pixels of unknown size.
    """
    matrices = _rigid(raw.matrices, path)
    c2w = to_opencv_c2w(matrices, _convention(raw, matrices, request, path))
    intrinsics, times = _intrinsics(raw, request, path), _times(raw, request, path)
    for note in raw.notes:
        logger.warning("%s: %s", path, note)
    try:
        return CameraTrack(c2w, intrinsics, times, raw.scale)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _rigid(matrices: Float64[Tensor, "F 4 4"], path: Path) -> Float64[Tensor, "F 4 4"]:
    """The poses with their rotations brought onto the rotations, once they are near enough to be meant so."""
    if len(matrices) < 2:
        raise ValueError(f"{path}: {len(matrices)} pose{'' if len(matrices) == 1 else 's'}; a trajectory has 2 or more")
    finite = matrices.isfinite().all(dim=2).all(dim=1)
    if not finite.all():
        raise ValueError(f"{path}: pose {int((~finite).nonzero()[0])} (from 0) holds NaN or infinity")
    rotation = matrices[:, :3, :3]
    skew = (rotation.mT @ rotation - torch.eye(3, dtype=torch.float64)).abs().amax(dim=(1, 2))
    bottom = (matrices[:, 3] - torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)).abs().amax(dim=1)
    mirrored = torch.linalg.det(rotation) < 0
    # written so that a NaN, of entries so large that R^T R overflows, is bad too
    bad = (~(skew <= _ORTHONORMAL) | ~(bottom <= _ORTHONORMAL) | mirrored).nonzero()
    if len(bad):
        frame = int(bad[0])
        reason = (
            "is a mirror image (determinant -1): its axes are left-handed"
            if mirrored[frame]
            else f"is no rigid pose: R^T R differs from the identity by {float(skew[frame]):.2g}, the last row from "
            f"0 0 0 1 by {float(bottom[frame]):.2g}; allowed {_ORTHONORMAL:g}"
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
        raise ValueError(
            f"{path} does not say in which convention its poses are: {evidence}. The smoother path is more likely, but "
            f"it is no proof. State it by convention= (--convention on the command line): {', '.join(raw.candidates)}"
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
        return raw.intrinsics
    size = request.size or raw.size
    if size is not None:
        check_size(size)
    if raw.intrinsics_px is None:
        height, width = size or DEFAULT_SIZE
        logger.warning("%s: has no intrinsics; taken is a lens of 60 degrees for a %dx%d picture", path, width, height)
        return default_intrinsics(width / height).expand(len(raw.matrices), 4).clone()
    if size is None:
        raise ValueError(
            f"{path}: its intrinsics are in pixels and the picture is not named (fx {raw.intrinsics_px[0, 0]:g}, "
            f"cx {raw.intrinsics_px[0, 2]:g}, cy {raw.intrinsics_px[0, 3]:g}); pass size=(height, width) "
            "(--size HEIGHT WIDTH on the command line)"
        )
    return raw.intrinsics_px / _sides(size)


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
    fps = request.fps if request.fps is not None else raw.fps
    if fps is None:
        logger.warning("%s: has no times; taken are %g frames per second (fps= or --fps)", path, DEFAULT_FPS)
        fps = DEFAULT_FPS
    if not 0 < fps < math.inf:
        raise ValueError(f"{path}: states {fps:g} frames per second; expected a number above 0")
    return torch.arange(len(raw.matrices), dtype=torch.float64) * raw.frame_step / fps
