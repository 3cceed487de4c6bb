"""Control videos: which of their frames belongs to which frame of the video."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.media import IMAGE_EXTENSIONS, VideoInfo, probe_folder, probe_video
from dataset.sources import MediaItem

_TIE_S = 1e-6


def is_image(path: Path) -> bool:
    """True for a file that is one picture, by its suffix."""
    return path.suffix.lower() in IMAGE_EXTENSIONS and not path.is_dir()


def control_indices(item: MediaItem, info: VideoInfo) -> list[int]:
    """For every frame of a medium the frame of its control, from 0; the last one for what is after its end.

    A control video is read by time: the frame nearest to that of the medium's, so that one of another rate or of a
    variable rate stays beside what it controls. `fps` of the item counts for both. A folder of images has no clock:
    image i belongs to frame i. A single image stands for every frame. musubi-tuner goes by number in all cases.

    Args:
        item: the medium; it has a control.
        info: of the medium.

    Raises:
        FileNotFoundError, ValueError: the control is not there or unreadable; names the file.
    """
    assert item.control is not None
    if is_image(item.control):
        return [0] * info.frames
    if item.control.is_dir():
        last = probe_folder(item.control, info.fps).frames - 1
        return [min(index, last) for index in range(info.frames)]
    control = probe_video(item.control)
    if item.fps is not None:
        control = replace(control, fps=item.fps, times=None)
    times = [control.time_of(index) for index in range(control.frames)]
    return [_nearest(times, info.time_of(index)) for index in range(info.frames)]


def _nearest(times: Sequence[float], time: float) -> int:
    """The number of the increasing times that is nearest to a time, the earlier of two."""
    after = min(bisect_left(times, time), len(times) - 1)
    before = max(after - 1, 0)
    return before if time - times[before] <= times[after] - time + _TIE_S else after
