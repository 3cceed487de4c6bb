import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camera.language import format, parse
from camera.poses import invert, rotation_angle
from camera.presets import PRESETS, preset, preset_from_text
from camera.trajectory import START_DISTANCE, compile

R = START_DISTANCE
SUBJECT = torch.tensor([0, 0, R, 1], dtype=torch.float64)


def track_of(name, seconds=5.0, frames=81, **options):
    return compile(preset(name, seconds, **options), frames, (frames - 1) / seconds)


def seen(track, point=SUBJECT):
    """The point in each camera: x right, y down, z forward."""
    return (invert(track.c2w) @ point)[:, :3]


def near(actual, expected, tolerance=1e-9):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(torch.as_tensor(actual, dtype=torch.float64), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("seconds", [0.1, 3.7, 5, 60])
def test_every_preset_is_text_of_the_language_and_compiles(name, seconds):
    moves = preset(name, seconds)
    assert parse(format(moves)) == moves
    assert min(move.start for move in moves) == 0 and max(move.end for move in moves) == seconds
    compile(moves, 81, 80 / seconds)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_described_in_one_line(name):
    assert PRESETS[name].description.endswith(".") and len(PRESETS[name].description) < 100


# name, options, where the camera ends (x, y, z), where its optical axis points
ENDS = [
    ("orbit", {}, (0, 0, 0), (0, 0, 1)),
    ("orbit", {"degrees": 90, "side": "right"}, (R, 0, R), (-1, 0, 0)),
    ("orbit", {"degrees": 90, "side": "left"}, (-R, 0, R), (1, 0, 0)),
    ("arc", {"degrees": 180}, (0, 0, 2 * R), (0, 0, -1)),
    ("dolly-in", {"speed": 0.5}, (0, 0, 0.5 * R), (0, 0, 1)),
    ("dolly-in", {}, (0, 0, 0.6 * R), (0, 0, 1)),
    ("dolly-out", {}, (0, 0, -R), (0, 0, 1)),
    ("truck-left", {}, (-R, 0, 0), (0, 0, 1)),
    ("truck-right", {"speed": 0.1}, (0.1 * R, 0, 0), (0, 0, 1)),
    ("pedestal-up", {}, (0, -R, 0), (0, 0, 1)),
    ("pedestal-down", {}, (0, R, 0), (0, 0, 1)),
    ("pan-left", {"degrees": 90}, (0, 0, 0), (-1, 0, 0)),
    ("pan-right", {"degrees": 90}, (0, 0, 0), (1, 0, 0)),
    ("pan-right", {"speed": 0.9}, (0, 0, 0), (1, 0, 0)),
    ("tilt-up", {"degrees": 90}, (0, 0, 0), (0, -1, 0)),
    ("tilt-down", {"degrees": 90}, (0, 0, 0), (0, 1, 0)),
    ("crane", {}, (0, -R, 0), (0, math.sqrt(0.5), math.sqrt(0.5))),
    ("crane", {"side": "down"}, (0, R, 0), (0, -math.sqrt(0.5), math.sqrt(0.5))),
    ("spiral", {"degrees": 180}, (0, 0, 1.5 * R), (0, 0, -1)),
    ("hold", {}, (0, 0, 0), (0, 0, 1)),
]


@pytest.mark.parametrize(("name", "options", "centre", "axis"), ENDS)
def test_where_a_preset_ends(name, options, centre, axis):
    last = track_of(name, **options).c2w[-1]
    near(last[:3, 3], centre, 1e-7)
    near(last[:3, 2], axis, 1e-7)


@pytest.mark.parametrize(("side", "sign"), [("clockwise", 1), ("counterclockwise", -1)])
def test_a_roll_turns_the_picture(side, sign):
    track = track_of("roll", side=side, degrees=30)
    # the camera's right goes down when it rolls clockwise
    near(track.c2w[-1, :2, 0], (math.cos(math.radians(30)), sign * math.sin(math.radians(30))))


def test_an_orbit_keeps_the_subject_in_the_middle_all_the_way_round():
    track = track_of("orbit")
    near(seen(track), [[0, 0, R]] * 81)
    turned = rotation_angle(track.c2w[:-1, :3, :3].mT @ track.c2w[1:, :3, :3])
    near(turned, [2 * math.pi / 80] * 80)


@pytest.mark.parametrize("side", ["up", "down"])
@pytest.mark.parametrize("speed", [0.3, 1.0, 2.0])
def test_a_crane_goes_straight_and_keeps_looking_at_the_subject(side, speed):
    track = track_of("crane", side=side, speed=speed)
    near(track.c2w[:, (0, 2), 3], torch.zeros(81, 2))
    off_deg = torch.atan2(seen(track)[:, :2].norm(dim=1), seen(track)[:, 2]).rad2deg()
    assert float(off_deg.max()) < 0.2


@pytest.mark.parametrize("side", ["in", "out"])
@pytest.mark.parametrize("seconds", [2.0, 5.0, 12.0])
def test_a_dolly_zoom_keeps_the_size_of_the_subject(side, seconds):
    track = track_of("dolly-zoom", seconds, side=side)
    corner = seen(track, SUBJECT + torch.tensor([0.1, -0.2, 0, 0], dtype=torch.float64))
    size = track.intrinsics[:, :2] * corner[:, :2] / corner[:, 2:]
    near(size, size[:1].expand(81, 2))
    moved = float(track.c2w[-1, 2, 3])
    assert moved > 0.3 * R if side == "in" else moved < -0.3 * R
    # what is behind the subject changes its size
    behind = seen(track, torch.tensor([0.1, 0, 3 * R, 1], dtype=torch.float64))
    width = track.intrinsics[:, 0] * behind[:, 0] / behind[:, 2]
    assert float(width[-1] / width[0]) < 0.8 if side == "in" else float(width[-1] / width[0]) > 1.2


@pytest.mark.parametrize(("name", "factor"), [("zoom-in", 2.0), ("zoom-out", 0.4)])
def test_a_zoom_changes_the_lens_only(name, factor):
    track = track_of(name)
    near(track.intrinsics[-1, :2] / track.intrinsics[0, :2], [factor] * 2)
    near(track.c2w, torch.eye(4).expand(81, 4, 4))


def test_a_handheld_camera_trembles_a_little_and_smoothly():
    track = track_of("handheld", 5.0, 321, seed=3)
    centre, turned = track.c2w[:, :3, 3], rotation_angle(track.c2w[:, :3, :3]).rad2deg()
    assert 0.002 < float(centre.norm(dim=1).max()) < 0.012
    assert 0.2 < float(turned.max()) < 0.8
    speed = centre.diff(dim=0).norm(dim=1) * 64
    assert float(speed.max()) < 0.1 and float(speed.diff().abs().max()) < 0.15 * float(speed.max())


def test_the_seed_makes_the_tremble():
    assert preset("handheld", 4, seed=1) == preset("handheld", 4, seed=1) != preset("handheld", 4, seed=2)
    small, large = (track_of("handheld", speed=speed).c2w[:, :3, 3].abs().max() for speed in (0.5, 1.0))
    assert float(large) == pytest.approx(2 * float(small), rel=1e-3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("orbit seconds=4 degrees=90 side=left", preset("orbit", 4, degrees=90, side="left")),
        (" pan-left\tspeed=.5 ", preset("pan-left", 7, speed=0.5)),
        ("handheld seed=4", preset("handheld", 7, seed=4)),
        ("hold", preset("hold", 7)),
    ],
)
def test_a_preset_is_read_from_text(text, expected):
    assert preset_from_text(text, 7) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no preset given; there are: orbit, arc"),
        ("orbitt", r"no preset 'orbitt' \(did you mean orbit\?\); there are: orbit, arc"),
        ("xyz", "no preset 'xyz'; there are"),
        ("orbit 90", "preset 'orbit': found '90', expected option=value"),
        ("orbit side=", "preset 'orbit': found 'side=', expected option=value"),
        ("orbit degres=9", r"takes no degres \(did you mean degrees\?\); it takes: seconds, side, degrees"),
        ("hold speed=1", "preset 'hold' takes no speed; it takes: seconds"),
        ("orbit side=lefft", r"side 'lefft' \(did you mean left\?\); allowed: right, left"),
        ("orbit degrees=9 degrees=8", "degrees is given twice"),
        ("orbit degrees=nan", "degrees 'nan', expected a number"),
        ("orbit degrees=-9", "degrees -9.0: expected a number above 0"),
        ("orbit seconds=0", "seconds 0.0: expected a number above 0"),
        ("pan-left speed=1 degrees=9", "with a speed and with degrees: give one of them"),
        ("pan-left degrees=9999", "preset 'pan-left' of 5 s: move with rotate 'left1999.8'; allowed"),
        ("dolly-in speed=2", "preset 'dolly-in' of 5 s: the moves bring the camera to .* of the subject"),
        ("handheld seed=1.5", "seed '1.5', expected a whole number"),
        ("handheld seed=-1", "seed -1: expected a whole number, 0 or more"),
    ],
)
def test_a_wrong_preset_text_is_told(text, message):
    with pytest.raises(ValueError, match=message):
        preset_from_text(text)


def test_options_that_a_preset_does_not_take_are_refused():
    for name, (option, value) in itertools.product(
        PRESETS, {"speed": 0.5, "side": "x", "degrees": 5.0, "seed": 1}.items()
    ):
        if option not in PRESETS[name].options:
            with pytest.raises(ValueError, match=f"preset '{name}' takes no {option}"):
                preset(name, 5, **{option: value})


words = st.sampled_from(
    [*PRESETS, "side=left", "degrees=1e9", "speed=1e-9", "seed=9", "seconds=1e9", "=", "seconds=1e-300"]
)


@given(st.text() | st.lists(words | st.text(max_size=5), max_size=4).map(" ".join))
def test_any_text_is_a_preset_or_our_error(text):
    try:
        moves = preset_from_text(text, 0.5)
    except ValueError as error:
        assert "preset" in str(error)
    else:
        assert parse(format(moves)) == moves
