import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from camera.formats import FORMATS, load_trajectory
from camera.language import parse
from camera.metrics import ate
from camera.poses import rotation_angle
from camera.track import CameraTrack
from camera.trajectory import compile
from common import cli
from tests.camera.test_language import README_PROMPT
from tools.camera import COMMANDS, main
from tools.camera_commands.output import motion_words, table

ROOT = Path(__file__).resolve().parents[2]


def segment(start, end, direction="stay", rotate="stay", speed="high", more=""):
    return (
        f"<starttime>{start}</starttime> <endtime>{end}</endtime> <speed>{speed}</speed> "
        f"<direction>{direction}</direction> <rotate>{rotate}</rotate> {more}"
    )


RIGHT = segment(0, 5, "right")


@pytest.fixture
def run(capsys):
    """Run a command as the shell would; returns exit code, standard output, standard error."""

    def runner(*words):
        code = cli.run(lambda: main([str(word) for word in words]))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return runner


@pytest.fixture
def plan(tmp_path):
    """A camera cache of an orbit to the right, on disk."""
    track = compile(parse(RIGHT), 81, 16.0)
    track.save(tmp_path / "plan.safetensors")
    return tmp_path / "plan.safetensors"


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)], ids=["all", *COMMANDS])
def test_help_needs_no_torch(words):
    program = (
        "import sys, runpy; sys.argv = ['tools/camera.py', *sys.argv[1:], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop: code = stop.code\n"
        "heavy = {'torch', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "usage:" in result.stdout
    if not words:
        assert all(name in result.stdout for name in COMMANDS)


def test_check_tells_all_mistakes_with_their_place(run):
    code, out, _ = run("check", README_PROMPT)
    assert code == 0
    assert "text 1: right, 3 segments, until 4 s" in out
    wrong = segment(0, 2, "sideways") + "<sep>" + segment(3, 1, "left", speed="fast")
    code, out, _ = run("check", RIGHT, wrong)
    assert code == 2
    assert "text 1: right, 1 segment, until 5 s" in out
    assert "text 2: wrong" in out
    assert "segment 1, <direction>: found 'sideways'" in out
    assert "segment 2, <speed>: found 'fast'" in out
    assert "segment 2, <endtime>" in out
    assert out.splitlines()[-1] == "1 right, 1 wrong"


def test_check_warns_of_what_is_odd_and_refuses_what_cannot_be_flown(run):
    code, out, _ = run("check", segment(0, 1, "forward") + "<sep>" + segment(2, 3, "forward"))
    assert code == 0
    assert "warning: " in out
    assert "from 1 to 2 s" in out
    assert "warning" not in run("check", "--quiet", segment(0, 1, "forward") + "<sep>" + segment(2, 3, "forward"))[1]
    # into the subject: no mistake of the text, but none that a camera can make
    code, out, _ = run("check", segment(0, 5, "forward", speed="2"))
    assert code == 2
    assert "nearer than 0.05" in out
    # what is after the end of the video does not matter, what is in a longer one does
    late = segment(0, 9, "forward")
    assert run("check", late, "--frames", 33)[0] == 0
    assert run("check", late, "--frames", 161)[0] == 2


def test_check_reads_many_captions_with_their_lines(run, tmp_path):
    lines = [
        json.dumps({"video_path": "a.mp4", "caption": README_PROMPT}),
        "",
        json.dumps({"video_path": "b.mp4", "caption": "A street; Camera: " + segment(0, 1, "ahead")}),
        json.dumps({"video_path": "c.mp4", "caption": "No camera", "camera_file": "c.txt"}),
        json.dumps({"image_path": "d.png", "caption": "An image"}),
        json.dumps({"video_path": "e.mp4", "caption": "Forgotten"}),
        json.dumps({"video_path": "f.mp4"}),
        "{",
    ]
    listing = tmp_path / "captions.jsonl"
    listing.write_text("\n".join(lines), encoding="utf-8")
    code, out, _ = run("check", "--file", listing)
    assert code == 2
    assert f"{listing}:1: right" in out
    assert f"{listing}:3: wrong\n  segment 1, <direction>: found 'ahead'" in out
    assert f"{listing}:6: wrong\n  text: found no camera segment" in out
    assert f"{listing}:7: wrong\n  expected an object with a key 'caption'" in out
    assert f"{listing}:8: wrong\n  not JSON" in out
    assert out.splitlines()[-1] == "1 right, 4 wrong, 2 without a camera text"
    plain = tmp_path / "captions.txt"
    plain.write_text(f"{RIGHT}\n\n{README_PROMPT}\n", encoding="utf-8")
    code, out, _ = run("check", "--file", plain)
    assert (code, out.splitlines()[-1]) == (0, "2 right, 0 wrong")
    assert f"{plain}:3: right, 3 segments" in out


def test_check_wants_something_to_check(run, tmp_path):
    code, _, err = run("check")
    assert code == 2
    assert "nothing to check: give a TEXT, or --file" in err
    assert "does not exist" in run("check", "--file", tmp_path / "none.jsonl")[2]
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert "not UTF-8" in run("check", "--file", tmp_path / "latin.txt")[2]


def test_compile_tells_what_each_segment_does(run):
    text = "<sep>".join([segment(0, 2, "right"), segment(2, 4, "stay", "left"), segment(7, 8, "up")])
    code, out, err = run("compile", text)
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert out.splitlines()[0] == "81 frames, 5 s, field of view 60.0°"
    # 40 degrees of a circle of radius 1.003, to its right, turning left
    assert "0 to 2" in rows["1"]
    assert "goes right 0.700" in rows["1"]
    assert "pans left 40.0°" in rows["1"]
    assert rows["2"].split("  ")[-1].strip() == "pans left 40.0°"
    assert "after the last frame" in rows["3"]
    assert "pans left 80.0°" in rows["whole"]
    assert "warning" in err


def test_segments_at_the_same_time_are_one_row(run):
    text = segment(0, 1, "forward") + "<sep>" + segment(0, 1, "stay", "left") + "<sep>" + segment(2, 3, "up")
    _, out, err = run("compile", text)
    rows = [line.split()[0] for line in out.splitlines()[2:]]
    assert rows == ["1+2", "3", "whole"]
    assert "overlap" not in err


def test_compile_writes_the_format_of_the_suffix_or_the_one_named(run, tmp_path):
    expected = compile(parse(RIGHT), 81, 16.0)
    for name, options in (
        ("a.safetensors", []),
        ("a.txt", []),
        ("a.tum", []),
        ("a.json", ["--size", 480, 832]),
        ("b.txt", ["--to", "tum"]),
    ):
        code, out, err = run("compile", RIGHT, "-o", tmp_path / name, *options)
        assert code == 0, err
        assert f"wrote {tmp_path / name} (" in out
        back = load_trajectory(tmp_path / name, fps=16.0)
        assert ate(back.c2w, expected.c2w, "metric") < 1e-5
    code, _, err = run("compile", RIGHT, "-o", tmp_path / "a.xyz")
    assert code == 2
    assert "its name does not say which format to write (.safetensors is omnicam" in err
    assert "give --to: omnicam" in err
    assert not (tmp_path / "a.xyz").exists()


def test_compile_takes_presets_and_files_too(run, plan):
    code, out, _ = run("compile", "orbit seconds=4 degrees=90")
    assert code == 0
    assert "goes right" in out
    assert run("compile", "--preset", "orbit seconds=4 degrees=90")[1] == out
    code, out, _ = run("compile", plan)
    assert code == 0
    assert "pans left 100.0°" in out.splitlines()[-1]
    code, _, err = run("compile", "orbitt")
    assert code == 2
    assert "orbit" in err


def test_a_text_in_a_file_is_compiled_like_the_text(run, tmp_path):
    (tmp_path / "caption.txt").write_text(README_PROMPT, encoding="utf-8")
    assert run("compile", tmp_path / "caption.txt")[1] == run("compile", README_PROMPT)[1]


def test_convert_keeps_the_camera(run, plan, tmp_path):
    code, out, err = run("convert", plan, tmp_path / "re10k.txt")
    assert code == 0, err
    assert out == f"{plan} (omnicam) to {tmp_path / 're10k.txt'} (realestate10k): 81 poses\n"
    # a w2c file: the camera that went right has a first row that brings it back
    last = [float(word) for word in (tmp_path / "re10k.txt").read_text().splitlines()[-1].split()]
    c2w = CameraTrack.load(plan).c2w[-1]
    rotation = torch.tensor(last[7:], dtype=torch.float64).reshape(3, 4)
    torch.testing.assert_close(-rotation[:, :3].mT @ rotation[:, 3], c2w[:3, 3], rtol=0, atol=1e-5)
    code, _, err = run("convert", tmp_path / "re10k.txt", tmp_path / "back.safetensors", "--from", "realestate10k")
    assert code == 0, err
    assert ate(CameraTrack.load(tmp_path / "back.safetensors").c2w, CameraTrack.load(plan).c2w, "metric") < 1e-5


def test_convert_asks_for_what_the_file_leaves_open(run, tmp_path):
    matrices = tmp_path / "poses.json"
    matrices.write_text(json.dumps(compile(parse(RIGHT), 5, 16.0).c2w.tolist()), encoding="utf-8")
    code, _, err = run("convert", matrices, tmp_path / "out.safetensors")
    assert code == 2
    assert "convention" in err
    code, _, err = run("convert", matrices, tmp_path / "out.safetensors", "--convention", "opencv_c2w", "--fps", 16)
    assert code == 0, err
    assert float(CameraTrack.load(tmp_path / "out.safetensors").c2w[-1, 0, 3]) > 0
    code, _, err = run("convert", tmp_path / "out.safetensors", tmp_path / "out.json")
    assert code == 2
    assert "--size" in err
    assert "does not exist" in run("convert", tmp_path / "none.txt", tmp_path / "out.txt")[2]
    assert "format 'alien'" in run("convert", matrices, tmp_path / "out.txt", "--from", "alien")[2]


def test_presets_are_listed_and_printed_as_texts(run):
    code, out, _ = run("preset")
    assert code == 0
    assert {"orbit", "dolly-zoom", "handheld"} <= {line.split()[0] for line in out.splitlines()}
    code, out, _ = run("preset", "orbit seconds=4 degrees=90", "pan-left")
    assert code == 0
    first, second = (compile(parse(line), 65, 16.0) for line in out.splitlines())
    assert float(rotation_angle(first.c2w[-1, :3, :3])) == pytest.approx(math.pi / 2, abs=1e-6)
    # a pan to the left: the optical axis goes to -x
    assert float(second.c2w[-1, 0, 2]) < 0
    code, _, err = run("preset", "orbt")
    assert code == 2
    assert "orbit" in err


def test_describe_gives_a_text_that_compiles_to_the_same_path(run, plan):
    code, out, _ = run("describe", plan, "--tolerance", "1e-5")
    assert code == 0
    assert out.startswith("Camera: <starttime>0</starttime>")
    assert len(parse(out)) == 1
    again = compile(parse(out), 81, 16.0)
    torch.testing.assert_close(again.c2w, CameraTrack.load(plan).c2w, rtol=0, atol=1e-4)


def test_formats_lists_them_all(run):
    code, out, _ = run("formats")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(FORMATS)


def test_compare_of_a_path_with_itself(run, plan, tmp_path):
    code, out, err = run("compare", plan, RIGHT, "--protocol", "all", "--json", tmp_path / "result.json")
    assert code == 0, err
    assert "protocol cami2v_rel, 16 frames" in out
    assert "protocol metric, 81 frames" in out
    document = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    for name, report in document["protocols"].items():
        wanted = 1 if "auc" in name else 0
        assert list(report["values"].values()) == pytest.approx([wanted] * len(report["values"]), abs=1e-4)
        assert report["protocol"]["name"] == name
    (check,) = document["segments"]
    assert check["sign_accuracy"] == 1
    assert check["joint_gain"] == pytest.approx(1, abs=1e-4)
    # it starts with the video: no start to find, which JSON says by null
    assert check["start_error"] is None
    assert document["paths"]["field of view error (deg)"] == pytest.approx(0, abs=1e-4)


def test_compare_knows_the_wrong_way(run, plan, tmp_path):
    code, out, _ = run("compare", plan, RIGHT.replace("right", "left"), "--picture", tmp_path / "both.png")
    assert code == 0
    assert "yaw WRONG, x WRONG" in out
    assert f"wrote {tmp_path / 'both.png'}" in out
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")


def test_compare_explains_what_it_cannot_measure(run, plan):
    code, out, _ = run("compare", plan, segment(0, 5, "stay", "left"))
    assert code == 0
    assert "the true camera does not travel" in out
    code, out, _ = run("compare", "pan-left", segment(0, 5, "stay"))
    assert "static score" in out


def test_compare_brings_both_to_the_same_times(run, tmp_path):
    compile(parse(RIGHT), 51, 10.0).save(tmp_path / "slow.safetensors")
    compile(parse(RIGHT), 41, 16.0).save(tmp_path / "short.safetensors")
    code, out, err = run("compare", tmp_path / "slow.safetensors", RIGHT, "--protocol", "metric")
    assert code == 0
    assert "ESTIMATED has 51 frames, TRUE 81" in err
    assert float(next(line for line in out.splitlines() if line.startswith("ATE")).split()[1]) < 1e-3
    code, _, err = run("compare", tmp_path / "short.safetensors", RIGHT)
    assert code == 2
    assert "give both the same length" in err
    code, _, err = run("compare", RIGHT, RIGHT, "--protocol", "evo")
    assert code == 2
    assert "protocol 'evo': expected one of cami2v_rel" in err


def test_an_estimate_of_unknown_scale_is_scaled_before_its_segments_are_judged(run, tmp_path):
    track = compile(parse(RIGHT), 81, 16.0)
    c2w = track.c2w.clone()
    c2w[:, :3, 3] *= 7
    CameraTrack(c2w, track.intrinsics, track.times, scale="unknown").save(tmp_path / "sfm.safetensors")
    code, _, err = run("compare", tmp_path / "sfm.safetensors", RIGHT, "--json", tmp_path / "result.json")
    assert code == 0
    assert "scaled by 0.1429 first" in err
    document = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert document["segments"][0]["translation_gain"] == pytest.approx(1, abs=1e-4)


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    # more than a pipe holds
    (tmp_path / "many.txt").write_text(f"{RIGHT}\n" * 1500, encoding="utf-8")
    command = [sys.executable, "tools/camera.py", "check", "--file", tmp_path / "many.txt"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert "right" in process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 0
        assert process.stderr.read() == ""


def test_motions_are_told_in_words():
    still = dict.fromkeys(("pitch", "yaw", "roll", "x", "y", "z", "zoom"), 0.0)
    assert motion_words(still) == "stands still"
    told = {**still, "x": -0.5, "y": -1.0, "pitch": -3.0, "roll": 2.0, "zoom": 1.0}
    assert motion_words(told) == "goes left 0.500, up 1.000; tilts down 3.0°; rolls clockwise 2.0°; zooms in 2.00x"
    assert motion_words({**still, "zoom": -1.0, "yaw": 1.0}) == "pans right 1.0°; zooms out 2.00x"
    assert table([["a", "bc"], ["def", "g"]]) == "a    bc\ndef  g"
