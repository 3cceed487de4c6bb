import numpy as np
import pytest

from camera.track import CameraTrack
from dataset.config import load_config
from dataset.sources import load_items
from tests.camera.formats.array_tracks import assert_known_path
from tests.camera.formats.test_plain_pickle import Reduces
from tests.camera.formats.test_realcam import record, write
from tests.tools.preparation_sets import grey_video, lines, snapshot
from tests.tools.test_preparation_archives import zipped
from tools.prepare_realcam import main

TRUE = ("videos/RealEstate10K/a.mp4", "videos/DL3DV-10K/1K/b.mp4")


@pytest.fixture
def source(tmp_path):
    """Two clips with videos; one whose video is missing, one whose video is longer than its poses, one hostile path."""
    for name in TRUE:
        grey_video(tmp_path / "in" / name, 3)
    grey_video(tmp_path / "in" / "long.mp4", 9)
    paths = (*TRUE, "videos/MiraData9K/gone.mp4", "long.mp4", "../in/long.mp4")
    write(tmp_path / "in" / "RealCam-Vid_test.npz", *[record(video_path=path) for path in paths])
    return tmp_path / "in"


def prepare(source, out, *flags):
    return main([str(source / "RealCam-Vid_test.npz"), str(source), "--output_dir", str(out), *flags])


def test_each_source_becomes_a_data_set_of_its_own(tmp_path, source):
    before = snapshot(source)
    assert prepare(source, tmp_path / "out") == 0
    first, second = load_items(load_config(tmp_path / "out" / "dataset.toml"))
    assert [group.entry.jsonl_file.name for group in (first, second)] == ["RealEstate10K.jsonl", "DL3DV-10K.jsonl"]
    assert first.items[0].path.samefile(source / TRUE[0]) and second.items[0].path.samefile(source / TRUE[1])
    track = CameraTrack.load(first.items[0].camera_file)
    assert_known_path(track)
    assert track.times.tolist() == pytest.approx([0, 1 / 8, 2 / 8])
    left = lines(tmp_path / "out" / "left-out.jsonl")
    assert [each["item"] for each in left] == [f"clip {n} ({p})" for n, p in
        ((2, "videos/MiraData9K/gone.mp4"), (3, "long.mp4"), (4, "../in/long.mp4"))]  # fmt: skip
    assert "is not there" in left[0]["reason"] and "3 poses for a video of 9 frames" in left[1]["reason"]
    assert "leads out" in left[2]["reason"] and snapshot(source) == before


def test_a_second_run_keeps_the_cameras(tmp_path, source):
    prepare(source, tmp_path / "out", "--fps", "4", "--metric")
    first = snapshot(tmp_path / "out" / "camera")
    prepare(source, tmp_path / "out", "--fps", "4", "--metric")
    assert snapshot(tmp_path / "out" / "camera") == first and len(first) == 3
    assert lines(tmp_path / "out" / "DL3DV-10K.jsonl")[0]["fps"] == 4.0


def test_videos_in_archives(tmp_path, source):
    (tmp_path / "packed").mkdir()
    zipped(tmp_path / "packed" / "part1.zip", {TRUE[0]: (source / TRUE[0]).read_bytes()})
    zipped(tmp_path / "packed" / "part2.zip", {TRUE[1]: (source / TRUE[1]).read_bytes()})
    flags = ["--archives", str(tmp_path / "packed"), "--output_dir", str(tmp_path / "out")]
    main([str(source / "RealCam-Vid_test.npz"), *flags])
    groups = load_items(load_config(tmp_path / "out" / "dataset.toml"))
    assert [group.items[0].path.read_bytes() for group in groups] == [(source / name).read_bytes() for name in TRUE]


def test_a_hostile_file_is_refused_and_nothing_runs(tmp_path, source):
    flag = tmp_path / "ran"
    hostile = record(align_factor=Reduces(eval, (f"open({str(flag)!r}, 'w')",)))
    write(source / "RealCam-Vid_test.npz", hostile)
    with pytest.raises(ValueError, match=r"names 'builtins\.eval'"):
        prepare(source, tmp_path / "out")
    assert not flag.exists()


def test_dry_run_strict_and_nothing_usable(tmp_path, source):
    prepare(source, tmp_path / "out", "--dry_run")
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4 is not there"):
        prepare(source, tmp_path / "out", "--strict")
    write(source / "RealCam-Vid_test.npz", record(video_path="x.mp4"), record(camera_intrinsics=np.ones(3)))
    with pytest.raises(ValueError, match=r"with 2 clips: nothing of it could be used"):
        prepare(source, tmp_path / "out")
