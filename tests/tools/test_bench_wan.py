"""The benchmark of the full-size networks, rehearsed at small dimensions."""

import json

import pytest

from tools.bench.bench_wan import main

SMALL = ["--small", "--device", "cpu", "--grid", "2", "4", "6", "--short", "2", "4", "6", "--warmup", "0"]


def test_every_part_measures_and_agrees(tmp_path):
    file, output = tmp_path / "dit.safetensors", tmp_path / "bench.jsonl"
    for part in ("make", "load", "dit", "fp8", "vae", "t5"):
        given = [*SMALL, "--repeats", "1", "--tokens", "9", "--prompts", "2"]
        assert main([part, *given, "--file", str(file), "--output", str(output)]) == 0
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    found = {line["part"]: line for line in lines}
    assert found["load"]["weights_gb"] == pytest.approx(found["make"]["gb"], rel=0.01)
    assert found["dit"]["ours_to_float32"]["cosine"] > 0.9999 and found["dit"]["ours_to_diffusers"]["cosine"] > 0.999
    assert found["fp8"]["scaled"]["weights_gb"] < 0.7 * found["make"]["gb"]
    assert found["vae"]["encode_float32_to_float64"]["relative"] < 1e-5
    assert found["vae"]["decode_float32_to_float64"]["relative"] < 1e-5
    assert found["t5"]["ours_to_transformers"]["cosine"] > 0.999
