"""pycolmap on pixels of rendered rooms, against the true camera."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from camera.intrinsics import default_intrinsics, fov_deg_of
from camera.language import Move
from camera.path_error import path_error
from camera.poses import invert, turn
from Dust3rP import colmap
from Dust3rP.colmap import ColmapBackend
from Dust3rP.estimate import VideoFrames
from Dust3rP.point_tracks import PointTracks
from Dust3rP.reconstruction import Scene
from tests.Dust3rP.rendered import HFOV_DEG, room, still_picture, video_of

pytest.importorskip("pycolmap")

ROOT = Path(__file__).resolve().parents[2]
ORBIT = (Move(0, 2, 1.0, "right"),)
TRUCK = (Move(0, 2, 1.0, "truckleft"),)


@pytest.fixture(scope="session")
def orbit():
    return ColmapBackend().estimate(video_of(room(ORBIT)))


def test_an_orbit_comes_back_with_its_lens(orbit):
    true = room(ORBIT).track
    error = path_error(orbit.track.c2w, true.c2w)
    assert error.rotation_deg < 0.5 and error.rotation_max_deg < 1 and error.position_max_percent < 2
    assert abs(float(fov_deg_of(orbit.track.intrinsics[0])) - HFOV_DEG) < 1.5
    assert torch.equal(orbit.track.times, true.times)
    assert torch.allclose(orbit.track.c2w[0], torch.eye(4, dtype=torch.float64), atol=1e-12)
    assert orbit.backend == "colmap" and orbit.track.scale == "relative"
    assert orbit.confidence > 0.8 and (orbit.frame_confidence > 0.3).all() and len(orbit.frame_confidence) == 13


def test_the_points_are_where_the_first_picture_shows_their_colours(orbit):
    frame = room(ORBIT).frames[0]
    fx, fy, cx, cy = orbit.track.intrinsics[0].tolist()
    x, y, z = orbit.points.double().unbind(1)
    assert len(z) > 100 and (z > 0).all()
    column, row = (
        ((fx * x / z + cx) * frame.shape[1]).floor().long(),
        ((fy * y / z + cy) * frame.shape[0]).floor().long(),
    )
    inside = (column >= 0) & (column < frame.shape[1]) & (row >= 0) & (row < frame.shape[0])
    assert inside.sum() > 100
    there = frame[row[inside], column[inside]].double()
    difference = (there - orbit.colours[inside].double()).abs().mean(dim=1)
    assert difference.median() < 15
    # the same colours at other places of the picture do not fit
    elsewhere = (there.roll(37, 0) - orbit.colours[inside].double()).abs().mean(dim=1)
    assert elsewhere.median() > 2 * difference.median()


def test_a_known_lens_is_kept_and_the_result_repeats():
    clip = room(ORBIT, 7)
    lens = clip.track.intrinsics[0].tolist()
    one, two = (ColmapBackend().estimate(video_of(clip), lens) for _ in range(2))
    assert torch.allclose(one.track.intrinsics, clip.track.intrinsics)
    assert torch.equal(one.track.c2w, two.track.c2w) and one.confidence == two.confidence
    assert path_error(one.track.c2w, clip.track.c2w).rotation_max_deg < 0.7


def test_a_straight_move_does_not_tell_the_lens_and_says_so():
    clip = room(TRUCK, 9, name="d3/truck/0")
    found = ColmapBackend().estimate(video_of(clip))
    assert any("cannot be told" in remark for remark in found.remarks)
    assert torch.allclose(found.track.intrinsics[0], default_intrinsics(320 / 192))
    error = path_error(found.track.c2w, clip.track.c2w)
    assert error.rotation_max_deg < 0.5 and error.position_max_percent < 2


def test_across_a_spoilt_frame_features_are_matched_and_it_is_interpolated():
    clip = room(ORBIT, 9, 288, 480)
    frames = clip.frames.numpy().copy()
    frames[4] = np.random.default_rng(0).integers(0, 256, frames[4].shape)
    found = ColmapBackend().estimate(VideoFrames(frames, clip.track.times, "flash.mp4"))
    assert (found.frame_confidence == 0).tolist() == [index == 4 for index in range(9)]
    assert any("1 of the frames could not be placed" in remark for remark in found.remarks)
    error = path_error(found.track.c2w, clip.track.c2w)
    assert error.rotation_max_deg < 2 and error.position_max_percent < 3


def refused(frames, name="clip.mp4") -> str:
    times = torch.arange(len(frames), dtype=torch.float64) / 8
    with pytest.raises(ValueError, match=name) as caught:
        ColmapBackend().estimate(VideoFrames(np.asarray(frames), times, name))
    return str(caught.value)


def test_what_shows_no_way_is_refused_with_what_was_seen():
    picture = still_picture().numpy()
    assert "1 frame shows no movement" in refused(picture[None])
    assert "stands still" in refused(np.stack([picture] * 4))
    assert "too little texture: 0 points" in refused(np.full((4, 120, 160, 3), 128, np.uint8))
    pan = room((Move(0, 2, 1.0, "stay", "left8"),), 7)
    told = refused(pan.frames.numpy())
    assert "no parallax" in told and "only turns or zooms" in told and "dust3r" in told


def test_a_polite_kill_still_ends_as_the_scripts_end():
    code = (
        "import os, signal\nfrom common import cli\nfrom Dust3rP.colmap import ColmapBackend\n"
        "def main():\n    ColmapBackend()\n    os.kill(os.getpid(), signal.SIGTERM)\n    return 0\n"
        "raise SystemExit(cli.run(main))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130 and done.stderr == "interrupted; finished files are kept\n"


def test_a_lens_of_one_picture_or_of_each_is_not_for_this_backend():
    video = video_of(room(ORBIT, 7))
    with pytest.raises(ValueError, match="one lens for a whole video"):
        ColmapBackend().intrinsics(video, shared=False)
    with pytest.raises(ValueError, match="1 frame"):
        ColmapBackend().intrinsics(VideoFrames(video.frames[:1], video.times[:1], "one.png"))


def exact_world(frames: int = 8, points: int = 80) -> tuple[PointTracks, np.ndarray, np.ndarray, tuple]:
    """Points seen exactly by cameras on a curve: tracks, w2c, points, lens."""
    size, lens = (300, 400), tuple(default_intrinsics(400 / 300).tolist())
    places = np.random.default_rng(3).uniform((-1, -0.8, 3), (1, 0.8, 5), (points, 3))
    c2w = np.tile(np.eye(4), (frames, 1, 1))
    for index in range(frames):
        c2w[index, :3, :3] = turn(torch.tensor([0.0, -0.03 * index, 0.01 * index], dtype=torch.float64)).numpy()
        c2w[index, :3, 3] = (0.1 * index, 0.02 * index**2 / frames, 0.03 * index)
    w2c = np.linalg.inv(c2w)
    seen = []
    for pose in w2c:
        x, y, z = pose[:3, :3] @ places.T + pose[:3, 3:]
        seen.append(np.stack((size[1] * (lens[0] * x / z + lens[2]), size[0] * (lens[1] * y / z + lens[3])), axis=1))
    numbers = np.arange(points)
    return PointTracks((numbers,) * frames, tuple(each.astype(np.float32) for each in seen), size), w2c, places, lens


def scene_of(tracks: PointTracks, w2c: np.ndarray, places: np.ndarray, lens: tuple, chosen: list[int]) -> Scene:
    """What a reconstruction of the chosen frames gives."""
    count, points = len(chosen), len(places)
    return Scene(
        frames=np.arange(count), w2c=w2c[chosen], lens=lens, focal_evidence=np.inf, points=places,
        seen_in=np.repeat(np.arange(count), points), seen_point=np.tile(np.arange(points), count),
        seen_key=np.tile(np.arange(points), count), seen_error=np.zeros(count * points),
        seen_at=np.concatenate([tracks.xy[frame] for frame in chosen]).astype(np.float64), size=tracks.size,
    )  # fmt: skip


def test_frames_between_keyframes_are_placed_from_the_points_they_see():
    tracks, w2c, places, lens = exact_world()
    chosen = [0, 3, 7]
    posed = colmap._all_poses(tracks, scene_of(tracks, w2c, places, lens, chosen), chosen, followed=True)
    assert (posed.agreeing >= 75).all()
    np.testing.assert_allclose(posed.w2c, w2c, atol=2e-5)


def test_frames_without_a_pose_are_interpolated_and_told():
    tracks, w2c, places, lens = exact_world()
    chosen = [0, 1, 2, 4, 5, 6, 7]
    scene = scene_of(tracks, w2c, places, lens, chosen)
    posed = colmap._all_poses(tracks, scene, chosen, followed=False)
    video = VideoFrames(np.zeros((8, 300, 400, 3), np.uint8), torch.arange(8, dtype=torch.float64) / 8, "clip.mp4")
    found = colmap._answer(video, scene, posed, chosen, True)
    assert found.frame_confidence[3] == 0 and (found.frame_confidence > 0).sum() == 7
    assert any("1 of the frames could not be placed" in remark for remark in found.remarks)
    true = invert(torch.from_numpy(w2c))
    error = path_error(found.track.c2w, invert(true[0]) @ true)
    assert error.rotation_max_deg < 0.1 and error.position_max_percent < 0.5
    # the unit is the length of the path, and the points are in it
    length = float(found.track.c2w[:, :3, 3].diff(dim=0).norm(dim=1).sum())
    assert length == pytest.approx(1.0, abs=1e-6)
    assert found.points.norm(dim=1).median() > 2
