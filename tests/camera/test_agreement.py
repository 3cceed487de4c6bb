"""Whether a camera and pictures belong together, on planes whose pictures are exact."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera.agreement import agreement_of, plane_points
from camera.beside import clip_sheet, clip_video
from camera.intrinsics import default_intrinsics, k_px_of
from camera.language import Move
from camera.parallax import plane_frames
from camera.poses import invert
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves

HEIGHT, WIDTH = 72, 96


def path_of(direction="right", rotate="stay", frames=9):
    lens = default_intrinsics(WIDTH / HEIGHT, 60.0)
    return compile_moves([Move(0, 0.5, 1.0, direction, rotate)], frames, 16.0, lens)


def wall(seed=0):
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def filmed(track, distance=1.0):
    return np.stack(list(plane_frames(wall(), track, distance)))


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0])
def test_a_filmed_wall_is_explained_by_its_camera_and_its_distance_is_found(distance):
    track = path_of("truckright")
    found = agreement_of(filmed(track, distance), track)
    assert found.distance == pytest.approx(distance, rel=0.01)
    assert found.camera < 0.5 < found.still and found.camera < found.inverted
    assert found.in_words().startswith("the camera fits best")


@pytest.mark.parametrize(("direction", "rotate"), [("truckright", "stay"), ("forward", "stay"), ("stay", "right")])
def test_inverted_poses_and_a_standing_camera_are_told_from_the_right_one(direction, rotate):
    track = path_of(direction, rotate)
    frames = filmed(track)
    wrong = replace(track, c2w=invert(track.c2w))
    assert agreement_of(frames, wrong).in_words().startswith("the inverted camera fits better")
    still = np.repeat(frames[:1], len(frames), axis=0)
    assert agreement_of(still, track).in_words().startswith("a camera that stands fits better")


@given(
    st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3),
    st.floats(0.5, 5.0),
    st.floats(0.1, 0.9),
    st.floats(0.1, 0.9),
    st.floats(40.0, 80.0),
)
@settings(max_examples=50, deadline=None)
def test_points_of_the_plane_go_where_a_pinhole_camera_sees_them(shift, distance, x, y, fov_deg):
    c2w = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    c2w[1, :3, 3] = torch.tensor(shift, dtype=torch.float64)
    lens = torch.stack([default_intrinsics(WIDTH / HEIGHT, fov) for fov in (60.0, fov_deg)])
    track = CameraTrack(c2w, lens, torch.tensor([0.0, 1.0], dtype=torch.float64))
    first, second = plane_points(track, torch.tensor([[x, y]], dtype=torch.float64), distance)[:, 0]
    assert torch.allclose(first, torch.tensor([x, y], dtype=torch.float64))
    fx, fy, cx, cy = lens[0].tolist()
    point = torch.tensor([(x - cx) / fx, (y - cy) / fy, 1.0], dtype=torch.float64) * distance - c2w[1, :3, 3]
    pixel = k_px_of(lens[1], (1, 1)) @ point
    assert torch.allclose(second, pixel[:2] / pixel[2])


def test_dots_stay_on_what_they_start_on():
    track, grid = path_of("leftup30", "clockwise"), torch.tensor([[0.4, 0.6], [0.6, 0.3]], dtype=torch.float64)
    frames = filmed(track, 1.5).astype(float)
    places = plane_points(track, grid, 1.5) * torch.tensor([WIDTH, HEIGHT], dtype=torch.float64)
    for point in range(len(grid)):
        seen = [frame[int(y), int(x)] for frame, (x, y) in zip(frames, places[:, point].tolist(), strict=True)]
        assert np.abs(np.diff(seen, axis=0)).max() < 25, "it goes over a smooth texture with steps of a pixel"
    assert (places[-1] - places[0]).norm(dim=1).max() > 5


def test_what_is_behind_the_camera_is_nowhere():
    c2w = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    c2w[1, 2, 3] = 2.0
    lens = default_intrinsics(WIDTH / HEIGHT, 60.0).repeat(2, 1)
    track = CameraTrack(c2w, lens, torch.tensor([0.0, 1.0], dtype=torch.float64))
    places = plane_points(track, torch.tensor([[0.5, 0.5]], dtype=torch.float64), 1.0)
    assert places[0].isfinite().all() and places[1].isnan().all()
    assert np.isfinite(agreement_of(filmed(track), track).camera)


def test_sheet_and_video_have_the_frames_the_moved_frame_and_the_path():
    track = path_of()
    frames = filmed(track)
    plain, sheet = clip_sheet(frames, None, "a wall"), clip_sheet(frames, track, "a wall")
    assert plain.shape[0] == 224 and sheet.shape[0] > 960 + 2 * plain.shape[0] - 10
    assert clip_video(frames, None, "a wall") is frames
    video = clip_video(frames, track, "a wall")
    height, width = video.shape[1:3]
    assert len(video) == 9 and height % 2 == width % 2 == 0 and height >= 320
    panel = WIDTH * height // HEIGHT
    right = cv2.resize(video[4, :, panel : 2 * panel], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    assert np.abs(right.astype(int) - frames[4]).mean() < 6, "of a wall, the moved first frame is the frame"
    assert (video[0, :, 2 * panel :] == video[-1, :, 2 * panel :]).all()
