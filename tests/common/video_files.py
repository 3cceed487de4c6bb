"""Small video files of every kind, for tests: a window that wanders over a smooth random picture."""

import struct
from fractions import Fraction

import av
import cv2
import numpy as np

UPRIGHT = (1, 0, 0, 1)
CLOCKWISE = (0, 1, -1, 0)
"""a, b, c, d of the display matrix of a phone held upright."""


def wandering(frames, width=96, height=64, seed=0):
    """[F, H, W, 3] uint8; every frame differs from every other, and the motion has B-frames and vectors to use."""
    random = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(random.random((height + 64, width + 64, 3)), (9, 9), 3)
    ground = (255 * (ground - ground.min()) / (ground.max() - ground.min())).astype(np.uint8)
    places = [(round(30 * (1 + np.sin(i / 7))), round(30 * (1 + np.cos(i / 11)))) for i in range(frames)]
    stack = np.stack([ground[y : y + height, x : x + width] for x, y in places])
    stack[:, :8, :8] = (np.arange(frames) * 5 % 256).astype(np.uint8)[:, None, None, None]
    return stack


def encode(path, frames, codec="libx264", pix_fmt="yuv420p", gop=12, stamps=None, time_base=None, rate=25, **options):
    """Write frames [F, H, W, 3 or 4]; `stamps` are in units of `time_base` (1 / rate)."""
    container_format = options.pop("format", None)
    b_frames = options.pop("b_frames", None)
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        stream.gop_size = gop
        stream.options = {name.replace("_", "-"): str(value) for name, value in options.items()}
        if b_frames is not None:
            stream.max_b_frames = b_frames
        stream.codec_context.time_base = time_base or Fraction(1, rate)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgba" if picture.shape[2] == 4 else "rgb24")
            frame.pts = index if stamps is None else stamps[index]
            frame.time_base = time_base or Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def remux(source, target, keep=lambda index, packet: True, **options):
    """Copy the packets for which `keep` holds into another container."""
    with av.open(str(source)) as read, av.open(str(target), "w", options=options) as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        write.start_encoding()
        for index, packet in enumerate(read.demux(read.streams.video[0])):
            if packet.size and keep(index, packet):
                packet.stream = stream
                write.mux(packet)
    return target


def turn(path, matrix):
    """Give an mp4 a display matrix (a, b, c, d) of whole numbers or fractions (ISO/IEC 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    a, b, c, d = (round(65536 * value) for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def start_at(path, frame, ticks_per_frame):
    """Let the edit list of an mp4 begin at a later frame (ISO/IEC 14496-12, 8.6.6)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"elst") + 16
    media_time = struct.unpack(">i", content[start : start + 4])[0] + frame * ticks_per_frame
    content[start : start + 4] = struct.pack(">i", media_time)
    path.write_bytes(content)
    return path


def damage(path, first, last, seed=0, count=12):
    """Flip bytes in the pictures stored from place `first` up to `last`."""
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content, random = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for position, size in packets[first:last]:
        for place in random.integers(min(size - 1, 12), size, count):
            content[position + place] ^= 0xFF
    path.write_bytes(content)
    return path
