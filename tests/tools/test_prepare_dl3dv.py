"""Scenes in DL3DV's layout, rendered as dots whose places in the pictures are known to a fraction of a pixel."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from camera.intrinsics import to_pixels
from camera.track import CameraTrack
from common import media
from tests.tools.preparation_sets import lines, loaded, moving_track, snapshot
from tools.prepare_dl3dv import main

HEIGHT, WIDTH, SCALE = 90, 160, 4
"""Of the pictures in images_4; transforms.json is in pixels four times as many."""
K1, K2, P1, P2 = -0.12, 0.03, 0.004, -0.003
FX, FY, CX, CY = 560.0, 552.0, 330.0, 172.0
DOTS = np.array([[x, y, 4.0] for x in (-1.3, -0.4, 0.5, 1.4) for y in (-0.7, 0.0, 0.75)])
"""In the world, before the cameras."""


def distorted(points: np.ndarray) -> np.ndarray:
    """Pixels, counted from the corner of the picture, of points of a camera: COLMAP's OPENCV model, written out."""
    x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    r2 = x**2 + y**2
    radial = 1 + K1 * r2 + K2 * r2**2
    u = x * radial + 2 * P1 * x * y + P2 * (r2 + 2 * x**2)
    v = y * radial + P1 * (r2 + 2 * y**2) + 2 * P2 * x * y
    return np.stack(((FX * u + CX) / SCALE, (FY * v + CY) / SCALE), axis=1)


def draw(pixels: np.ndarray) -> np.ndarray:
    """White dots, as blurred as the pixels need to carry fractions."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    spots = [np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 1.5**2)) for u, v in pixels]
    return np.repeat((255 * np.clip(sum(spots), 0, 1)).astype(np.uint8)[..., None], 3, axis=2)


def centre_near(frame: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """Centre of brightness of the dot near a pixel."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    near = np.hypot(columns - pixel[0], rows - pixel[1]) < 5
    weight = np.where(near, frame.mean(axis=2), 0.0)
    weight[weight < 20] = 0
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def scene(folder: Path, numbers=range(1, 8), without_pose=(), shuffled=True, **keys) -> Path:
    """Write pictures and transforms.json; the world is turned and moved, and the entries are not in order."""
    track = moving_track(max(numbers) + 1, 16)
    world = np.array([[0, 0, 1, 3], [1, 0, 0, -2], [0, 1, 0, 0.5], [0, 0, 0, 1]], float)
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    frames = []
    for number in numbers:
        c2w = track.c2w[number].numpy()
        seen = (np.linalg.inv(c2w) @ np.c_[DOTS, np.ones(len(DOTS))].T).T[:, :3]
        media.write_image(folder / "images_4" / f"frame_{number:05d}.png", draw(distorted(seen)))
        if number not in without_pose:
            matrix = (world @ c2w @ flip).tolist()
            frames.append({"file_path": f"images/frame_{number:05d}.png", "transform_matrix": matrix})
    shared = {"camera_model": "OPENCV", "w": WIDTH * SCALE, "h": HEIGHT * SCALE, "fl_x": FX, "fl_y": FY}
    shared |= {"cx": CX, "cy": CY, "k1": K1, "k2": K2, "p1": P1, "p2": P2}
    document = {**shared, "frames": frames[::-1] if shuffled else frames, **keys}
    (folder / "transforms.json").write_text(json.dumps(document))
    return folder


def prepare(source: Path, out: Path, *flags: str) -> int:
    return main([str(source), "--output_dir", str(out), "--min_frames", "3", "--caption", "", *flags])


