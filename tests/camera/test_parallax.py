"""The preview against the geometry of a pinhole camera: a drawn point is found where it must be."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from camera.intrinsics import default_intrinsics
from camera.language import Move
from camera.parallax import depth_frames, picture_size, plane_frames, room_depth, scene_distance
from camera.poses import assemble, invert, turn
from camera.track import CameraTrack
from camera.trajectory import compile

HEIGHT, WIDTH, DISTANCE = 120, 208, 1.003
LENS = default_intrinsics(WIDTH / HEIGHT)


def track_to(c2w, lens=None):
    """Two frames: the first camera, and one more pose and lens."""
    lenses = torch.stack((LENS, LENS if lens is None else lens))
    return CameraTrack(torch.stack((torch.eye(4, dtype=torch.float64), c2w)), lenses, torch.tensor([0.0, 1.0]).double())


def pose(turned=(0.0, 0.0, 0.0), moved=(0.0, 0.0, 0.0)):
    vector, centre = (torch.tensor(values, dtype=torch.float64) for values in (turned, moved))
    return assemble(turn(vector), centre)


def spot(x, y, radius=2.5):
    """A black picture with a soft white spot at continuous image coordinates."""
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    bright = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
    return np.repeat(bright.round().astype(np.uint8)[..., None], 3, axis=2)


def found_near(frame, x, y, reach=11):
    """Centre of the light within some pixels of a place; there must be some."""
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    light = frame[..., 0].astype(float) * (np.hypot(columns - x, rows - y) < reach)
    assert light.max() > 100, "the spot is not near where it must be"
    return float((light * columns).sum() / light.sum()), float((light * rows).sum() / light.sum())


def seen_at(x, y, depth, track):
    """The pinhole by hand: where frame 1 sees the point that frame 0 sees at (x, y) at a depth."""
    fx, fy, cx, cy = track.intrinsics[0].tolist()
    point = torch.tensor([(x / WIDTH - cx) / fx * depth, (y / HEIGHT - cy) / fy * depth, depth, 1.0]).double()
    (right, down, forward, _), (fx, fy, cx, cy) = invert(track.c2w[1]) @ point, track.intrinsics[1].tolist()
    return float((fx * right / forward + cx) * WIDTH), float((fy * down / forward + cy) * HEIGHT)


def frames_of(image, track, scene):
    if scene == "plane":
        return list(plane_frames(image, track, DISTANCE))
    return list(depth_frames(image, track, np.full((HEIGHT, WIDTH), DISTANCE, np.float32)))


small = st.floats(-0.12, 0.12)


@pytest.mark.parametrize("scene", ["plane", "depth"])
@settings(max_examples=15)
@given(
    turned=st.tuples(small, small, st.floats(-1.0, 1.0)), moved=st.tuples(small, small, small), zoom=st.floats(0.9, 1.3)
)
def test_a_point_of_the_plane_is_seen_where_the_pinhole_puts_it(scene, turned, moved, zoom):
    track = track_to(pose(turned, moved), LENS * torch.tensor([zoom, zoom, 1.0, 1.0]).double())
    x, y = 112.0, 55.0
    expected = seen_at(x, y, DISTANCE, track)
    # a spot that the border cuts has its middle elsewhere
    assume(11 < expected[0] < WIDTH - 11 and 11 < expected[1] < HEIGHT - 11)
    found = found_near(frames_of(spot(x, y), track, scene)[1], *expected)
    assert math.dist(found, expected) < 0.5


@pytest.mark.parametrize(("x", "y"), [(60.0, 40.0), (104.0, 60.0), (150.0, 85.0)])
def test_a_point_of_a_slanted_depth_map_is_seen_where_the_pinhole_puts_it(x, y):
    """The depth is that of a slanted wall, which no single plane distance has."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    fx, fy, cx, cy = LENS.tolist()
    u, v = ((columns + 0.5) / WIDTH - cx) / fx, ((rows + 0.5) / HEIGHT - cy) / fy
    depth = (1 / (1 + 0.5 * u + 0.6 * v)).astype(np.float32)
    track = track_to(pose((0.03, -0.08, 0.0), (0.15, -0.05, 0.1)))
    at = float(1 / (1 + 0.5 * (x / WIDTH - cx) / fx + 0.6 * (y / HEIGHT - cy) / fy))
    expected = seen_at(x, y, at, track)
    frame = list(depth_frames(spot(x, y), track, depth))[1]
    assert math.dist(found_near(frame, *expected), expected) < 0.5


