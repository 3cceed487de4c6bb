import json

import pytest
import torch

import common.weights
from camera.language import Move
from camera.poses import relative_to
from camera.track import CameraTrack
from camera.trajectory import compile
from common.weights import read_metadata, read_tensors, write_tensors

MOVES = [Move(0, 2, 1.0, "rightup30", "left10")]


@pytest.fixture
def track():
    return compile(MOVES, 33, 16.0)


def fields(track, **changed):
    return {"c2w": track.c2w, "intrinsics": track.intrinsics, "times": track.times} | changed


def test_a_saved_track_loads(track, tmp_path):
    file = tmp_path / "cache" / "a_te_b_wan_camera.safetensors"
    track.save(file, {"source": "caption", "caption": "Camera: é", "fingerprint": "1"})
    loaded = CameraTrack.load(file)
    for name in ("c2w", "intrinsics", "times"):
        torch.testing.assert_close(getattr(loaded, name), getattr(track, name), rtol=0, atol=1e-6)
        assert getattr(loaded, name).dtype == torch.float64
        assert read_tensors(file)[name].dtype == torch.float32
    assert loaded.scale == "relative"
    rotation = loaded.c2w[:, :3, :3]
    torch.testing.assert_close(
        rotation.mT @ rotation, torch.eye(3, dtype=torch.float64).expand(33, 3, 3), rtol=0, atol=1e-12
    )
    assert read_metadata(file) == {
        "format_version": "1",
        "convention": "opencv_c2w",
        "scale": "relative",
        "source": "caption",
        "caption": "Camera: é",
        "fingerprint": "1",
    }


def test_an_interrupted_save_leaves_the_old_file_whole(track, tmp_path, monkeypatch):
    file = tmp_path / "a_wan_camera.safetensors"
    track.save(file)
    before = file.read_bytes()

    def half(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(common.weights, "save_file", half)
    with pytest.raises(OSError, match="disk full"):
        compile([], 5, 16.0).save(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


GOOD = {"format_version": "1", "convention": "opencv_c2w", "scale": "relative"}


@pytest.mark.parametrize(
    ("changed", "metadata", "message"),
    [
        ({"times": None}, GOOD, r"no key times \(keys found: c2w, intrinsics\)"),
        (
            {"c2w": None, "times": None, "latents": torch.ones(1)},
            GOOD,
            r"no key times, c2w \(keys found: intrinsics, latents\)",
        ),
        ({"c2w": torch.eye(4).expand(5, 4, 4)}, GOOD, r"c2w: expected \[F, 4, 4\].*found \[5, 4, 4\]"),
        ({"c2w": torch.eye(3).expand(33, 3, 3)}, GOOD, r"c2w: expected \[F, 4, 4\].*found \[33, 3, 3\]"),
        ({"c2w": 2 * torch.eye(4).expand(33, 4, 4)}, GOOD, "c2w: frame 0 is no rigid pose"),
        ({"c2w": torch.diag(torch.tensor([1.0, 1, -1, 1])).expand(33, 4, 4)}, GOOD, "c2w: frame 0 is no rigid pose"),
        ({"intrinsics": torch.full((33, 4), torch.nan)}, GOOD, "intrinsics: holds NaN"),
        ({"intrinsics": torch.ones(4)}, GOOD, r"intrinsics: expected \[F, 4\].*found \[4\]"),
        ({"intrinsics": torch.zeros(33, 4)}, GOOD, "intrinsics: focal lengths must be above 0"),
        ({"times": torch.zeros(33)}, GOOD, "times: must increase"),
        ({"times": torch.tensor(1.0)}, GOOD, r"times: expected \[F\]"),
        ({}, {}, "metadata format_version is None, expected '1'"),
        ({}, GOOD | {"format_version": "2"}, "metadata format_version is '2', expected '1'"),
        ({}, GOOD | {"convention": "opengl_c2w"}, "metadata convention is 'opengl_c2w', expected 'opencv_c2w'"),
        ({}, GOOD | {"scale": "feet"}, "scale: found 'feet', expected one of metric, relative, unknown"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_key(track, tmp_path, changed, metadata, message):
    file = tmp_path / "b_wan_camera.safetensors"
    tensors = {key: value for key, value in fields(track, **changed).items() if value is not None}
    write_tensors(file, {key: value.float() for key, value in tensors.items()}, metadata)
    with pytest.raises(ValueError, match=message) as caught:
        CameraTrack.load(file)
    assert str(file) in str(caught.value)


def test_a_cache_of_the_fork_is_recognised(tmp_path):
    file = tmp_path / "c_wan_camera.safetensors"
    write_tensors(
        file, {"intrinsics": torch.ones(4), "extrinsics": torch.eye(4).expand(25, 4, 4)}, {"architecture": "wan"}
    )
    with pytest.raises(
        ValueError, match=r"c_wan_camera\.safetensors: a camera cache of the OmniCam-Wan fork.*wan_cache_camera"
    ):
        CameraTrack.load(file)


def test_a_missing_and_a_damaged_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        CameraTrack.load(tmp_path / "nothing.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(json.dumps({"a": 1}).encode())
    with pytest.raises(ValueError, match=r"damaged\.safetensors"):
        CameraTrack.load(damaged)


def test_a_track_is_checked_when_it_is_made(track):
    with pytest.raises(ValueError, match="times: must increase"):
        CameraTrack(**fields(track, times=track.times.flip(0)))
    with pytest.raises(ValueError, match="c2w: holds NaN"):
        CameraTrack(**fields(track, c2w=track.c2w * torch.nan))
    with pytest.raises(ValueError, match="c2w: frame 0 is no rigid pose"):
        CameraTrack(**fields(track, c2w=track.c2w.mT + 1))


def test_a_clip_takes_the_poses_of_its_own_frames():
    video = compile(MOVES, 61, 30.0)
    times = (torch.arange(17, dtype=torch.float64) + 5) / 16
    clip = video.at(times).rebased()
    assert torch.equal(clip.times, times)
    assert torch.equal(clip.c2w[0].round(decimals=12), torch.eye(4, dtype=torch.float64))
    # the planner asked at these very times is the truth; SLERP between 30 fps frames of one move is near it
    truth = compile(MOVES, 33, 16.0).c2w[5:22]
    torch.testing.assert_close(clip.c2w, relative_to(truth, truth[0]), rtol=0, atol=2e-4)


def test_times_outside_a_track_stand_and_intrinsics_are_interpolated(track):
    zoom = torch.linspace(1, 2, 33, dtype=torch.float64)[:, None] * torch.tensor(
        [1, 1, 0.25, 0.25], dtype=torch.float64
    )
    zooming = CameraTrack(track.c2w, zoom, track.times, "metric")
    at = zooming.at([-1.0, 1.0, 5.0])
    assert torch.equal(at.c2w[0], track.c2w[0].round(decimals=15))
    torch.testing.assert_close(at.c2w[2], track.c2w[-1])
    assert at.intrinsics[:, 0].tolist() == pytest.approx([1, 1.5, 2])
    assert at.times.tolist() == [-1, 1, 5] and at.scale == "metric"


def test_rebasing_keeps_the_path_and_crops_keep_the_poses(track):
    later = CameraTrack(**fields(track, c2w=track.c2w[7] @ track.c2w))
    torch.testing.assert_close(later.rebased().c2w, track.c2w, rtol=0, atol=1e-12)
    square = track.cropped((90, 160), (90, 90))
    assert torch.equal(square.c2w, track.c2w)
    assert square.intrinsics[0, 0] == pytest.approx(float(track.intrinsics[0, 0]) * 16 / 9)
