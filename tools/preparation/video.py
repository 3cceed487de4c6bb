"""Videos made from pictures, and clips cut out of videos by time.

A clip is encoded again: key frames of videos on the web lie seconds apart, so that a cut without encoding would begin
or end with frames that have no pose. crf 16 is visually the same.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from common.files import atomic_path, require_file
from common.media import fit_to_size

_CRF = "16"


def encode_video(path: Path, frames: Iterable[np.ndarray], fps: Fraction) -> tuple[int, tuple[int, int]]:
    """Write frames [H, W, 3] uint8 as H.264 mp4, one after the other; whole or not there.

    Odd sides lose a row or column, as `common.media.fit_to_size` crops: H.264 takes even ones.

    Returns:
        number of frames, and (height, width) of the video.

    Raises:
        ValueError: no frames, or frames of different sizes.
    """
    count, source = 0, (0, 0)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        # without mbtree=0 the same frames give other bytes from run to run
        stream.options = {"crf": _CRF, "x264-params": "mbtree=0"}
        for frame in frames:
            if not count:
                source = frame.shape[:2]
                stream.width, stream.height, stream.pix_fmt = source[1] // 2 * 2, source[0] // 2 * 2, "yuv420p"
            if frame.shape[:2] != source:
                raise ValueError(f"{path}: frame {count} is {frame.shape[:2]}, the first {source} (height, width)")
            fitted = fit_to_size(frame, stream.width, stream.height)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(fitted, format="rgb24")))
            count += 1
        if not count:
            raise ValueError(f"{path}: no frames")
        container.mux(stream.encode())
    return count, (source[0] // 2 * 2, source[1] // 2 * 2)


def cut_video(source: Path, target: Path, start: float, end: float) -> tuple[float, tuple[int, int], tuple[int, int]]:
    """Cut the frames that are shown from `start` to `end` (seconds of the source, both frames included).

    Returns:
        seconds of the source at which the first of the clip's frames is shown, (height, width) of the source, and
        (height, width) of the clip.

    Raises:
        FileNotFoundError: no source.
        ValueError: it is not readable, ends too early, or its frames are not evenly spaced.
    """
    file = require_file(source, "video")
    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0] if container.streams.video else None
            rate = None if stream is None else stream.average_rate or stream.guessed_rate
            if not rate:
                raise ValueError(f"{file}: no video stream with a frame rate")
            frames = _frames_between(container, start, end, float(rate))
            first = next(frames, None)
            if first is None:
                raise ValueError(f"{file}: has no frame between {start:.3f} and {end:.3f} s")
            pictures = _evenly(first, frames, float(rate), end, file)
            _, size = encode_video(target, pictures, rate)
            return first[0], first[1].shape[:2], size
    except FFmpegError as error:
        raise ValueError(f"{file}: damaged or not a video ({error})") from None


def _frames_between(
    container: InputContainer, start: float, end: float, rate: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Seconds and frames from the one nearest to `start` to the one nearest to `end`."""
    stream, half = container.streams.video[0], 0.5 / rate
    stream.thread_type = "AUTO"
    assert stream.time_base is not None, "of a stream that was opened"
    origin = (stream.start_time or 0) * stream.time_base
    container.seek(int((Fraction(max(start - half, 0.0)) + origin) / stream.time_base), stream=stream)
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        seconds = float(frame.pts * stream.time_base - origin)
        if seconds > end + half:
            return
        if seconds >= start - half:
            yield seconds, frame.to_ndarray(format="rgb24")


def _evenly(
    first: tuple[float, np.ndarray], others: Iterator[tuple[float, np.ndarray]], rate: float, end: float, source: Path
) -> Iterator[np.ndarray]:
    """The pictures, as long as they come at an even pace; ValueError when they do not, or end before `end`."""
    begin, picture = first
    yield picture
    last = begin
    for index, (seconds, following) in enumerate(others, start=1):
        if abs(seconds - begin - index / rate) > 0.5 / rate:
            raise ValueError(
                f"{source}: its frame at {seconds:.3f} s is not where {rate:.3f} frames per second put it; bring it to "
                "a constant rate first: ffmpeg -i IN -vsync cfr OUT"
            )
        last = seconds
        yield following
    if last < end - 1.5 / rate:
        raise ValueError(f"{source}: ends at {last:.3f} s, before the clip does, at {end:.3f} s")
