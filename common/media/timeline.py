"""What a video file says of itself, found in one pass over its packets; only its first frame is decoded."""

import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from common.files import require_file
from common.media.container import display_turn, is_shown, opened_video, remark_on
from common.media.remarks import remark_once

_EVEN_S = 0.002
"""Time stamps this near to an even rate are those of an even rate: containers round to 1 ms."""
_END_SLACK_S = 0.5
_AGAIN = "fetch or write it again"


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself."""

    width: int
    """Pixels, of the upright picture."""
    height: int
    """Pixels, of the upright picture."""
    fps: float
    """Frames per second; of a file with a variable rate, its average."""
    frames: int
    """How many there are; counted, not believed."""
    times: tuple[float, ...] | None = None
    """Seconds after the first frame of every frame, by the file's time stamps; None if evenly spaced at `fps`."""

    def time_of(self, index: int) -> float:
        """Seconds after the first frame at which frame `index` is shown."""
        return index / self.fps if self.times is None else self.times[index]


@dataclass(frozen=True)
class Timeline:
    """The frames of a video, in the order of showing."""

    info: VideoInfo
    stamps: tuple[int, ...] | None
    """Time stamp of every frame, in the stream's own unit; None where they cannot be used to find a frame."""
    keys: tuple[int, ...]
    """Time stamps of the key frames, increasing; of those, too, that an edit list hides."""

    def key_before(self, index: int) -> int | None:
        """The time stamp of the last key frame that is not after frame `index`."""
        assert self.stamps is not None
        position = bisect_right(self.keys, self.stamps[index])
        return self.keys[position - 1] if position else None


@dataclass
class _Pass:
    """What a pass over the packets has gathered."""

    stamps: list[int | None] = field(default_factory=list)
    """Of the packets that become frames, as they are stored."""
    keys: list[int] = field(default_factory=list)
    inter: bool = False
    """Some frames are no key frames."""
    samples: int = 0
    """Packets of the video, empty ones too."""
    cut: bool = False
    """A packet was not whole."""
    end_s: float = 0.0
    """End of the last packet of any stream."""
    first: VideoFrame | None = None


def probe_video(path: str | Path) -> VideoInfo:
    """Size, rate, exact frame count and, for a variable rate, the time of every frame of a video file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a video, is empty or cut short, states no frame rate, or its first frame is damaged.
    """
    return scan(require_file(path, "video")).info


def scan(file: Path) -> Timeline:
    """The timeline of a video file.

    Raises:
        ValueError: as `probe_video`.
    """
    with opened_video(file, threads=1) as (container, stream):
        try:
            found = _gather(container, stream)
        except FFmpegError as error:
            raise ValueError(
                f"{file}: damaged before its first frame ({error.strerror}); re-encode or remove it"
            ) from None
        if found.first is None:
            raise ValueError(f"{file}: a video without a single frame; re-encode or remove it")
        _refuse_cut_short(file, container, stream, found)
        remark_on(stream, found.first, file)
        stamps = _shown_from(found.first.pts, found.stamps)
        seekable = stamps is not None and not _has_made_up_stamps(container.format.name, found)
        count = len(found.stamps) if stamps is None else len(stamps)
        fps, times = _pace(stamps, count, stream, file)
        transposed, _, _ = display_turn(found.first, file)
        width, height = found.first.width, found.first.height
        if transposed:
            width, height = height, width
        info = VideoInfo(width, height, fps, count, times)
        return Timeline(info, tuple(stamps) if stamps and seekable else None, tuple(sorted(found.keys)))


