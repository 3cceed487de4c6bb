"""Images and videos, in and out. Arrays are uint8, RGB, [H, W, 3] or [F, H, W, 3]."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from PIL import Image, ImageOps, UnidentifiedImageError

from common.files import atomic_path, require_file

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif")
VIDEO_EXTENSIONS = (".mp4", ".webm", ".avi", ".mkv", ".mov", ".flv", ".wmv", ".m4v", ".mpg", ".mpeg")

_EXIF_ORIENTATION = 0x0112
_QUARTER_TURNS = range(5, 9)


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself: size in pixels, frames per second, exact number of frames."""

    width: int
    height: int
    fps: float
    frames: int


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        raise ValueError(f"{path}: has no video stream")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def probe_video(path: str | Path) -> VideoInfo:
    """Size, rate and exact frame count of a video; packets are counted, nothing is decoded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a video, is empty, or states no frame rate.
    """
    file = require_file(path, "video")
    try:
        with av.open(str(file)) as container:
            stream = _video_stream(container, file)
            frames = sum(1 for packet in container.demux(stream) if packet.size)
            rate = stream.average_rate or stream.guessed_rate
            if frames == 0 or not rate:
                raise ValueError(f"{file}: a video with {frames} frames at rate {rate}; re-encode or remove it")
            return VideoInfo(stream.width, stream.height, float(rate), frames)
    except FFmpegError as error:
        raise ValueError(f"{file}: not a readable video ({error})") from None


def video_frames(path: str | Path) -> Iterator[np.ndarray]:
    """The frames [H, W, 3] of a video, one by one, decoded as they are asked for.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a video, or is damaged at the next frame.
    """
    file = require_file(path, "video")
    count = 0
    try:
        with av.open(str(file)) as container:
            for frame in container.decode(_video_stream(container, file)):
                yield frame.to_ndarray(format="rgb24")
                count += 1
    except FFmpegError as error:
        raise ValueError(f"{file}: damaged or not a video after {count} frames ({error})") from None


def pick_frames(path: str | Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """The frames [H, W, 3] with these numbers, which must increase; decoding stops after the last of them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a video, is damaged, or ends before the last wanted frame.
    """
    wanted, found = iter(indices), 0
    following = next(wanted, None)
    for index, frame in enumerate(video_frames(path)):
        if following is None:
            return
        if index == following:
            yield frame
            found += 1
            following = next(wanted, None)
    if following is not None:
        raise ValueError(f"{path}: ends before frame {following}; only {found} of {len(indices)} frames are there")


def read_video(path: str | Path, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Frames `start` up to `stop` (exclusive; None for the end) as [F, H, W, 3].

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a video, is damaged, or has not the wanted frames.
    """
    frames = video_frames(path) if stop is None else pick_frames(path, range(start, stop))
    found = list(islice(frames, start, None) if stop is None else frames)
    if not found:
        raise ValueError(f"{path}: has no frame {start}")
    return np.stack(found)


def probe_image(path: str | Path) -> tuple[int, int]:
    """Width and height of an image as `read_image` would give it; only its header is read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not an image.
    """
    file = require_file(path, "image")
    try:
        with Image.open(file) as opened:
            width, height = opened.size
            return (height, width) if opened.getexif().get(_EXIF_ORIENTATION) in _QUARTER_TURNS else (width, height)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file}: not a readable image ({error})") from None


def read_image(path: str | Path) -> np.ndarray:
    """An image as [H, W, 3]: turned as its EXIF says, alpha dropped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not an image, is truncated, or has grey levels of more than 8 bits, whose range is unknown.
    """
    file = require_file(path, "image")
    try:
        with Image.open(file) as opened:
            turned = ImageOps.exif_transpose(opened)
            if turned.mode.startswith(("I", "F")):
                raise ValueError(
                    f"{file}: holds grey levels of more than 8 bits (mode {turned.mode}); save it as 8-bit RGB"
                )
            return np.array(turned.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file}: not a readable image ({error})") from None


def fit_to_size(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale [H, W, 3] to cover width × height, then crop the centre.

    The rule of musubi-tuner: the larger of the two side ratios, sides rounded half up, Lanczos to enlarge and
    area averaging to shrink. `camera.intrinsics.after_resize_crop` is its counterpart for intrinsics.
    """
    source_height, source_width = image.shape[:2]
    if (source_width, source_height) == (width, height):
        return np.ascontiguousarray(image)
    scale = max(width / source_width, height / source_height)
    scaled_width = max(width, math.floor(source_width * scale + 0.5))
    scaled_height = max(height, math.floor(source_height * scale + 0.5))
    if scale > 1:
        enlarged = Image.fromarray(image).resize((scaled_width, scaled_height), Image.Resampling.LANCZOS)
        scaled = np.asarray(enlarged)
    else:
        scaled = cv2.resize(image, (scaled_width, scaled_height), interpolation=cv2.INTER_AREA)
    left, top = (scaled_width - width) // 2, (scaled_height - height) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


def write_video(path: str | Path, frames: np.ndarray, fps: float, crf: int = 18) -> None:
    """Write [F, H, W, 3] uint8 as H.264 mp4 (yuv420p, so H and W must be even); whole or not there."""
    count, height, width, _ = frames.shape
    if count == 0 or height % 2 or width % 2:
        raise ValueError(f"{path}: cannot write {count} frames of {height}x{width} as H.264; sides must be even")
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # without mbtree=0 the same frames give other bytes, and so other fingerprints, from run to run
        stream.options = {"crf": str(crf), "x264-params": "mbtree=0"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write [H, W, 3] uint8 in the format of the path's suffix; whole or not there."""
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)


def contact_sheet(frames: np.ndarray | Sequence[np.ndarray], columns: int, count: int | None = None) -> np.ndarray:
    """Lay frames [F, H, W, 3] out in rows of `columns` with a thin white gap; `count` picks that many, evenly."""
    picked = np.asarray(frames)
    if count is not None and count < len(picked):
        picked = picked[np.linspace(0, len(picked) - 1, count).round().astype(int)]
    total, height, width, _ = picked.shape
    columns = min(columns, total)
    rows, gap = math.ceil(total / columns), 2
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, frame in enumerate(picked):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return sheet
