import math

import pytest
import torch
from hypothesis import given, settings

from camera.formats import load_trajectory, recognise, save_trajectory
from tests.camera.formats.tracks import EYE, close, lens, moved, random_track, random_tracks

# the camera stood at the origin, then 1 to its right: w2c of the second has t0 = -1
RIGHT = "1 0 0 {x} 0 1 0 0 0 0 1 0"
# then it has turned 90 degrees to its right: what was on its right (+x) is now ahead (+z), what was ahead on its left
TURNED = "0 0 -1 0 0 1 0 0 1 0 0 0"
LENS = "0.5 0.9 0.5 0.5 0 0"
TWO = (f"{LENS} {RIGHT.format(x=0)}", f"{LENS} {RIGHT.format(x=-1)}")


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_realestate10k_moves_right_when_t0_falls(tmp_path):
    file = write(tmp_path / "a.txt", "https://www.youtube.com/watch?v=x", f"1000000 {TWO[0]}", f"1500000 {TWO[1]}")
    assert recognise(file).name == "realestate10k"
    track = load_trajectory(file)
    close(track.c2w, moved((0, 0, 0), (1, 0, 0)))
    close(track.times, [0.0, 0.5])
    close(track.intrinsics, lens(0.5, 0.9, 0.5, 0.5))


def test_realestate10k_turns_right(tmp_path):
    file = write(tmp_path / "a.txt", "", f"0 {TWO[0]}", f"40000 {LENS} {TURNED}")
    second = load_trajectory(file).c2w[1]
    # the optical axis of the turned camera points to the first one's right
    close(second[:3, 2], [1.0, 0.0, 0.0])


def test_cameractrl_is_the_same_file(tmp_path):
    file = write(tmp_path / "a.txt", "https://x", f"0 {TWO[0]}", f"40000 {TWO[1]}")
    assert torch.equal(load_trajectory(file).c2w, load_trajectory(file, format="cameractrl").c2w)


@pytest.mark.parametrize("stamp", ["0 ", ""])
def test_fun_camera_pan_left(tmp_path, caplog, stamp):
    # VideoX-Fun asset/Pan_Left.txt, its first and its 55th line
    shown = "0.532139961 0.946026558 0.5 0.5 0 0"
    rows = [f"{stamp}{shown} 1.0 0.0 0.0 {x} 0.0 1.0 0.0 0.0 0.0 0.0 1.0 0.0" for x in ("0.0", "1.0")]
    file = write(tmp_path / "Pan_Left.txt", "", *rows)
    assert recognise(file).name == "fun_camera"
    track = load_trajectory(file, fps=8)
    close(track.c2w[1, :3, 3], [-1.0, 0.0, 0.0])
    close(track.times, [0.0, 0.125])
    # square pixels at 16:9
    assert float(track.intrinsics[0, 1] / track.intrinsics[0, 0]) == pytest.approx(16 / 9, abs=1e-3)
    assert not caplog.records
    close(load_trajectory(file).times, [0.0, 1 / 16])
    assert "no times; taken are 16 frames per second" in caplog.text


def test_cami2v_mirrored_world_looks_right(tmp_path, caplog):
    # CamI2V prompts/camera_pose_files/"look right.txt", its first and its last line
    row = "114514 0.500000000 0.500000000 0.500000000 0.500000000 0.000000000 0.000000000"
    first = f"{row} -1.0 0.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 0.0 1.0 0.0"
    last = f"{row} 4.371139e-08 0.0 -1.0 0.0 0.0 1.0 0.0 0.0 -1.0 0.0 -4.371139e-08 0.0"
    file = write(tmp_path / "look right.txt", "https://xxx", first, last)
    assert recognise(file).name == "cami2v"
    relative = load_trajectory(file, fps=16).rebased().c2w[1]
    close(relative[:3, 2], [1.0, 0.0, 0.0], atol=1e-6)
    assert torch.linalg.det(relative[:3, :3]) == pytest.approx(1)
    assert "mirrored" in caplog.text