def _gather(container: InputContainer, stream: VideoStream) -> _Pass:
    found = _Pass()
    for packet in container.demux():
        if packet.pts is not None and packet.time_base:
            found.end_s = max(found.end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index != stream.index:
            continue
        video = cast("Packet[VideoStream]", packet)
        if found.first is None:
            found.first = next(iter(video.decode()), None)
        found.samples += packet.dts is not None or packet.size > 0
        found.cut |= packet.is_corrupt
        if packet.is_keyframe and packet.pts is not None:
            found.keys.append(packet.pts)
        if is_shown(video):
            found.stamps.append(packet.pts)
            found.inter |= not packet.is_keyframe
    return found


def _refuse_cut_short(file: Path, container: InputContainer, stream: VideoStream, found: _Pass) -> None:
    """Refuse a file whose end is missing; a header that merely counts wrong is told of."""
    name = container.format.name
    stated_s = (container.duration or 0) / av.time_base
    if found.cut:
        raise ValueError(f"{file}: cut short or damaged: of {_frames(found.samples)}, some are not whole; {_AGAIN}")
    if name.startswith(("matroska", "flv")) and found.end_s < stated_s - _END_SLACK_S:
        raise ValueError(f"{file}: cut short: {found.end_s:.2f} s of {stated_s:.2f} s are there; {_AGAIN}")
    if (name.startswith("mov") and _lacks_media_data(file)) or (name == "avi" and _lacks_riff_data(file)):
        raise ValueError(f"{file}: cut short: {_frames(found.samples)} of its {stream.frames} are there; {_AGAIN}")
    if found.samples < stream.frames and not name.startswith("mov"):  # there, an edit list may hide the others
        remark_once("count", f"{file} says it has {_frames(stream.frames)} and has {found.samples}; these are read")


def _lacks_media_data(file: Path) -> bool:
    """True when a media data box of an mp4 or mov is longer than the file (ISO/IEC 14496-12, 4.2)."""
    end = file.stat().st_size
    with file.open("rb") as content:
        start = 0
        while start < end:
            content.seek(start)
            size, kind = struct.unpack(">I4s", content.read(8).ljust(8, b"\0"))
            if size == 1:
                (size,) = struct.unpack(">Q", content.read(8).ljust(8, b"\0"))
            if kind == b"mdat" and start + size > end:
                return True
            if size < 8:  # 0: up to the end of the file; less than its own head: no box
                return False
            start += size
    return False


def _lacks_riff_data(file: Path) -> bool:
    """True when the first chunk of an AVI, which may be all of it, is longer than the file (RIFF, 1991)."""
    with file.open("rb") as content:
        kind, size = struct.unpack("<4sI", content.read(8).ljust(8, b"\0"))
    return kind == b"RIFF" and 8 + size > file.stat().st_size


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count != 1 else ''}"


def _has_made_up_stamps(container: str, found: _Pass) -> bool:
    """True where FFmpeg makes up time stamps that the file lacks: good for the pace, not for finding a frame.

    AVI stores none, and those made up are not in the order of showing; MPEG program streams store some.
    """
    return container == "mpeg" or (container == "avi" and found.inter)


def _shown_from(first: int | None, stamps: Sequence[int | None]) -> list[int] | None:
    """Time stamps in the order of showing, from the first frame that can be decoded; None if they are of no use.

    A file cut out of another one may begin with frames that refer to some that it has not; decoders drop those.
    """
    known = sorted(stamp for stamp in stamps if stamp is not None)
    if first is None or len(known) < len(stamps) or len(set(known)) < len(known) or first not in known:
        return None
    return known[known.index(first) :]


def _pace(
    stamps: Sequence[int] | None, count: int, stream: VideoStream, file: Path
) -> tuple[float, tuple[float, ...] | None]:
    """Frames per second and, when they are not evenly spaced, the seconds of all frames."""
    stated = [float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
    if stamps is None or count == 1:
        if not stated:
            raise ValueError(f"{file}: states no frame rate, and its {_frames(count)} no times; re-encode it")
        return stated[0], None
    tick = stream.time_base or Fraction(1, av.time_base)
    seconds = [float((stamp - stamps[0]) * tick) for stamp in stamps]
    average = (count - 1) / seconds[-1]
    for fps in (*stated, float(Fraction(average).limit_denominator(1001)), average):
        slack = min(max(float(tick), _EVEN_S), 0.25 / fps)
        if all(abs(second - index / fps) <= slack for index, second in enumerate(seconds)):
            return fps, None
    return average, tuple(round(second, 6) for second in seconds)
