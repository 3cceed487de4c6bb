import json
import math

import pytest
import torch
from hypothesis import given, settings

from camera.formats import load_trajectory, recognise, save_trajectory
from tests.camera.formats.tracks import close, moved, random_track, random_tracks


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def looks_at(track, point):
    """Cosine between each optical axis and the direction to a point."""
    towards = torch.as_tensor(point, dtype=torch.float64) - track.c2w[:, :3, 3]
    return (track.c2w[:, :3, 2] * towards).sum(-1) / towards.norm(dim=-1)


# -- Uni3C


@pytest.mark.parametrize(
    ("given_", "axis", "sign"),
    [
        ({"d_phi": 60}, 0, -1),  # "<0 right, >0 left"
        ({"d_theta": -30}, 1, -1),  # "<0 up": y points down
        ({"d_r": 2.0}, 2, -1),  # farther: backwards
        ({"x_offset": 0.3}, 0, 1),
        ({"y_offset": 0.3}, 1, 1),
        ({"z_offset": 0.3}, 2, 1),
    ],
)
def test_uni3c_parameters_move_as_its_help_says(tmp_path, given_, axis, sign):
    parameters = {"traj_type": "custom", "start_elevation": 0, "nframe": 5, **given_}
    file = write(tmp_path / "a.json", parameters)
    assert recognise(file).name == "uni3c_params"
    centre = load_trajectory(file).rebased().c2w[-1, :3, 3]
    assert int(centre.abs().argmax()) == axis or "d_" in next(iter(given_))
    assert sign * float(centre[axis]) > 0.2


def test_uni3c_orbits_the_subject_and_ends_at_its_factor(tmp_path):
    track = load_trajectory(write(tmp_path / "a.json", {"d_phi": 90, "d_theta": -15, "d_r": 1.6, "nframe": 81}))
    distance = track.c2w[:, :3, 3].norm(dim=1)
    close(distance, torch.linspace(1, 1.6, 81, dtype=torch.float64))
    close(looks_at(track, (0, 0, 0)), torch.ones(81))
    # 5 degrees high at the start, 15 more at the end
    heights = torch.rad2deg(torch.asin(-track.c2w[:, 1, 3] / distance))
    close(heights[[0, -1]], [5.0, 20.0])
    close(track.times[-1], 80 / 16)


def test_uni3c_preset_wins_and_swing_is_refused(tmp_path):
    named = load_trajectory(write(tmp_path / "a.json", {"traj_type": "free2", "d_phi": 10, "nframe": 9}))
    typed = load_trajectory(write(tmp_path / "b.json", {"x_offset": -0.05, "d_phi": -60.0, "nframe": 9}))
    assert torch.equal(named.c2w, typed.c2w)
    with pytest.raises(ValueError, match=r"traj_type 'swing1': expected custom, free1.*cam_info\.json"):
        load_trajectory(write(tmp_path / "c.json", {"traj_type": "swing1"}))


