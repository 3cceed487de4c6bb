import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from camera.intrinsics import default_intrinsics
from camera.language import Move, format, parse
from camera.poses import invert, rotation_angle
from camera.trajectory import MIN_DISTANCE, MIN_FOCAL, START_DISTANCE, compile, compile_at
from tests.camera.test_language import README_PROMPT, all_moves, orbits

FPS = 16.0
SUBJECT = torch.tensor([0, 0, START_DISTANCE, 1], dtype=torch.float64)


def after(*moves, seconds=1.0):
    """The pose at `seconds`, of a track at 16 fps."""
    return compile(list(moves), round(seconds * FPS) + 1, FPS).c2w[-1]


def seen(c2w, point):
    """Where a world point stands in the picture: right of, below the optical axis (per unit of depth), and depth."""
    x, y, z, _ = (invert(c2w) @ torch.tensor([*point, 1.0], dtype=torch.float64)).tolist()
    return x / z, y / z, z


def close(actual, expected, tolerance=1e-12):
    actual, expected = (torch.as_tensor(value, dtype=torch.float64) for value in (actual, expected))
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


# displacement (x right, y down, z forward) and optical axis after one second at high speed
AZ, EL, R = math.radians(20), math.radians(15), START_DISTANCE
PATHS = {
    "stay": ((0, 0, 0), (0, 0, 1)),
    "forward": ((0, 0, 0.2 * R), (0, 0, 1)),
    "backward": ((0, 0, -0.2 * R), (0, 0, 1)),
    # to its right (+x), turning left (axis to -x); and so on
    "right": ((R * math.sin(AZ), 0, R * (1 - math.cos(AZ))), (-math.sin(AZ), 0, math.cos(AZ))),
    "left": ((-R * math.sin(AZ), 0, R * (1 - math.cos(AZ))), (math.sin(AZ), 0, math.cos(AZ))),
    # up is -y, looking down is +y
    "up": ((0, -R * math.sin(EL), R * (1 - math.cos(EL))), (0, math.sin(EL), math.cos(EL))),
    "down": ((0, R * math.sin(EL), R * (1 - math.cos(EL))), (0, -math.sin(EL), math.cos(EL))),
}


@pytest.mark.parametrize("direction", PATHS)
def test_a_direction_moves_the_camera_and_keeps_the_subject_centred(direction):
    position, axis = PATHS[direction]
    c2w = after(Move(0, 1, 1.0, direction))
    close(c2w[:3, 3], position)
    close(c2w[:3, 2], axis)
    distance = R - (0.2 * R if direction == "forward" else -0.2 * R if direction == "backward" else 0)
    close(seen(c2w, (0, 0, R)), (0, 0, distance))


@pytest.mark.parametrize("angle", [1, 30, 45, 60, 89])
@pytest.mark.parametrize(("side", "sign_x"), [("left", -1), ("right", 1)])
@pytest.mark.parametrize(("height", "sign_y"), [("up", -1), ("down", 1)])
def test_a_diagonal_is_measured_from_the_vertical(angle, side, sign_x, height, sign_y):
    c2w = after(Move(0, 1, 1.0, f"{side}{height}{angle}"))
    azimuth = math.radians(20) * math.sin(math.radians(angle))
    elevation = math.radians(15) * math.cos(math.radians(angle))
    x, y, z = (
        R * math.sin(azimuth) * math.cos(elevation),
        R * math.sin(elevation),
        R * math.cos(azimuth) * math.cos(elevation),
    )
    close(c2w[:3, 3], (sign_x * x, sign_y * y, R - z))
    close(seen(c2w, (0, 0, R)), (0, 0, R))
    # no roll: the camera's right stays level
    assert abs(float(c2w[1, 0])) < 1e-12


