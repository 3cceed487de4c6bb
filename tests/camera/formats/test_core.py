import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from camera.conventions import AXES, CONVENTIONS, from_opencv_c2w, to_opencv_c2w
from camera.formats import FORMATS, load_trajectory, recognise, save_trajectory
from camera.formats.core import RawTrack, Request, to_track
from camera.formats.sample import Sample
from camera.poses import assemble, turn
from camera.track import CameraTrack
from tests.camera.formats.tracks import EYE, close, lens, moved, random_track, random_tracks

PATH = Path("some/file.txt")
TWO = RawTrack(moved((0, 0, 0), (1, 0, 0)), "opencv_c2w", intrinsics=lens(0.5, 0.9, 0.5, 0.5), fps=10)


# -- conventions


def test_each_convention_sees_the_same_point():
    # a point 2 right of, 3 below and 5 before the camera; in each kind of axes its coordinates have their own signs
    c2w = random_track(1, 1).c2w[0]
    world = c2w @ torch.tensor([2.0, 3.0, 5.0, 1.0], dtype=torch.float64)
    seen = {"opencv": (2, 3, 5), "opengl": (2, -3, -5), "pytorch3d": (-2, -3, 5)}
    assert set(seen) == set(AXES)
    for axes, point in seen.items():
        close((from_opencv_c2w(c2w, f"{axes}_w2c") @ world)[:3], point)
        close((torch.linalg.inv(from_opencv_c2w(c2w, f"{axes}_c2w")) @ world)[:3], point)


@settings(max_examples=20)
@given(track=random_tracks())
def test_conventions_go_there_and_back(track):
    for name in CONVENTIONS:
        close(to_opencv_c2w(from_opencv_c2w(track.c2w, name), name), track.c2w)


# -- to_track


def test_nearly_orthonormal_poses_become_rotations():
    rounded = random_track(2, 5).c2w.round(decimals=4)
    track = to_track(RawTrack(rounded, "opencv_c2w", intrinsics=lens(1, 1, 0.5, 0.5, frames=5)), Request(), PATH)
    rotation = track.c2w[:, :3, :3]
    close(rotation.mT @ rotation, EYE[:3, :3].repeat(5, 1, 1), atol=1e-12)
    close(track.c2w, rounded, atol=1e-3)


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (EYE[None], "1 pose; a trajectory has 2 or more"),
        (EYE[None][:0], "0 poses; a trajectory has 2 or more"),
        (torch.stack((EYE, EYE * math.nan)), r"pose 1 \(from 0\) holds NaN or infinity"),
        (
            torch.stack((EYE, torch.diag(torch.tensor([1.0, 1, -1, 1])).double())),
            r"pose 1 \(from 0\) is a mirror image",
        ),
        (torch.stack((2 * EYE, EYE)), r"pose 0 \(from 0\) is no rigid pose: R\^T R differs from the identity by 3"),
        (torch.stack((EYE, torch.full((4, 4), 1e300, dtype=torch.float64))), r"pose 1 \(from 0\) is no rigid pose"),
        (moved((0, 0, 0), (0, 1e308, 0)) * 1.7, "pose 0"),
    ],
)
def test_what_is_no_pose_is_named(matrices, message):
    with pytest.raises(ValueError, match=rf"some/file\.txt: {message}"):
        to_track(RawTrack(matrices, "opencv_c2w"), Request(), PATH)


def test_a_convention_may_be_overruled_and_that_is_told(caplog):
    track = to_track(TWO, Request(convention="opencv_w2c"), PATH)
    close(track.c2w[1, :3, 3], [-1.0, 0.0, 0.0])
    assert "read as opencv_w2c because you asked for it; this format documents opencv_c2w" in caplog.text
    with pytest.raises(ValueError, match="convention 'blender': expected one of opencv_c2w, opencv_w2c, opengl_c2w"):
        to_track(TWO, Request(convention="blender"), PATH)


