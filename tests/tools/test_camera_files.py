"""What the commands of tools/camera.py do with the flags for two files: each is about one of them."""

import json

import pytest
import torch

from camera.conventions import from_opencv_c2w
from camera.formats import save_trajectory
from camera.intrinsics import DEFAULT_SIZE, default_intrinsics
from camera.language import Move, format, parse
from camera.poses import rotation_angle
from camera.track import CameraTrack
from camera.trajectory import compile
from common.arguments import CONVERT_FLAGS
from common.weights import read_metadata
from tools.camera import build_parser

RIGHT = format([Move(0, 5, 1.0, "right")])


def transforms(path, track, size, convention="opengl_c2w"):
    """A transforms.json that states its size and that the focal length is 1000 pixels."""
    frames = [{"transform_matrix": matrix} for matrix in from_opencv_c2w(track.c2w, convention).tolist()]
    lens = {"w": size[1], "h": size[0], "fl_x": 1000, "fl_y": 1000, "cx": size[1] / 2, "cy": size[0] / 2}
    path.write_text(json.dumps({**lens, "frames": frames}), encoding="utf-8")


def pinhole(folder):
    """Width, height, fx, fy, cx, cy of the one camera of a COLMAP model."""
    (row,) = [line for line in (folder / "cameras.txt").read_text().splitlines() if not line.startswith("#")]
    return [float(word) for word in row.split()[2:]]


def test_convert_keeps_the_lens_when_the_picture_shrinks(run, tmp_path):
    transforms(tmp_path / "t.json", compile(parse(RIGHT), 5, 16.0), (1080, 1920))
    code, _, err = run("convert", tmp_path / "t.json", tmp_path / "half", "--to", "colmap", "--size", 540, 960)
    assert code == 0, err
    assert pinhole(tmp_path / "half") == pytest.approx([960, 540, 500, 500, 480, 270])
    assert "not square" not in err
    assert (
        "its pixels are not square (fx 500, fy 250): the lens is of another shape than --size 270 960"
        in run("convert", tmp_path / "t.json", tmp_path / "flat", "--to", "colmap", "--size", 270, 960)[2]
    )
    # against what the file states: the user's word, but not in silence
    wrong = ["--from_size", 540, 960, "--size", 540, 960]
    code, _, err = run("convert", tmp_path / "t.json", tmp_path / "same", "--to", "colmap", *wrong)
    assert code == 0, err
    assert "read as a picture of 960x540 (width x height) because you asked for it; it states" in err
    assert pinhole(tmp_path / "same") == pytest.approx([960, 540, 1000, 1000, 960, 540])


def test_each_command_names_its_own_flag_for_what_a_file_leaves_open(run, tmp_path):
    matrices = tmp_path / "poses.json"
    matrices.write_text(json.dumps(compile(parse(RIGHT), 5, 16.0).c2w.tolist()), encoding="utf-8")
    assert "On this command line: --convention NAME" in run("compile", matrices)[2]
    assert "On this command line: --true_convention NAME" in run("compare", RIGHT, matrices)[2]
    pixels = tmp_path / "pixels.txt"
    save_trajectory(compile(parse(RIGHT), 5, 16.0), pixels, "cami2v_eval", (480, 832))
    assert "On this command line: --from_size HEIGHT WIDTH" in run("convert", pixels, tmp_path / "o.safetensors")[2]
    assert "On this command line: --size HEIGHT WIDTH" in run("describe", pixels)[2]
    (tmp_path / "keys.txt").write_text("w-3,a-1", encoding="utf-8")
    assert "On this command line: --from FORMAT" in run("convert", tmp_path / "keys.txt", tmp_path / "o.tum")[2]
    parser = build_parser()
    for flag in CONVERT_FLAGS.values():
        words = [word if word.startswith("--") else "7" for word in flag.split()]
        parser.parse_args(["convert", "a", "b", *words])