# a turn, a point that starts at (right, below) of the picture, and where it goes
TURNS = {
    "left": ((0, 0), (math.tan(AZ), 0)),
    "right": ((0, 0), (-math.tan(AZ), 0)),
    "up": ((0, 0), (0, math.tan(AZ))),
    "down": ((0, 0), (0, -math.tan(AZ))),
    # the camera rolls clockwise, so the world turns counterclockwise in the picture: the upper point goes left
    "clockwise": ((0, -1), (-math.sin(AZ), -math.cos(AZ))),
    "counterclockwise": ((0, -1), (math.sin(AZ), -math.cos(AZ))),
    "stay": ((0.3, 0.2), (0.3, 0.2)),
}


@pytest.mark.parametrize("rotate", TURNS)
def test_a_rotation_turns_the_camera_where_it_stands(rotate):
    before, expected = TURNS[rotate]
    c2w = after(Move(0, 1, 1.0, "stay", rotate))
    close(c2w[:3, 3], (0, 0, 0))
    close(seen(c2w, (*before, 1.0))[:2], expected)


def test_a_stated_turning_rate_does_not_change_with_speed_and_a_word_does():
    for speed in (0.5, 1.0, 2.0):
        stated = after(Move(0, 1, speed, "stay", "left15"))
        word = after(Move(0, 1, speed, "stay", "left"))
        assert math.degrees(float(rotation_angle(stated[:3, :3]))) == pytest.approx(15)
        assert math.degrees(float(rotation_angle(word[:3, :3]))) == pytest.approx(20 * speed)


@pytest.mark.parametrize(("speed", "share"), [(0.5, 0.5), (0.75, 0.75), (1.0, 1.0), (1.7, 1.7)])
def test_speed_multiplies_the_rates(speed, share):
    close(after(Move(0, 1, speed, "backward"))[:3, 3], (0, 0, -0.2 * R * share))
    c2w = after(Move(0, 1, speed, "right"))
    close(c2w[0, 3], R * math.sin(AZ * share))


def test_each_segment_of_the_readme_prompt_moves_as_told():
    track = compile(parse(README_PROMPT), 81, FPS)
    assert len(track) == 81 and track.scale == "relative"
    second = {s: track.c2w[16 * s] for s in range(6)}
    identity = torch.eye(4, dtype=torch.float64)
    # 0-1 s: still; 4-5 s: still
    assert torch.equal(track.c2w[0:17], identity.expand(17, 4, 4))
    assert torch.equal(track.c2w[64:], second[4].expand(17, 4, 4))
    # 1-2 s: forward at high speed, a fifth of the distance, no turn
    close(second[2], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.2006], [0, 0, 0, 1]])
    # 2-3 s: right at low speed: 10 degrees round the subject at 0.8 of the distance, turning left
    ten, r = math.radians(10), 0.8024
    close(second[3][:3, 3], (r * math.sin(ten), 0, 1.003 - r * math.cos(ten)))
    close(second[3][:3, 2], (-math.sin(ten), 0, math.cos(ten)))
    # 3-4 s: leftdown30 at high speed: 10 degrees back to the left, 12.99 degrees down, looking up
    down = math.radians(15 * math.cos(math.radians(30)))
    close(second[4][:3, 3], (0, r * math.sin(down), 1.003 - r * math.cos(down)))
    close(second[4][:3, 2], (0, -math.sin(down), math.cos(down)))
    # from frame to frame: forward along z, right on a circle of radius 0.8024, leftdown30 sinking all the time
    step = track.c2w[:, :3, 3].diff(dim=0)
    close(step[16:32], torch.tensor([0, 0, 0.2006 / 16]).expand(16, 3), 1e-9)
    close(step[32:48].norm(dim=1), [2 * r * math.sin(ten / 32)] * 16)
    assert (step[32:48, 0] > 0).all() and (step[48:64, 0] < 0).all() and (step[48:64, 1] > 0).all()
    # the subject stays in the middle, and the lens as it was
    for pose in track.c2w:
        close(seen(pose, (0, 0, R))[:2], (0, 0))
    assert torch.equal(track.intrinsics, track.intrinsics[:1].expand(81, 4))
    # every step inside a segment moves
    steps = track.c2w[:, :3, 3].diff(dim=0).norm(dim=1)
    assert (steps[16:64] > 0.005).all()