def test_the_pinhole_of_the_camera_file_sees_the_dots_where_they_are(tmp_path):
    scene(tmp_path / "in" / "1K" / "abc")
    before = snapshot(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out", "--fps", "8") == 0
    (item,) = loaded(tmp_path / "out")
    track, frames = CameraTrack.load(item.camera_file), media.read_video(item.path)
    assert item.path.name == "abc.mp4" and len(frames) == len(track) == 7
    assert track.times.tolist() == [k / 8 for k in range(7)] and media.probe_video(item.path).fps == 8
    first = moving_track(8, 16).c2w[1].numpy()
    errors = []
    for frame, c2w, lens in zip(frames, track.c2w.numpy(), track.intrinsics, strict=True):
        fx, fy, cx, cy = to_pixels(lens, (HEIGHT, WIDTH)).tolist()
        seen = (np.linalg.inv(first @ c2w) @ np.c_[DOTS, np.ones(len(DOTS))].T).T
        for x, y, z, _ in seen:
            pixel = np.array([fx * x / z + cx, fy * y / z + cy])
            if (np.minimum(pixel, [WIDTH, HEIGHT] - pixel) > 6).all():
                errors.append(np.hypot(*(centre_near(frame, pixel) - pixel)))
    assert len(errors) > 40 and max(errors) < 0.35 and np.mean(errors) < 0.15
    assert snapshot(tmp_path / "in") == before


def test_without_undistortion_that_test_would_fail():
    """The distortion of the scene is many times the tolerance above."""
    plain = np.stack((FX * DOTS[:, 0] / 4 + CX, FY * DOTS[:, 1] / 4 + CY), axis=1) / SCALE
    assert np.hypot(*(distorted(DOTS) - plain).T).max() > 1.0


def test_a_scene_is_cut_where_pictures_or_poses_are_missing(tmp_path, caplog):
    scene(tmp_path / "in" / "abc", numbers=[1, 2, 3, 5, 6, 7, 8, 9, 10, 11], without_pose=[9])
    prepare(tmp_path / "in", tmp_path / "out")
    found = loaded(tmp_path / "out")
    assert [item.path.name for item in found] == ["abc_0.mp4", "abc_1.mp4"]  # 10, 11 are too few
    assert [media.probe_video(item.path).frames for item in found] == [3, 4]
    expected = moving_track(12, 16).rebased(5).c2w[5:9]
    torch.testing.assert_close(CameraTrack.load(found[1].camera_file).c2w, expected, atol=1e-5, rtol=0)


def test_it_goes_on_where_it_was_stopped(tmp_path):
    scene(tmp_path / "in" / "one", shuffled=False)
    scene(tmp_path / "in" / "two" / "colmap")
    prepare(tmp_path / "in", tmp_path / "out")
    first = snapshot(tmp_path / "out")
    prepare(tmp_path / "in", tmp_path / "out")
    again = snapshot(tmp_path / "out")
    assert {path: at[2] for path, at in first.items()} == {path: at[2] for path, at in again.items()}
    videos = {path: stamp for path, stamp in first.items() if path.endswith((".mp4", ".safetensors"))}
    assert len(videos) == 4 and all(again[path] == stamp for path, stamp in videos.items())
    video = tmp_path / "out" / "videos" / "two.mp4"
    video.unlink()
    prepare(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "videos" / "two.mp4").read_bytes() == first[
        str(tmp_path / "out" / "videos" / "two.mp4")
    ][2]


def test_zipped_scenes_as_the_hub_has_them(tmp_path):
    scene(tmp_path / "plain" / "abc")
    (tmp_path / "in" / "1K").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "in" / "1K" / "abc.zip", "w") as opened:
        for path in sorted((tmp_path / "plain" / "abc").rglob("*.*")):
            opened.write(path, path.relative_to(tmp_path / "plain" / "abc"))
    flags = ["--output_dir", str(tmp_path / "out"), "--caption", "A scene.", "--min_frames", "3"]
    assert main(["--archives", str(tmp_path / "in"), *flags, "--dry_run"]) == 0
    assert not (tmp_path / "out").exists()
    assert main(["--archives", str(tmp_path / "in"), *flags]) == 0
    assert [item.path.name for item in loaded(tmp_path / "out")] == ["abc.mp4"]


@pytest.mark.parametrize(
    "keys, words",
    [
        ({"camera_model": "OPENCV_FISHEYE"}, "is a fisheye"),
        ({"frames": []}, r"transforms\.json: frames: empty"),
        ({"k1": "large"}, r"transforms\.json: k1"),
    ],
)
def test_broken_scenes_are_listed_and_the_others_prepared(tmp_path, keys, words):
    scene(tmp_path / "in" / "good")
    scene(tmp_path / "in" / "bad", **keys)
    prepare(tmp_path / "in", tmp_path / "out")
    assert [item.path.stem for item in loaded(tmp_path / "out")] == ["good"]
    (left,) = lines(tmp_path / "out" / "left-out.jsonl")
    assert Path(left["item"]).parent.name == "bad"
    with pytest.raises(ValueError, match=words):
        prepare(tmp_path / "in", tmp_path / "out", "--strict")


def test_a_missing_folder_of_pictures_and_a_missing_caption_are_told(tmp_path):
    scene(tmp_path / "in" / "abc")
    with pytest.raises(FileNotFoundError, match="no folder images_8 of pictures; there is images_4, transforms"):
        prepare(tmp_path / "in", tmp_path / "out", "--images", "images_8", "--strict")
    with pytest.raises(ValueError, match="no caption in --captions"):
        main([str(tmp_path / "in"), "--output_dir", str(tmp_path / "out"), "--strict"])
    with pytest.raises(ValueError, match="one of DIR and --archives"):
        main(["--output_dir", str(tmp_path / "out")])
