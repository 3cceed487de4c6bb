"""The inspection tool on every form of file, and what it must not do."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from common import cli
from common.weights import write_tensors
from networks.lora_files import write_lora
from networks.lora_wan import create_network
from tests.wan.dit_helpers import small_model, trained_adapter
from tests.wan.test_loading_forms import fork_camera
from tools.inspect_checkpoint import main
from tools.make_tiny_weights import make_clip, make_dit, make_t5, make_vae
from wan.adapters.build import build_adapter
from wan.adapters.files import save_adapter
from wan.config import WAN_CONFIGS
from wan.keys import dit_to_diffusers
from wan.keys_encoders import from_official, vae_table
from wan.model import WanModel

ROOT = Path(__file__).resolve().parents[2]
TINY = WAN_CONFIGS["i2v-tiny"]


@pytest.fixture(scope="module")
def dit() -> dict[str, torch.Tensor]:
    return {name: value.bfloat16() for name, value in make_dit(0).items()}


@pytest.fixture
def look(capsys: pytest.CaptureFixture[str]):
    def call(path: Path, *flags: str) -> dict[str, Any]:
        assert cli.run(lambda: main([str(path), "--json", *flags])) == 0
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def text(capsys: pytest.CaptureFixture[str]):
    def call(path: Path, *flags: str) -> str:
        assert cli.run(lambda: main([str(path), *flags])) == 0
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize("style", ["official", "comfy", "diffusers"])
def test_a_dit_in_every_style(tmp_path, look, text, dit, style):
    rename = {"official": str, "comfy": "model.diffusion_model.{}".format, "diffusers": dit_to_diffusers}[style]
    path = tmp_path / "dit.safetensors"
    write_tensors(path, {rename(name): value for name, value in dit.items()}, {"made_by": "a test"})
    found = look(path)
    assert (found["network"], found["style"], found["tasks"]) == ("dit", style, ["i2v-tiny"])
    assert found["dtypes"] == {"bfloat16": found["parameters"]}
    assert found["fit"] == {"task": "i2v-tiny", "missing": [], "unexpected": [], "misshapen": []}
    assert found["metadata"] == {"made_by": "a test"}
    said = text(path)
    for word in ("a Wan2.1 DiT", "task i2v-tiny", "--dit", f"{found['parameters']:,}", "every weight", "a test"):
        assert word in said


def test_what_a_dit_lacks_is_named_against_the_nearest_task(tmp_path, look, text, dit):
    short = {name: value for name, value in dit.items() if name != "blocks.2.ffn.0.bias"}
    path = tmp_path / "dit.safetensors"
    write_tensors(path, {**short, "blocks.0.extra": torch.zeros(1)})
    assert look(path)["fit"] == {
        "task": "i2v-tiny",
        "missing": ["blocks.2.ffn.0.bias"],
        "unexpected": ["blocks.0.extra"],
        "misshapen": [],
    }
    assert "1 missing against task i2v-tiny: blocks.2.ffn.0.bias" in text(path)
    fewer = {name: value for name, value in dit.items() if not name.startswith("blocks.5.")}
    write_tensors(path, fewer)
    found = look(path)
    assert found["tasks"] == [] and found["fit"]["task"] == "i2v-tiny"
    assert len(found["fit"]["missing"]) == len(dit) - len(fewer)


def test_the_encoders(tmp_path, look):
    vae = make_vae(0)
    made = {"t5": make_t5(0), "clip": make_clip(0), "vae": vae}
    for network, tensors in made.items():
        torch.save(tensors, tmp_path / f"{network}.pth")
        found = look(tmp_path / f"{network}.pth")
        assert (found["network"], found["style"], found["tasks"]) == (network, "official", ["i2v-tiny"])
        assert found["fit"]["missing"] == found["fit"]["unexpected"] == []
    write_tensors(tmp_path / "vae" / "x.safetensors", from_official(vae, vae_table(TINY.vae)))
    assert look(tmp_path, "--network", "vae")["style"] == "diffusers"


def test_fp8_and_its_scales(tmp_path, look, text, dit):
    path = tmp_path / "dit.safetensors"
    mixed = {name: value.to(torch.float8_e4m3fn) if value.ndim == 2 else value for name, value in dit.items()}
    write_tensors(path, mixed)
    assert set(look(path)["dtypes"]) == {"float8_e4m3fn", "bfloat16"}
    write_tensors(path, {**mixed, "blocks.0.self_attn.q.scale_weight": torch.ones(1)})
    assert look(path)["fp8_scales"] == "blocks.0.self_attn.q.scale_weight"
    assert "not supported" in text(path)


@pytest.mark.parametrize(("batches", "trained"), [(0, False), (12, True)])
def test_the_forks_camera_layers(tmp_path, look, text, dit, batches, trained):
    path = tmp_path / "total-1.safetensors"
    write_tensors(path, {**dit, **fork_camera(TINY.dit.num_layers, batches)})
    found = look(path)
    assert found["style"] == "fork" and found["fit"]["missing"] == found["fit"]["unexpected"] == []
    assert found["fork_camera"]["looks_trained"] is trained and found["fork_camera"]["missing"] == 0
    assert "OmniCam-Wan fork" in text(path)


def test_a_lora_in_every_style(tmp_path, look):
    network = create_network(small_model(), rank=3, alpha=1.5)
    write_lora(tmp_path / "musubi.safetensors", network.state_dict())
    found = look(tmp_path / "musubi.safetensors")
    assert (found["network"], found["style"]) == ("lora", "musubi")
    assert found["lora"]["ranks"] == [3] and found["lora"]["alphas"] == [1.5] and found["lora"]["modules"] == 36
    assert found["lora"]["targets"]["lora_unet_blocks_N_cross_attn_k_img"] == 3
    for style, prefix in (("comfy", "diffusion_model."), ("diffusers", "transformer.")):
        pair = {"lora_A.weight": (5, 8), "lora_B.weight": (8, 5)}
        tensors = {
            f"{prefix}blocks.{n}.ffn.0.{end}": torch.zeros(shape) for n in range(2) for end, shape in pair.items()
        }
        write_tensors(tmp_path / f"{style}.safetensors", tensors)
        found = look(tmp_path / f"{style}.safetensors")
        assert (found["style"], found["lora"]["ranks"], found["lora"]["modules"]) == (style, [5], 2)
        assert found["lora"]["alphas"] == "none stated: the rank"
        assert found["lora"]["targets"] == {f"{prefix}blocks.N.ffn.0": 2}


@pytest.mark.parametrize(
    ("style", "parts"),
    [
        ("loha", {"hada_w1_a": (8, 4), "hada_w1_b": (4, 8), "hada_w2_a": (8, 4), "hada_w2_b": (4, 8)}),
        ("lokr", {"lokr_w1": (2, 2), "lokr_w2_a": (4, 4), "lokr_w2_b": (4, 4)}),
    ],
)
def test_lycoris_is_named(tmp_path, look, style, parts):
    tensors = {f"lora_unet_blocks_0_ffn_0.{name}": torch.zeros(shape) for name, shape in parts.items()}
    write_tensors(tmp_path / "l.safetensors", {**tensors, "lora_unet_blocks_0_ffn_0.alpha": torch.tensor(2.0)})
    found = look(tmp_path / "l.safetensors")
    assert (found["network"], found["style"]) == ("lora", style) and "LyCORIS" in found["what"]
    assert found["lora"]["ranks"] == [4] and found["lora"]["alphas"] == [2.0]


def test_an_adapter_trained_or_not(tmp_path, look, text):
    fresh = build_adapter(TINY.adapter, TINY.dit.dim, TINY.dit.num_layers)
    adapter = trained_adapter(TINY.adapter, TINY.dit)
    for trained, module in ((False, fresh), (True, adapter)):
        save_adapter(tmp_path / "a.safetensors", module, {"base_task": "i2v-tiny"})
        found = look(tmp_path / "a.safetensors")
        assert found["tasks"] == ["i2v-tiny"] and found["adapter"]["version"] == "2"
        assert found["adapter"]["design"] == "v2"
        assert found["adapter"]["looks_trained"] is trained
        assert found["adapter"]["blocks"] == list(TINY.adapter.blocks)
    assert "--camera_adapter" in text(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("key", "network"),
    [
        ("latents_2x4x6_bfloat16", "latent cache"),
        ("varlen_t5_bfloat16", "text cache"),
        ("c2w", "camera cache"),
        ("latent", "latent"),
        ("dec_blocks.0.attn.qkv.weight", "dust3r"),
        ("words", "unknown"),
    ],
)
def test_other_files_are_told_with_their_tensors(tmp_path, look, text, key, network):
    write_tensors(tmp_path / "x.safetensors", {key: torch.zeros(2, 3)}, {"architecture": "wan"})
    found = look(tmp_path / "x.safetensors")
    assert found["network"] == network and found["tensors"] == {key: ["float32", [2, 3]]}
    said = text(tmp_path / "x.safetensors")
    assert f"{key}  float32 [2, 3]" in said and "metadata architecture: wan" in said


def test_duster_as_it_is_published(tmp_path, look):
    import argparse

    content = {"args": argparse.Namespace(model="x"), "model": {"dec_blocks.0.attn.qkv.weight": torch.ones(3)}}
    torch.save(content, tmp_path / "DUSt3R.pth")
    assert look(tmp_path / "DUSt3R.pth")["network"] == "dust3r"


def test_keys_lists_every_tensor(tmp_path, text, dit):
    write_tensors(tmp_path / "dit.safetensors", dit)
    assert "blocks.3.ffn.2.bias  bfloat16" not in text(tmp_path / "dit.safetensors")
    said = text(tmp_path / "dit.safetensors", "--keys")
    assert all(f"  {name}  bfloat16 " in said for name in dit)


def test_a_file_of_thirty_gigabytes_answers_from_its_header(tmp_path, look):
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in WanModel(WAN_CONFIGS["i2v-14B"].dit).state_dict().items()}
    table, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * shape.numel()
        table[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps(table).encode()
    path = tmp_path / "i2v.safetensors"
    with path.open("wb") as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        # a hole in the file: reading it would take its time, yet it occupies no disk
        opened.truncate(8 + len(header) + end)
    found = look(path)
    assert found["tasks"] == ["i2v-14B"] and found["bytes"] > 32.7e9
    assert found["fit"] == {"task": "i2v-14B", "missing": [], "unexpected": [], "misshapen": []}


def test_damaged_files_end_with_one_message_and_code_2(tmp_path):
    (tmp_path / "notes.safetensors").write_text("words")
    result = subprocess.run(
        [sys.executable, "tools/inspect_checkpoint.py", str(tmp_path / "notes.safetensors")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert "notes.safetensors" in result.stderr


def test_an_adapter_of_another_dit_is_still_described(tmp_path, look):
    config = replace(TINY.adapter, blocks=(0, 3))
    save_adapter(tmp_path / "a.safetensors", build_adapter(config, 64, 5), {"base_task": "something"})
    found = look(tmp_path / "a.safetensors")
    assert found["tasks"] == [] and found["adapter"]["made for"] == "a DiT of width 64 with 5 blocks"


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_bad_file_among_several_does_not_stop_the_rest(tmp_path, capsys, flags):
    good, bad, gone = (str(tmp_path / f"{name}.safetensors") for name in ("good", "bad", "gone"))
    write_tensors(good, {"x": torch.zeros(2)})
    Path(bad).write_text("no weights")
    assert cli.run(lambda: main([bad, good, gone, good, *flags])) == 2
    said = capsys.readouterr()
    assert said.out.count('{"path": "' if flags else "\n  x  float32 [2]") == 2
    errors = said.err.splitlines()
    assert len(errors) == 2 and "bad.safetensors" in errors[0] and "gone.safetensors" in errors[1]


@pytest.mark.parametrize("flags", [[], ["--keys"], ["--json"]])
def test_names_and_metadata_cannot_write_to_the_terminal(tmp_path, capsys, flags):
    evil = "a\x1b[2J\x9b31m\u202e\n  every weight of task i2v-14B is there"
    path = tmp_path / "x.safetensors"
    write_tensors(path, {evil: torch.zeros(2)}, {evil: evil})
    assert main([str(path), *flags]) == 0
    said = capsys.readouterr().out
    assert not any(sign in said for sign in "\x1b\x9b\u202e") and "\n  every weight" not in said
    assert ("\\u001b[2J" if flags == ["--json"] else "a\\x1b[2J\\x9b31m\\u202e\\n  every weight") in said