def test_text_to_poses_to_text_to_poses_is_stable():
    moves = parse(README_PROMPT)
    again = parse(format(moves))
    torch.testing.assert_close(compile(again, 81, FPS).c2w, compile(moves, 81, FPS).c2w, rtol=0, atol=1e-12)


@given(st.lists(all_moves, min_size=1, max_size=3))
@settings(max_examples=50)
def test_any_text_compiles_to_rigid_poses_or_to_a_limit(moves):
    try:
        track = compile(parse(format(moves)), 9, 2.0)
    except ValueError as error:
        assert re.search("of the subject|focal length", str(error))
        return
    close(track.c2w[0], torch.eye(4), 1e-12)
    close(track.c2w[:, :3, :3].mT @ track.c2w[:, :3, :3], torch.eye(3).expand(9, 3, 3), 1e-9)
    assert (track.intrinsics[:, :2] >= MIN_FOCAL * track.intrinsics[0, :2] * (1 - 1e-9)).all()


@given(st.lists(orbits, min_size=1, max_size=3))
@settings(max_examples=50)
def test_an_orbit_keeps_away_from_the_subject(moves):
    try:
        track = compile(moves, 9, 2.0)
    except ValueError as error:
        assert re.search("of the subject|focal length", str(error))
        return
    centre = track.c2w[:, :3, 3] - SUBJECT[:3]
    assert (centre.norm(dim=1) > MIN_DISTANCE * (1 - 1e-9)).all()


def test_overlapping_moves_add_and_their_order_does_not_matter():
    approach, orbit, roll = Move(0, 2, 1.0, "forward"), Move(0, 2, 1.0, "right"), Move(1, 2, 1.0, "stay", "clockwise")
    c2w = after(approach, orbit, seconds=2)
    r = 0.6 * R
    close(c2w[:3, 3], (r * math.sin(2 * AZ), 0, R - r * math.cos(2 * AZ)))
    torch.testing.assert_close(after(approach, orbit, roll, seconds=2), after(roll, orbit, approach, seconds=2))


def test_turns_that_overlap_follow_the_exact_rotation():
    moves = [Move(0, 1.3, 1.0, "stay", "left"), Move(0.7, 2, 1.0, "stay", "up30"), Move(1, 2, 0.5, "stay", "clockwise")]
    # about the camera's own axes, one constant turn after the other: 0-0.7, 0.7-1, 1-1.3, 1.3-2 s
    parts = [((0, -20, 0), 0.7), ((30, -20, 0), 0.3), ((30, -20, 10), 0.3), ((30, 0, 10), 0.7)]
    expected = Rotation.identity()
    for rate, seconds in parts:
        expected = expected * Rotation.from_rotvec([math.radians(r) * seconds for r in rate])
    close(after(*moves, seconds=2)[:3, :3], expected.as_matrix())


@pytest.mark.parametrize("fps", [5.0, 8.0, 29.97])
def test_the_path_does_not_depend_on_the_frame_rate(fps):
    moves = [Move(0.13, 1.71, 0.8, "rightup33", "left"), Move(0.5, 1.234, 1.0, "backward", "clockwise50")]
    coarse, fine = compile(moves, 11, fps), compile(moves, 71, fps * 7)
    torch.testing.assert_close(coarse.c2w, fine.c2w[::7], rtol=0, atol=1e-12)


def test_a_gap_holds_and_the_end_of_the_video_cuts():
    track = compile([Move(0, 0.5, 1.0, "left"), Move(1, 9, 1.0, "up")], 33, FPS)
    assert torch.equal(track.c2w[8:17], track.c2w[8].expand(9, 4, 4))
    close(track.c2w[-1, 1, 3], -R * math.sin(EL))
    assert torch.equal(track.times, torch.arange(33, dtype=torch.float64) / 16)