def test_one_mirrored_pose_among_others_is_an_error(tmp_path):
    file = write(tmp_path / "a.txt", "https://xxx", f"7 {TWO[0]}", f"7 {LENS} -1 0 0 0 0 1 0 0 0 0 1 0")
    with pytest.raises(ValueError, match=r"a\.txt: pose 1 \(from 0\) is a mirror image"):
        load_trajectory(file)
    timed = write(tmp_path / "b.txt", "", *(f"{t} {LENS} -1 0 0 0 0 1 0 0 0 0 1 0" for t in (0, 9)))
    with pytest.raises(ValueError, match=r"b\.txt: pose 0 \(from 0\) is a mirror image"):
        load_trajectory(timed)


def test_cami2v_eval_has_pixels_and_asks_for_the_size(tmp_path):
    rows = [f"200 220 160 100 0 0 {RIGHT.format(x=x)}" for x in (0, -1)]
    file = write(tmp_path / "a.txt", *rows)
    assert recognise(file).name == "cami2v_eval"
    with pytest.raises(ValueError, match=r"fx 200, cx 160, cy 100\); pass size=\(height, width\) \(--size"):
        load_trajectory(file)
    track = load_trajectory(file, size=(200, 320))
    close(track.intrinsics, lens(200 / 320, 1.1, 0.5, 0.5))
    close(track.c2w[1, :3, 3], [1.0, 0.0, 0.0])


@settings(max_examples=15)
@given(track=random_tracks())
def test_timed_round_trip(tmp_path_factory, track):
    file = tmp_path_factory.mktemp("r") / "a.txt"
    for name in ("realestate10k", "cameractrl"):
        save_trajectory(track, file, name)
        assert recognise(file).name == "realestate10k"
        again = load_trajectory(file)
        close(again.c2w, track.c2w)
        close(again.times, track.times, atol=1e-6)
        assert torch.equal(again.intrinsics, track.intrinsics)


@settings(max_examples=15)
@given(track=random_tracks(even_fps=24.0))
def test_untimed_round_trip(tmp_path_factory, track):
    file = tmp_path_factory.mktemp("r") / "a.txt"
    for name in ("fun_camera", "cami2v", "cami2v_eval"):
        save_trajectory(track, file, name, size=(720, 1280))
        assert recognise(file).name == name
        again = load_trajectory(file, fps=24, size=(720, 1280))
        close(again.c2w, track.c2w)
        close(again.times, track.times)
        close(again.intrinsics, track.intrinsics)


def test_what_a_format_cannot_hold_is_refused_or_told(tmp_path, caplog):
    uneven = random_track(1, 5)
    with pytest.raises(ValueError, match=r"'fun_camera' holds no times, and this track's are uneven"):
        save_trajectory(uneven, tmp_path / "a.txt", "fun_camera")
    assert not list(tmp_path.iterdir())
    save_trajectory(random_track(1, 5, even_fps=12.0), tmp_path / "a.txt", "matrices")
    assert "holds no intrinsics" in caplog.text and "read it with fps=12" in caplog.text
    with pytest.raises(ValueError, match="'cami2v_eval' has its intrinsics in pixels; pass size"):
        save_trajectory(uneven, tmp_path / "b.txt", "cami2v_eval")


# -- TUM

IDENTITY = "0 0 0 0 0 0 1"


def test_tum_moves_right_and_turns_right(tmp_path):
    half = math.sqrt(0.5)
    file = write(tmp_path / "t.txt", "# a comment", f"1305031102.5 {IDENTITY}", f"1305031103.0 1 0 0 0 {half} 0 {half}")
    assert recognise(file).name == "tum"
    track = load_trajectory(file)
    close(track.c2w[1, :3, 3], [1.0, 0.0, 0.0])
    # 90 degrees about +y, which points down: the axis goes to the right
    close(track.c2w[1, :3, 2], [1.0, 0.0, 0.0])
    close(track.times, [0.0, 0.5])


