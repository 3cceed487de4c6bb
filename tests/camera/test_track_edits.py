import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camera.language import Move
from camera.poses import exp_se3, log_se3, relative_to, rotation_vector
from camera.track import CameraTrack
from camera.trajectory import compile

frame_counts = st.integers(1, 12)
seeds = st.integers(0, 2**32 - 1)


def make_track(frames, seed, fps=None):
    """Any path: turns and moves between frames are large, times are uneven unless `fps` is given."""
    generator = torch.Generator().manual_seed(seed)
    c2w = exp_se3(2 * torch.randn(frames, 6, generator=generator, dtype=torch.float64))
    intrinsics = 0.2 + torch.rand(frames, 4, generator=generator, dtype=torch.float64)
    gaps = 0.01 + torch.rand(frames, generator=generator, dtype=torch.float64)
    times = gaps.cumsum(0) if fps is None else 0.5 + torch.arange(frames, dtype=torch.float64) / fps
    return CameraTrack(c2w, intrinsics, times, "metric")


tracks = st.builds(make_track, frame_counts, seeds)


def same(actual, expected, tolerance=1e-12):
    for name in ("c2w", "intrinsics", "times"):
        torch.testing.assert_close(getattr(actual, name), getattr(expected, name), rtol=0, atol=tolerance)
    assert actual.scale == expected.scale


def project(track, points):
    """Where points of the world [N, 3] are in each frame, normalised [F, N, 2], and their depth."""
    local = (points[None] - track.c2w[:, None, :3, 3]) @ track.c2w[:, :3, :3]
    return local[..., :2] / local[..., 2:] * track.intrinsics[:, None, :2] + track.intrinsics[:, None, 2:], local[
        ..., 2
    ]


def going_right():
    return compile([Move(0, 2, 1.0, "right", "up")], 33, 16.0)


@given(tracks, st.data())
def test_rebasing_is_idempotent_and_forgets_the_world(track, data):
    frame, other = (data.draw(st.integers(-len(track), len(track) - 1)) for _ in range(2))
    based = track.rebased(frame)
    torch.testing.assert_close(based.c2w[frame], torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-12)
    same(based.rebased(frame), based)
    same(track.rebased(other).rebased(frame), based, 1e-10)
    for beyond in (len(track), -len(track) - 1):
        with pytest.raises(ValueError, match=f"frame {beyond}: the track has {len(track)} frames"):
            track.rebased(beyond)


@given(tracks)
def test_what_undoes_itself(track):
    same(track.reversed().reversed(), track)
    same(track.mirrored().mirrored(), track, 1e-15)
    same(track.quarter_turned(1).quarter_turned(3), track, 1e-15)
    same(track.quarter_turned(-1), track.quarter_turned(3), 1e-15)
    same(track.quarter_turned(2), track.quarter_turned(1).quarter_turned(1), 1e-15)
    same(track.scaled(0.3).scaled(1 / 0.3), track)
    same(track.mirrored().rebased(), track.rebased().mirrored(), 1e-11)
    # upside down and in the mirror is the mirror image, upside down
    same(track.quarter_turned(2).mirrored(), track.mirrored().quarter_turned(2), 1e-15)