def test_rotate_comes_on_top_of_the_path():
    orbit = after(Move(0, 1, 1.0, "right"))
    both = after(Move(0, 1, 1.0, "right", "left15"))
    assert torch.equal(orbit[:3, 3], both[:3, 3])
    x, y, _ = seen(both, (0, 0, R))
    close((x, y), (math.tan(math.radians(15)), 0))


@pytest.mark.parametrize(("direction", "y"), [("up", -1), ("down", 1)])
def test_the_pole_is_passed_cleanly(direction, y):
    track = compile([Move(0, 8, 1.0, direction)], 129, FPS)
    pole = track.c2w[96]
    close(pole[:3, 3], (0, y * R, R))
    close(pole[:3, :3], [[1, 0, 0], [0, 0, -y], [0, y, 0]])
    rotation = track.c2w[:, :3, :3]
    steps = rotation_angle(rotation[:-1].mT @ rotation[1:])
    close(steps, [math.radians(15 / 16)] * 128)
    close(rotation.mT @ rotation, torch.eye(3).expand(129, 3, 3))


@pytest.mark.parametrize(
    "moves", [[Move(0, 5, 1.0, "forward")], [Move(0, 1.01, 5.0, "forward"), Move(1.01, 5, 5.0, "backward")]]
)
def test_the_camera_never_reaches_the_subject(moves):
    with pytest.raises(ValueError, match=r"of the subject by .* s, nearer than 0\.05 .*slower"):
        compile(moves, 81, FPS)


def test_a_near_approach_is_allowed_and_what_comes_after_the_video_does_not_matter():
    assert compile([Move(0, 4.7, 1.0, "forward")], 81, FPS).c2w[-1, 2, 3] == pytest.approx(0.94 * R)
    assert len(compile([Move(0, 50, 1.0, "forward")], 33, FPS)) == 33


def test_the_first_frame_is_the_identity_whatever_starts_there():
    moves = [Move(0, 1, 3.0, "leftup17", "clockwise33"), Move(0, 2, 1.0, "backward", "down")]
    close(compile(moves, 5, FPS).c2w[0], torch.eye(4), 1e-12)


def test_no_moves_stand_still_and_one_frame_is_enough():
    assert torch.equal(compile([], 1, FPS).c2w, torch.eye(4, dtype=torch.float64)[None])
    assert torch.equal(compile([], 5, FPS).c2w, torch.eye(4, dtype=torch.float64).expand(5, 4, 4))


def test_intrinsics_are_given_for_all_or_for_each_frame():
    one = [1.0, 1.5, 0.5, 0.5]
    each = torch.rand(3, 4, dtype=torch.float64) + 0.1
    assert compile([], 3, FPS, one).intrinsics.tolist() == [one] * 3
    assert torch.equal(compile([], 3, FPS, each).intrinsics, each)
    assert torch.equal(compile([], 3, FPS).intrinsics[2], default_intrinsics(16 / 9))
    with pytest.raises(ValueError, match=r"intrinsics \[3\]: expected \[4\] or \[3, 4\]"):
        compile([], 3, FPS, one[:3])


@pytest.mark.parametrize(("frames", "fps"), [(0, 16.0), (-4, 16.0), (5, 0.0), (5, -1.0), (5, math.nan), (5, math.inf)])
def test_frames_and_fps_are_checked(frames, fps):
    with pytest.raises(ValueError, match=r"^(frames|fps) "):
        compile([], frames, fps)


# displacement of one second at high speed: along the camera's right and down, no turn
TRUCKS = {"truckleft": (-0.2, 0), "truckright": (0.2, 0), "pedestalup": (0, -0.2), "pedestaldown": (0, 0.2)}


