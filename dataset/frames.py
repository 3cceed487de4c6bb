"""Which frames of a video become a clip."""

from collections.abc import Iterable

import numpy as np

from dataset.config import DatasetEntry

TARGET_FPS = 16.0
"""The rate of Wan's videos; `source_fps` drops frames to reach it."""
_EARLY = 0.02
"""Of a frame at 16 per second: containers round times to 1 ms, and a frame that is early by that is on time."""


def kept_frames(count: int, source_fps: float | None) -> list[int]:
    """Indices of the source frames that stay when a video of `source_fps` is thinned out to 16 frames per second.

    A running sum grows by 16 / source_fps per frame, and a frame stays when the whole part of the sum has changed
    (musubi-tuner's rule, sum and all, so that the same frames are chosen). A slower video keeps every frame.
    """
    if source_fps is None:
        return list(range(count))
    step, position, last = TARGET_FPS / source_fps, 0.0, -1
    kept = []
    for index in range(count):
        if int(position) != last:
            last = int(position)
            kept.append(index)
        position += step
    return kept


def kept_at_times(times: Iterable[float]) -> list[int]:
    """Indices of the source frames that stay, given when each is shown (seconds, increasing).

    Of the frames in each sixteenth of a second the first stays: `kept_frames` without a sum, for any spacing. Where
    the video is slower, every frame stays; none is shown twice.
    """
    last, kept = -1, []
    for index, time in enumerate(times):
        tick = int(time * TARGET_FPS + _EARLY)
        if tick > last:
            last = tick
            kept.append(index)
    return kept


def clip_spans(entry: DatasetEntry, count: int) -> list[tuple[int, int]]:
    """The clips of a video of `count` kept frames, each once, as (start, frames).

    head: the first frames; chunk: one after the other without overlap; slide: one every `frame_stride` frames;
    uniform: `frame_sample` of them, evenly spread; full: one of up to `max_frames`. Lengths that the video does
    not reach are left out.
    """
    if entry.frame_extraction == "full":
        return [(0, (min(count, entry.max_frames) - 1) // 4 * 4 + 1)] if count else []
    spans = [
        (start, frames)
        for frames in entry.target_frames
        if frames <= count
        for start in _starts(entry, count - frames, frames)
    ]
    return list(dict.fromkeys(spans))


def _starts(entry: DatasetEntry, last: int, frames: int) -> list[int]:
    """Starts from 0 up to `last`, for clips of `frames`."""
    if entry.frame_extraction == "chunk":
        return list(range(0, last + 1, frames))
    if entry.frame_extraction == "slide":
        return list(range(0, last + 1, entry.frame_stride))
    if entry.frame_extraction == "uniform" and entry.frame_sample > last:
        return list(range(last + 1))
    if entry.frame_extraction == "uniform" and entry.frame_sample > 1:
        return np.linspace(0, last, entry.frame_sample, dtype=int).tolist()
    return [0]
