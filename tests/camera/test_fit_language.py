"""Measured paths in words: moves with noise come back, and any path gets an answer."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera.fit_language import fit_language
from camera.language import Move, format, parse
from camera.path_error import path_error
from camera.poses import assemble, turn
from camera.rates import rates_of
from camera.smoothing import smooth_poses
from camera.track import CameraTrack
from camera.trajectory import compile, compile_at

FPS, FRAMES = 8.0, 17


def measured(track: CameraTrack, scale: float, seed: int, turn_deg: float = 0.1, way: float = 0.003) -> CameraTrack:
    """The track as an estimator gives it: noisy, in a unit of its own."""
    random = torch.Generator().manual_seed(seed)
    turns, ways = (torch.randn(len(track), 3, generator=random, dtype=torch.float64) for _ in range(2))
    turns[0] = ways[0] = 0
    length = float(track.c2w[:, :3, 3].diff(dim=0).norm(dim=1).sum())
    centres = track.c2w[:, :3, 3] + ways * way * length
    return replace(track, c2w=assemble(track.c2w[:, :3, :3] @ turn(turns * math.radians(turn_deg)), centres * scale))


DIRECTIONS = ("left", "right", "up", "down", "leftup45", "rightdown30", "backward", "truckright", "pedestalup")
ROTATIONS = ("left9", "up7", "clockwise12")


@st.composite
def random_moves(draw) -> list[Move]:
    """One or two segments, one after the other, each of a path or of a turn."""
    joint = draw(st.sampled_from([None, 0.75, 1.0, 1.25]))
    spans = [(0.0, 2.0)] if joint is None else [(0.0, joint), (joint, 2.0)]
    words = st.tuples(st.sampled_from(DIRECTIONS), st.just("stay")) | st.tuples(
        st.just("stay"), st.sampled_from(ROTATIONS)
    )
    speeds = st.sampled_from([0.5, 0.75, 1.0])
    return [Move(*span, draw(speeds), *draw(words)) for span in spans]


@settings(deadline=None, max_examples=5)
@given(random_moves(), st.floats(0.1, 10), st.integers(0, 99))
def test_moves_come_back_through_noise_and_an_unknown_scale(moves, scale, seed):
    track = compile(moves, FRAMES, FPS)
    fit = fit_language(measured(track, scale, seed))
    made = compile_at(fit.moves, track.times)
    error = path_error(made.c2w, track.c2w)
    assert error.rotation_max_deg < 0.4
    assert error.position_max_percent < 2
    # what is left over is the noise: 0.1 degrees and 0.3 % about each of three axes
    assert fit.rotation_deg < 0.3 and fit.position_percent < 1.0
    assert len(fit.moves) <= len(moves) + 2


def test_an_orbit_is_told_from_a_truck_with_a_pan_by_its_scale():
    orbit = fit_language(measured(compile([Move(0, 2, 1.0, "right")], FRAMES, FPS), 4.2, 1))
    assert [(move.direction, move.rotate) for move in orbit.moves] == [("right", "stay")]
    assert orbit.scale == pytest.approx(1 / 4.2, rel=0.02)
    assert rates_of(orbit.moves[0])[0] == pytest.approx(math.radians(20), rel=0.02)
    away = fit_language(measured(compile([Move(0, 2, 1.0, "truckright", "right12")], FRAMES, FPS), 4.2, 1))
    assert {move.direction for move in away.moves} == {"truckright"}
    assert {move.rotate for move in away.moves} == {"right12"}


def test_without_an_orbit_the_paths_own_unit_stays():
    fit = fit_language(measured(compile([Move(0, 2, 1.0, "forward")], FRAMES, FPS), 1.0, 2))
    assert fit.scale == 1.0
    assert rates_of(fit.moves[0])[2] == pytest.approx(-0.2006, rel=0.02)
    # as far as the planner's subject lets it come near
    far = fit_language(measured(compile([Move(0, 2, 1.0, "forward")], FRAMES, FPS), 50.0, 2))
    assert far.scale < 0.1 and {move.direction for move in far.moves} == {"forward"}
    assert far.position_percent < 1


def test_a_joint_is_found_where_it_is():
    moves = [Move(0, 0.8, 1.0, "right"), Move(0.8, 2, 0.5, "up")]
    fit = fit_language(measured(compile(moves, FRAMES, FPS), 2.0, 3))
    assert [move.direction for move in fit.moves] == ["right", "up"]
    assert fit.moves[0].end == fit.moves[1].start == pytest.approx(0.8, abs=0.05)


def test_a_zoom_is_written_and_a_still_camera_stays():
    track = compile([Move(0, 2, 1.0, "left", "stay", "in")], FRAMES, FPS)
    fit = fit_language(track)
    assert {move.zoom for move in fit.moves} - {"stay"} == {"in20"}
    still = fit_language(measured(compile([], FRAMES, FPS), 1.0, 0))
    assert [(move.direction, move.rotate, move.end) for move in still.moves] == [("stay", "stay", 2.0)]
    assert still.rotation_deg < 0.3


@settings(deadline=None, max_examples=4)
@given(st.integers(0, 1000), st.floats(0.05, 3.0), st.integers(2, 24))
def test_any_path_gets_an_answer_that_is_of_the_language(seed, size, frames):
    random = torch.Generator().manual_seed(seed)
    steps = torch.randn(frames, 6, generator=random, dtype=torch.float64) * size
    c2w = assemble(turn(0.05 * steps[:, :3].cumsum(0)), 0.1 * steps[:, 3:].cumsum(0))
    times = torch.arange(frames, dtype=torch.float64) / 8
    if frames > 20:
        c2w = smooth_poses(c2w, times, 0.25)
    track = CameraTrack(c2w, torch.tensor([[0.9, 1.5, 0.5, 0.5]]).double().expand(frames, 4).clone(), times)
    fit = fit_language(track, most_segments=2)
    assert parse(format(fit.moves)) == list(fit.moves)
    assert 0 <= fit.rotation_deg <= fit.rotation_max_deg <= 180 and fit.scale > 0
    made = compile_at(fit.moves, times)
    turned = path_error(made.c2w, track.c2w).rotation_deg
    assert turned == pytest.approx(fit.rotation_deg, rel=1e-6, abs=1e-6)


def test_more_segments_never_fit_worse_by_much_and_too_few_frames_are_refused():
    track = compile([Move(0, 0.7, 1.0, "right"), Move(0.7, 1.3, 1.0, "up"), Move(1.3, 2, 1.0, "left")], FRAMES, FPS)
    noisy = measured(track, 1.0, 5)
    one, three = (fit_language(noisy, most_segments=count) for count in (1, 3))
    assert one.rotation_deg > 3 * three.rotation_deg and one.position_percent > 3 * three.position_percent
    with pytest.raises(ValueError, match="1 frames"):
        fit_language(track.cut(0, 1))