def test_uni3c_focal_length_zooms(tmp_path):
    track = load_trajectory(write(tmp_path / "a.json", {"d_r": 1.0, "focal_length": 2.0, "nframe": 4}))
    # theirs reaches (F - 1) / F of the factor at the last frame
    close(track.intrinsics[:, 0] / track.intrinsics[0, 0], [1.0, 1.25, 1.5, 1.75])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"d_r": "far"}, "d_r: str far, expected a finite number"),
        ({"d_r": -1}, "d_r -1: expected a factor above 0"),
        ({"d_phi": 1e9}, r"d_phi 1e\+09: expected at most"),
        ({"d_phi": 3, "dtheta": 3}, "key 'dtheta' is no argument of Uni3C"),
        ({"d_phi": 3, "nframe": 2.5}, "nframe 2.5: expected a whole number"),
        ({"d_phi": 3, "nframe": 1}, "nframe 1: expected a whole number"),
        ({"traj_type": ["custom"]}, "traj_type"),
    ],
)
def test_wrong_parameters_are_named(tmp_path, document, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_trajectory(write(tmp_path / "a.json", document))
    assert "a.json" in str(caught.value)


def test_uni3c_cam_info_is_w2c(tmp_path):
    poses = [[[1, 0, 0, x], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] for x in (0, -1)]
    document = {"intrinsic": [[400, 0, 320], [0, 400, 240], [0, 0, 1]], "extrinsic": poses, "height": 480, "width": 640}
    file = write(tmp_path / "cam_info.json", document)
    assert recognise(file).name == "uni3c"
    track = load_trajectory(file)
    close(track.c2w, moved((0, 0, 0), (1, 0, 0)))
    close(track.intrinsics[0], [400 / 640, 400 / 480, 0.5, 0.5])
    close(track.times, [0.0, 1 / 16])
    for key in document:
        broken = write(tmp_path / "broken.json", {**document, key: "x"})
        with pytest.raises(ValueError, match=rf"broken\.json: {key}: str x"):
            load_trajectory(broken)


@settings(max_examples=15)
@given(track=random_tracks(even_fps=16.0, zoom=False))
def test_uni3c_round_trip(tmp_path_factory, track):
    file = tmp_path_factory.mktemp("r") / "cam_info.json"
    save_trajectory(track, file, "uni3c", size=(480, 640))
    again = load_trajectory(file)
    close(again.c2w, track.c2w)
    close(again.intrinsics, track.intrinsics)
    close(again.times, track.times)


def test_uni3c_refuses_a_zoom(tmp_path):
    with pytest.raises(ValueError, match="'uni3c' holds one lens for all frames, and this track zooms"):
        save_trajectory(random_track(1, 4, even_fps=16.0), tmp_path / "a.json", "uni3c", size=(4, 4))
    with pytest.raises(ValueError, match="'uni3c_params' is read only"):
        save_trajectory(random_track(1, 4), tmp_path / "a.json", "uni3c_params")


# -- ViewCrafter


@pytest.mark.parametrize(
    ("lines", "axis", "sign"),
    [
        ("0 40\n0 0\n0 0\n", 0, 1),  # "a positive d_phi moves the camera to the right"
        ("0 0\n0 -30\n0 0\n", 1, -1),  # "a negative d_theta moves the camera up"
        ("0 0\n0 0\n0. -0.5\n", 2, 1),  # "a negative d_r moves the camera forward"
    ],
)
def test_viewcrafter_moves_as_its_page_says(tmp_path, lines, axis, sign):
    file = write(tmp_path / "t.txt", lines)
    assert recognise(file).name == "viewcrafter"
    track = load_trajectory(file)
    assert len(track) == 25
    assert sign * float(track.rebased().c2w[-1, axis, 3]) > 0.3
    close(track.times[-1], 3.0)
    if "0.5" not in lines:
        close(looks_at(track, (0, 0, 0)), torch.ones(25))


def test_viewcrafter_goes_through_every_number(tmp_path, caplog):
    # 4 steps over 24 intervals: the knots are frames 0, 6, 12, 18, 24
    track = load_trajectory(write(tmp_path / "t.txt", "0 3 10 20 17\n0 0\n0 0\n"))
    first = track.c2w[0, :3, 3]
    turned = torch.rad2deg(torch.atan2(track.c2w[::6, 0, 3], track.c2w[::6, 2, 3]))
    close(turned, [0.0, 3.0, 10.0, 20.0, 17.0], atol=1e-9)
    close(first, [0.0, math.sin(math.radians(5)), math.cos(math.radians(5))])
    assert "smooths sequences of more than 3 numbers" in caplog.text


def test_viewcrafter_damage_is_named(tmp_path):
    for lines, message in (
        ("0 1\n0 1\n", "2 lines of numbers, expected three"),
        ("0 1\n1 1\n0 0\n", "line 2: expected 2 to 25 numbers that begin with 0"),
        ("0 1\n0 x\n0 0\n", "line 2: 'x' is no finite number"),
        ("0 1\n0\n0 0\n", "line 2: expected 2 to 25 numbers"),
        ("0 1e9\n0 0\n0 0\n", "line 1: a number beyond"),
    ):
        with pytest.raises(ValueError, match=message):
            load_trajectory(write(tmp_path / "t.txt", lines), format="viewcrafter")


# -- action strings


def test_lingbot_keys_move_and_turn(tmp_path):
    file = write(tmp_path / "a.txt", "d-10,none-2,l-45,w-10\n")
    assert recognise(file).name == "lingbot_actions"
    track = load_trajectory(file)
    assert len(track) == 10 + 2 + 45 + 10 + 1
    close(track.c2w[10, :3, 3], [0.5, 0.0, 0.0])
    close(track.c2w[12, :3, 3], [0.5, 0.0, 0.0])
    # 45 steps of 2 degrees to the right: forward is now the first right
    close(track.c2w[57, :3, 2], [1.0, 0.0, 0.0])
    close(track.c2w[-1, :3, 3], [1.0, 0.0, 0.0])
    close(track.times[1], 1 / 16)


def test_lingbot_looks_up_to_its_limit_and_walks_level(tmp_path):
    track = load_trajectory(write(tmp_path / "a.txt", "i-60,w-10"))
    pitch = torch.rad2deg(torch.asin(-track.c2w[:, 1, 2]))
    close(pitch[10], 20.0)
    # 42 steps of 2 degrees; the 43rd would pass 85
    close(pitch[-1], 84.0)
    close(track.c2w[-1, :3, 3], [0.0, 0.0, 0.5])


def test_lingbot_keys_together(tmp_path):
    track = load_trajectory(write(tmp_path / "a.txt", "iw-3"))
    close(track.c2w[-1, :3, 3], [0.0, 0.0, 0.15])
    assert float(track.c2w[-1, 1, 2]) == pytest.approx(-math.sin(math.radians(6)))


def test_worldplay_actions(tmp_path):
    file = write(tmp_path / "a.txt", "right-30, w-10, up-2, d-1")
    assert recognise(file).name == "worldplay_actions"
    track = load_trajectory(file)
    assert len(track) == 44
    # 30 steps of 3 degrees to the right
    close(track.c2w[30, :3, 2], [1.0, 0.0, 0.0])
    close(track.c2w[40, :3, 3], [0.8, 0.0, 0.0])
    assert float(track.c2w[42, 1, 2]) == pytest.approx(-math.sin(math.radians(6)))
    # its right is now the first backwards
    close(track.c2w[43, :3, 3], [0.8, 0.0, -0.08])
    close(track.times[:2], [0.0, 4 / 24])
    close(track.intrinsics[0, 0], 969.6969696969696 / 1920)


def test_strings_of_both_kinds_ask(tmp_path):
    file = write(tmp_path / "a.txt", "w-3, d-4")
    with pytest.raises(ValueError, match=r"several formats: lingbot_actions .* worldplay_actions"):
        load_trajectory(file)
    steps = [len(load_trajectory(file, format=name)) for name in ("lingbot_actions", "worldplay_actions")]
    assert steps == [8, 8]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w-3,,d-1", "part 2 '': expected KEYS-COUNT"),
        ("w-3,x-1", "part 2 'x-1': expected KEYS-COUNT"),
        ("w-0.5", "part 1 'w-0.5': expected KEYS-COUNT"),
        ("w-0", "part 1 'w-0': expected 1 or more steps"),
        ("w-19999,a-2", "part 2 'a-2': expected 1 or more steps, up to 20000 in all"),
        ("up-3", "part 1 'up-3'"),
        ("", "part 1 ''"),
    ],
)
def test_wrong_strings_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_trajectory(write(tmp_path / "a.txt", text), format="lingbot_actions")
    assert "a.txt" in str(caught.value)