def test_tum_with_qw_first_is_told_by_an_identity(tmp_path):
    half = math.sqrt(0.5)
    file = write(tmp_path / "t.txt", "0.0 0 0 0 1 0 0 0", f"0.5 1 0 0 {half} 0 {half} 0")
    assert recognise(file).name == "tum_wxyz"
    close(load_trajectory(file).c2w[1, :3, 2], [1.0, 0.0, 0.0])


def test_tum_without_evidence_asks(tmp_path):
    rows = ["0.0 0 0 0 0.5 0.5 0.5 0.5", "0.1 0 0 0 0.6 0.4 0.4 0.5656854"]
    file = write(tmp_path / "t.txt", *rows)
    with pytest.raises(ValueError, match=r"several formats: tum \(.*\); tum_wxyz \(.*State it by format=") as caught:
        load_trajectory(file)
    # the smoothness is the same in both orders, and said so
    assert str(caught.value).count("a frame (the latter is so in either order)") == 2
    first, second = (load_trajectory(file, format=name).c2w for name in ("tum", "tum_wxyz"))
    assert not torch.allclose(first, second)
    named = write(tmp_path / "n.txt", "# timestamp tx ty tz qx qy qz qw", *rows)
    close(load_trajectory(named).c2w, first)


def test_tum_frame_numbers_are_not_taken_for_seconds(tmp_path):
    file = write(tmp_path / "t.txt", f"0 {IDENTITY}", f"1 {IDENTITY}", f"2 {IDENTITY}")
    with pytest.raises(ValueError, match=r"0, 1, 2 \.\.\.: frame numbers .* or seconds\? State .* by fps="):
        load_trajectory(file)
    close(load_trajectory(file, fps=10).times, [0.0, 0.1, 0.2])
    close(load_trajectory(file, fps=1).times, [0.0, 1.0, 2.0])


@settings(max_examples=15)
@given(track=random_tracks())
def test_tum_round_trip(tmp_path_factory, track):
    file = tmp_path_factory.mktemp("r") / "a.txt"
    for name in ("tum", "tum_wxyz"):
        save_trajectory(track, file, name)
        assert recognise(file).name == name
        again = load_trajectory(file, size=(720, 1280))
        close(again.c2w, track.c2w)
        close(again.times, track.times)


# -- plain matrices


def test_plain_matrices_ask_for_their_convention(tmp_path):
    # centres on a circle round a world point: read the wrong way they would not move evenly
    angles = [0.0, 0.1, 0.2, 0.3]
    rows = [f"{math.cos(a)} 0 {math.sin(a)} {i} 0 1 0 0 {-math.sin(a)} 0 {math.cos(a)} 9" for i, a in enumerate(angles)]
    file = write(tmp_path / "kitti.txt", *rows)
    with pytest.raises(ValueError, match="does not say in which convention") as caught:
        load_trajectory(file)
    assert "read as opencv_c2w, the centre moves 1 a frame and its step changes by 0 of that" in str(caught.value)
    assert "--convention" in str(caught.value)
    track = load_trajectory(file, convention="opencv_c2w", fps=10)
    close(track.c2w[:, 0, 3], [0.0, 1.0, 2.0, 3.0])
    opposite = load_trajectory(file, convention="opencv_w2c", fps=10)
    close(opposite.c2w @ track.c2w, EYE.repeat(4, 1, 1))
    upside = load_trajectory(file, convention="opengl_c2w")
    close(upside.c2w[0].diagonal(), [1.0, -1.0, -1.0, 1.0])