@pytest.mark.parametrize("scene", ["plane", "depth"])
def test_holding_still_shows_the_picture_itself(scene):
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    for frame in frames_of(image, compile([], 3, 16.0, LENS), scene):
        np.testing.assert_array_equal(frame, image)


def test_the_depth_of_a_room_keeps_the_picture_when_still():
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    frames = list(depth_frames(image, compile([], 2, 16.0, LENS), room_depth(HEIGHT, WIDTH, LENS, DISTANCE)))
    np.testing.assert_array_equal(frames[1], image)


@pytest.mark.parametrize("scene", ["plane", "depth"])
def test_forward_magnifies_about_the_centre(scene):
    """After 2 s at 20 % of the distance a second, what was 30 pixels from the centre is 30 / 0.6 from it."""
    track = compile([Move(0, 2, 1.0, "forward")], 33, 16.0, LENS)
    pair = track.at([0.0, 2.0])
    frame = frames_of(spot(104 + 30, 60), pair, scene)[1]
    assert found_near(frame, 104 + 50, 60) == pytest.approx((104 + 30 / 0.6, 60), abs=0.3)


@pytest.mark.parametrize("scene", ["plane", "depth"])
@pytest.mark.parametrize(("rotate", "shift"), [("right", (-1, 0)), ("left", (1, 0)), ("up", (0, 1)), ("down", (0, -1))])
def test_a_pan_shifts_the_picture_the_other_way(scene, rotate, shift):
    """10 degrees move the centre by f tan(10 deg); f = 0.866 * 208 pixels both ways."""
    pair = compile([Move(0, 0.5, 1.0, "stay", rotate)], 9, 16.0, LENS).at([0.0, 0.5])
    moved = 0.8660254 * WIDTH * math.tan(math.radians(10))
    expected = (104 + shift[0] * moved, 60 + shift[1] * moved)
    assert found_near(frames_of(spot(104, 60), pair, scene)[1], *expected) == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("scene", ["plane", "depth"])
def test_a_zoom_scales_about_the_optical_axis(scene):
    off_centre = torch.tensor([LENS[0] * 1.5, LENS[1] * 1.5, 0.5, 0.5], dtype=torch.float64)
    track = track_to(torch.eye(4, dtype=torch.float64), off_centre)
    assert found_near(frames_of(spot(124, 50), track, scene)[1], 134, 45) == pytest.approx((134, 45), abs=0.3)


def test_an_orbit_keeps_the_subject_in_the_middle_and_moves_the_floor():
    """Parallax: to the right, nearer things go left in the picture, relative to the subject."""
    pair = compile([Move(0, 0.5, 1.0, "right")], 9, 16.0, LENS).at([0.0, 0.5])
    depth = room_depth(HEIGHT, WIDTH, LENS, DISTANCE)
    assert found_near(list(depth_frames(spot(104, 60), pair, depth))[1], 104, 60) == pytest.approx((104, 60), abs=0.3)
    expected = seen_at(104, 112, float(depth[112, 0] + depth[111, 0]) / 2, pair)
    assert expected[0] < 104 - 5
    frame = list(depth_frames(spot(104, 112), pair, depth))[1]
    assert math.dist(found_near(frame, *expected), expected) < 0.5


