"""The benchmark of DUSt3R, rehearsed at small dimensions."""

import json

import pytest

from tools.bench.bench_dust3r import main, sliding_texture

TINY = ["--tiny", "--device", "cpu", "--frames", "6", "--size", "48", "512", "--warmup", "0", "--repeats", "1"]


def measure(tmp_path, *more: str) -> dict:
    output = tmp_path / "bench.jsonl"
    given = [*TINY, *more, "--file", str(tmp_path / "dust3r.safetensors"), "--output", str(output)]
    assert main(given) == 0
    return json.loads(output.read_text(encoding="utf-8").splitlines()[-1])


def test_the_network_alone_is_measured_part_by_part(tmp_path):
    found = measure(tmp_path, "--network_only", "--keyframes", "3")
    seconds = found["seconds"]
    assert found["part"] == "network" and found["dtype"] == "float32"
    # three keyframes, each with each; three other pictures with two keyframes, both ways
    assert found["pairs"] == 3 * 2 + 3 * 2 * 2
    assert min(seconds["encode"], seconds["decode"]) > 0 and seconds["align"] < seconds["total"]
    assert seconds["encode"] + seconds["decode"] + seconds["align"] == pytest.approx(seconds["total"])


def test_the_whole_chain_is_measured_whatever_comes_of_random_points(tmp_path):
    pytest.importorskip("Dust3rP.lifting")
    found = measure(tmp_path, "--size", "128", "512")
    assert found["part"] == "all" and found["outcome"].startswith(("a trajectory of confidence", "texture: "))
    assert found["pairs"] >= 2 and found["seconds"]["align"] > 0


def test_numbers_out_of_range_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--keyframes 7"):
        main([*TINY, "--network_only", "--keyframes", "7", "--file", str(tmp_path / "none")])


def test_the_texture_slides():
    frames = sliding_texture(4, 32, 64).frames
    assert frames.shape == (4, 32, 64, 3) and (frames[1, :, :-2] == frames[0, :, 2:]).all() and frames.std() > 20
