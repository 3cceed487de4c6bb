"""Conversion of LoRA files: round trips bit by bit, metadata kept, and diffusers' own reader as an oracle."""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.weights import read_metadata, read_tensors, write_tensors
from networks.conversion import STYLES, convert_lora, write_converted
from networks.lora_files import open_lora
from networks.lora_wan import create_network
from networks.merging import merge_lora
from networks.module_names import ModuleNames, module_names
from networks.settings import NetworkSettings
from tests.networks.test_lora_wan import make_dit, randomise
from wan.keys import dit_to_diffusers


def names_of_dit() -> ModuleNames:
    with torch.device("meta"):
        return module_names(make_dit(), dit_to_diffusers)


NAMES = names_of_dit()


def trained(path: Path, dtype: torch.dtype = torch.float32, **given: object) -> Path:
    network = create_network(make_dit(), 4, 2.5, settings=NetworkSettings(**given))  # pyright: ignore
    randomise(network)
    network.save(path / "lora.safetensors", dtype, {"ss_network_dim": "4", "ss_training_comment": "a comment"})
    return path / "lora.safetensors"


def convert(source: Path, target: Path, style: str, fold: bool = False) -> Path:
    write_converted(target, convert_lora(open_lora(source, NAMES), NAMES, style, fold))
    return target


@settings(max_examples=12, deadline=None)
@given(
    way=st.lists(st.sampled_from(STYLES), min_size=1, max_size=3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    rank=st.integers(1, 5),
    alpha=st.sampled_from([0.3, 1.0, 4.0]),
)
def test_any_way_round_gives_every_bit_back(way: list[str], dtype: torch.dtype, rank: int, alpha: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = first = trained(Path(folder), dtype, rank_pattern={"ffn.0": rank}, alpha_pattern={"k_img": alpha})
        for number, style in enumerate([*way, "musubi"]):
            end = "" if style == "peft" else ".safetensors"
            file = convert(file, Path(folder) / f"{number}{end}", style)
        before, after = read_tensors(first), read_tensors(file)
        assert before.keys() == after.keys()
        for key, value in before.items():
            assert torch.equal(after[key].to(value.dtype), value), key
        assert after["lora_unet_blocks_0_ffn_0.lora_down.weight"].dtype == dtype
        said = read_metadata(file)
        assert said["ss_network_dim"] == "4" and said["ss_training_comment"] == "a comment"


def test_comfys_and_pefts_names(tmp_path: Path) -> None:
    source = trained(tmp_path)
    comfy = read_tensors(convert(source, tmp_path / "c.safetensors", "comfy"))
    assert comfy["diffusion_model.blocks.1.cross_attn.k_img.alpha"].item() == 2.5
    assert comfy["diffusion_model.blocks.1.cross_attn.k_img.lora_A.weight"].shape == (4, 32)
    folder = convert(source, tmp_path / "peft", "peft")
    assert "base_model.model.blocks.0.ffn.2.lora_B.weight" in read_tensors(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], len(config["target_modules"])) == (4, 2.5, 24)
    assert config["rank_pattern"] == config["alpha_pattern"] == {}


def test_folded_alphas_change_the_dit_as_before(tmp_path: Path) -> None:
    source = trained(tmp_path)
    folded = convert(source, tmp_path / "f.safetensors", "diffusers", fold=True)
    assert "lora_adapter_metadata" not in read_metadata(folded)
    one, other = make_dit(), make_dit()
    merge_lora(one, source)
    merge_lora(other, folded, to_diffusers=dit_to_diffusers)
    for key, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=1e-5, atol=1e-6)


def test_diffusers_reads_comfys_file_as_ours_for_diffusers(tmp_path: Path) -> None:
    utils = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
    source = trained(tmp_path)
    comfy = read_tensors(convert(source, tmp_path / "c.safetensors", "comfy"))
    ours = read_tensors(convert(source, tmp_path / "d.safetensors", "diffusers"))
    theirs = utils._convert_non_diffusers_wan_lora_to_diffusers(dict(comfy))
    assert theirs.keys() == ours.keys()
    for name in {key.rpartition(".lora_")[0] for key in ours}:
        product = theirs[f"{name}.lora_B.weight"] @ theirs[f"{name}.lora_A.weight"]
        expected = ours[f"{name}.lora_B.weight"] @ ours[f"{name}.lora_A.weight"] * (2.5 / 4)
        torch.testing.assert_close(product, expected, rtol=1e-5, atol=1e-6)


def test_what_peft_cannot_hold_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "l.safetensors", {"diffusion_model.blocks.0.norm3.diff_b": torch.ones(32)})
    kept = read_tensors(convert(tmp_path / "l.safetensors", tmp_path / "m.safetensors", "musubi"))
    assert list(kept) == ["lora_unet_blocks_0_norm3.diff_b"]
    for style in ("diffusers", "peft"):
        with pytest.raises(ValueError, match=f"diff_b.*{style} has no names: diffusion_model.blocks.0.norm3"):
            convert(tmp_path / "l.safetensors", tmp_path / "x.safetensors", style)
