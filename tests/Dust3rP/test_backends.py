"""Who answers, and what is said when nobody can."""

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import Dust3rP
from camera.intrinsics import default_intrinsics
from camera.language import Move
from camera.path_error import path_error
from camera.track import CameraTrack
from camera.trajectory import compile
from Dust3rP import backends, colmap, videos
from Dust3rP.backends import AutoBackend, open_backend
from Dust3rP.dust3r import Dust3rBackend
from Dust3rP.estimate import Estimate, Lens, VideoFrames, no_points
from tools.procedural_world.pair_points import RenderedPairs
from tools.procedural_world.rooms import build_world

ROOT = Path(__file__).resolve().parents[2]
VIDEO = VideoFrames(np.zeros((5, 32, 48, 3), np.uint8), torch.arange(5, dtype=torch.float64) / 8, "clip.mp4")


class Says:
    """A backend that is as sure as it is told, or refuses."""

    def __init__(self, name: str, confidence: float | None) -> None:
        self.name, self.confidence, self.asked = name, confidence, 0

    def estimate(self, video, intrinsics=None):
        self.asked += 1
        if self.confidence is None:
            raise ValueError(f"{self.name} sees nothing")
        track = compile([], len(video), 8.0)
        return Estimate(track, self.name, self.confidence, torch.ones(len(video)), *no_points(), ("own remark",))

    def intrinsics(self, pictures, shared=True):
        found = self.estimate(pictures)
        return Lens(found.track.intrinsics[0], found.confidence)


def test_auto_takes_the_first_that_is_sure_and_says_who_answered():
    first, second = Says("colmap", 0.8), Says("dust3r", 0.9)
    found = AutoBackend(first, second).estimate(VIDEO)
    assert found.backend == "colmap" and second.asked == 0
    assert found.remarks == ("colmap answered, confidence 0.80", "own remark")


@pytest.mark.parametrize(
    ("one", "two", "who", "told"),
    [
        (None, 0.6, "dust3r", "dust3r answered, confidence 0.60 (colmap: colmap sees nothing)"),
        (0.1, 0.6, "dust3r", "(colmap: not sure, confidence 0.10)"),
        (0.2, 0.1, "colmap", "even less sure, confidence 0.10"),
        (0.2, None, "colmap", "dust3r: dust3r sees nothing"),
    ],
)
def test_auto_asks_the_second_where_the_first_is_not_sure(one, two, who, told):
    backend = AutoBackend(Says("colmap", one), Says("dust3r", two))
    found = backend.estimate(VIDEO)
    assert found.backend == who and told in found.remarks[0]
    assert told in backend.intrinsics(VIDEO).remarks[0]


def test_auto_says_everything_when_nobody_can():
    with pytest.raises(ValueError, match="colmap: colmap sees nothing; dust3r: dust3r sees nothing"):
        AutoBackend(Says("colmap", None), Says("dust3r", None)).estimate(VIDEO)
    with pytest.raises(ValueError, match=r"colmap sees nothing.*download_weights.py --only dust3r"):
        AutoBackend(Says("colmap", None), None).estimate(VIDEO)
    unsure = AutoBackend(Says("colmap", 0.1), None).estimate(VIDEO)
    assert "nobody else could be asked" in unsure.remarks[0]


OPEN = {"device": "cpu", "dtype": torch.float32}


def test_what_is_missing_is_said_with_what_to_do(monkeypatch):
    with pytest.raises(ValueError, match="pose backend 'sift': expected one of auto, dust3r, colmap"):
        open_backend("sift", weights=None, **OPEN)
    with pytest.raises(ValueError, match=r"weights of DUSt3R.*non-commercial.*download_weights"):
        open_backend("dust3r", weights=None, **OPEN)
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(ValueError, match=r"pip install -r requirements-colmap.txt"):
        open_backend("colmap", weights=None, **OPEN)
    with pytest.raises(ValueError, match=r"requirements-colmap.txt.*Or: .*download_weights"):
        open_backend("auto", weights=None, **OPEN)
    # without pycolmap, auto is dust3r; its file is opened when the first pictures come
    late = open_backend("auto", weights=Path("nowhere.pth"), **OPEN)
    assert late.name == "dust3r"
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        late.estimate(VIDEO)


def rendered_pairs(frames: int = 7) -> tuple[RenderedPairs, CameraTrack]:
    track = compile([Move(0, 2, 1.0, "right")], frames, 3.0, default_intrinsics(64 / 48, 60.0))
    world = build_world(random.Random("backends/1"), track.c2w[:, :3, 3].numpy(), 60.0)
    return RenderedPairs(world, track, (48, 64)), track


def test_dust3r_is_the_alignment_of_whatever_pairs_it_is_given():
    source, true = rendered_pairs()
    pictures = np.random.default_rng(0).integers(0, 255, (7, 48, 64, 3), dtype=np.uint8)
    video = VideoFrames(pictures, true.times, "room.mp4")
    opened = []
    backend = Dust3rBackend(lambda given: opened.append(given) or source)
    found = backend.estimate(video)
    error = path_error(found.track.c2w, true.c2w)
    assert found.backend == "dust3r" and opened == [video]
    assert error.rotation_max_deg < 0.5 and error.position_max_percent < 2
    with pytest.raises(ValueError, match="1 frame"):
        backend.estimate(replace(video, frames=pictures[:1], times=true.times[:1]))


def test_the_public_names_need_no_torch_until_they_are_used():
    code = "import sys, Dust3rP; assert 'torch' not in sys.modules; Dust3rP.load_dust3r; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    for name in Dust3rP.__all__:
        assert getattr(Dust3rP, name) is not None
    assert callable(Dust3rP.alignment.align)
    with pytest.raises(AttributeError, match="no attribute"):
        _ = Dust3rP.estimat


def test_a_trajectory_in_one_call(tmp_path):
    from common.media import write_image

    for index in range(4):
        write_image(tmp_path / f"{index}.png", np.full((32, 48, 3), 60 * index, np.uint8))
    track = Dust3rP.estimate_trajectory(tmp_path, backend=Says("colmap", 1.0))
    assert isinstance(track, CameraTrack) and len(track) == 4
    assert Dust3rP.estimate_intrinsics(np.zeros((32, 48, 3), np.uint8), backend=Says("dust3r", 1.0)).confidence == 1
    part = videos.read_frames(tmp_path, fps=10.0, start=0.1, end=0.3, every=2)
    assert part.times.tolist() == [0.1, 0.3] and part.frames[:, 0, 0, 0].tolist() == [60, 180]
    with pytest.raises(ValueError, match=r"no frame from 5 to 9 s; it lasts 0.30 s"):
        videos.read_frames(tmp_path, fps=10.0, start=5, end=9)


def test_colmap_is_asked_first_where_both_are_there(monkeypatch):
    monkeypatch.setattr(colmap, "load_pycolmap", lambda: None)
    both = open_backend("auto", weights=Path("some.pth"), **OPEN)
    assert isinstance(both, backends.AutoBackend) and both.name == "auto"
