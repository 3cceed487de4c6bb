from pathlib import Path

import numpy as np
import pytest
import torch

from camera.formats.core import Request
from camera.formats.realcam import FORMATS, clip_track, parse_clip, read_clips
from camera.formats.sample import Sample
from tests.camera.formats.array_tracks import W2C, assert_known_path

(REALCAM,) = FORMATS


def record(**changed):
    plain = {
        "video_path": "videos/RealEstate10K/a.mp4",
        "short_caption": "A room.",
        "long_caption": "A long room, é.",
        "camera_intrinsics": np.array([0.5, 2 / 3, 0.5, 0.5], np.float32),
        "camera_extrinsics": np.array(W2C, np.float32),
        "align_factor": np.float64(2.5),
        "camera_scale": 1.0,
        "vtss_score": 0.1,
    }
    return {key: value for key, value in {**plain, **changed}.items() if value is not None}


def write(path, *records):
    array = np.empty(len(records), dtype=object)
    array[:] = records
    np.savez(path, array)
    return path


def test_it_is_recognised_and_refused_with_the_command(tmp_path):
    path = write(tmp_path / "RealCam-Vid_test.npz", record())
    assert "pickled objects, as RealCam-Vid has" in REALCAM.recognise(Sample(path))
    with pytest.raises(
        ValueError, match=r"RealCam-Vid_test\.npz: holds pickled objects.*tools/convert_realcam\.py .*npz"
    ):
        REALCAM.read(path, Request())
    np.savez(tmp_path / "plain.npz", np.eye(4))
    assert REALCAM.recognise(Sample(tmp_path / "plain.npz")) is None


def test_a_clip_moves_and_turns_right(tmp_path):
    (read,) = read_clips(write(tmp_path / "a.npz", record()), 2**26)
    clip = parse_clip(read, "clip 0")
    assert (clip.video_path, clip.short_caption) == ("videos/RealEstate10K/a.mp4", "A room.")
    assert clip.long_caption == "A long room, é." and clip.align_factor == 2.5
    track = clip_track(clip, 16.0, False, Path("clip 0"))
    assert_known_path(track)
    assert track.scale == "relative" and track.times[-1] == 2 / 16
    assert track.intrinsics[2].tolist() == pytest.approx([0.5, 2 / 3, 0.5, 0.5])
    metric = clip_track(clip, 16.0, True, Path("clip 0"))
    # 1 unit to the right is 2.5 metres
    assert metric.c2w[1, :3, 3].tolist() == [2.5, 0, 0] and metric.scale == "metric"
    assert torch.equal(metric.c2w[:, :3, :3], track.c2w[:, :3, :3])


def test_the_path_begins_in_the_first_camera():
    moved = np.array(W2C) @ np.linalg.inv(np.array(W2C)[2])
    clip = parse_clip(record(camera_extrinsics=moved), "clip 0")
    track = clip_track(clip, 16.0, False, Path("clip 0"))
    torch.testing.assert_close(track.c2w[0], torch.eye(4, dtype=torch.float64))
    assert_known_path(track)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"video_path": None}, "video_path is no text"),
        ({"video_path": 3}, "video_path is no text"),
        ({"long_caption": "\ud800"}, "long_caption is no text"),
        ({"camera_extrinsics": None}, "camera_extrinsics: expected numbers .*found NoneType"),
        ({"camera_extrinsics": np.eye(4)}, r"camera_extrinsics: expected numbers .*found \[4, 4\]"),
        ({"camera_extrinsics": np.zeros((3, 4, 4), bool)}, "camera_extrinsics: expected numbers"),
        ({"camera_intrinsics": np.ones(5)}, r"camera_intrinsics: expected \[4\], found \[5\]"),
        ({"align_factor": -1.0}, "align_factor: expected a number above 0"),
        ({"align_factor": "1"}, "align_factor: expected a number above 0"),
    ],
)
def test_a_clip_that_cannot_be_used_is_named(changed, words):
    with pytest.raises(ValueError, match=f"^clip 7: {words}"):
        parse_clip(record(**changed), "clip 7")


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"camera_extrinsics": np.array(W2C) * np.nan}, "pose 0 .*holds NaN"),
        ({"camera_extrinsics": np.array(W2C)[:1]}, "1 pose"),
        ({"camera_intrinsics": np.zeros(4)}, "intrinsics: focal lengths must be above 0"),
        ({"align_factor": None}, "has no align_factor"),
    ],
)
def test_poses_that_cannot_be_used_are_named(changed, words):
    with pytest.raises(ValueError, match=f"^clip 7: {words}"):
        clip_track(parse_clip(record(**changed), "clip 7"), 16.0, True, Path("clip 7"))


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "plain.npz", np.eye(4))
    with pytest.raises(ValueError, match=r"plain\.npz, member arr_0: is no list of clips"):
        read_clips(tmp_path / "plain.npz", 2**26)
    path = write(tmp_path / "a.npz", record())
    path.write_bytes(path.read_bytes()[:-40])
    assert REALCAM.recognise(Sample(path)) is None
    with pytest.raises(ValueError, match=r"a\.npz: not a whole \.npz archive"):
        read_clips(path, 2**26)
