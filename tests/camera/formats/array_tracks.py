"""A path of known meaning, random tracks, and the way through a format, for the tests of the binary formats."""

import math
import os

import torch
from hypothesis import settings
from hypothesis import strategies as st

from camera.formats.core import Request, to_track
from camera.poses import assemble, turn
from camera.track import CameraTrack

# the camera stands at the origin and looks along +z; it stands 1 to its right; there it has turned right by 90 degrees
C2W = [
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    [[0, 0, 1, 1], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]],
]
# the same as world-to-camera: the origin is seen at (0,0,0), 1 to the left, and 1 behind
W2C = [
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    [[1, 0, 0, -1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    [[0, 0, -1, 0], [0, 1, 0, 0], [1, 0, 0, -1], [0, 0, 0, 1]],
]
# of a picture of 640 x 480: 90 degrees from left to right, square pixels, the axis in the middle
LENS_PX = [320.0, 320.0, 320.0, 240.0]
K_PX = [[320.0, 0, 320.0], [0, 320.0, 240.0], [0, 0, 1]]
SIZE = (480, 640)

FUZZ = int(os.environ.get("OMNICAM_FUZZ", "150"))
fuzz = settings(max_examples=FUZZ, deadline=None)


def load(format, path, **request):
    asked = Request(**request)
    return to_track(format.read(path, asked), asked, path)


def assert_known_path(track):
    centres, rightwards, forwards = track.c2w[:, :3, 3], track.c2w[:, :3, 0], track.c2w[:, :3, 2]
    moved = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(centres, moved, rtol=0, atol=1e-6)
    # what was to its right is ahead after the turn, and what was ahead is to its left
    expected = torch.tensor([[0, 0, 1], [0, 0, 1], [1, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(forwards, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(rightwards[2], torch.tensor([0, 0, -1.0], dtype=torch.float64), rtol=0, atol=1e-6)


def assert_known_lens(track):
    fx, fy, cx, cy = track.intrinsics[1].tolist()
    assert math.degrees(2 * math.atan(0.5 / fx)) == 90
    assert (fx * 640, fy * 480) == (320, 320)
    assert (cx, cy) == (0.5, 0.5)


def assert_same(read, track, precision, lens=True):
    torch.testing.assert_close(read.c2w, track.c2w, rtol=0, atol=precision)
    torch.testing.assert_close(read.times, track.times - track.times[0], rtol=0, atol=1e-4)
    if lens:
        torch.testing.assert_close(read.intrinsics, track.intrinsics, rtol=0, atol=max(precision, 1e-12))


@st.composite
def tracks(draw, zoom=True, square_for=None, scale="unknown", fps=16.0):
    """Random tracks; with `square_for` (height, width) its pixels are square in a picture of that size."""
    frames, seed = draw(st.integers(2, 12)), draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1

    c2w = assemble(turn(uniform(frames, 3) * draw(st.sampled_from((1e-8, 0.3, 2.0)))), uniform(frames, 3) * 3)
    lens = torch.tensor([0.9, 1.4, 0.5, 0.5], dtype=torch.float64) + 0.2 * uniform(frames if zoom else 1, 4)
    if square_for is not None:
        lens[:, 1] = lens[:, 0] * square_for[1] / square_for[0]
    times = torch.arange(frames, dtype=torch.float64) / fps
    return CameraTrack(c2w, lens.expand(frames, 4).clone(), times, scale)


@st.composite
def mutations(draw):
    """A change of some bytes: (kind, place from 0 to 1, bytes)."""
    kind = draw(st.sampled_from(("replace", "replace", "cut", "insert", "remove")))
    return kind, draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=4))


def mutated(content, changes):
    for kind, place, piece in changes:
        at = int(place * len(content))
        if kind == "replace":
            content = content[:at] + piece + content[at + len(piece) :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + piece + content[at:]
        else:
            content = content[:at] + content[at + len(piece) :]
    return content