@pytest.mark.parametrize("direction", TRUCKS)
def test_a_truck_is_a_straight_line_without_any_turn(direction):
    x, y = TRUCKS[direction]
    track = compile([Move(0, 2, 1.5, direction)], 33, FPS)
    share = torch.arange(33, dtype=torch.float64)[:, None] / 16
    close(track.c2w[:, :3, 3], share * torch.tensor([x * R * 1.5, y * R * 1.5, 0.0], dtype=torch.float64), 1e-15)
    assert torch.equal(track.c2w[:, :3, :3], torch.eye(3, dtype=torch.float64).expand(33, 3, 3))
    # the subject leaves the middle to the other side
    assert np.sign(seen(track.c2w[-1], (0, 0, R))[:2]).tolist() == [-np.sign(x), -np.sign(y)]


def test_a_truck_after_an_orbit_goes_along_the_turned_camera_and_takes_its_point_along():
    orbit, truck, back = Move(0, 1, 1.0, "right"), Move(1, 2, 1.0, "truckright"), Move(2, 3, 1.0, "left")
    before, after_truck = after(orbit), after(orbit, truck, seconds=2)
    close(after_truck[:3, 3] - before[:3, 3], 0.2 * R * before[:3, 0])
    assert torch.equal(after_truck[:3, :3], before[:3, :3])
    # the camera then goes round the point that was carried along
    carried = torch.tensor([0, 0, R], dtype=torch.float64) + 0.2 * R * before[:3, 0]
    close(seen(after(orbit, truck, back, seconds=3), carried.tolist()), (0, 0, R))


def test_rotate_does_not_change_where_a_truck_goes():
    turned = after(Move(0, 1, 1.0, "stay", "right"), Move(1, 2, 1.0, "truckright"), seconds=2)
    close(turned[:3, 3], (0.2 * R, 0, 0))


@pytest.mark.parametrize("ease", ["linear", "in", "out", "inout"])
def test_truck_and_orbit_together_follow_the_integral(ease):
    moves = [Move(0, 1.9, 3.0, "rightup40", ease=ease), Move(0.3, 1.6, 2.0, "truckright", ease=ease)]
    moves.append(Move(0.2, 1.2, 1.0, "pedestaldown"))
    track = compile(moves, 33, FPS)
    # the carried point by brute force: many small straight steps at the middles
    count = 200_000
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) * 2 / count
    rig = compile_at(moves[:1], middles).c2w[:, :3, :2]
    rates = torch.zeros(count, 2, dtype=torch.float64)
    for move, column, unit in ((moves[1], 0, 0.4 * R), (moves[2], 1, 0.2 * R)):
        u = (middles - move.start) / (move.end - move.start)
        slope = {"linear": u * 0 + 1, "in": 2 * u, "out": 2 - 2 * u, "inout": 6 * u - 6 * u * u}[move.ease]
        rates[:, column] += torch.where((u > 0) & (u < 1), slope * unit, 0.0)
    way = (rig @ rates[..., None])[..., 0].sum(dim=0) * 2 / count
    orbit = compile(moves[:1], 33, FPS)
    close(track.c2w[-1, :3, 3] - orbit.c2w[-1, :3, 3], way, 1e-6)
    assert torch.equal(track.c2w[:, :3, :3], orbit.c2w[:, :3, :3])
    fine = compile(moves, 321, FPS * 10)
    close(track.c2w, fine.c2w[::10])


def test_zoom_multiplies_the_focal_length():
    track = compile([Move(1, 2, 1.0, "stay", zoom="in"), Move(2, 3, 0.5, "stay", zoom="out")], 65, FPS)
    start = default_intrinsics(16 / 9)
    for frame, factor in ((0, 1), (16, 1), (24, 1.1), (32, 1.2), (40, 1.15), (48, 1.1), (64, 1.1)):
        close(track.intrinsics[frame, :2], start[:2] * factor)
    close(track.intrinsics[:, 2:], torch.full((65, 2), 0.5))
    assert torch.equal(track.c2w, torch.eye(4, dtype=torch.float64).expand(65, 4, 4))


