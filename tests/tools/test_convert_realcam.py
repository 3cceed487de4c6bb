import json

import numpy as np
import pytest

from camera.track import CameraTrack
from common import media
from common.weights import read_metadata
from tests.camera.formats.array_tracks import assert_known_path
from tests.camera.formats.test_plain_pickle import Reduces
from tests.camera.formats.test_realcam import record, write
from tools.convert_realcam import main


def lines(folder):
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def convert(path, folder, *flags):
    return main([str(path), "--output_dir", str(folder), *(flags or ("--fps", "16"))])


def test_every_clip_becomes_a_camera_file_and_a_line(tmp_path, caplog):
    path = write(tmp_path / "test.npz", record(), record(video_path="b/c.mp4"), record(camera_intrinsics=np.ones(3)))
    assert convert(path, tmp_path / "out") == 0
    names = ["camera/videos/RealEstate10K/a.safetensors", "camera/b/c.safetensors"]
    assert [line["camera_file"] for line in lines(tmp_path / "out")] == names
    assert lines(tmp_path / "out")[0] == {
        "video_path": "videos/RealEstate10K/a.mp4",
        "caption": "A long room, é.",
        "camera_file": names[0],
    }
    track = CameraTrack.load(tmp_path / "out" / names[0])
    assert_known_path(track)
    assert track.scale == "relative" and track.times.tolist() == [0, 1 / 16, 2 / 16]
    assert read_metadata(tmp_path / "out" / names[0])["caption"] == "A long room, é."


def test_it_goes_on_where_it_was_stopped(tmp_path):
    path = write(tmp_path / "test.npz", record(), record(video_path="b/c.mp4"))
    convert(path, tmp_path / "out")
    first, second = (tmp_path / "out" / line["camera_file"] for line in lines(tmp_path / "out"))
    listed, kept = (tmp_path / "out" / "metadata.jsonl").read_bytes(), first.stat().st_mtime_ns
    second.write_bytes(second.read_bytes()[:50])
    convert(path, tmp_path / "out")
    assert first.stat().st_mtime_ns == kept and CameraTrack.load(second)
    assert (tmp_path / "out" / "metadata.jsonl").read_bytes() == listed
    convert(path, tmp_path / "out", "--fps", "16", "--metric", "--caption", "short")
    metric = CameraTrack.load(first)
    assert metric.scale == "metric" and metric.c2w[1, 0, 3] == 2.5
    assert lines(tmp_path / "out")[0]["caption"] == "A room."


def test_the_rate_comes_from_each_video(tmp_path):
    media.write_video(tmp_path / "root" / "b" / "c.mp4", np.zeros((3, 32, 32, 3), np.uint8), 8)
    path = write(tmp_path / "test.npz", record(video_path="b/c.mp4"), record(video_path="b/missing.mp4"))
    convert(path, tmp_path / "out", "--video_root", str(tmp_path / "root"))
    (line,) = lines(tmp_path / "out")
    assert CameraTrack.load(tmp_path / "out" / line["camera_file"]).times.tolist() == [0, 0.125, 0.25]


@pytest.mark.parametrize(
    "bad", ["/etc/a.mp4", "../a.mp4", "a/../../b.mp4", "a\\b.mp4", "a\0.mp4", "a" * 300 + ".mp4", "."]
)
def test_no_clip_leads_out_of_the_folder(tmp_path, bad):
    path = write(tmp_path / "test.npz", record(), record(video_path=bad), record())
    convert(path, tmp_path / "out")
    assert len(lines(tmp_path / "out")) == 1
    assert sorted(item.name for item in tmp_path.iterdir()) == ["out", "test.npz"]


def test_a_hostile_file_is_refused_and_nothing_runs(tmp_path):
    flag = tmp_path / "ran"
    path = write(tmp_path / "test.npz", record(), record(align_factor=Reduces(eval, (f"open({str(flag)!r}, 'w')",))))
    with pytest.raises(ValueError, match=r"test\.npz, member arr_0, byte \d+ of the pickle: names 'builtins\.eval'"):
        convert(path, tmp_path / "out")
    assert not flag.exists() and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "flags, words",
    [
        (("--metric",), "one of --fps FPS and --video_root DIR"),
        (("--fps", "16", "--video_root", "x"), "one of --fps FPS and --video_root DIR"),
        (("--fps", "0"), "--fps 0: expected a number above 0"),
        (("--fps", "nan"), "--fps nan"),
        (("--fps", "16", "--memory_gb", "0"), "--memory_gb 0"),
        (("--fps", "16", "--memory_gb", "0.00001"), "needs more than the 10,737 bytes"),
    ],
)
def test_flags_are_checked(tmp_path, flags, words):
    path = write(tmp_path / "test.npz", *[record(video_path=f"{i}.mp4") for i in range(20)])
    with pytest.raises(ValueError, match=words):
        convert(path, tmp_path / "out", *flags)


def test_nothing_usable_is_an_error(tmp_path):
    path = write(tmp_path / "test.npz", record(video_path="/a.mp4"))
    with pytest.raises(ValueError, match="none of its 1 clips could be converted"):
        convert(path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"RealCam-Vid file: .*none\.npz does not exist"):
        convert(tmp_path / "none.npz", tmp_path / "out")