def test_plain_json_matrices(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("[[[1,0,0,0],[0,1,0,0],[0,0,1,0]], [[1,0,0,2],[0,1,0,0],[0,0,1,0]]]")
    close(load_trajectory(file, convention="opencv_w2c").c2w[1, :3, 3], [-2.0, 0.0, 0.0])


@settings(max_examples=15)
@given(track=random_tracks(even_fps=16.0))
def test_plain_round_trip(tmp_path_factory, track):
    file = tmp_path_factory.mktemp("r") / "a.txt"
    save_trajectory(track, file, "matrices")
    close(load_trajectory(file, fps=16).c2w, track.c2w)


# -- damage

GOOD = ["https://x", f"0 {TWO[0]}", f"1000 {TWO[1]}", f"2000 {TWO[1]}"]


@pytest.mark.parametrize(
    ("line", "content", "message"),
    [
        (3, f"1000 {TWO[1]}"[:-4], r"line 3: 17 columns, expected 19"),
        (3, f"1000 {TWO[1]} 7", r"line 3: 20 columns, expected 19"),
        (3, f"1000 {TWO[1]}".replace("-1", "nan"), r"line 3: 'nan' is no finite number"),
        (3, f"1000 {TWO[1]}".replace("-1", "inf"), r"line 3: 'inf' is no finite number"),
        (3, f"1000 {TWO[1]}".replace("-1", "1e999"), r"line 3: '1e999' is no finite number"),
        (3, f"1000 {TWO[1]}".replace("-1", "left"), r"line 3: 'left' is no finite number"),
        (3, f"1000 {TWO[1]}".replace("-1", "1_0"), r"line 3: '1_0' is no finite number"),
        (4, f"500 {TWO[1]}", r"line 4: time stamp 500 is not later than 1000 in the line before"),
        (4, f"2000 {LENS} 1 0 0 0 0 1 0 0 0 0 -1 0", r"pose 2 \(from 0\) is a mirror image"),
        (4, f"2000 {LENS} 2 0 0 0 0 1 0 0 0 0 1 0", r"pose 2 \(from 0\) is no rigid pose: R\^T R differs .* by 3"),
        (4, f"2000 {LENS} 1e200 0 0 0 0 1 0 0 0 0 1 0", r"pose 2 \(from 0\) is no rigid pose"),
        (2, f"0 500 500 960 540 0 0 {RIGHT.format(x=0)}", r"line 2: principal point 960.0 540.0: these are pixels"),
        (2, f"0 -0.5 0.9 0.5 0.5 0 0 {RIGHT.format(x=0)}", r"focal lengths must be above 0"),
        (3, "x" * 200_000, r"line 3: 1 columns, expected 19: 'x{60}'"),
    ],
)
def test_damaged_lines_are_named(tmp_path, line, content, message):
    lines = [*GOOD]
    lines[line - 1] = content
    file = write(tmp_path / "damaged.txt", *lines)
    with pytest.raises(ValueError, match=message) as caught:
        load_trajectory(file, format="realestate10k")
    assert str(file) in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "content", ["", "\n\n", "https://x\n", "# only a comment\n", "\x00\x01", "words of prose\n" * 9]
)
def test_files_of_nothing_are_unknown(tmp_path, content):
    file = tmp_path / "nothing.txt"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"nothing\.txt is of no format that we know.*realestate10k: .*tum: "):
        load_trajectory(file)


def test_one_pose_is_no_trajectory(tmp_path):
    file = write(tmp_path / "one.txt", *GOOD[:2])
    with pytest.raises(ValueError, match=r"one\.txt: 1 pose; a trajectory has 2 or more"):
        load_trajectory(file)


def test_marks_line_ends_comments_and_blanks_do_not_matter(tmp_path):
    plain = load_trajectory(write(tmp_path / "plain.txt", *GOOD))
    odd = tmp_path / "odd.txt"
    odd.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([GOOD[0], "", "# x", *GOOD[1:], ""]).encode())
    close(load_trajectory(odd).c2w, plain.c2w)
    old = tmp_path / "old.txt"
    old.write_bytes("\r".join(GOOD).encode())
    close(load_trajectory(old).c2w, plain.c2w)


def test_a_quaternion_of_another_length_is_named(tmp_path):
    file = write(tmp_path / "t.txt", f"0.0 {IDENTITY}", "0.5 0 0 0 0 0 0 2", f"0.6 {IDENTITY}")
    with pytest.raises(ValueError, match=r"line 2: the quaternion qx qy qz qw has length 2, expected 1"):
        load_trajectory(file)
    late = write(tmp_path / "l.txt", f"0.5 {IDENTITY}", f"0.5 {IDENTITY}")
    with pytest.raises(ValueError, match=r"line 2: time 0.5 is not later than 0.5"):
        load_trajectory(late)
