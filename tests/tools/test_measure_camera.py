"""The camera of one video beside its command: right on rendered clips, and told apart from a wrong command."""

from pathlib import Path

import numpy as np
import pytest
import torch

from camera.track import CameraTrack
from common.media import write_video
from common.weights import read_metadata
from tools.make_demo_dataset import main as render
from tools.measure_camera import main as measure


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    found = tmp_path_factory.mktemp("rooms")
    assert render(["--output_dir", str(found), "--clips", "1", "--seed", "7", "--frames", "17"]) == 0
    return found


def words(folder: Path, *options: str) -> list[str]:
    video, depth = folder / "videos" / "room_0000.mp4", folder / "depth" / "room_0000_depth0.npy"
    return [str(video), *(options or [str(folder / "camera" / "room_0000.safetensors")]), "--depth", str(depth)]


def test_a_rendered_clip_obeys_its_camera(folder, tmp_path, capsys):
    assert measure([*words(folder), "--output", str(tmp_path / "found.safetensors")]) == 0
    gain = float(capsys.readouterr().out.splitlines()[1].split()[-1])
    assert gain == pytest.approx(1.0, abs=0.05)
    found = CameraTrack.load(tmp_path / "found.safetensors")
    told = CameraTrack.load(folder / "camera" / "room_0000.safetensors")
    assert torch.allclose(found.c2w, told.c2w, atol=0.02)
    assert (tmp_path / "found.png").stat().st_size > 0


def test_segments_of_a_text_are_measured_each(folder, capsys):
    caption = read_metadata(folder / "camera" / "room_0000.safetensors")["caption"]
    assert measure(words(folder, caption)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == caption.count("<starttime>") + 2
    wrong = "Camera: <starttime>0</starttime> <endtime>1</endtime> <speed>high</speed> <direction>up</direction>"
    assert measure(words(folder, wrong + " <rotate>stay</rotate> <sep>")) == 0
    assert float(capsys.readouterr().out.splitlines()[1].split()[-1]) < 0.5


def test_frames_that_show_nothing_are_said(folder, tmp_path, capsys):
    grey = tmp_path / "grey.mp4"
    write_video(grey, np.full((17, 96, 160, 3), 128, np.uint8), 16.0)
    assert measure([str(grey), *words(folder)[1:]]) == 0
    assert "16 of 17 frames could not be measured" in capsys.readouterr().out


def test_bad_depths_are_refused_by_name(folder, tmp_path):
    for name, array in (("small", np.ones((4, 4), np.float32)), ("holes", np.zeros((96, 160), np.float32))):
        np.save(tmp_path / name, array)
        with pytest.raises(ValueError, match=rf"--depth .*{name}.npy.*expected"):
            measure([*words(folder)[:2], "--depth", str(tmp_path / f"{name}.npy")])
    with pytest.raises(ValueError, match="not an array"):
        measure([*words(folder)[:2], "--depth", str(folder / "dataset.toml")])
