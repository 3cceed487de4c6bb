import json
from pathlib import Path

import pytest
import torch

from common.weights import read_metadata, read_tensors
from tools.make_tiny_weights import main
from tools.tiny_model.tokenizer import write_tokenizer
from wan.adapters.build import build_adapter
from wan.config import WAN_CONFIGS
from wan.loading import load_clip, load_dit, load_t5, load_vae
from wan.tokenizer import Tokenizer

TASK = WAN_CONFIGS["i2v-tiny"]
NAMES = ("dit", "vae", "t5", "clip")
COMMITTED = Path(__file__).resolve().parents[2] / "weights" / "tiny" / "tokenizer.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    assert main(["--output_dir", str(made)]) == 0
    return made


def test_every_network_loads_and_all_of_them_are_small(folder: Path):
    clip = TASK.clip
    assert clip is not None
    place = {"device": "cpu", "dtype": torch.bfloat16}
    networks = {
        "dit": load_dit(folder / "dit.safetensors", TASK.dit, **place),
        "vae": load_vae(folder / "vae.safetensors", TASK.vae, **place),
        "t5": load_t5(folder / "t5.safetensors", TASK.t5, **place),
        "clip": load_clip(folder / "clip.safetensors", clip, **place),
        "adapter": build_adapter(TASK.adapter, TASK.dit.dim, TASK.dit.num_layers),
    }
    count = {name: sum(weight.numel() for weight in network.parameters()) for name, network in networks.items()}
    assert sum(count.values()) <= 9.9e6, count
    assert count["vae"] <= 1.9e6 and count["t5"] <= 0.8e6 and count["clip"] <= 0.7e6
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    assert len(networks["t5"].encode(["a red ball"])) == 1


def test_the_seed_decides_the_weights(folder: Path, tmp_path: Path):
    assert main(["--output_dir", str(tmp_path / "same")]) == 0
    assert main(["--output_dir", str(tmp_path / "other"), "--seed", "1"]) == 0
    for name in NAMES:
        first, same, other = (
            read_tensors(place / f"{name}.safetensors") for place in (folder, tmp_path / "same", tmp_path / "other")
        )
        assert all(torch.equal(first[key], same[key]) and first[key].dtype == torch.bfloat16 for key in first)
        assert any(not torch.equal(first[key], other[key]) for key in first)
        assert read_metadata(folder / f"{name}.safetensors") == {"task": "i2v-tiny", "trained": "no", "seed": "0"}


def test_weights_that_are_there_are_kept_unless_told(tmp_path: Path):
    (tmp_path / "vae.safetensors").write_bytes(b"trained for days")
    assert main(["--output_dir", str(tmp_path)]) == 0
    assert (tmp_path / "vae.safetensors").read_bytes() == b"trained for days"
    assert main(["--output_dir", str(tmp_path), "--overwrite"]) == 0
    assert read_metadata(tmp_path / "vae.safetensors")["trained"] == "no"


def test_the_committed_tokenizer_is_the_one_the_tool_makes(tmp_path: Path):
    write_tokenizer(tmp_path / "tokenizer.json", TASK.t5.vocab_size)
    remade, committed = (json.loads(path.read_text("utf-8")) for path in (tmp_path / "tokenizer.json", COMMITTED))
    assert remade == committed
    tokenizer = Tokenizer(COMMITTED, 128)
    (numbers,) = tokenizer(["a red ball"])
    assert numbers[-1] == 1 and 0 not in numbers and tokenizer.vocab_size <= 2048