@given(tracks, seeds)
def test_points_are_seen_where_the_flipped_and_turned_pictures_show_them(track, seed):
    points = 3 * torch.randn(20, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    seen, depth = project(track, points)
    good = (depth.abs() > 0.1)[..., None]
    flipped, _ = project(track.mirrored(), points * torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    upright, upright_depth = project(track.quarter_turned(1), points)
    u, v = seen.unbind(-1)
    torch.testing.assert_close(flipped * good, torch.stack((1 - u, v), dim=-1) * good, rtol=1e-10, atol=1e-10)
    # clockwise: what was on the left is above, what was above is on the right
    torch.testing.assert_close(upright * good, torch.stack((1 - v, u), dim=-1) * good, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(upright_depth, depth, rtol=0, atol=1e-10)


def test_the_mirrored_move_is_the_move_to_the_other_side():
    left = compile([Move(0, 2, 1.0, "left", "up")], 33, 16.0)
    same(going_right().mirrored(), left, 1e-15)
    assert left.c2w[-1, 0, 3] < -0.3 < 0.3 < going_right().c2w[-1, 0, 3]


def test_a_quarter_turn_of_a_phone_video():
    # held upright, the phone stored its picture lying: turned clockwise, "right" of the stored picture is "down"
    upright = going_right().quarter_turned(1).rebased()
    assert upright.c2w[-1, 1, 3] > 0.3
    assert abs(float(upright.c2w[-1, 0, 3])) < 0.2
    assert upright.intrinsics[0].tolist() == going_right().intrinsics[0, [1, 0, 3, 2]].tolist()


@given(st.integers(2, 12), st.integers(2, 12), st.integers(2, 12), seeds)
def test_tracks_follow_each_other(first, second, third, seed):
    a, b, c = (make_track(frames, seed + i) for i, frames in enumerate((first, second, third)))
    joined = a.followed_by(b)
    assert len(joined) == first + second - 1
    same(joined.cut(0, first), a)
    # the second path starts where the first ends, and is the same seen from there
    same(joined.cut(first - 1).rebased().cut(1), at_time(b.rebased(), joined.times[first - 1]).cut(1), 1e-9)
    same(joined.followed_by(c), a.followed_by(b.followed_by(c)), 1e-8)
    half = first // 2
    same(a.cut(0, half + 1).followed_by(a.cut(half)), a, 1e-9)


def at_time(track, start):
    return CameraTrack(track.c2w, track.intrinsics, track.times - track.times[0] + start, track.scale)


def test_there_and_back_again():
    path = going_right()
    whole = path.followed_by(path.reversed())
    assert len(whole) == 65 and float(whole.times[-1]) == 4.0
    torch.testing.assert_close(whole.c2w[-1], path.c2w[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(whole.c2w[40], path.c2w[24], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="scale 'relative' followed by one of scale 'metric'"):
        path.followed_by(path.in_metres(1, 2))


def test_cutting_keeps_times_and_refuses_nothing():
    part = going_right().cut(4, 8)
    assert part.times.tolist() == [0.25, 0.3125, 0.375, 0.4375]
    assert torch.equal(part.c2w, going_right().c2w[4:8])
    for start, stop in ((5, 5), (-1, 3), (0, 34), (33, None)):
        with pytest.raises(ValueError, match="the track has 33 frames, and 1 or more must stay"):
            going_right().cut(start, stop)


@given(st.integers(1, 12), seeds, st.sampled_from([8.0, 16.0, 23.976, 30.0]), st.sampled_from(["linear", "screw"]))
def test_resampling_twice_is_resampling_once(frames, seed, fps, path):
    track = make_track(frames, seed, fps=fps)
    same(track.resampled(fps=fps, path=path), track, 1e-9)
    same(track.resampled(frames=frames, path=path), track, 1e-9)
    once = make_track(frames, seed).resampled(fps=fps, path=path)
    same(once.resampled(fps=fps, path=path), once, 1e-9)
    # to frames among which all the old ones are, and back: between two poses there is only one way
    same(track.resampled(fps=3 * fps, path=path).resampled(fps=fps, path=path), track, 1e-7)


def test_resampling_keeps_the_seconds():
    track = going_right()
    for fps, frames in ((8, 17), (24, 49), (30, 61), (15.9, 32)):
        other = track.resampled(fps=fps)
        assert len(other) == frames
        assert float(other.times.diff().max()) == pytest.approx(1 / fps)
        truth = compile([Move(0, 2, 1.0, "right", "up")], frames, fps)
        torch.testing.assert_close(other.c2w, truth.c2w, rtol=0, atol=3e-4)
        # a cubic is nearer to the true arc of the centres than straight lines are
        error, cubic_error = (
            float((track.resampled(fps=fps, path=path).c2w[4:-4] - truth.c2w[4:-4])[:, :3, 3].abs().max())
            for path in ("linear", "cubic")
        )
        assert cubic_error < max(0.1 * error, 1e-12)
    spread = track.resampled(frames=7)
    assert spread.times[[0, -1]].tolist() == [0, 2] and len(spread) == 7
    assert track.resampled(frames=1).times.tolist() == [0]


@pytest.mark.parametrize(
    "arguments", [{}, {"fps": 8, "frames": 3}, {"fps": 0}, {"fps": math.inf}, {"fps": math.nan}, {"frames": 0}]
)
def test_an_impossible_resampling_is_refused(arguments):
    with pytest.raises(ValueError, match="expected"):
        going_right().resampled(**arguments)


def test_outside_a_track_the_camera_may_go_on_at_its_last_velocity():
    times = torch.arange(9, dtype=torch.float64) / 8
    twist = torch.tensor([0.5, 0, 1, 0.1, 0.4, -0.2], dtype=torch.float64)
    zoom = torch.tensor([1.0, 1, 0.5, 0.5], dtype=torch.float64) * (1 + times[:, None])
    track = CameraTrack(exp_se3(times[:, None] * twist), zoom, times)
    on = track.at([-1.0, 0.5, 3.0], path="screw", outside="extrapolate")
    torch.testing.assert_close(log_se3(on.c2w), on.times[:, None] * twist, rtol=0, atol=1e-10)
    assert on.intrinsics[:, 0].tolist() == [1, 1.5, 2]
    held = track.at([-1.0, 0.5, 3.0], path="screw")
    torch.testing.assert_close(held.c2w[[0, 2]], track.c2w[[0, -1]], rtol=0, atol=1e-12)


@given(tracks, st.floats(1e-3, 1e3))
def test_scaling_is_of_lengths_alone(track, factor):
    larger = track.scaled(factor)
    assert torch.equal(larger.c2w[:, :3, :3], track.c2w[:, :3, :3])
    steps, before = (relative_to(t.c2w, t.c2w[0])[:, :3, 3].norm(dim=1) for t in (larger, track))
    torch.testing.assert_close(steps, factor * before, rtol=1e-9, atol=1e-9)
    assert larger.scale == track.scale


def test_metres_by_one_known_length():
    # the subject, at 1.003 units, is known to be 2.5 m away: the orbit is round a circle of 2.5 m
    track = going_right().in_metres(1.003, 2.5)
    assert track.scale == "metric"
    subject = torch.tensor([0, 0, 2.5], dtype=torch.float64)
    distance = (track.c2w[:, :3, 3] - subject).norm(dim=1)
    torch.testing.assert_close(distance, torch.full_like(distance, 2.5), rtol=0, atol=1e-12)
    for wrong in ((0, 1), (1, 0), (1, math.inf), (-1, 1)):
        with pytest.raises(ValueError, match="expected numbers above 0"):
            going_right().in_metres(*wrong)
    for factor in (0, -2, math.nan):
        with pytest.raises(ValueError, match="expected a number above 0"):
            going_right().scaled(factor)


def test_a_smoothed_track_keeps_ends_lens_and_times():
    shaken = going_right()
    noise = 0.01 * torch.randn(33, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shaken = CameraTrack(shaken.c2w @ exp_se3(noise), shaken.intrinsics, shaken.times)
    calm = shaken.smoothed(0.15)
    assert torch.equal(calm.c2w[[0, -1]], shaken.c2w[[0, -1]])
    assert torch.equal(calm.intrinsics, shaken.intrinsics) and torch.equal(calm.times, shaken.times)
    jerk, jerk_before = (
        rotation_vector(t.c2w[:-1, :3, :3].mT @ t.c2w[1:, :3, :3]).diff(dim=0).norm() for t in (calm, shaken)
    )
    assert jerk < 0.3 * jerk_before
    spline = shaken.smoothed(0.15, "spline")
    assert torch.equal(spline.c2w[:, :3, :3], shaken.c2w[:, :3, :3])
