"""What a format cannot hold: refused where it would change the trajectory, told where a flag gives it back."""

from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.formats.core import Format, logger
from camera.intrinsics import Size
from camera.track import CameraTrack

_SAME = 1e-9


def frame_rate(track: CameraTrack, path: Path) -> float:
    """Frames per second of a track, for a format that knows frames but no times.

    Raises:
        ValueError: a single frame, or the frames are not evenly spaced, so that no rate stands for their times.
    """
    steps = track.times.diff()
    if not len(steps):
        raise ValueError(f"{path}: the track has 1 pose; a trajectory file has 2 or more")
    uneven = (steps - steps.mean()).abs() > 1e-6 * steps.mean() + _SAME
    if uneven.any():
        frame = int(uneven.nonzero()[0])
        raise ValueError(
            f"{path}: this format has no times, and those of the track are not even (step {float(steps[frame]):g} s "
            f"after frame {frame}, {float(steps.mean()):g} s on average); resample the track or take another format"
        )
    return round(1 / float(steps.mean()), 6)


def check_holds(chosen: Format, track: CameraTrack, path: Path) -> None:
    """Refuse what a format would change in a track; log what it leaves out and which flag gives it back.

    Raises:
        ValueError: the track zooms and the format has one lens; it has no times and the track's are uneven.
    """
    if chosen.lens == "constant":
        one_lens(track, path)
    if chosen.lens == "none":
        logger.warning("%s: format '%s' holds no intrinsics; they are not written", path, chosen.name)
    if not chosen.holds_times:
        fps = frame_rate(track, path)
        logger.warning("%s: format '%s' holds no times; read it back with fps=%g (--fps)", path, chosen.name, fps)
        if float(track.times[0].abs()) > _SAME:
            logger.warning("%s: its times start at %g s; they will start at 0", path, float(track.times[0]))
    if chosen.scale not in ("any", track.scale):
        told = "%s: the track is %s; the translations of format '%s' are read as %s"
        logger.warning(told, path, track.scale, chosen.name, chosen.scale)


def one_lens(track: CameraTrack, path: Path) -> Float64[Tensor, "4"]:
    """The intrinsics of a track whose lens does not change.

    Raises:
        ValueError: it changes, which a format with one lens cannot hold.
    """
    changed = ((track.intrinsics - track.intrinsics[0]).abs().amax(dim=1) > _SAME).nonzero()
    if len(changed):
        raise ValueError(f"{path}: this format has one lens for all frames; the track's changes at frame "
                         f"{int(changed[0])} (a zoom). Take a format with intrinsics per frame")  # fmt: skip
    return track.intrinsics[0]


def pixel_intrinsics(track: CameraTrack, size: Size | None, path: Path) -> Float64[Tensor, "F 4"]:
    """(fx, fy, cx, cy) in pixels of a picture of `size` (height, width).

    Raises:
        ValueError: no size, which a format in pixels needs.
    """
    if size is None or min(size) < 1:
        raise ValueError(
            f"{path}: this format has its intrinsics in pixels; pass size=(height, width), both 1 or more "
            "(--size HEIGHT WIDTH on the command line)"
        )
    height, width = size
    return track.intrinsics * torch.tensor([width, height, width, height], dtype=torch.float64)
