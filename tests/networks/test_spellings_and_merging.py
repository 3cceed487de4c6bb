"""LoRA files of every spelling and kind: what they change, how exactly, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from common.weights import write_tensors
from networks.lora_files import open_lora
from networks.lora_wan import create_network, lora_targets
from networks.merging import merge_lora, merge_while_loading
from networks.module_names import CARRIED, module_names
from networks.settings import NetworkSettings
from tests.networks.test_lora_wan import call, make_dit, randomise
from wan.keys import ADAPTER_PREFIX, dit_to_diffusers

Q, FFN = "blocks.0.self_attn.q", "blocks.1.ffn.0"
SPELLINGS = {
    "musubi": lambda path: f"lora_unet_{path.replace('.', '_')}",
    "lycoris": lambda path: f"lycoris_{path.replace('.', '_')}",
    "comfy": lambda path: f"diffusion_model.{path}",
    "comfy model": lambda path: f"model.diffusion_model.{path}",
    "plain": lambda path: path,
    "peft": lambda path: f"base_model.model.{path}",
    "diffusers": lambda path: f"transformer.{dit_to_diffusers(path + '.weight').removesuffix('.weight')}",
    "peft of diffusers": lambda path: f"base_model.model.{dit_to_diffusers(path + '.weight').removesuffix('.weight')}",
}
ENDINGS = [("lora_down.weight", "lora_up.weight"), ("lora_A.weight", "lora_B.weight")]
ENDINGS += [("lora_A.default.weight", "lora_B.default.weight")]


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.3


def merged(path: Path, tensors: dict[str, Tensor], multiplier: float = 1.0, **metadata: str) -> dict[str, Tensor]:
    """{name: new minus old weight} of what a file changed."""
    write_tensors(path / "l.safetensors", tensors, metadata)
    dit = make_dit()
    before = {key: value.clone() for key, value in dit.state_dict().items()}
    merge_lora(dit, path / "l.safetensors", multiplier, dit_to_diffusers)
    return {key: value - before[key] for key, value in dit.state_dict().items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_every_module_is_found(tmp_path: Path, spelling: str, ending: tuple[str, str]) -> None:
    dit = make_dit()
    tensors = {}
    for number, path in enumerate(lora_targets(dit).values()):
        out, inner = dit.get_parameter(path + ".weight").shape
        name = SPELLINGS[spelling](path)
        tensors[f"{name}.{ending[0]}"], tensors[f"{name}.{ending[1]}"] = draw(2, inner, seed=number), draw(out, 2)
    changed = merged(tmp_path, tensors, 0.5)
    assert list(changed) == [path + ".weight" for path in lora_targets(dit).values()]
    name = SPELLINGS[spelling](FFN)
    expected = 0.5 * tensors[f"{name}.{ending[1]}"] @ tensors[f"{name}.{ending[0]}"]
    torch.testing.assert_close(changed[f"{FFN}.weight"], expected, rtol=1e-4, atol=1e-6)


def test_a_distilled_lora_changes_weights_biases_norms_and_modulation(tmp_path: Path) -> None:
    """As few-step LoRAs: differences of biases, norms and modulation, low rank on layers beside the blocks."""
    diffs = {
        "blocks.0.norm3.diff": ("blocks.0.norm3.weight", draw(32)),
        "blocks.0.norm3.diff_b": ("blocks.0.norm3.bias", draw(32)),
        f"{Q}.diff_b": (f"{Q}.bias", draw(32)),
        "blocks.0.self_attn.norm_q.diff": ("blocks.0.self_attn.norm_q.weight", draw(32)),
        "blocks.1.diff_m": ("blocks.1.modulation", draw(1, 6, 32)),
        "head.modulation.diff": ("head.modulation", draw(1, 2, 32)),
        "head.head.diff": ("head.head.weight", draw(64, 32)),
    }
    low = {"text_embedding.0": (32, 16), "time_projection.1": (192, 32), Q: (32, 32)}
    tensors = {f"diffusion_model.{key}": value for key, (_, value) in diffs.items()}
    for path, (out, inner) in low.items():
        tensors[f"diffusion_model.{path}.lora_down.weight"] = draw(4, inner)
        tensors[f"diffusion_model.{path}.lora_up.weight"] = draw(out, 4)
        tensors[f"diffusion_model.{path}.alpha"] = torch.tensor(2.0)
    patch = make_dit().get_parameter("patch_embedding.weight").shape
    tensors["diffusion_model.patch_embedding.lora_down.weight"] = draw(4, *patch[1:])
    tensors["diffusion_model.patch_embedding.lora_up.weight"] = draw(patch[0], 4, 1, 1, 1)
    changed = merged(tmp_path, tensors, 0.7)
    expected = {name: 0.7 * value for name, value in diffs.values()}
    for path in low:
        up, down = (tensors[f"diffusion_model.{path}.lora_{side}.weight"] for side in ("up", "down"))
        expected[f"{path}.weight"] = 0.7 * 0.5 * up @ down
    up, down = (tensors[f"diffusion_model.patch_embedding.lora_{side}.weight"] for side in ("up", "down"))
    expected["patch_embedding.weight"] = 0.7 * torch.einsum("or,rixyz->oixyz", up.flatten(1), down)
    assert changed.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(changed[name], value, rtol=1e-4, atol=1e-6)


def test_loha_lokr_and_dora_are_what_their_papers_say(tmp_path: Path) -> None:
    w1a, w1b, w2a, w2b = draw(32, 2), draw(2, 32, seed=2), draw(32, 2, seed=3), draw(2, 32, seed=4)
    loha = {"hada_w1_a": w1a, "hada_w1_b": w1b, "hada_w2_a": w2a, "hada_w2_b": w2b, "alpha": torch.tensor(3.0)}
    (change,) = merged(tmp_path, {f"lora_unet_blocks_0_self_attn_q.{k}": v for k, v in loha.items()}).values()
    expected = torch.einsum("or,ri,os,si->oi", w1a, w1b, w2a, w2b) * 1.5
    torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-6)

    lokr = {"lokr_w1": draw(4, 8), "lokr_w2_a": draw(8, 2), "lokr_w2_b": draw(2, 4), "alpha": torch.tensor(1.0)}
    (change,) = merged(tmp_path, {f"lora_unet_blocks_0_self_attn_q.{k}": v for k, v in lokr.items()}).values()
    second = lokr["lokr_w2_a"] @ lokr["lokr_w2_b"]
    expected = torch.einsum("ac,bd->abcd", lokr["lokr_w1"], second).reshape(32, 32) * 0.5
    torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-6)

    base, lengths = make_dit().get_parameter(f"{Q}.weight"), draw(32, 1).abs() + 0.1
    dora = {"lora_A.weight": draw(2, 32), "lora_B.weight": draw(32, 2), "lora_magnitude_vector": lengths[:, 0]}
    (change,) = merged(tmp_path, {f"base_model.model.{Q}.{k}": v for k, v in dora.items()}).values()
    rows = base + change
    torch.testing.assert_close(rows.norm(dim=1, keepdim=True), lengths, rtol=1e-4, atol=1e-6)
    direction = torch.nn.functional.normalize(base + dora["lora_B.weight"] @ dora["lora_A.weight"], dim=1)
    torch.testing.assert_close(torch.nn.functional.normalize(rows, dim=1), direction, rtol=1e-4, atol=1e-5)


def test_alphas_of_diffusers_stand_in_the_metadata(tmp_path: Path) -> None:
    name = SPELLINGS["diffusers"](Q)
    tensors = {f"{name}.lora_A.weight": draw(4, 32), f"{name}.lora_B.weight": draw(32, 4)}
    whole = merged(tmp_path, tensors)[f"{Q}.weight"]
    said = {"transformer.lora_alpha": 4, "transformer.alpha_pattern": {"blocks.0.attn1.to_q": 1}}
    quarter = merged(tmp_path, tensors, lora_adapter_metadata=json.dumps(said))[f"{Q}.weight"]
    torch.testing.assert_close(quarter, whole / 4, rtol=1e-4, atol=1e-6)


def test_a_camera_adapter_beside_the_lora_is_left_alone(tmp_path: Path) -> None:
    assert CARRIED == ADAPTER_PREFIX
    tensors = {f"{Q}.lora_A.weight": draw(4, 32), f"{Q}.lora_B.weight": draw(32, 4), f"{CARRIED}blocks.0.x": draw(3)}
    assert list(merged(tmp_path, tensors)) == [f"{Q}.weight"]


def test_several_files_add_up_in_order_while_loading(tmp_path: Path) -> None:
    dit = make_dit()
    files = []
    for seed in (1, 2):
        network = create_network(dit, 2, 2.0)
        randomise(network, seed)
        network.save(tmp_path / f"{seed}.safetensors")
        files.append((tmp_path / f"{seed}.safetensors", float(seed)))
    changes = merge_while_loading(files)(dit)
    before = {name: dit.get_parameter(name).detach().clone() for name in changes}
    for path, multiplier in files:
        merge_lora(dit, path, multiplier)
    for name, change in changes.items():
        torch.testing.assert_close(change(before[name]), dit.get_parameter(name).data, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_is_live(tmp_path: Path, dtype: torch.dtype) -> None:
    """With ranks and alphas that differ from module to module; in float32 up to rounding."""
    dit = make_dit().to(dtype)
    settings = NetworkSettings(
        rank_pattern={"ffn.0": 7}, alpha_pattern={r"blocks\.1\..*": 9.0}, exclude_patterns=[r".*cross_attn.*"]
    )
    network = create_network(dit, 3, 2.0, settings=settings)
    randomise(network)
    network.save(tmp_path / "l.safetensors")
    network.apply_to(dit)
    live = call(dit.float() if dtype == torch.float32 else dit)
    network.remove()
    plain = call(dit)
    assert merge_lora(dit, tmp_path / "l.safetensors") == len(network.loras()) == 12
    error = (call(dit) - live).float().norm() / live.float().norm()
    assert (live - plain).float().norm() / plain.float().norm() > 0.05
    assert error < (1e-6 if dtype == torch.float32 else 2e-2)


REFUSED = {
    "another model": ({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": draw(2, 4)}, "double_blocks"),
    "two kinds": ({f"{Q}.diff": draw(32, 32), f"{Q}.hada_w1_a": draw(2, 2)}, "has no|one kind"),
    "half a loha": ({f"{Q}.hada_w1_a": draw(32, 2)}, "hada_w1_b"),
    "half a lokr": ({f"{Q}.lokr_w1": draw(4, 4), f"{Q}.lokr_w2_a": draw(8, 2)}, "lokr_w2"),
    "an alpha alone": ({f"{Q}.alpha": torch.tensor(1.0)}, "no matrices"),
    "lokr of another size": ({f"{Q}.lokr_w1": draw(4, 4), f"{Q}.lokr_w2": draw(4, 4)}, r"\(16, 16\)"),
    "a bias where there is none": ({"blocks.0.self_attn.norm_q.diff_b": draw(32)}, "norm_q"),
    "twice": ({f"{Q}.diff": draw(32, 32), f"diffusion_model.{Q}.diff": draw(32, 32)}, "same module"),
    "a foreign key": ({f"{Q}.oft_blocks": draw(2)}, "oft_blocks"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, case: str) -> None:
    tensors, message = REFUSED[case]
    write_tensors(tmp_path / "l.safetensors", tensors)
    with pytest.raises(ValueError, match=message) as error:
        open_lora(tmp_path / "l.safetensors", module_names(make_dit(), dit_to_diffusers))
    assert "l.safetensors" in str(error.value)