def test_the_size_of_a_file_is_its_own_in_compile_too(run, tmp_path):
    transforms(tmp_path / "t.json", compile(parse(RIGHT), 5, 16.0), (1080, 1920))
    # 2 atan(960 / 1000)
    assert "field of view 87.7°" in run("compile", tmp_path / "t.json")[1]
    code, _, err = run("compile", tmp_path / "t.json", "--size", 480, 832)
    assert code == 0
    assert "because you asked for it" in err
    code, out, err = run("compile", tmp_path / "t.json", "-o", tmp_path / "o.json")
    assert code == 2
    assert "give --output_size HEIGHT WIDTH" in err
    code, out, err = run("compile", tmp_path / "t.json", "-o", tmp_path / "o.json", "--output_size", 540, 960)
    assert code == 0, err
    assert "field of view 87.7°" in out
    assert json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["fl_x"] == pytest.approx(500)
    code, _, err = run("compile", RIGHT, "--output_size", 540, 960)
    assert code == 2
    assert "--output_size is for the file that is written" in err


def test_a_field_of_view_keeps_the_shape_of_a_files_picture(run, tmp_path):
    transforms(tmp_path / "t.json", compile(parse(RIGHT), 5, 16.0), (1080, 1920))
    command = ["compile", tmp_path / "t.json", "--fov_deg", 90, "-o", tmp_path / "o.safetensors"]
    assert run(*command)[0] == 0
    assert CameraTrack.load(tmp_path / "o.safetensors").intrinsics[0].tolist() == pytest.approx(
        [0.5, 0.5 * 1920 / 1080, 0.5, 0.5]
    )


@pytest.fixture
def w2c_estimate(tmp_path):
    """The path of `plan`, written by somebody as bare w2c matrices."""
    matrices = torch.linalg.inv(compile(parse(RIGHT), 81, 16.0).c2w)
    (tmp_path / "est.json").write_text(json.dumps(matrices.tolist()), encoding="utf-8")
    return tmp_path / "est.json"


def test_the_convention_of_an_estimate_is_not_that_of_the_truth(run, plan, w2c_estimate, tmp_path):
    flags = ["--convention", "opencv_w2c", "--protocol", "mean_deg", "metric", "--json", tmp_path / "result.json"]
    transforms(tmp_path / "t.json", compile(parse(RIGHT), 81, 16.0), (480, 832))
    for true in (plan, RIGHT, tmp_path / "t.json"):
        code, _, err = run("compare", w2c_estimate, true, *flags)
        assert code == 0, err
        values = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["protocols"]
        assert values["mean_deg"]["values"]["RotErr"] == pytest.approx(0, abs=1e-3)
        assert values["metric"]["values"]["ATE"] == pytest.approx(0, abs=1e-5)
    # the other way round, the truth has the flags with its name
    swapped = ["--true_convention", "opencv_w2c", *flags[2:]]
    assert run("compare", plan, w2c_estimate, *swapped)[0] == 0
    values = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["protocols"]
    assert values["mean_deg"]["values"]["RotErr"] == pytest.approx(0, abs=1e-3)
    code, _, err = run("compare", w2c_estimate, plan, *flags[:2], "--true_convention", "opencv_w2c")
    assert code == 2
    assert "its metadata states that its poses are opencv_c2w; they are not read as opencv_w2c" in err


def test_rate_and_size_are_of_one_file_too(run, w2c_estimate, tmp_path):
    c2w = tmp_path / "true.json"
    c2w.write_text(json.dumps(compile(parse(RIGHT), 41, 8.0).c2w.tolist()), encoding="utf-8")
    flags = ["--convention", "opencv_w2c", "--true_convention", "opencv_c2w", "--fps", 16, "--true_fps", 8]
    code, out, err = run("compare", w2c_estimate, c2w, *flags, "--protocol", "metric")
    assert code == 0, err
    assert "ESTIMATED has 81 frames, TRUE 41: compared at the times of TRUE" in err
    assert float(next(line for line in out.splitlines() if line.startswith("ATE")).split()[1]) < 1e-3
    save_trajectory(compile(parse(RIGHT), 81, 16.0), tmp_path / "px.txt", "cami2v_eval", (480, 832))
    # twice the width on the right: there atan(3 tan 30) = 60 degrees instead of 30
    for width, wanted in ((832, 0), (1664, 30)):
        both = ["--size", 480, 832, "--true_size", 480, width]
        code, _, err = run("compare", tmp_path / "px.txt", tmp_path / "px.txt", *both, "--json", tmp_path / "r.json")
        assert code == 0, err
        paths = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["paths"]
        assert paths["field of view error (deg)"] == pytest.approx(wanted, abs=1e-3)


