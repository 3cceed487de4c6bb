"""Opening a video file, and its frames as upright RGB pictures."""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from common.media.remarks import remark_once

VIDEO_EXTENSIONS = (".mp4", ".webm", ".avi", ".mkv", ".mov", ".flv", ".wmv", ".m4v", ".mpg", ".mpeg")

DECODER_THREADS = 2
"""Per open video; many are decoded at a time, and each thread holds one more frame back."""

_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""Of ITU-T H.273, table 3."""
_MATRIX_ONE = 1 << 16
_VP8_SHOW_FRAME = 0x10
"""In the first byte of a frame (RFC 6386, 9.1); without it the frame is only referred to."""


# PyAV 19 keeps titles that are no UTF-8 as they are, and dropped the argument that had earlier ones do so
_TOLERANT: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}


@contextmanager
def opened_video(file: Path, threads: int = DECODER_THREADS) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container of a video file and its first video stream that is no cover picture, ready to decode.

    The decoder is told to fail at damage rather than to paint over it.

    Raises:
        ValueError: it is no video that FFmpeg can read.
    """
    try:
        # a text that calls itself a playlist must not make FFmpeg fetch what it names
        safe = {"protocol_whitelist": "file"}
        container = av.open(str(file), container_options=safe, **_TOLERANT)
    except (FFmpegError, OSError) as error:
        raise ValueError(f"{file}: not a readable video ({error.strerror or error})") from None
    with container:
        streams = [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]
        if not streams:
            raise ValueError(f"{file}: has no video stream; it holds {_held(container)}")
        if len(streams) > 1:
            remark_once("streams", f"{file} has {len(streams)} video streams; the first is read")
        stream = streams[0]
        if stream.codec_context is None:
            raise ValueError(f"{file}: this FFmpeg has no decoder for its video stream")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        stream.codec_context.options = {"err_detect": "explode"}
        yield container, stream


def _held(container: InputContainer) -> str:
    kinds = sorted({"cover" if stream.type == "video" else stream.type for stream in container.streams})
    return ", ".join(kinds) or "nothing"


def is_shown(packet: "Packet[VideoStream]") -> bool:
    """True for a packet that becomes a frame: not empty, not before an edit list's start, not hidden (VP8)."""
    if not packet.size or packet.is_discard:
        return False
    return packet.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & _VP8_SHOW_FRAME)


class Upright:
    """Turns decoded frames into [H, W, 3] RGB pictures as a player shows them."""

    def __init__(self) -> None:
        """Keeps the converter between frames."""
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame, file: Path) -> np.ndarray:
        """One frame; alpha is cut off, more than 8 bits are rounded, the display matrix is obeyed.

        Raises:
            ValueError: the display matrix is not made of quarter turns and mirrorings.
        """
        picture = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        transposed, flip_x, flip_y = display_turn(frame, file)
        if transposed:
            picture = picture.transpose(1, 0, 2)
        return np.ascontiguousarray(picture[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def display_turn(frame: VideoFrame, file: Path) -> tuple[bool, bool, bool]:
    """How a decoded frame is turned to be upright: exchange x and y, then mirror x, mirror y.

    The display matrix (FFmpeg, libavutil/display.h; ISO/IEC 14496-12, 8.3.2) maps x' = a·x + c·y and
    y' = b·x + d·y; a, b, c and d are fixed-point numbers of 16 bits after the point.

    Raises:
        ValueError: it is not made of quarter turns and mirrorings.
    """
    try:
        side_data = cast("Mapping[str, SideData]", frame.side_data)["DISPLAYMATRIX"]
    except KeyError:
        return False, False, False
    a, b, _, c, d = struct.unpack("=9i", bytes(side_data))[:5]
    if (abs(a), abs(b), abs(c), abs(d)) == (_MATRIX_ONE, 0, 0, _MATRIX_ONE):
        return False, a < 0, d < 0
    if (abs(a), abs(b), abs(c), abs(d)) == (0, _MATRIX_ONE, _MATRIX_ONE, 0):
        return True, c < 0, b < 0
    raise ValueError(f"{file}: is to be shown turned by {frame.rotation} degrees; only quarter turns are read")


def remark_on(stream: VideoStream, first: VideoFrame, file: Path) -> None:
    """Warn of what the pictures lose or keep against a player's: once for each kind."""
    has_alpha = any(component.is_alpha for component in first.format.components)
    if has_alpha or stream.metadata.get("alpha_mode") == "1":
        remark_once("video alpha", f"{file} has an alpha channel, which is cut off")
    if first.interlaced_frame:
        remark_once("interlaced", f"{file} is interlaced and read as it is; remove the combing with ffmpeg -vf bwdif")
    transfer = _HDR_TRANSFERS.get(int(stream.codec_context.color_trc or 0))
    if transfer is not None:
        remark_once("hdr", f"{file} has HDR colours ({transfer}), which will look flat; tone-map it to SDR first")
    ratio = stream.sample_aspect_ratio
    if ratio and ratio != 1:
        remark_once(
            "pixels",
            f"{file} has pixels of {ratio.numerator}:{ratio.denominator}, taken for squares as musubi-tuner does; "
            "make them so with ffmpeg -vf scale=iw*sar:ih,setsar=1",
        )
