"""A trajectory backend for tests, which knows the camera of the clips it is shown by how their grey level grows."""

import sys
from types import SimpleNamespace

import torch

from camera.track import CameraTrack
from camera.trajectory import compile_at
from Dust3rP.estimate import Estimate, Lens

LENS = (0.9, 1.2, 0.5, 0.5)


class FakeBackend:
    """Answers with the camera of `moves`, in a unit of which the subject's distance has `unit`; counts its calls."""

    name = "colmap"

    def __init__(self, moves=(), confidence=0.9, unit=1.0, points=32, fails=()):
        self.moves, self.confidence, self.unit, self.points, self.fails = moves, confidence, unit, points, fails
        self.asked = []
        self.lenses = []

    def estimate(self, video, intrinsics=None):
        self.asked.append((video.name, video.frames.shape, tuple(video.times.tolist()), intrinsics))
        if any(word in video.name for word in self.fails):
            raise ValueError("no texture was seen; use dust3r")
        lens = LENS if intrinsics is None else tuple(intrinsics)
        found = compile_at(self.moves, video.times, lens).scaled(self.unit)
        points = torch.tensor([0.0, 0.0, self.unit]).expand(self.points, 3)
        return Estimate(
            CameraTrack(found.c2w, found.intrinsics, found.times),
            "colmap",
            self.confidence,
            torch.full((len(video),), self.confidence, dtype=torch.float64),
            points,
            torch.zeros(len(points), 3, dtype=torch.uint8),
            ("32 points.",),
        )

    def intrinsics(self, pictures, shared=True):
        self.lenses.append((pictures.name, len(pictures)))
        if any(word in pictures.name for word in self.fails):
            raise ValueError("one picture says nothing of its lens; use dust3r")
        return Lens(torch.tensor(LENS, dtype=torch.float64), self.confidence)


def install(monkeypatch, backend):
    """Let the scripts open `backend`; returns the list of the names under which it was opened."""
    opened = []

    def open_backend(name, *, weights, device, dtype):
        opened.append((name, weights, device.type))
        return backend

    monkeypatch.setitem(sys.modules, "Dust3rP.backends", SimpleNamespace(open_backend=open_backend))
    return opened