def test_the_evidence_shows_which_reading_is_smooth():
    # the camera goes evenly along x and turns: as w2c its centre would swing about
    turned = turn(torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64) * torch.arange(5)[:, None] * 0.5)
    c2w = assemble(turned, torch.tensor([[i, 0.0, 9.0] for i in range(5)], dtype=torch.float64))
    with pytest.raises(ValueError, match="convention= ") as caught:
        to_track(RawTrack(c2w, None), Request(), PATH)
    evidence = str(caught.value)
    assert "read as opencv_c2w, the centre moves 1 a frame and its step changes by 0 of that" in evidence
    swing = float(evidence.split("read as opencv_w2c")[1].split("changes by ")[1].split()[0])
    assert swing > 0.1
    still = RawTrack(EYE.repeat(3, 1, 1), None)
    with pytest.raises(ValueError, match="step changes by - of that"):
        to_track(still, Request(), PATH)


def test_times_come_from_the_file_the_request_and_then_the_default(caplog):
    close(to_track(replace(TWO, fps=None), Request(), PATH).times, [0, 1 / 16])
    assert "has no times; taken are 16 frames per second" in caplog.text
    close(to_track(TWO, Request(), PATH).times, [0, 0.1])
    close(to_track(TWO, Request(fps=4), PATH).times, [0, 0.25])
    close(to_track(replace(TWO, frame_step=4), Request(fps=24), PATH).times, [0, 4 / 24])
    own = replace(TWO, times=torch.tensor([1.0, 3.0], dtype=torch.float64))
    close(to_track(own, Request(fps=4), PATH).times, [1, 3])
    assert "has times of its own; fps 4 is not used" in caplog.text
    for fps in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"fps {fps}"):
            to_track(TWO, Request(fps=fps), PATH)
    with pytest.raises(ValueError, match="states 0 frames per second"):
        to_track(replace(TWO, fps=0.0), Request(), PATH)


@pytest.mark.parametrize(("times", "frame"), [((0, 0), 1), ((1, 0), 1), ((math.nan, 1), 0), ((0, math.inf), 1)])
def test_times_that_do_not_grow_are_named(times, frame):
    raw = replace(TWO, times=torch.tensor(times, dtype=torch.float64))
    with pytest.raises(ValueError, match=rf"some/file\.txt: the time of pose {frame} \(from 0\)"):
        to_track(raw, Request(), PATH)


def test_sizes_come_from_the_request_and_then_the_file(caplog):
    pixels = replace(TWO, intrinsics=None, intrinsics_px=lens(100, 100, 50, 20))
    with pytest.raises(
        ValueError, match=r"intrinsics are in pixels and the picture is not named \(fx 100, cx 50, cy 20"
    ):
        to_track(pixels, Request(), PATH)
    close(to_track(replace(pixels, size=(50, 200)), Request(), PATH).intrinsics[0], [0.5, 2, 0.25, 0.4])
    close(to_track(replace(pixels, size=(50, 200)), Request(size=(40, 100)), PATH).intrinsics[0], [1, 2.5, 0.5, 0.5])
    none = replace(TWO, intrinsics=None)
    # 60 degrees across, square pixels
    close(to_track(none, Request(size=(100, 100)), PATH).intrinsics[0, :2], [0.8660254037844386] * 2)
    assert "has no intrinsics; taken is a lens of 60 degrees for a 100x100 picture" in caplog.text
    for raw in (pixels, none):
        with pytest.raises(ValueError, match=r"size \(0, 9\): expected"):
            to_track(raw, Request(size=(0, 9)), PATH)


# -- finding out what a file is


def test_a_sample_does_not_look_into_what_it_cannot_read(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and then nothing" + b"PK\x05\x06" + b"\xff" * 18)
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 40)
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    assert Sample(tmp_path / "broken.npz").names == Sample(tmp_path / "broken.safetensors").names == ()
    assert Sample(tmp_path / "empty.safetensors").names == ()
    assert Sample(tmp_path / "latin.txt").text is None and Sample(tmp_path / "latin.txt").rows == ()
    assert Sample(tmp_path).text is None and Sample(tmp_path).json is None and len(Sample(tmp_path).names) == 4
    np.savez(tmp_path / "whole.npz", c2w=np.eye(4), fps=16)
    assert Sample(tmp_path / "whole.npz").names == ("c2w", "fps")


