import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera.language import Move, parse
from camera.segments import COMPONENTS, check_segments, motion_steps, speed_ratio
from camera.trajectory import compile
from tests.camera.paths import transformed
from tests.camera.test_language import README_PROMPT, all_moves

FPS, FRAMES = 16.0, 81


def compiled(*moves):
    return compile(list(moves), FRAMES, FPS)


def check(told, made, **options):
    return check_segments(told, compiled(*told), compiled(*made), **options)


def only(told, made):
    (result,) = check([told], [made])
    return result


# what each word commands, by the sign of the component (docs/conventions.md)
SIGNS = {
    "forward": {"z": 1},
    "backward": {"z": -1},
    # the camera goes to its right and turns left to keep the subject
    "right": {"x": 1, "yaw": -1},
    "left": {"x": -1, "yaw": 1},
    # up is -y, and it looks down
    "up": {"y": -1, "pitch": -1},
    "down": {"y": 1, "pitch": 1},
}
TURNS = {
    "right": {"yaw": 1},
    "left": {"yaw": -1},
    "up": {"pitch": 1},
    "down": {"pitch": -1},
    "clockwise": {"roll": 1},
    "counterclockwise": {"roll": -1},
}


@pytest.mark.parametrize("word", SIGNS)
def test_a_direction_commands_its_components(word):
    move = Move(1, 2, 1.0, word)
    result = only(move, move)
    assert result.signs == dict.fromkeys(SIGNS[word], True)
    assert {name: math.copysign(1, result.commanded[name]) for name in SIGNS[word]} == SIGNS[word]
    assert (result.sign_accuracy, result.joint_gain, result.translation_gain) == pytest.approx((1, 1, 1))
    assert (result.start_error, result.stop_error) == (0, 0)


@pytest.mark.parametrize("word", TURNS)
def test_a_turn_commands_one_axis_of_twenty_degrees(word):
    result = only(Move(1, 2, 1.0, "stay", word), Move(1, 2, 1.0, "stay", word))
    assert result.signs == dict.fromkeys(TURNS[word], True)
    ((axis, sign),) = TURNS[word].items()
    assert result.commanded[axis] == pytest.approx(20 * sign)
    assert result.rotation_gain == pytest.approx(1)
    assert math.isnan(result.translation_gain)


def test_the_mirrored_move_has_every_sign_wrong():
    result = only(Move(1, 2, 1.0, "left"), Move(1, 2, 1.0, "right"))
    assert result.signs == {"yaw": False, "x": False}
    assert result.sign_accuracy == 0
    assert (result.rotation_gain, result.translation_gain, result.joint_gain) == pytest.approx((-1, -1, -1), abs=0.02)
    assert math.isnan(result.start_error)
    assert result.joint_speed < 0


def test_half_of_the_components_may_be_right():
    # an orbit to the right whose camera forgets to turn: it moves right but goes straight
    told = compiled(Move(0, 1, 1.0, "right"))
    straight_on = replace(told, c2w=torch.eye(4, dtype=torch.float64).repeat(FRAMES, 1, 1))
    straight_on.c2w[:, 0, 3] = told.c2w[:, 0, 3]
    (result,) = check_segments([Move(0, 1, 1.0, "right")], told, straight_on)
    assert result.signs == {"yaw": False, "x": True}
    assert result.sign_accuracy == 0.5
    assert result.rotation_gain == 0
    assert result.translation_gain == pytest.approx(1, abs=0.03)


def test_a_small_by_product_is_not_judged():
    # 1 degree from the vertical: sideways is far below 30 % of up
    assert set(only(Move(0, 1, 1.0, "rightup1"), Move(0, 1, 1.0, "up")).signs) == {"pitch", "y"}
    assert set(only(Move(0, 1, 1.0, "rightup60"), Move(0, 1, 1.0, "up")).signs) >= {"pitch", "y", "yaw", "x"}


def test_gain_is_the_share_of_the_motion_that_was_made():
    assert only(Move(1, 2, 1.0, "forward"), Move(1, 2, 0.5, "forward")).translation_gain == pytest.approx(0.5)
    assert only(Move(1, 2, 1.0, "stay", "left"), Move(1, 2, 1.0, "stay", "left5")).rotation_gain == pytest.approx(0.25)
    # a motion across the commanded one adds nothing
    assert only(Move(1, 2, 1.0, "forward"), Move(1, 2, 1.0, "stay", "left")).joint_gain == pytest.approx(0, abs=1e-12)


def test_nothing_commanded_is_nothing_to_judge():
    result = only(Move(1, 2, 1.0, "stay"), Move(1, 2, 1.0, "left"))
    assert result.signs == {}
    numbers = (result.sign_accuracy, result.rotation_gain, result.translation_gain, result.joint_gain)
    assert all(map(math.isnan, (*numbers, result.joint_speed, result.start_error, result.stop_error)))


def test_a_full_circle_does_not_wrap():
    told = compiled(Move(0, 4, 1.0, "stay", "left100"))
    (result,) = check_segments([Move(0, 4, 1.0, "stay", "left100")], told, told)
    assert result.commanded["yaw"] == pytest.approx(-400)
    assert result.rotation_gain == pytest.approx(1)


@pytest.mark.parametrize("late", [-5, -2, 1, 4])
@pytest.mark.parametrize("move", [Move(2, 3, 1.0, "forward"), Move(2, 3, 1.0, "stay", "up"), Move(2, 3, 1.0, "left")])
def test_a_late_start_is_counted_in_frames(move, late):
    later = replace(move, start=move.start + late / FPS, end=move.end + late / FPS)
    result = only(move, later)
    assert (result.start_error, result.stop_error) == (late, late)
    slower = replace(later, speed=0.6)
    result = only(move, slower)
    assert (result.start_error, result.stop_error) == (late, late)


