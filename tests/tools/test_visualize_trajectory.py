"""The tool as a user starts it: every kind of input, every output, and the mistakes."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tools.visualize_trajectory as tool
from camera.depth import DEPTH_KINDS
from camera.language import Move, format
from camera.trajectory import compile
from common import cli
from common.arguments import make_parser
from common.media import probe_video, read_image, read_video
from tools.trajectory_input import add_trajectory_input, trajectory_from, trajectory_of

ROOT = Path(__file__).resolve().parents[2]
RIGHT = format([Move(0, 1, 1.0, "right")])


def resolved(*argv):
    parser = make_parser("")
    add_trajectory_input(parser)
    return trajectory_of(parser.parse_args([str(part) for part in argv])).track


def run(*argv):
    return cli.run(lambda: tool.main([str(part) for part in argv]))


@pytest.fixture
def image(tmp_path):
    """A picture whose colour says where one is: red grows to the right, green downwards."""
    rows, columns = np.mgrid[0:90, 0:160]
    picture = np.stack([columns, rows * 2, np.full_like(rows, 60)], axis=-1).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def test_a_text_a_caption_and_a_text_file_are_the_same_trajectory(tmp_path):
    expected = compile([Move(0, 1, 1.0, "right")], 33, 8.0)
    (tmp_path / "caption.txt").write_text(f"A cat ; Camera: {RIGHT}", encoding="utf-8")
    for given in (RIGHT, f"A cat ; Camera: {RIGHT}", tmp_path / "caption.txt"):
        track = resolved(given, "--frames", 33, "--fps", 8)
        assert torch.equal(track.c2w, expected.c2w) and torch.equal(track.times, expected.times)
    assert float(track.c2w[-1, 0, 3]) == pytest.approx(1.003 * np.sin(np.deg2rad(20)))


def test_the_lens_is_what_the_flags_say():
    wide = resolved(RIGHT, "--fov_deg", 90, "--size", 100, 200).intrinsics[0]
    assert wide.tolist() == pytest.approx([0.5, 1.0, 0.5, 0.5])
    assert resolved(RIGHT, "--intrinsics", 1, 2, 0.4, 0.6).intrinsics[0].tolist() == [1, 2, 0.4, 0.6]
    default = resolved(RIGHT)
    assert len(default) == 81 and float(default.times[1]) == 1 / 16
    assert default.intrinsics[0, 1] / default.intrinsics[0, 0] == pytest.approx(832 / 480)


def test_a_preset_is_found_by_its_name_and_by_the_flag():
    by_name, by_flag = resolved("orbit seconds=4 degrees=90"), resolved("--preset", "orbit seconds=4 degrees=90")
    assert torch.equal(by_name.c2w, by_flag.c2w)
    turned = by_name.c2w[-1, :3, 2]  # a quarter of an orbit looks along x
    assert abs(float(turned[0])) == pytest.approx(1, abs=1e-6)


def test_a_camera_file_is_read(tmp_path):
    track = compile([Move(0, 1, 1.0, "right")], 33, 8.0)
    track.save(tmp_path / "clip_wan_camera.safetensors")
    read = resolved(tmp_path / "clip_wan_camera.safetensors")
    torch.testing.assert_close(read.c2w, track.c2w, rtol=0, atol=1e-6)
    lens = resolved(tmp_path / "clip_wan_camera.safetensors", "--fov_deg", 90, "--size", 100, 200).intrinsics
    assert lens[-1].tolist() == pytest.approx([0.5, 1.0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ([], "nothing was given"),
        ([RIGHT, "--preset", "orbit"], "both given"),
        ([""], "no such file"),
        (["poses/none.txt"], "no such file"),
        ([RIGHT, "--frames", "0"], "--frames 0"),
        ([RIGHT, "--frames", "1000000"], "100000"),
        ([RIGHT, "--fps", "0"], "--fps 0"),
        ([RIGHT, "--fov_deg", "180"], "--fov_deg 180"),
        ([RIGHT.replace("right", "rihgt")], "segment 1, <direction>"),
        ([RIGHT, "--compare", "none.json"], r"none\.json"),
        ([RIGHT, "--depth", "d.npy"], "--image"),
        ([RIGHT, "--scene", "room"], "--image"),
        ([RIGHT, "--image", "none.png"], r"none\.png"),
        ([RIGHT, "--image", "IMAGE", "--scene", "depth"], "--depth PATH"),
        ([RIGHT, "--image", "IMAGE", "--scene", "plane", "--depth", "IMAGE"], "--scene plane"),
        ([RIGHT, "--image", "IMAGE", "--distance", "0"], "--distance 0"),
        ([RIGHT, "--image", "IMAGE", "--preview_size", "91", "160"], "even"),
        ([RIGHT, "--image", "IMAGE", "--depth", "IMAGE"], "coloured picture"),
        ([RIGHT, "--output", "IMAGE/x"], "--output"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_exit_code_2(tmp_path, image, capsys, argv, reason):
    argv = [str(part).replace("IMAGE", str(image)) for part in argv]
    if "--output" not in argv:
        argv += ["--output", str(tmp_path / "out")]
    assert run(*argv) == cli.EXIT_USER_ERROR
    message = capsys.readouterr().err
    assert message.startswith("error: ") or "\nerror: " in message
    assert re.search(reason, message), message
    assert not list(tmp_path.glob("out*")), "nothing is written before all that was typed is known to be right"


def test_picture_and_page_are_written(tmp_path):
    assert run(RIGHT, "--frames", 17, "--output", f"{tmp_path}/new/") == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["trajectory.html", "trajectory.png"]
    assert read_image(tmp_path / "new" / "trajectory.png").shape == (960, 1200, 3)
    page = (tmp_path / "new" / "trajectory.html").read_text(encoding="utf-8")
    assert "&lt;direction&gt;right&lt;/direction&gt;" in page and "<direction>" not in page


def test_a_comparison_shows_both(tmp_path):
    still = format([Move(0, 1, 1.0, "stay")])
    assert run(RIGHT, "--compare", still, "--frames", 17, "--output", tmp_path / "two.png") == 0
    page = (tmp_path / "two.html").read_text(encoding="utf-8")
    assert page.count('"rotations":') == 2 and '"name":"1: ' in page and '"name":"2: ' in page


@pytest.mark.parametrize("scene", ["plane", "room", "depth"])
def test_the_preview_shows_the_move(tmp_path, image, scene):
    """Forward: the picture grows about its middle, so the left edge shows what was further in (more red)."""
    forward = format([Move(0, 1, 1.0, "forward")])
    np.save(tmp_path / "depth.npy", np.full((45, 80), 7.0, np.float32))
    depth = ["--depth", tmp_path / "depth.npy", "--depth_kind", "metric"] if scene == "depth" else []
    out = tmp_path / "move"
    flags = ["--frames", 17, "--preview_size", 90, 160, "--image", image, "--scene", scene, *depth]
    assert run(forward, *flags, "--output", out) == 0
    info = probe_video(f"{out}.mp4")
    assert (info.height, info.width, info.frames, info.fps) == (90, 160, 17, 16)
    frames = read_video(f"{out}.mp4").astype(int)
    upper = frames[:, 20]
    # 1 s of forward magnifies by 1 / 0.8: column 20 shows what was at 80 - 60 * 0.8 = 32
    assert upper[0, 20, 0] == pytest.approx(20, abs=6) and upper[-1, 20, 0] == pytest.approx(32, abs=6)
    assert upper[-1, 140, 0] == pytest.approx(128, abs=6)
    assert read_image(f"{out}_sheet.png").shape == (90 * 2 + 2, 160 * 4 + 6, 3)
    assert "data:image/jpeg;base64," in Path(f"{out}.html").read_text(encoding="utf-8")


def test_a_long_path_is_thinned_and_one_frame_is_enough(tmp_path, image):
    flags = ["--preview_size", 32, 56, "--image", image, "--scene", "plane"]
    assert run(RIGHT, "--frames", 500, *flags, "--output", tmp_path / "long") == 0
    info = probe_video(tmp_path / "long.mp4")
    assert info.frames == 241 and info.frames / info.fps == pytest.approx(500 / 16, rel=0.01)
    assert run(RIGHT, "--frames", 1, *flags, "--output", tmp_path / "one") == 0
    assert probe_video(tmp_path / "one.mp4").frames == 1


def test_the_size_of_the_preview_is_not_that_of_the_lens(tmp_path, image):
    """Of a square lens, a wide preview shows the middle: the same width, less height, square pixels."""
    square = compile([Move(0, 1, 1.0, "forward")], 3, 8.0, (0.5, 0.5, 0.5, 0.5))
    square.save(tmp_path / "square.safetensors")
    flags = ["--image", image, "--scene", "plane", "--preview_size", 40, 80, "--output", tmp_path / "wide"]
    assert run(tmp_path / "square.safetensors", *flags) == 0
    info = probe_video(tmp_path / "wide.mp4")
    assert (info.height, info.width) == (40, 80)
    first = read_video(tmp_path / "wide.mp4")[0].astype(int)
    # of 160 x 90 the lens sees columns 35 to 125 and all rows, 90 / 80 of the image for a pixel; the middle half of the
    # rows is left. Red is the column, green twice the row
    for row, column in ((20, 10), (10, 40), (30, 70)):
        assert first[row, column, 0] == pytest.approx(35 + (column + 0.5) * 90 / 80, abs=6)
        assert first[row, column, 1] == pytest.approx(2 * (22.5 + (row + 0.5) * 90 / 80), abs=8)


def test_flags_of_the_depth_are_refused_where_they_would_change_nothing(tmp_path, image, capsys):
    np.save(tmp_path / "depth.npy", np.linspace(1, 2, 90 * 160, dtype=np.float32).reshape(90, 160))
    replace(compile([Move(0, 1, 1.0, "right")], 3, 8.0), scale="metric").save(tmp_path / "metres.safetensors")
    metric, factor = ["--depth_kind", "metric"], ["--depth_factor", 0.5]
    for given, flags, reason in (
        (RIGHT, [*metric, *factor], "would change nothing: --depth_kind metric brings the middle"),
        (tmp_path / "metres.safetensors", factor, "would change nothing: --depth_kind near has depths without a unit"),
        (
            tmp_path / "metres.safetensors",
            [*metric, *factor, "--distance", 2],
            "would change nothing: --depth_kind met",
        ),
        (tmp_path / "metres.safetensors", [*metric, *factor], ""),
    ):
        depth = ["--image", image, "--depth", tmp_path / "depth.npy", "--preview_size", 18, 32]
        code = run(given, "--frames", 3, *depth, *flags, "--output", tmp_path / "out")
        assert reason in capsys.readouterr().err
        assert code == (cli.EXIT_USER_ERROR if reason else 0)
        assert bool(list(tmp_path.glob("out*"))) == (not reason)


def test_what_is_said_of_one_file_is_not_said_of_the_other(tmp_path, capsys):
    """A cache beside the same path as bare w2c matrices: read rightly, the two lie on each other."""
    track = compile([Move(0, 1, 1.0, "right")], 9, 8.0)
    track.save(tmp_path / "plan.safetensors")
    (tmp_path / "est.json").write_text(json.dumps(torch.linalg.inv(track.c2w).tolist()), encoding="utf-8")
    both = [tmp_path / "plan.safetensors", "--compare", tmp_path / "est.json", "--compare_convention", "opencv_w2c"]
    assert run(*both, "--compare_fps", 8, "--output", tmp_path / "two") == 0
    page = (tmp_path / "two.html").read_text(encoding="utf-8")
    first, second = (json.loads(found) for found in re.findall(r'"centres":(\[\[.*?\]\])', page))
    assert np.allclose(first, second, atol=1e-5) and first[-1][0] > 0.3
    assert run(*both[:3], "--convention", "opencv_w2c", "--output", tmp_path / "two") == cli.EXIT_USER_ERROR
    assert "its metadata states that its poses are opencv_c2w" in capsys.readouterr().err
    assert run(*both[:3], "--output", tmp_path / "two") == cli.EXIT_USER_ERROR
    assert "On this command line: --compare_convention NAME" in capsys.readouterr().err
    assert run(RIGHT, "--compare_fps", 8, "--output", tmp_path / "two") == cli.EXIT_USER_ERROR
    assert "--compare_fps says how to read --compare OTHER" in capsys.readouterr().err


def test_the_choices_are_those_of_the_library():
    assert tool.DEPTH_KINDS == DEPTH_KINDS


def test_help_imports_nothing_heavy():
    program = (
        "import sys, runpy; sys.argv = ['tools/visualize_trajectory.py', '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop: code = stop.code\n"
        "heavy = {'torch', 'matplotlib', 'cv2', 'av', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "--compare" in result.stdout and "--preset" in result.stdout


def test_the_examples_of_the_page_are_options_of_the_tool():
    parser = tool.build_parser()
    known = {option for action in parser._actions for option in action.option_strings}
    page = (ROOT / "docs" / "visualize.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?<![\w-])--[a-z_]+", page)) <= known
    assert {"--image", "--depth", "--scene", "--compare", "--preset", "--convention"} <= set(
        re.findall(r"--[a-z_]+", page)
    )
    for name in re.findall(r"\]\((images/[^)]+)\)", page):
        assert (ROOT / "docs" / name).stat().st_size < 150_000


def test_trajectory_from_takes_what_a_second_tool_gives_it():
    parser = make_parser("")
    add_trajectory_input(parser, "first")
    args = parser.parse_args([RIGHT, "--frames", "9"])
    assert torch.equal(trajectory_of(args, "first").track.c2w, trajectory_from(RIGHT, args).track.c2w)


def test_a_title_that_no_font_can_draw_is_drawn_and_told(tmp_path, capsys):
    odd = f"caf\udce9 \x07 \u6f22 ; Camera: {RIGHT}"
    assert cli.run(lambda: tool.main([odd, "--frames", "3", "--output", str(tmp_path / "odd")])) == 0
    assert "its font cannot draw \u6f22 of the title" in capsys.readouterr().err
    assert (tmp_path / "odd.png").is_file()
    assert "caf" in (tmp_path / "odd.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--depth_factor", "2"], "--depth_factor 2.0 says how to read --depth"),
        (["--depth_kind", "metric"], "--depth_kind metric says how to read --depth"),
        (["--image", "IMAGE", "--preview_size", "100000", "100000"], "sides of at most 4096"),
        (["--image", "IMAGE", "--intrinsics", "1e-300", "1e300", ".5", ".5"], "sides of at most 4096"),
        (["--image", "IMAGE", "--depth", "DEPTH", "--depth_kind", "metric", "--depth_factor", "1e-300"], "single prec"),
        (["--image", "IMAGE", "--depth", "DEPTH", "--depth_kind", "metric", "--depth_factor", "1e38"], "single prec"),
    ],
)
def test_what_no_preview_can_show_is_refused_before_it(tmp_path, capsys, flags, message):
    Image.new("RGB", (40, 40)).save(tmp_path / "first.png")
    np.save(tmp_path / "depth.npy", np.full((40, 40), 30.0, dtype=np.float32))
    places = {"IMAGE": str(tmp_path / "first.png"), "DEPTH": str(tmp_path / "depth.npy")}
    metres = replace(compile([Move(0, 1, 1.0, "right")], 3, 8.0), scale="metric")
    metres.save(tmp_path / "metres.safetensors")
    argv = [str(tmp_path / "metres.safetensors"), "--output", str(tmp_path / "x")]
    argv += [places.get(flag, flag) for flag in flags]
    assert cli.run(lambda: tool.main(argv)) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
