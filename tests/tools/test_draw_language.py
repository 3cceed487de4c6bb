import numpy as np
import pytest
import torch

from camera.language import Move
from camera.trajectory import compile
from common.media import read_image
from tools import draw_language


@pytest.fixture
def few(monkeypatch):
    chosen = {name: draw_language.pictures()[name] for name in ("direction-right", "ease-in", "stay")}
    monkeypatch.setattr(draw_language, "pictures", lambda: chosen)


@pytest.mark.usefixtures("few")
def test_pictures_are_written(tmp_path):
    assert draw_language.main(["--output", str(tmp_path)]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["direction-right.png", "ease-in.png", "stay.png"]
    moved, stood = read_image(tmp_path / "direction-right.png"), read_image(tmp_path / "stay.png")
    assert moved.shape == stood.shape == (147, 648, 3)
    assert (moved != stood).any(axis=2).mean() > 0.02


def test_every_picture_is_one_of_the_page():
    folder = draw_language.PICTURES
    assert {f"{name}.png" for name in draw_language.pictures()} == {file.name for file in folder.iterdir()}


def test_a_segment_through_the_camera_is_cut_before_it():
    segments = np.array([[[0, 0, -1.0], [0, 2, 1.0]], [[1, 1, -1.0], [1, 1, -2.0]], [[1, 1, 1.0], [2, 2, 2.0]]])
    cut = draw_language._in_front(segments)
    assert cut[..., 2].min() == pytest.approx(draw_language._NEAR)
    np.testing.assert_allclose(cut, [[[0, 1 + draw_language._NEAR, draw_language._NEAR], [0, 2, 1]], segments[2]])


def test_the_subject_stays_in_the_middle_of_an_orbit_and_leaves_it_in_a_pan():
    for move, middle in ((Move(0, 1, 1.0, "right"), 0.5), (Move(0, 1, 1.0, "stay", "right"), 0.18)):
        track = compile([move], 2, 1.0)
        box = dict(zip(("floor", "wall", "back", "front"), draw_language._scene(), strict=True))["front"][0][:4]
        w2c = torch.linalg.inv(track.c2w[-1]).numpy()
        local = (box @ w2c[:3, :3].T + w2c[:3, 3]).reshape(-1, 3)
        across = (local[:, 0] / local[:, 2]).mean() * float(track.intrinsics[0, 0]) + 0.5
        assert across == pytest.approx(middle, abs=0.07)
