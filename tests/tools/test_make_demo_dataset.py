"""The tool that renders the demo data set: its files, resuming, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from camera.language import parse, split_caption
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves
from common import media
from common.weights import read_metadata
from dataset.config import load_config
from dataset.sources import load_items
from tools import make_demo_dataset
from tools.demo_folder import set_dataset

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--clips", "3", "--frames", "5", "--size", "32", "64"]


def make(folder: Path, *options: str) -> Path:
    assert make_demo_dataset.main(["--output_dir", str(folder), *SMALL, "--device", "cpu", *options]) == 0
    return folder


def lines(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("demo") / "data")


def test_every_clip_has_its_files_and_the_data_set_loads(made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = load_config(made / "dataset.toml")
    (group,) = load_items(config)
    assert group.entry.resolution == (64, 32)
    assert group.entry.target_frames == (5,)
    assert [item.key for item in group.items] == ["room_0000", "room_0001", "room_0002"]
    for item in group.items:
        info = media.probe_video(item.path)
        assert (info.width, info.height, info.fps, info.frames) == (64, 32, 16.0, 5)
        depth = np.load(made / "depth" / f"{item.key}_depth0.npy")
        assert depth.shape == (32, 64)
        assert depth.dtype == np.float32
        assert np.isfinite(depth).all()
        assert depth.min() > 0
    assert media.read_image(made / "contact_sheet.png").shape == (2 * 32 + 2, 8 * 64 + 14, 3)
    assert not list(made.rglob(".*"))


def test_the_camera_file_holds_the_poses_of_the_captions_moves(made):
    for record in lines(made):
        track = CameraTrack.load(made / record["camera_file"])
        scene, camera_text = split_caption(record["caption"])
        assert scene.startswith("Object: A")
        assert camera_text is not None
        compiled = compile_moves(parse(camera_text), 5, 16.0, track.intrinsics)
        assert torch.allclose(track.c2w, compiled.c2w, atol=1e-6)
        assert torch.equal(track.times, compiled.times)
        assert read_metadata(made / record["camera_file"])["caption"] == record["caption"]
        assert not Path(record["video_path"]).is_absolute()


def test_points_land_within_half_a_pixel_by_what_lies_on_the_disk(tmp_path):
    """Optical flow of the written video against the written pose, intrinsics and depth."""
    make_demo_dataset.main(["--output_dir", str(tmp_path), "--clips", "4", "--frames", "5", "--device", "cpu"])
    errors = []
    for record in lines(tmp_path):
        track = CameraTrack.load(tmp_path / record["camera_file"])
        depth = np.load(tmp_path / "depth" / f"{Path(record['video_path']).stem}_depth0.npy")
        first, last = (
            cv2.cvtColor(media.read_video(tmp_path / record["video_path"])[k], cv2.COLOR_RGB2GRAY) for k in (0, 4)
        )
        corners = cv2.goodFeaturesToTrack(first, 100, 0.05, 5).reshape(-1, 1, 2)
        end, found, _ = cv2.calcOpticalFlowPyrLK(first, last, corners, None, winSize=(9, 9), maxLevel=2)
        back = cv2.calcOpticalFlowPyrLK(last, first, end, None, winSize=(9, 9), maxLevel=2)[0]
        sure = (found.ravel() > 0) & (np.abs(back - corners).max(axis=(1, 2)) < 0.2)
        corners, end = corners[sure, 0], end[sure, 0]
        z = cv2.remap(depth, *corners.T[:, None], cv2.INTER_LINEAR)[0][:, None]
        size, (focal, centre) = np.array([160, 96]), track.intrinsics[4].numpy().reshape(2, 2)
        points = np.concatenate([((corners + 0.5) / size - centre) / focal * z, z], axis=1)
        pose = track.c2w[4].numpy()
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        place = (local[:, :2] / local[:, 2:] * focal + centre) * size - 0.5
        errors.extend(np.linalg.norm(place - end, axis=1))
    assert len(errors) > 80
    assert np.median(errors) < 0.3
    assert (np.array(errors) < 0.5).mean() > 0.75


def test_complete_clips_are_kept_and_broken_ones_made_again_alike(made, tmp_path):
    folder = make(tmp_path / "data")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "depth" / "room_0001_depth0.npy").unlink()
    (folder / "camera" / "room_0002.safetensors").write_bytes(b"cut off")
    (folder / "metadata.jsonl").unlink()
    untouched = [folder / kind for kind in ("videos/room_0000.mp4", "camera/room_0000.safetensors")]
    dates = [path.stat().st_mtime_ns for path in untouched]
    make(folder)
    assert [path.stat().st_mtime_ns for path in untouched] == dates
    for name in ("metadata.jsonl", "dataset.toml", *(f"depth/room_000{n}_depth0.npy" for n in range(3))):
        assert (folder / name).read_bytes() == before[folder / name]
        assert (folder / name).read_bytes() == (made / name).read_bytes()
    for record in lines(folder):
        # x264 itself may code the same pictures a little differently from run to run
        again, first = (media.read_video(path / record["video_path"]).astype(float) for path in (folder, made))
        assert np.abs(again - first).mean() < 1
        one, other = (CameraTrack.load(path / record["camera_file"]) for path in (folder, made))
        assert torch.equal(one.c2w, other.c2w)


def test_other_settings_replace_the_clips(made, tmp_path):
    folder = make(tmp_path / "data")
    make(folder, "--seed", "5")
    assert [line["caption"] for line in lines(folder)] != [line["caption"] for line in lines(made)]
    make(folder, "--fps", "8", "--clips", "1")
    assert len(lines(folder)) == 1
    assert CameraTrack.load(folder / "camera" / "room_0000.safetensors").times[1] == 1 / 8


def test_entries_of_other_tools_in_dataset_toml_stay(tmp_path):
    set_dataset(tmp_path, "real.jsonl", (32, 64), 9)
    make(tmp_path)
    (tmp_path / "real.jsonl").write_text("")
    config = load_config(tmp_path / "dataset.toml")
    assert [entry.target_frames for entry in config.datasets] == [(9,), (5,)]
    assert len({entry.cache_directory for entry in config.datasets}) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "32"], "--frames 32: expected 5 or more and 4n"),
        (["--frames", "1"], "--frames 1"),
        (["--size", "90", "160"], "--size 90 160: expected multiples of 16"),
        (["--clips", "0"], "--clips 0"),
        (["--fps", "nan"], "--fps nan"),
    ],
)
def test_wrong_numbers_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_demo_dataset.main(["--output_dir", str(tmp_path / "data"), *options])
    assert not (tmp_path / "data").exists()


def test_wrong_folders_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        make_demo_dataset.main(["--output_dir", str(tmp_path / "file"), *SMALL])
    (tmp_path / "dataset.toml").write_text('[[datasets]]\nvideo_directory = "mine"\n')
    with pytest.raises(ValueError, match="without video_jsonl_file"):
        set_dataset(tmp_path, "metadata.jsonl", (32, 64), 5)
    assert "mine" in (tmp_path / "dataset.toml").read_text()
    (tmp_path / "dataset.toml").write_text("[[datasets]\n")
    with pytest.raises(ValueError, match="cannot be parsed"):
        set_dataset(tmp_path, "metadata.jsonl", (32, 64), 5)


def test_the_script_ends_with_one_message_and_exit_code_2(tmp_path):
    command = [sys.executable, str(ROOT / "tools/make_demo_dataset.py"), "--frames", "32"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: --frames 32")
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
