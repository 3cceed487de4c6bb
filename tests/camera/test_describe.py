import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from camera.describe import describe
from camera.language import Move, format, parse
from camera.poses import assemble, turn
from camera.track import CameraTrack
from camera.trajectory import START_DISTANCE, compile, compile_at
from tests.camera.test_language import README_MOVES, README_PROMPT, moves_of

FPS = 16.0
R = START_DISTANCE


def error(first, second):
    lens = second.intrinsics[:, :2] / second.intrinsics[:1, :2] - first.intrinsics[:, :2] / first.intrinsics[:1, :2]
    return max(float((first.c2w - second.c2w).abs().max()), float(lens.abs().max()))


def again(track, tolerance=1e-9):
    """The track of the text of a track, on its own times from 0."""
    text = format(describe(track, tolerance))
    return compile_at(parse(text), track.times - track.times[0])


def still(centres, times=None):
    """A camera that never turns, at given centres."""
    centres = torch.as_tensor(centres, dtype=torch.float64)
    frames = len(centres)
    times = torch.arange(frames, dtype=torch.float64) / FPS if times is None else times
    c2w = assemble(torch.eye(3, dtype=torch.float64).expand(frames, 3, 3), centres)
    lens = torch.tensor([0.9, 1.5, 0.5, 0.5], dtype=torch.float64).expand(frames, 4).clone()
    return CameraTrack(c2w, lens, times)


def test_the_readme_prompt_comes_back_as_its_three_segments():
    assert describe(compile(parse(README_PROMPT), 81, FPS)) == README_MOVES


@pytest.mark.parametrize(
    "move",
    [
        Move(0.5, 2, 0.3, "up"),
        Move(0, 4, 1.0, "leftdown72.5"),
        Move(1, 3, 2.25, "truckleft"),
        Move(1, 3, 0.8, "pedestalup", "down12.5"),
        Move(0, 4, 1.0, "stay", "clockwise90"),
        Move(0, 4, 5.0, "right", "left123.4"),
        Move(0, 3, 0.7, "forward", "stay", "out14"),
        Move(0, 5, 2.0, "up", "left7"),
        Move(0, 5, 1.0, "stay"),
    ],
)
def test_an_even_move_comes_back_as_itself(move):
    assert describe(compile([move], 81, FPS)) == [move]


def test_moves_one_after_the_other_come_back_each():
    moves = [Move(0, 1, 1.0, "right"), Move(1, 2, 0.7, "truckleft"), Move(2.5, 3, 0.3, "up", "left15", "in30")]
    moves.append(Move(3, 5, 1.0, "pedestaldown", "down20"))
    assert describe(compile(moves, 81, FPS)) == moves


def test_a_word_that_turns_comes_back_with_its_rate():
    assert describe(compile([Move(0, 1, 0.5, "left", "up")], 17, FPS)) == [Move(0, 1, 0.5, "left", "up10")]


def test_a_straight_way_is_told_in_the_shorter_words():
    way = torch.tensor([0.2 * R, -0.4 * R, 0.1 * R], dtype=torch.float64)
    share = torch.linspace(0, 1, 17, dtype=torch.float64)[:, None]
    assert describe(still(share * way)) == [
        Move(0, 1, 0.5, "forward"),
        Move(0, 1, 1.0, "truckright"),
        Move(0, 1, 2.0, "pedestalup"),
    ]


def test_a_still_camera_and_a_single_frame():
    assert describe(still(torch.zeros(5, 3))) == [Move(0, 0.25, 1.0, "stay")]
    assert describe(still(torch.zeros(1, 3))) == [Move(0, 1.0, 1.0, "stay")]


spans = st.tuples(st.integers(0, 60), st.integers(1, 40)).map(lambda span: (span[0] / 20, (span[0] + span[1]) / 20))
mild_moves = moves_of(spans, st.floats(0.05, 1.5))