def test_rows_outlive_a_header_comments_and_a_damaged_line(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("https://x\n# 1 2 3\n1 2\n\n3 4\n5 six\n7 8\n9\n")
    assert Sample(file).rows == ((1.0, 2.0), (3.0, 4.0), (7.0, 8.0))
    file.write_text("prose\nand more\nand more\n1 2\n")
    assert Sample(file).rows == ()


def test_our_own_file_is_a_format_too(tmp_path):
    track = random_track(4, 6)
    metric = CameraTrack(track.c2w, track.intrinsics, track.times, "metric")
    file = tmp_path / "a_wan_camera.safetensors"
    save_trajectory(metric, file, "omnicam")
    assert recognise(file).name == "omnicam"
    loaded = load_trajectory(file)
    close(loaded.c2w, track.c2w, atol=1e-6)
    assert loaded.scale == "metric" and torch.equal(loaded.times, CameraTrack.load(file).times)
    with pytest.raises(ValueError, match=r"b\.txt: this format is written to \.safetensors"):
        save_trajectory(metric, tmp_path / "b.txt", "omnicam")


def test_names_are_checked(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("w-3,i-2")
    with pytest.raises(ValueError, match="format 'colmapp': expected one of omnicam, realestate10k"):
        load_trajectory(file, format="colmapp")
    with pytest.raises(ValueError, match="format 'colmapp': expected one of"):
        save_trajectory(random_track(1, 3), file, "colmapp")
    with pytest.raises(FileNotFoundError, match=r"trajectory: .*none\.txt does not exist"):
        load_trajectory(tmp_path / "none.txt")
    (tmp_path / "a#b.txt").write_text("w-3,i-2")
    assert len(load_trajectory(tmp_path / "a#b.txt")) == 6
    with pytest.raises(ValueError, match="'lingbot_actions' has one trajectory; leave out '#cam01'"):
        load_trajectory(f"{file}#cam01")
    with pytest.raises(ValueError, match=r"size \(0, 4\): expected"):
        save_trajectory(random_track(1, 3), file, "realestate10k", size=(0, 4))


def test_a_name_that_does_not_fit_says_what_the_file_looks_like(tmp_path):
    file = tmp_path / "a.txt"
    save_trajectory(random_track(1, 3), file, "tum")
    with pytest.raises(
        ValueError, match=r"line 2: 8 columns, expected 19 or 18.*asked for it; it looks like tum \(8 num"
    ):
        load_trajectory(file, format="realestate10k")
    for name, each in FORMATS.items():
        if name not in ("tum", "tum_wxyz"):
            with pytest.raises(ValueError, match=r"a\.txt: .*it looks like tum"):
                load_trajectory(file, format=each.name)


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if each.write is not None])
def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch, name):
    file = tmp_path / "a.safetensors"
    file.write_text("old")

    def full(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    track = random_track(1, 4, zoom=False, even_fps=6.0, centred=True)
    with pytest.raises(OSError, match="disk full"):
        save_trajectory(track, file, name, size=(480, 640))
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if each.write is not None])
def test_every_format_keeps_its_promise_of_precision(tmp_path, name):
    track = random_track(7, 5, zoom=False, even_fps=6.0, centred=True)
    file = tmp_path / "a.safetensors"
    save_trajectory(track, file, name, size=(480, 640))
    again = load_trajectory(file, format=name, fps=24 if name == "hy_worldplay" else 6, size=(480, 640))
    close(again.c2w, track.c2w, atol=FORMATS[name].precision)
    if FORMATS[name].lens != "none":
        close(again.intrinsics, track.intrinsics, atol=1e-6)
    close(again.times, track.times, atol=1e-6)


def test_the_page_tells_of_every_format():
    page = Path(__file__).parents[3] / "docs" / "trajectory-files.md"
    rows = [
        line.split("|")[1].strip() for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    assert [name for name in FORMATS if f"`{name}`" not in rows] == []