def test_a_stated_zoom_rate_does_not_change_with_speed_and_goes_on_top_of_given_lenses():
    each = torch.rand(17, 4, dtype=torch.float64) + 0.1
    for speed in (0.5, 2.0):
        track = compile([Move(0, 1, speed, "stay", zoom="in30")], 17, FPS, each)
        close(track.intrinsics[-1, :2], each[-1, :2] * 1.3)
    assert float(each[0, 0]) == float(compile([Move(0, 1, 1, "stay", zoom="in")], 17, FPS, each).intrinsics[0, 0])


@pytest.mark.parametrize(("speed", "ease"), [(1.0, "linear"), (0.7, "inout"), (0.33, "out")])
def test_forward_and_zoom_out_at_one_speed_keep_the_size_of_the_subject(speed, ease):
    track = compile([Move(0, 4, speed, "forward", zoom="out", ease=ease)], 65, FPS)
    point = torch.tensor([0.1, -0.07, R, 1], dtype=torch.float64)
    local = (invert(track.c2w) @ point)[:, :3]
    size = track.intrinsics[:, :2] * local[:, :2] / local[:, 2:]
    close(size, size[:1].expand(65, 2))
    assert float(track.c2w[-1, 2, 3]) == pytest.approx(0.8 * R * speed) and track.intrinsics[-1, 0] < 0.9


@pytest.mark.parametrize(
    "moves",
    [
        [Move(0, 5, 1.0, "stay", zoom="out")],
        # the focal length is below the limit only between two joints and two frames
        [Move(0, 1, 1.0, "stay", zoom="out200", ease="out"), Move(0, 1, 1.0, "stay", zoom="in150", ease="in")],
    ],
)
def test_the_focal_length_stays_above_its_limit(moves):
    with pytest.raises(ValueError, match=r"focal length to .* of the starting one by .* s, below 0\.05: .*zoom out"):
        compile(moves, 6, 1.0)


def test_a_collision_between_joints_is_seen():
    moves = [Move(0, 1, 10, "forward", ease="out"), Move(0, 1, 7.5, "backward", ease="in")]
    with pytest.raises(ValueError, match=r"of the subject by 0\.571"):
        compile(moves, 2, 1.0)


# progress at a quarter, half and three quarters of the segment
EASES = {
    "linear": (0.25, 0.5, 0.75),
    "in": (0.0625, 0.25, 0.5625),
    "out": (0.4375, 0.75, 0.9375),
    "inout": (0.15625, 0.5, 0.84375),
}


@pytest.mark.parametrize("ease", EASES)
def test_ease_changes_when_and_not_how_much(ease):
    track = compile([Move(1, 2, 1.0, "backward", "left", "in", ease)], 49, FPS)
    for frame, share in zip((16, 20, 24, 28, 32, 48), (0, *EASES[ease], 1, 1), strict=True):
        close(track.c2w[frame, 2, 3], -0.2 * R * share)
        close(rotation_angle(track.c2w[frame, :3, :3]), AZ * share)
        close(track.intrinsics[frame, 0] / track.intrinsics[0, 0], 1 + 0.2 * share)


def test_uneven_times_see_the_same_path():
    moves = parse(README_PROMPT)
    even = compile(moves, 81, FPS)
    picked = torch.tensor([3, 4, 17, 40, 80])
    some = compile_at(moves, even.times[picked])
    close(some.c2w, even.c2w[picked], 1e-15)
    for times in ([], [0.0, 0.0], [1.0, 0.5], [-1.0, 0.0], [0.0, math.inf]):
        with pytest.raises(ValueError, match=r"^times: expected"):
            compile_at(moves, torch.tensor(times, dtype=torch.float64))