@given(st.lists(mild_moves, min_size=1, max_size=4), st.sampled_from([8.0, 16.0, 29.97]))
@settings(max_examples=40)
def test_text_to_poses_to_text_to_poses_is_stable(moves, fps):
    try:
        track = compile(parse(format(moves)), 17, fps)
    except ValueError:
        assume(False)
    assert error(again(track), track) < 1e-9


@st.composite
def smooth_tracks(draw):
    """A path and turns of a few sine waves each, on uneven times that do not start at 0: nothing a planner makes."""
    number = lambda limit: draw(st.floats(-limit, limit))  # noqa: E731
    steps = torch.tensor(draw(st.lists(st.floats(0.02, 0.2), min_size=12, max_size=24)), dtype=torch.float64)
    times = draw(st.floats(0, 100)) + steps.cumsum(dim=0)
    since = times - times[0]
    waves = torch.stack([torch.sin(since * draw(st.floats(0.2, 3)) + number(3)) * number(0.4) for _ in range(7)])
    c2w = assemble(turn(waves[:3].T), waves[3:6].T.contiguous())
    lens = torch.tensor([0.9, 1.5, 0.5, 0.5], dtype=torch.float64).repeat(len(times), 1)
    lens[:, :2] *= (1 + waves[6])[:, None]
    return CameraTrack(c2w, lens, times, "unknown")


@given(smooth_tracks())
@settings(max_examples=30)
def test_any_smooth_track_can_be_told(track):
    there = again(track)
    assert error(there, track.rebased()) < 1e-9
    assert error(again(there), there) < 1e-9


def test_the_poles_are_passed():
    track = compile([Move(0, 5, 1.5, "up", "left5"), Move(1, 4, 1.0, "right")], 81, FPS)
    assert error(again(track), track) < 1e-9


def test_a_float32_file_comes_back_within_its_precision(tmp_path):
    track = compile(parse(README_PROMPT), 81, FPS)
    track.save(tmp_path / "a.safetensors")
    loaded = CameraTrack.load(tmp_path / "a.safetensors")
    moves = describe(loaded, tolerance=1e-5)
    assert [(move.direction[:8], move.rotate) for move in moves] == [
        ("forward", "stay"),
        ("right", "stay"),
        ("leftdown", "stay"),
    ]
    assert error(again(loaded, 1e-5), loaded) < 1e-5


def test_a_greater_tolerance_makes_a_shorter_text():
    track = compile([Move(0, 4, 1.0, "right", "left10", ease="inout")], 65, FPS)
    counts = [len(describe(track, tolerance)) for tolerance in (1e-9, 3e-3, 3e-2)]
    assert counts[0] > 60 > counts[1] > counts[2] >= 1
    assert error(again(track, 3e-2), track) < 3e-2


@pytest.mark.parametrize(
    ("centres", "reason"),
    [([(0, 0, 0), (0, 0, 1.0)], "nearer than 0.05"), ([(0, 0, 0), (0, 0, -5.0)], "faster than the language")],
)
def test_what_has_no_words_is_refused(centres, reason):
    with pytest.raises(ValueError, match=rf"camera at 0.0625 s cannot be written: .*{reason}"):
        describe(still(centres))


def test_a_turn_above_the_largest_rate_is_refused():
    track = compile([Move(0, 1, 100.0, "stay", "left")], 33, 32.0)
    with pytest.raises(ValueError, match="faster than the language"):
        describe(track)


@pytest.mark.parametrize(("column", "reason"), [(0, "aspect"), (2, "aspect or its centre")])
def test_a_lens_without_words_is_refused(column, reason):
    track = still(torch.zeros(3, 3))
    track.intrinsics[1, column] += 0.01
    with pytest.raises(ValueError, match=reason):
        describe(track)


def test_a_lens_that_becomes_too_wide_is_refused():
    track = still(torch.zeros(3, 3))
    track.intrinsics[2, :2] *= 0.04
    with pytest.raises(ValueError, match=r"focal length falls to 0\.04"):
        describe(track)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, math.nan, math.inf])
def test_the_tolerance_is_checked(tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        describe(still(torch.zeros(2, 3)), tolerance)
