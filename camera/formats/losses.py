"""What a format cannot hold: refused where it would change the trajectory, told where a flag gives it back."""

from pathlib import Path

from camera.formats.core import Format, logger
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
            f"{path}: this format holds even times only, and the track's are not (step {float(steps[frame]):g} s after "
            f"frame {frame}, {float(steps.mean()):g} s on average); resample the track or take another format"
        )
    return round(1 / float(steps.mean()), 6)


def check_holds(chosen: Format, track: CameraTrack, path: Path) -> None:
    """Refuse what a format would change in a track; log what it leaves out and which flag gives it back.

    Raises:
        ValueError: the track zooms and the format has one lens; the track's times are uneven and the format has none.
    """
    if chosen.lens == "constant":
        _refuse_zoom(track, path)
    if chosen.lens == "none":
        logger.warning("%s: format '%s' holds no intrinsics; they are not written", path, chosen.name)
    if not chosen.holds_times:
        fps = frame_rate(track, path)
        logger.warning(
            "%s: format '%s' holds no times; read it back with fps=%g (--fps %g)", path, chosen.name, fps, fps
        )
    if not chosen.holds_start and float(track.times[0].abs()) > _SAME:
        logger.warning("%s: its times start at %g s; read back, they start at 0", path, float(track.times[0]))
    if chosen.scale not in ("any", track.scale):
        told = "%s: the track is %s; the translations of format '%s' are read as %s"
        logger.warning(told, path, track.scale, chosen.name, chosen.scale)


def _refuse_zoom(track: CameraTrack, path: Path) -> None:
    changed = ((track.intrinsics - track.intrinsics[0]).abs().amax(dim=1) > _SAME).nonzero()
    if len(changed):
        raise ValueError(
            f"{path}: this format has one lens for all frames; the track's changes at frame {int(changed[0])} (a "
            "zoom). Take a format with intrinsics per frame"
        )