def test_a_stated_depth_scale_scales_all_that_is_measured(run, tmp_path):
    track = compile(parse(format([Move(0, 5, 1.0, "right"), Move(5, 6, 0.5, "forward")])), 97, 16.0)
    half = CameraTrack(track.scaled(0.5).c2w, track.intrinsics, track.times, "unknown")
    half.save(tmp_path / "half.safetensors")
    results = {}
    for factor in (1, 2):
        command = ["compare", tmp_path / "half.safetensors", RIGHT, "--estimated_depth_scale", factor]
        code, _, err = run(*command, "--protocol", "metric", "--json", tmp_path / "result.json")
        assert code == 0, err
        # the user said what the unit is; nothing is fitted then
        assert "so it is scaled by" not in err
        results[factor] = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert (
        results[2]["protocols"]["metric"]["values"]["ATE"] < 1e-5 < results[1]["protocols"]["metric"]["values"]["ATE"]
    )
    assert results[1]["segments"][0]["translation_gain"] == pytest.approx(0.5, abs=1e-3)
    assert results[2]["segments"][0]["translation_gain"] == pytest.approx(1, abs=1e-3)
    once, twice = (result["paths"]["jerk of ESTIMATED (unit/s^3)"] for result in results.values())
    assert twice == pytest.approx(2 * once, rel=1e-6)
    still = format([Move(0, 6, 1.0, "stay")])
    scores = []
    for factor in (1, 2):
        command = ["compare", tmp_path / "half.safetensors", still, "--estimated_depth_scale", factor]
        assert run(*command, "--json", tmp_path / "result.json")[0] == 0
        paths = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["paths"]
        scores.append(paths["static score: motion of a camera told to stand (deg)"])
    assert scores[1] > scores[0] + 5
    for flag in ("--estimated_depth_scale", "--true_depth_scale"):
        code, _, err = run("compare", RIGHT, RIGHT, flag, -1)
        assert code == 2
        assert f"{flag} -1: expected a finite number above 0" in err


@pytest.mark.parametrize(("frames", "fps"), [(33, 16), (161, 16), (81, 24), (5, 30)])
def test_a_preset_fills_the_video(run, tmp_path, frames, fps):
    command = ["compile", "arc", "--frames", frames, "--fps", fps, "-o", tmp_path / "o.safetensors"]
    code, _, err = run(*command)
    assert (code, err) == (0, "")
    track = CameraTrack.load(tmp_path / "o.safetensors")
    turned = rotation_angle(track.c2w[:, :3, :3]).rad2deg()
    assert float(turned[-1]) == pytest.approx(min(45, 40 * (frames - 1) / fps), abs=1e-3)
    # it is on its way until the last frame
    assert float(turned[-1]) > float(turned[-2]) + 1e-3
    assert run("compile", "arc seconds=1", "--frames", frames, "--fps", fps)[0] == 0


def test_one_frame_and_hours_of_a_preset_are_no_mistake(run):
    assert run("compile", "orbit", "--frames", 1)[0] == 0
    assert run("compile", "hold", "--frames", 1000, "--fps", 0.1)[0] == 0


def test_a_compiled_text_stays_with_its_camera_file(run, tmp_path):
    caption = f"A red chair. ; Camera: {RIGHT}".strip()
    written = tmp_path / "o.safetensors"
    for given, kept in ((caption, caption), ("arc seconds=4", "Camera: ")):
        assert run("compile", given, "-o", written)[0] == 0
        metadata = read_metadata(written)
        assert metadata["source"] == "caption"
        assert metadata["caption"].startswith(kept)
        again = compile(parse(metadata["caption"]), 81, 16.0)
        torch.testing.assert_close(CameraTrack.load(written).c2w, again.c2w, rtol=0, atol=1e-6)
    assert run("convert", written, tmp_path / "re.txt")[0] == 0
    assert run("compile", tmp_path / "re.txt", "--format", "realestate10k", "-o", written)[0] == 0
    assert read_metadata(written)["source"] == "file"
    assert "caption" not in read_metadata(written)


def test_the_help_tells_the_default_shape_of_a_lens():
    height, width = DEFAULT_SIZE
    commands = build_parser()._subparsers._group_actions[0].choices
    assert f"({height} {width} if not given)" in " ".join(commands["compile"].format_help().split())
    expected = default_intrinsics(width / height)
    assert torch.equal(compile([], 1, 16.0).intrinsics[0], expected)
