import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera.language import Move, parse
from camera.lint import KINDS, Limits, lint
from camera.presets import PRESETS, preset
from tests.camera.test_language import README_PROMPT, all_moves


def kinds(*moves, frames=81, fps=16.0, limits=None):
    return [(finding.segment, finding.kind) for finding in lint(moves, frames, fps, limits)]


def test_a_well_made_trajectory_has_no_findings():
    assert kinds(Move(0, 2, 1.0, "right"), Move(2, 5, 0.5, "forward", "up", "in", "inout")) == []
    assert kinds() == []


def test_the_readme_prompt_ends_before_the_video():
    (finding,) = lint(parse(README_PROMPT), 81, 16.0)
    assert str(finding) == "trajectory, short: it ends at 4 s; then the camera stands still until 5 s"


def test_a_gap_is_told_at_the_segment_after_it_whatever_the_order():
    moves = [Move(3, 5, 1.0, "left"), Move(0, 1, 1.0, "left"), Move(1, 2.5, 1.0, "up")]
    (finding,) = lint(moves, 81, 16.0)
    assert (finding.segment, finding.kind) == (1, "gap") and "from 2.5 to 3 s" in finding.message
    # covered by an overlapping segment: no gap
    assert (1, "gap") not in kinds(*moves, Move(2, 4, 1.0, "stay"))


def test_an_overlap_names_the_other_segments():
    findings = lint([Move(0, 3, 1.0, "left"), Move(1, 5, 1.0, "up"), Move(2, 5, 1.0, "stay", "left")], 81, 16.0)
    assert [(finding.segment, finding.kind) for finding in findings] == [(2, "overlap"), (3, "overlap")]
    assert "segment 1;" in findings[0].message and "segment 1, 2;" in findings[1].message


@pytest.mark.parametrize(
    ("first", "second", "cancels"),
    [
        (("left",), ("right",), True),
        (("forward", "left"), ("stay", "right20"), True),
        (("stay", "stay", "in"), ("stay", "stay", "out20"), True),
        (("truckleft",), ("left",), False),
        (("left",), ("up",), False),
        (("stay", "left"), ("stay", "right10"), False),
    ],
)
def test_moves_that_undo_each_other_at_the_same_time(first, second, cancels):
    one, other = Move(0, 5, 1.0, *first), Move(1, 5, 1.0, *second)
    assert ((2, "cancel") in kinds(one, other)) == cancels
    assert (2, "cancel") not in kinds(Move(0, 1, 1.0, *first), other)


@pytest.mark.parametrize(
    ("move", "fast"),
    [
        (Move(0, 5, 3.0, "right"), False),
        (Move(0, 5, 3.01, "right"), True),
        (Move(0, 5, 1.6, "right", ease="in"), True),
        (Move(0, 5, 1.9, "right", ease="inout"), False),
        (Move(0, 5, 2.1, "right", ease="inout"), True),
        (Move(0, 5, 1.0, "stay", "left60"), False),
        (Move(0, 5, 1.0, "stay", "left60.5"), True),
        (Move(0, 5, 3.0, "backward"), False),
        (Move(0, 5, 3.1, "truckright"), True),
    ],
)
def test_a_fast_move_is_told_by_its_peak(move, fast):
    assert ((1, "fast") in kinds(move)) == fast


def test_the_limits_can_be_stated():
    moves = [Move(0, 5, 1.0, "right", "up10", "in"), Move(0, 5, 1.0, "backward")]
    strict = Limits(turn_deg_per_s=9, move_per_s=0.1, zoom_factor=1.5)
    assert kinds(*moves, limits=strict) == [(0, "zoom"), (1, "fast"), (1, "fast"), (2, "overlap"), (2, "fast")]


def test_a_trajectory_longer_than_the_video():
    moves = [Move(0, 4, 1.0, "left"), Move(4, 7, 1.0, "up"), Move(7, 8, 1.0, "stay")]
    assert kinds(*moves) == [(0, "long"), (2, "cut"), (3, "unseen")]
    # a move may end up to a frame after the last frame
    assert kinds(Move(0, 5, 1.0, "left"), frames=80) == []


@pytest.mark.parametrize(("direction", "word"), [("up", "over the top"), ("down", "under")])
def test_the_pole_is_told_at_the_segment_that_passes_it(direction, word):
    (finding,) = lint([Move(0, 1, 1.0, "left"), Move(1, 5, 2.0, direction)], 81, 16.0)
    assert (finding.segment, finding.kind) == (2, "pole") and word in finding.message
    assert kinds(Move(0, 5, 1.2, direction)) == []


def test_a_strong_zoom_is_told():
    assert kinds(Move(0, 5, 1.0, "stay", zoom="in41")) == [(0, "zoom")]
    assert kinds(Move(0, 5, 1.0, "stay", zoom="out14")) == [(0, "zoom")]
    assert kinds(Move(0, 5, 1.0, "stay", zoom="in39")) == []


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_not_odd(name):
    # a full round in five seconds is 72 degrees per second
    allowed = {"overlap", "fast"} if name in {"orbit", "spiral"} else {"overlap"}
    assert {finding.kind for finding in lint(preset(name, 5), 81, 16.0)} <= allowed


@given(st.lists(all_moves, max_size=5), st.integers(1, 200), st.floats(0.1, 1000))
def test_legal_moves_are_never_refused(moves, frames, fps):
    findings = lint(moves, frames, fps)
    assert all(finding.kind in KINDS and 0 <= finding.segment <= len(moves) for finding in findings)
    assert findings == sorted(findings, key=lambda finding: (finding.segment, KINDS.index(finding.kind)))


@pytest.mark.parametrize(("frames", "fps"), [(0, 16.0), (5, 0.0), (5, float("nan"))])
def test_frames_and_fps_are_checked(frames, fps):
    with pytest.raises(ValueError, match="frames"):
        lint([], frames, fps)
