"""The tools that convert and merge LoRAs, as the shell calls them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common import cli
from common.weights import read_tensors, write_tensors
from networks.conversion import STYLES
from networks.lora_wan import create_network
from networks.merging import merge_lora
from tools import convert_lora
from tools import merge_lora as merge_tool
from wan.config import WAN_CONFIGS
from wan.model import WanModel

ROOT = Path(__file__).resolve().parents[2]
TINY = WAN_CONFIGS["i2v-tiny"].dit


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """DiT and LoRA of i2v-tiny."""
    torch.manual_seed(0)
    dit = WanModel(TINY)
    network = create_network(dit, 2, 1.0)
    for lora in network.loras().values():
        torch.nn.init.normal_(lora.lora_up.weight)
    write_tensors(tmp_path / "dit.safetensors", dit.state_dict())
    network.save(tmp_path / "lora.safetensors", None, {"ss_network_dim": "2"})
    return tmp_path / "dit.safetensors", tmp_path / "lora.safetensors"


def test_there_and_back(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert convert_lora.STYLES == STYLES
    there, back = str(tmp_path / "d.safetensors"), str(tmp_path / "m.safetensors")
    assert convert_lora.main([str(files[1]), there, "--target", "diffusers"]) == 0
    assert convert_lora.main([there, back, "--target", "musubi"]) == 0
    before, after = read_tensors(files[1]), read_tensors(back)
    assert before.keys() == after.keys() and all(torch.equal(after[key], before[key]) for key in before)


def test_a_lora_of_another_model_is_refused(files: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "x.safetensors")
    words = [str(files[1]), out, "--target", "comfy", "--task", "t2v-1.3B"]
    assert cli.run(lambda: convert_lora.main(words)) == 2
    assert "another" in capsys.readouterr().err and not Path(out).exists()


def test_merged_file_is_the_merged_model(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "merged.safetensors"
    words = ["--task", "i2v-tiny", "--dit", str(files[0]), "--lora_weight", str(files[1]), str(files[1])]
    assert merge_tool.main([*words, "--lora_multiplier", "0.5", "--output", str(out)]) == 0
    dit = WanModel(TINY)
    dit.load_state_dict(read_tensors(files[0]))
    merge_lora(dit, files[1], 0.5)
    merge_lora(dit, files[1], 1.0)
    found = read_tensors(out)
    assert list(found) == list(read_tensors(files[0]))
    for key, value in dit.state_dict().items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6)


PROGRAM = """
import re, sys
from dataclasses import replace
from pathlib import Path
import torch
from common.weights import read_tensors
from training.full_checkpoint import write_full_checkpoint
from wan.config import WAN_CONFIGS

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

config = replace(WAN_CONFIGS["i2v-tiny"].dit, dim=512, ffn_dim=2048, num_layers=12, num_heads=4)
before = kilobytes("VmRSS")
held = read_tensors(sys.argv[1]) if sys.argv[4] == "held" else None
write_full_checkpoint(sys.argv[3], sys.argv[1], config, [(sys.argv[2], 1.0)])
print((kilobytes("VmHWM") - before) * 1024)
"""


def peak_of_merging(folder: Path, how: str) -> int:
    """Bytes that a merge took, in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *(str(folder / f"{name}.safetensors") for name in ("dit", "l", "out")), how],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "1048576"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of memory")
def test_merging_holds_a_few_tensors(tmp_path: Path) -> None:
    with torch.device("meta"):
        dit = WanModel(replace(TINY, dim=512, ffn_dim=2048, num_layers=12, num_heads=4))
    shapes = {name: value.shape for name, value in dit.state_dict().items()}
    largest, whole = (4 * of(shape.numel() for shape in shapes.values()) for of in (max, sum))
    write_tensors(tmp_path / "dit.safetensors", {name: torch.ones(shape) for name, shape in shapes.items()})
    create_network(dit, 4, 4.0).save(tmp_path / "l.safetensors")
    streamed = peak_of_merging(tmp_path, "streamed")
    assert (tmp_path / "out.safetensors").stat().st_size > whole > 200e6
    assert streamed < 8 * largest < whole / 4, (streamed, largest, whole)
    # that the measure would see more
    assert peak_of_merging(tmp_path, "held") > 0.9 * whole