def test_start_and_stop_are_found_apart_in_noise():
    move = Move(2, 3, 1.0, "forward")
    told = compiled(move)
    made = compiled(Move(2 - 3 / FPS, 3 + 4 / FPS, 1.0, "forward"))
    noise = torch.randn(FRAMES, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    c2w = made.c2w.clone()
    # a step is 0.0125 long
    c2w[:, :3, 3] += 0.001 * noise
    (result,) = check_segments([move], told, replace(made, c2w=c2w))
    assert (result.start_error, result.stop_error) == (-3, 4)


def test_where_no_speed_changes_there_is_no_start_to_find():
    moves = [Move(0, 2, 1.0, "forward"), Move(2, 3, 1.0, "forward"), Move(3, 6, 1.0, "stay", "left")]
    first, second, third = check(moves, moves)
    assert math.isnan(first.start_error)
    # it goes on as before
    assert math.isnan(first.stop_error)
    assert math.isnan(second.start_error)
    assert second.stop_error == 0
    # cut by the end of the video
    assert (third.start_error, third.end) == (0, 5.0)
    assert math.isnan(third.stop_error)
    # a camera that never moved never started
    still = check([Move(2, 3, 1.0, "forward")], [])[0]
    assert math.isnan(still.start_error)
    assert still.joint_gain == 0
    assert still.sign_accuracy == 0


def test_the_speed_ratio_is_pooled():
    def checks(words, speed):
        return [only(Move(1, 2, speed, word), Move(1, 2, speed, word)) for word in words]

    words = ["forward", "right", "up"]
    assert speed_ratio(checks(words, 1.0), checks(words, 0.5)) == pytest.approx(2, rel=0.01)
    assert speed_ratio(checks(words, 0.75), checks(words, 0.75)) == pytest.approx(1)
    # one clip that hardly moved: a mean of quotients would be ruled by it
    slow = [*checks(["forward"], 0.5), only(Move(1, 2, 0.5, "forward"), Move(1, 2, 0.001, "forward"))]
    fast = checks(["forward", "forward"], 1.0)
    assert speed_ratio(fast, slow) == pytest.approx(2 / (0.5 + 0.001))
    assert math.isnan(speed_ratio(fast, []))
    # speeds of the wrong way are no speeds
    assert math.isnan(speed_ratio(fast, [only(Move(1, 2, 0.5, "forward"), Move(1, 2, 0.5, "backward"))]))


def test_the_prompt_of_the_readme_is_followed_by_itself():
    moves = parse(README_PROMPT)
    track = compile(moves, FRAMES, FPS)
    results = check_segments(moves, track, track)
    assert [result.number for result in results] == [1, 2, 3]
    assert all(result.sign_accuracy == 1 for result in results)
    assert [result.joint_gain for result in results] == pytest.approx([1, 1, 1])


@settings(max_examples=50)
@given(st.lists(all_moves, min_size=1, max_size=3), st.floats(0.2, 3))
def test_the_world_and_the_unit_do_not_matter(moves, unit):
    try:
        told = compile(moves, 33, 8)
    except ValueError:
        return  # too near to the subject
    world = replace(told, c2w=transformed(told.c2w, (0.4, 1.0, -0.3), (1, 2, 3)))
    here = check_segments(moves, told, world)
    scaled = [replace(track, c2w=transformed(track.c2w, (0, 0, 0), (0, 0, 0), unit)) for track in (told, world)]
    there = check_segments(moves, *scaled, scene_depth=unit)
    for one, other in zip(here, there, strict=True):
        assert one.signs == other.signs
        assert all(one.signs.values())
        assert other.joint_gain == pytest.approx(one.joint_gain, nan_ok=True)
        # a move of less than a thousandth of the scene's depth commands nothing
        assert one.joint_gain == pytest.approx(1 if one.signs else math.nan, nan_ok=True)
        assert one.start_error == 0 or math.isnan(one.start_error)


def test_a_zoom_is_a_component_too():
    track = compiled()
    tele = track.intrinsics.clone()
    # twice as long from 1 s to 2 s
    tele[:, :2] *= 2 ** (track.times - 1).clamp(0, 1)[:, None]
    zooming = replace(track, intrinsics=tele)
    assert float(motion_steps(zooming)[:, COMPONENTS.index("zoom")].sum()) == pytest.approx(1)
    (result,) = check_segments([Move(1, 2, 1.0, "stay")], zooming, zooming)
    assert result.signs == {"zoom": True}
    assert result.joint_gain == pytest.approx(1)
    (ignored,) = check_segments([Move(1, 2, 1.0, "stay")], zooming, track)
    assert ignored.signs == {"zoom": False}


def test_tracks_that_do_not_fit_are_refused():
    moves = [Move(1, 2, 1.0, "forward")]
    told = compile(moves, FRAMES, FPS)
    with pytest.raises(ValueError, match=r"measured track covers 0 to 2\.5 s, the commanded one 0 to 5 s"):
        check_segments(moves, told, compile(moves, 41, FPS))
    with pytest.raises(ValueError, match="1 and 81 frames: expected 2 or more"):
        check_segments(moves, compile(moves, 1, FPS), told)
    with pytest.raises(ValueError, match="scene_depth nan"):
        check_segments(moves, told, told, scene_depth=math.nan)
    # a measured track at another rate is taken at the commanded times
    (other,) = check_segments(moves, told, compile(moves, 51, 10))
    assert other.joint_gain == pytest.approx(1)
    assert check_segments([Move(7, 8, 1.0, "forward")], told, told) == []
