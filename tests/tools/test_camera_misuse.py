"""What people do to the commands that they were not made for: each is refused in one line, or told."""

import json
import os

import pytest


def segment(start, end, direction, speed="high"):
    return (
        f"<starttime>{start}</starttime> <endtime>{end}</endtime> <speed>{speed}</speed> "
        f"<direction>{direction}</direction> <rotate>stay</rotate>"
    )


RIGHT = segment(0, 5, "right")


def test_a_length_that_no_video_has_is_refused_by_every_command(run):
    for command in ("check", "compile"):
        for flag, value in (("--frames", 10**11), ("--frames", 0), ("--fps", 0), ("--fps", "1e-308")):
            code, _, err = run(command, RIGHT, flag, value)
            assert code == 2
            assert err.startswith(f"error: {flag} ")


def test_check_takes_a_line_as_json_does_and_names_the_line_that_is_no_text(run, tmp_path):
    lines = tmp_path / "captions.jsonl"
    lines.write_text(
        json.dumps({"caption": f"a\u2028b\u0085c ; Camera: {RIGHT}"}, ensure_ascii=False), encoding="utf-8"
    )
    code, out, _ = run("check", "--file", lines)
    assert code == 0, out
    lines.write_bytes(f"{RIGHT}\n".encode() + b"caf\xe9 ; Camera:\n")
    code, _, err = run("check", "--file", lines)
    assert code == 2
    assert "captions.jsonl, line 2: not UTF-8 text" in err


def test_a_format_without_a_file_to_write_is_refused(run):
    code, _, err = run("compile", RIGHT, "--to", "tum")
    assert code == 2
    assert "name the file by --output" in err
    code, _, err = run("compile", RIGHT, "-o", "")
    assert code == 2
    assert "--output is empty" in err


def test_a_long_text_is_told_in_a_few_lines(run):
    code, out, err = run("compile", "handheld seconds=600")
    assert code == 0
    assert len(err.splitlines()) < 12
    assert "more of kind 'unseen'" in err
    assert "after the last frame" in out
    assert len(out.splitlines()) < 25
    together = "<sep>".join([segment(0, 5, "right", speed="0.01")] * 300)
    code, out, _ = run("compile", together)
    assert code == 0
    assert "1+...+300 (300)" in out


def test_a_name_with_a_hash_is_a_name(run, tmp_path):
    poses = tmp_path / "take#2.txt"
    assert run("compile", RIGHT, "-o", poses)[0] == 0
    for command in ("compile", "describe"):
        code, _, err = run(command, poses)
        assert code == 0, err


def test_a_pipe_is_refused_at_once(run, tmp_path):
    pipe = tmp_path / "poses.txt"
    os.mkfifo(pipe)
    for words in (["compile", pipe], ["convert", pipe, tmp_path / "out.tum"], ["compare", pipe, RIGHT]):
        code, _, err = run(*words)
        assert code == 2
        assert "pipe or device" in err


def test_a_lens_without_end_is_refused_by_its_flag(run):
    code, _, err = run("compile", RIGHT, "--intrinsics", "inf", 1, 0.5, 0.5)
    assert code == 2
    assert err.startswith("error: --intrinsics inf")


def test_a_long_word_is_not_repeated_whole(run):
    code, _, err = run("compile", "x" * 100_000)
    assert code == 2
    assert len(err) < 500


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--json", ""], "--json is empty"),
        (["--picture", "x.jpg"], "--picture x.jpg: expected a name that ends in .png"),
        (["--json", "a.png", "--picture", "./a.png"], "give two names"),
        (["--json", "/dev/null/x.json"], "--json /dev/null: /dev/null is a file"),
    ],
)
def test_compare_refuses_its_outputs_before_the_work(run, flags, message):
    code, out, err = run("compare", RIGHT, "orbit", *flags)
    assert code == 2
    assert out == ""
    assert message in err


def test_a_tolerance_without_sense_is_refused(run):
    for tolerance in ("0", "nan", "1e308"):
        code, _, err = run("describe", "orbit", "--tolerance", tolerance)
        assert code == 2
        assert err.startswith("error: tolerance")
