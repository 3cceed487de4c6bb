"""The benchmark and the stress test of caching, rehearsed on few and tiny clips."""

import json

import pytest

from tools.bench.bench_caching import main as bench
from tools.bench.caching_world import moving_clip
from tools.bench.stress_caching import _compare


def test_every_step_and_the_whole_are_measured(tmp_path):
    output = tmp_path / "lines.jsonl"
    given = [
        "--small",
        "--device",
        "cpu",
        "--clips",
        "4",
        "--frames",
        "5",
        "--source",
        "48",
        "64",
        "--size",
        "32",
        "48",
    ]
    given += ["--workers", "2", "--repeats", "2", "--batch_size", "2", "--folder", str(tmp_path)]
    assert bench([*given, "--output", str(output)]) == 0
    steps, processes, threads = (json.loads(line) for line in output.read_text(encoding="utf-8").splitlines())
    for step in ("decode", "stack", "transfer", "encode", "write"):
        assert 0 <= steps[f"{step}_seconds"] < 10
    assert steps["encode_seconds"] > 0 and steps["decode_seconds"] > 0
    assert (processes["loading"], threads["loading"]) == ("processes", "threads")
    for whole in (processes, threads):
        assert 0 < whole["busy_share"] <= 1 and whole["seconds_per_clip"] > 0


def test_the_drawn_clip_slides():
    clip = moving_clip(0, 5, 16, 24)
    assert clip.shape == (5, 16, 24, 3)
    assert (clip[1, :, :-2] == clip[0, :, 2:]).all() and not (clip[1] == clip[0]).all()


def test_the_stress_test_finds_a_difference():
    _compare({"a": "1"}, {"a": "1"}, "same")
    for found in ({"a": "2"}, {}, {"a": "1", "b": "1"}):
        with pytest.raises(ValueError, match="1 of 1 files differ"):
            _compare(found, {"a": "1"}, "other")
