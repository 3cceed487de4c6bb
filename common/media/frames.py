"""The frames of a video, all or some: what is not wanted is, where the file allows it, not decoded."""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain, dropwhile, islice
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from common.files import require_file
from common.media.container import Upright, is_shown, opened_video
from common.media.folders import folder_images, pick_images
from common.media.timeline import Timeline, scan

_WORTH_A_SEEK = 24
"""Frames to be skipped from which on finding the key frame is quicker than decoding what lies before."""
_BACK_S = 1


class _SeekFailed(Exception):
    """What came after a jump is not what the time stamps promise."""


def video_frames(path: str | Path) -> Iterator[np.ndarray]:
    """The frames [H, W, 3] of a video or folder of images, one by one, decoded as they are asked for.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a video, or is damaged at the next frame.
    """
    file = require_file(path, "video")
    if file.is_dir():
        yield from pick_images(file, range(len(folder_images(file))))
        return
    upright = Upright()
    for frame in _decoded(file):
        yield upright(frame, file)


def pick_frames(path: str | Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """The frames [H, W, 3] with these numbers, which must increase, of a video or folder of images.

    They are, byte for byte, those that decoding everything gives. Long stretches that are not wanted are jumped
    over where time stamps tell where; and where a jump goes wrong, decoding starts over from the beginning.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a video, is damaged, or ends before the last wanted frame.
    """
    file = require_file(path, "video")
    if file.is_dir():
        yield from pick_images(file, indices)
        return
    found = 0
    if _has_long_gap(indices):
        timeline = scan(file)
        _refuse_beyond(file, timeline.info.frames, indices)
        try:
            for run in _runs(timeline, indices):
                for picture in _from_key_frame(file, timeline, run):
                    yield picture
                    found += 1
        except _SeekFailed:
            pass
    yield from _from_start(file, indices[found:])


def read_video(path: str | Path, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Frames `start` up to `stop` (exclusive; None for the end) as [F, H, W, 3].

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a video, is damaged, or has not the wanted frames.
    """
    frames = islice(video_frames(path), start, None) if stop is None else pick_frames(path, range(start, stop))
    found = list(frames)
    if not found:
        raise ValueError(f"{path}: has no frame {start}")
    return np.stack(found)


def _has_long_gap(indices: Sequence[int]) -> bool:
    previous = -1
    for index in indices:
        if index - previous > _WORTH_A_SEEK:
            return True
        previous = index
    return False


def _refuse_beyond(file: Path, frames: int, indices: Sequence[int]) -> None:
    if indices[-1] >= frames:
        raise ValueError(_ends_before(file, next(index for index in indices if index >= frames), frames))


def _ends_before(file: Path, index: int, frames: int) -> str:
    return f"{file}: ends before frame {index}; it has {frames}, counted from 0"


def _decoded(file: Path) -> Iterator[VideoFrame]:
    """All frames from the start, as the decoder gives them.

    Raises:
        ValueError: the next one is damaged, or the decoder has left one out.
    """
    count, seconds = 0, 0.0
    with opened_video(file) as (container, stream):
        owed = _Owed(container.format.name)
        try:
            for packet in container.demux(stream):
                owed.feed(packet)
                for frame in packet.decode():
                    if frame.is_corrupt or owed.is_skipped_by(frame):
                        raise ValueError(_damaged(file, count, seconds, "its decoder had to guess"))
                    yield frame
                    count += 1
                    seconds = frame.time or 0.0
        except FFmpegError as error:
            raise ValueError(_damaged(file, count, seconds, str(error.strerror))) from None


class _Owed:
    """The time stamps of packets whose frames are still to come, to notice a frame that the decoder drops."""

    def __init__(self, container: str) -> None:
        """Only of containers that store the time stamp of every frame anything is known."""
        self._known = container.startswith(("mov", "matroska"))
        self._stamps: list[int] = []
        self._begun = False

    def feed(self, packet: "Packet[VideoStream]") -> None:
        """A packet goes to the decoder."""
        if self._known and packet.pts is not None and is_shown(packet):
            heappush(self._stamps, packet.pts)

    def is_skipped_by(self, frame: VideoFrame) -> bool:
        """True when a frame has come although one that is shown before it has not, after the first."""
        if not self._known or frame.pts is None:
            return False
        skipped = False
        while self._stamps and self._stamps[0] <= frame.pts:
            skipped |= heappop(self._stamps) < frame.pts
        begun, self._begun = self._begun, True
        return skipped and begun


def _damaged(file: Path, count: int, seconds: float, error: str) -> str:
    return f"{file}: damaged after {count} frames ({seconds:.2f} s): {error}; re-encode or remove it"


def _from_start(file: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """The wanted frames, found by counting."""
    if not indices:
        return
    upright, wanted, count = Upright(), iter(indices), 0
    following = next(wanted)
    for index, frame in enumerate(_decoded(file)):
        count = index + 1
        if index == following:
            yield upright(frame, file)
            after = next(wanted, None)
            if after is None:
                return
            following = after
    raise ValueError(_ends_before(file, following, count))


def _runs(timeline: Timeline, indices: Sequence[int]) -> Iterable[list[int]]:
    """Wanted frames in groups; before each group a jump to its key frame saves decoding a long gap.

    Raises:
        _SeekFailed: the time stamps are of no use.
    """
    if timeline.stamps is None:
        raise _SeekFailed
    runs: list[list[int]] = []
    previous = -1
    for index in indices:
        key = timeline.key_before(index)
        jumps = index - previous > _WORTH_A_SEEK and key is not None and key > timeline.stamps[max(previous, 0)]
        if jumps or not runs:
            runs.append([])
        runs[-1].append(index)
        previous = index
    return runs


def _from_key_frame(file: Path, timeline: Timeline, run: Sequence[int]) -> Iterator[np.ndarray]:
    """The wanted frames of a run, found by their time stamps after a jump.

    Raises:
        _SeekFailed: the jump or the decoding after it did not give just these frames.
    """
    assert timeline.stamps is not None
    key = timeline.key_before(run[0])
    if key is None:
        raise _SeekFailed
    upright, found = Upright(), 0
    wanted = [timeline.stamps[index] for index in run]
    try:
        for frame in _after_jump(file, timeline, key):
            if frame.pts is None or frame.pts > wanted[found] or frame.is_corrupt:
                raise _SeekFailed
            if frame.pts == wanted[found]:
                yield upright(frame, file)
                found += 1
                if found == len(wanted):
                    return
    except FFmpegError:
        raise _SeekFailed from None
    raise _SeekFailed


def _after_jump(file: Path, timeline: Timeline, key: int) -> Iterator[VideoFrame]:
    """Frames from the key frame with time stamp `key` on, or from one before it.

    Frames that are stored after the key frame and shown before it may refer to what was jumped over, and are not
    decoded; nothing that is shown later refers to them.

    Raises:
        _SeekFailed: the container does not find it.
        FFmpegError: the decoder cannot go on from there.
    """
    with opened_video(file) as (container, stream):
        landed: int | None = None
        for packet in _packets_from(container, stream, key):
            if landed is None:
                if packet.pts not in timeline.keys:
                    raise _SeekFailed
                landed = packet.pts
            if packet.pts is None or packet.pts >= landed:
                yield from packet.decode()


def _packets_from(container: InputContainer, stream: VideoStream, key: int) -> Iterator["Packet[VideoStream]"]:
    """Packets from a key frame on that is not after the time stamp `key`.

    Raises:
        _SeekFailed: the container does not find one.
    """
    assert stream.time_base is not None
    # some containers look for the time of decoding, and land behind a key frame whose time of showing is asked for
    for target in (key, key - round(_BACK_S / stream.time_base)):
        container.seek(target, stream=stream)
        packets = dropwhile(lambda packet: not packet.is_keyframe, container.demux(stream))
        first = next(packets, None)
        if first is not None and first.pts is not None and first.pts <= key:
            return chain([first], packets)
    raise _SeekFailed
