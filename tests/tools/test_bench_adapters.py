"""The benchmark of the camera adapters, rehearsed on the tiny networks."""

import json

import pytest
import torch

from tools.bench.bench_adapters import main
from wan.config import ADAPTER_CONFIGS
from wan.rope import rotary_table

DESIGNS = list(ADAPTER_CONFIGS)


def measure(tmp_path, part: str, *more: str) -> dict:
    output = tmp_path / "bench.jsonl"
    given = [part, "--tiny", "--device", "cpu", "--warmup", "0", "--repeats", "1", "--output", str(output), *more]
    assert main(given) == 0
    line = json.loads(output.read_text(encoding="utf-8").splitlines()[-1])
    assert line["task"] == "i2v-tiny" and line["tokens"] == 45
    return line["designs"]


def test_flops_are_those_of_the_products(tmp_path):
    found = measure(tmp_path, "sizes")
    assert list(found) == ["none", *DESIGNS]
    # plucker keeps its hidden features: one product a forward, 45 tokens from 256 to 256 channels
    added = 1e12 * (found["plucker"]["tflop"] - found["none"]["tflop"])
    assert added == pytest.approx(2 * 45 * 256 * 256, abs=1)
    # v2: q, k, v and o of 3 blocks 256 <-> 64, two products of attention over 45 x 45, and the fine branch
    attention = 3 * (4 * 2 * 45 * 256 * 64 + 2 * 2 * 45 * 45 * 64)
    assert 1e12 * (found["v2"]["tflop"] - found["none"]["tflop"]) == pytest.approx(
        attention + 2 * 45 * 192 * 256, abs=1
    )
    assert found["none"]["parameters"] > 6e6 > found["v2"]["parameters"]
    table = rotary_table((3, 3, 5), (8, 8, 8), 10000.0, torch.device("cpu"))
    assert table.cos.sum().isfinite(), "no table without numbers is left behind"


@pytest.mark.parametrize("part", ["forward", "train"])
def test_every_design_is_timed_beside_none(tmp_path, part: str):
    found = measure(tmp_path, part, "--designs", "v2", "v1")
    assert list(found) == ["none", "v2", "v1"]
    assert all(row["ms"] > 0 for row in found.values())
    assert all(0.1 < found[design]["ratio"] < 10 for design in ("v2", "v1"))


def test_no_rounds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--repeats 0"):
        main(["sizes", "--tiny", "--device", "cpu", "--repeats", "0"])