def test_the_room_has_a_wall_at_the_distance_and_a_floor_that_nears():
    depth = room_depth(HEIGHT, WIDTH, LENS, 2.0)
    assert (depth[: HEIGHT // 2] == 2).all() and (np.diff(depth[:, 0]) <= 0).all()
    assert depth[-1, 0] == pytest.approx(0.65 * 2, rel=0.01)
    # the floor is level: its points lie at one height
    _, fy, _, cy = LENS.tolist()
    heights = ((np.arange(HEIGHT) + 0.5) / HEIGHT - cy) / fy * depth[:, 0]
    on_floor = depth[:, 0] < 2
    assert on_floor.sum() > 10 and np.ptp(heights[on_floor]) < 1e-5


def test_what_nobody_saw_is_a_pattern():
    """White picture: after 20 degrees to the right there is nothing on the right; behind the plane, nothing at all."""
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    track = track_to(pose((0.0, math.radians(30), 0.0)))
    behind = track_to(pose((0.0, math.pi, 0.0), (0.0, 0.0, 2 * DISTANCE)))
    away = track_to(pose((0.0, math.pi, 0.0)))
    for scene in ("plane", "depth"):
        frame = frames_of(white, track, scene)[1]
        assert set(np.unique(frame[:, -60:])) == {104, 128} and (frame[40:80, :60] == 255).all()
        for gone in (behind, away):
            assert set(np.unique(frames_of(white, gone, scene)[1])) == {104, 128}


def test_the_nearer_surface_hides_the_farther():
    """A red block before a green wall: from the right, the block goes left over the wall, and leaves an unseen gap."""
    image, depth = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.full((HEIGHT, WIDTH), 3.0, np.float32)
    image[..., 1] = 255
    image[40:80, 90:120], depth[40:80, 90:120] = (255, 0, 0), 1.0
    track = track_to(pose(moved=(0.1, 0.0, 0.0)))
    row = list(depth_frames(image, track, depth))[1][60]
    near, far = 0.8660254 * WIDTH * 0.1 / 1.0, 0.8660254 * WIDTH * 0.1 / 3.0
    red, green = row[:, 0] > 200, (row[:, 1] > 200) & (row[:, 0] < 100)
    assert np.nonzero(red)[0][[0, -1]] == pytest.approx([90 - near, 119 - near], abs=1.01)
    unseen = ~(red | green)
    gap = unseen[: WIDTH // 2 + 20]
    assert np.nonzero(gap)[0][[0, -1]] == pytest.approx([120 - near, 119 - far], abs=1.01)
    assert gap.sum() == pytest.approx(near - far, abs=2)


def test_a_dolly_leaves_no_holes_in_a_stretched_surface():
    track = compile([Move(0, 3, 1.0, "forward")], 49, 16.0, LENS).at([0.0, 3.0])
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    frame = list(depth_frames(white, track, np.full((HEIGHT, WIDTH), DISTANCE, np.float32)))[1]
    assert (frame == 255).all()


def test_the_size_follows_the_lens():
    assert picture_size(compile([], 2, 16.0, default_intrinsics(832 / 480))) == (480, 832)
    assert picture_size(compile([], 2, 16.0, default_intrinsics(9 / 16)), 832) == (832, 468)


def test_the_distance_is_the_planners_or_follows_the_path():
    track = compile([Move(0, 1, 1.0, "backward")], 17, 16.0)
    assert scene_distance(track) == DISTANCE
    c2w = track.c2w.clone()
    c2w[:, :3, 3] *= 100
    assert scene_distance(replace(track, c2w=c2w, scale="metric")) == pytest.approx(2 * 20.06)
    assert scene_distance(replace(compile([], 5, 16.0), scale="metric")) == 1


@pytest.mark.parametrize("distance", [0.0, -1.0, math.nan])
def test_a_distance_is_above_zero(distance):
    with pytest.raises(ValueError, match="distance"):
        list(plane_frames(spot(9, 9), compile([], 2, 16.0), distance))
