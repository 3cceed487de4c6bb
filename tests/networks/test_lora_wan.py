"""LoRA: names, the forward pass, files, merging; on the real DiT at small dimensions."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from common.weights import read_metadata, read_tensors, write_tensors
from networks.lora_wan import LoRANetwork, create_network, lora_targets
from networks.merging import merge_lora
from wan.adapters.build import build_adapter
from wan.config import WAN_CONFIGS, CrossConfig
from wan.initialise import initialise
from wan.model import WanModel

SMALL = {"dim": 32, "ffn_dim": 48, "num_heads": 2, "num_layers": 2, "text_dim": 16, "text_len": 6, "freq_dim": 16}


def make_dit(task: str = "i2v-tiny", **sizes: int) -> WanModel:
    config = dataclasses.replace(WAN_CONFIGS[task].dit, **{**SMALL, **sizes})
    if config.image_dim is not None:
        config = dataclasses.replace(config, image_dim=16)
    dit = WanModel(config)
    initialise(dit, seed=0, head_std=0.1)
    return dit


def call(dit: WanModel, frames: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return dit(
        draw(2, 16, frames, 4, 4),
        torch.tensor([300.0, 800.0]),
        [draw(3, 16), draw(5, 16)],
        clip_features=draw(2, 5, 16),
        image_condition=draw(2, 20, frames, 4, 4),
    )


def randomise(network: LoRANetwork, seed: int = 5) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


def test_names_are_musubis() -> None:
    dit = make_dit()
    dit.attach_adapter(
        build_adapter(CrossConfig(inner_dim=16, num_heads=2, hidden_dim=32, token_dim=16, blocks=(0, 1)), 32, 2)
    )
    names = list(lora_targets(dit))
    block = [f"self_attn_{x}" for x in "qkvo"] + [f"cross_attn_{x}" for x in ("q", "k", "v", "o", "k_img", "v_img")]
    block += ["ffn_0", "ffn_2"]
    assert names == [f"lora_unet_blocks_{n}_{layer}" for n in (0, 1) for layer in block]
    assert lora_targets(dit)["lora_unet_blocks_1_cross_attn_k_img"] == "blocks.1.cross_attn.k_img"
    keys = set(create_network(dit, 4, 2.0).state_dict())
    assert keys == {f"{n}{s}" for n in names for s in (".lora_down.weight", ".lora_up.weight", ".alpha")}


def test_text_to_video_has_ten_a_block() -> None:
    assert len(lora_targets(make_dit("t2v-1.3B"))) == 20


def test_shapes_and_start() -> None:
    network = create_network(make_dit(), rank=4, alpha=2.0)
    lora = network.loras()["lora_unet_blocks_0_ffn_0"]
    assert lora.lora_down.weight.shape == (4, 32)
    assert lora.lora_up.weight.shape == (48, 4)
    assert lora.alpha.item() == 2.0 and lora.scale == 0.5
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert not any(lora.lora_up.weight.any() for lora in network.loras().values())
    # Kaiming-uniform with a = sqrt 5 is uniform within 1 / sqrt(in)
    spread = torch.cat([x.lora_down.weight.flatten() * x.lora_down.in_features**0.5 for x in network.loras().values()])
    assert spread.abs().max() <= 1.0 and spread.std().item() == pytest.approx(3**-0.5, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fresh_network_changes_nothing(dtype: torch.dtype) -> None:
    dit = make_dit().to(dtype)
    before = call(dit)
    create_network(dit, 4, 4.0).apply_to(dit)
    assert torch.equal(call(dit), before)


def test_every_lora_acts_as_the_formula_says() -> None:
    dit, merged = make_dit(), make_dit()
    network = create_network(dit, rank=3, alpha=6.0)
    randomise(network)
    with torch.no_grad():
        for name, path in lora_targets(merged).items():
            lora = network.loras()[name]
            delta = lora.lora_up.weight.double() @ lora.lora_down.weight.double() * (6.0 / 3)
            merged.get_parameter(path + ".weight").add_(delta)
    plain = call(dit)
    network.apply_to(dit)
    assert not torch.allclose(call(dit), plain, rtol=0.1)
    torch.testing.assert_close(call(dit), call(merged), rtol=1e-4, atol=1e-5)
    network.remove()
    assert torch.equal(call(dit), plain)


def test_the_state_dict_of_the_dit_stays_official() -> None:
    dit = make_dit()
    keys = list(dit.state_dict())
    create_network(dit, 4, 4.0).apply_to(dit)
    assert list(dit.state_dict()) == keys


@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_reach_every_lora_and_checkpointing_keeps_them(autocast: bool) -> None:
    gradients = []
    for checkpointing in (False, True):
        dit = make_dit().requires_grad_(False)
        network = create_network(dit, 4, 4.0)
        randomise(network)
        network.apply_to(dit)
        if checkpointing:
            dit.enable_gradient_checkpointing()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            call(dit).square().mean().backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())
        assert all(p.grad is not None and p.grad.any() for p in network.parameters())
        assert all(p.grad is None for p in dit.parameters())
        gradients.append([p.grad for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_gradient_is_that_of_the_written_out_sum() -> None:
    """The in-place product against up·down·x written as separate operations, in float64."""
    torch.manual_seed(0)
    linear = nn.Linear(7, 5).double().requires_grad_(False)
    holder = nn.Module()
    holder.blocks = nn.ModuleList([linear])
    network = create_network(holder, rank=2, alpha=3.0).double()
    randomise(network)
    (lora,) = network.loras().values()
    x = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
    inputs = (x, lora.lora_down.weight, lora.lora_up.weight)
    written_out = linear(x) + (x @ lora.lora_down.weight.T) @ lora.lora_up.weight.T * 1.5
    expected = torch.autograd.grad(written_out.sin().sum(), inputs)
    network.apply_to(holder)
    torch.testing.assert_close(linear(x), written_out)
    for ours, theirs in zip(torch.autograd.grad(linear(x).sin().sum(), inputs), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_autocast_computes_in_its_own_type() -> None:
    dit = make_dit()
    network = create_network(dit, 4, 4.0)
    network.apply_to(dit)
    with torch.autocast("cpu", torch.bfloat16):
        assert dit.blocks[0].get_submodule("ffn.0")(torch.randn(2, 3, 32)).dtype == torch.bfloat16


def test_dropout_acts_in_training_only() -> None:
    dit = make_dit()
    network = create_network(dit, 4, 4.0, dropout=0.5)
    randomise(network)
    network.apply_to(dit)
    network.eval()
    assert torch.equal(call(dit), call(dit))
    network.train()
    assert not torch.equal(call(dit), call(dit))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_round_trip_through_a_file(tmp_path: Path, dtype: torch.dtype | None, caplog: pytest.LogCaptureFixture) -> None:
    network = create_network(make_dit(), rank=4, alpha=8.0)
    randomise(network)
    network.save(tmp_path / "lora.safetensors", dtype, {"ss_network_dim": "4", "modelspec.title": "x"})
    stored = read_tensors(tmp_path / "lora.safetensors")
    assert {value.dtype for value in stored.values()} == {dtype or torch.float32}
    other = create_network(make_dit(), rank=4, alpha=1.0)
    other.load(tmp_path / "lora.safetensors")
    assert "--network_alpha 1" in caplog.text and other.alpha == 8.0
    for key, value in other.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, network.state_dict()[key].to(dtype or torch.float32).float()), key
    assert {lora.scale for lora in other.loras().values()} == {2.0}


def test_file_names_itself_by_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    create_network(make_dit(), 4, 4.0).save(file, None, {"ss_network_dim": "4"})
    content = file.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8:header])["__metadata__"]
    assert metadata["sshs_model_hash"] == hashlib.sha256(content[header:]).hexdigest()
    assert len(metadata["sshs_legacy_hash"]) == 8
    assert metadata["ss_network_dim"] == "4"
    assert read_metadata(file) == metadata


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_computes_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    dit = make_dit().to(dtype)
    network = create_network(dit, rank=4, alpha=2.0)
    randomise(network)
    network.save(tmp_path / "lora.safetensors")
    before = {key: value.clone() for key, value in dit.state_dict().items()}
    assert merge_lora(dit, tmp_path / "lora.safetensors", multiplier=0.7) == 24
    changed = {path + ".weight": name for name, path in lora_targets(dit).items()}
    for key, value in dit.state_dict().items():
        assert value.dtype == dtype
        if key not in changed:
            assert torch.equal(value, before[key]), key
            continue
        lora = network.loras()[changed[key]]
        delta = lora.lora_up.weight.double() @ lora.lora_down.weight.double() * (0.7 * 0.5)
        exact = before[key].double() + delta
        limit = 1e-6 if dtype == torch.float32 else 2**-8
        assert ((value.double() - exact).abs() <= limit * exact.abs() + 5e-7).all(), key


def test_merging_half_precision_files_without_alpha(tmp_path: Path) -> None:
    """A file without alpha counts as alpha = rank, as kohya's loaders read it."""
    dit = make_dit()
    before = dit.get_parameter("blocks.0.self_attn.q.weight").clone()
    down, up = torch.randn(4, 32).half(), torch.randn(32, 4).half()
    name = "lora_unet_blocks_0_self_attn_q"
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, tmp_path / "l.safetensors")
    merge_lora(dit, tmp_path / "l.safetensors")
    torch.testing.assert_close(
        dit.get_parameter("blocks.0.self_attn.q.weight").data, before + up.float() @ down.float()
    )


def lora_file(path: Path, **changes: Tensor) -> Path:
    name = "lora_unet_blocks_0_self_attn_q"
    tensors = {f"{name}.lora_down.weight": torch.ones(4, 32), f"{name}.lora_up.weight": torch.ones(32, 4)}
    tensors.update({key.replace("__", "."): value for key, value in changes.items()})
    write_tensors(
        path / "lora.safetensors", {key: value for key, value in tensors.items() if value.numel() or value.ndim > 1}
    )
    return path / "lora.safetensors"


CAMERA = "lora_unet_blocks_0_cross_attn_k_camera1_linear1"
QUERY = "lora_unet_blocks_0_self_attn_q"
MISTAKES = {
    "unmatched": (
        {f"{CAMERA}__lora_down__weight": torch.ones(4, 32), f"{CAMERA}__lora_up__weight": torch.ones(32, 4)},
        CAMERA,
    ),
    "no module": ({"diffusion_model__blocks__0__lora_A__weight": torch.ones(4, 4)}, "diffusion_model.blocks.0"),
    "other layout": ({"blocks__0__self_attn__q__oft_blocks": torch.ones(4, 4)}, "oft_blocks"),
    "half a pair": ({f"{QUERY}__lora_up__weight": torch.ones(0)}, "has no lora_up"),
    "other size": ({f"{QUERY}__lora_up__weight": torch.ones(64, 4)}, "another size"),
    "no product": ({f"{QUERY}__lora_up__weight": torch.ones(32, 5)}, "expected"),
    "no rank": (
        {f"{QUERY}__lora_down__weight": torch.ones(0, 32), f"{QUERY}__lora_up__weight": torch.ones(32, 0)},
        "r, in",
    ),
    "whole numbers": ({f"{QUERY}__lora_up__weight": torch.ones(32, 4, dtype=torch.int8)}, "floating-point"),
    "fp8 diverged": ({f"{QUERY}__lora_up__weight": torch.full((32, 4), float("nan")).to(torch.float8_e4m3fn)}, "NaN"),
    "two alphas": ({f"{QUERY}__alpha": torch.ones(2)}, "expected one finite number"),
    "no alpha": ({f"{QUERY}__alpha": torch.tensor(float("nan"))}, "expected one finite number"),
    "diverged": ({f"{QUERY}__lora_up__weight": torch.full((32, 4), float("nan"))}, "NaN"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_merging_a_wrong_file_says_why_and_changes_nothing(tmp_path: Path, case: str) -> None:
    changes, message = MISTAKES[case]
    dit = make_dit()
    before = {key: value.clone() for key, value in dit.state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        merge_lora(dit, lora_file(tmp_path, **changes))
    assert "lora.safetensors" in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in dit.state_dict().items())


def test_loading_another_rank_names_the_flag(tmp_path: Path) -> None:
    create_network(make_dit(), 8, 1.0).save(tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match="--network_dim 8"):
        create_network(make_dit(), 4, 1.0).load(tmp_path / "lora.safetensors")


def test_loading_for_another_network_names_the_modules(tmp_path: Path) -> None:
    create_network(make_dit(num_layers=3), 4, 1.0).save(tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match=r"12 .* lora_unet_blocks_2_"):
        create_network(make_dit(), 4, 1.0).load(tmp_path / "lora.safetensors")


def test_loading_a_part_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = create_network(make_dit(), 4, 1.0)
    network.load(lora_file(tmp_path))
    assert "23" in caplog.text
    assert network.loras()["lora_unet_blocks_0_self_attn_q"].lora_up.weight.eq(1).all()
    assert network.loras()["lora_unet_blocks_0_self_attn_q"].scale == 1.0


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"rank": 0, "alpha": 1.0}, "--network_dim"),
        ({"rank": 4, "alpha": 0.0}, "--network_alpha"),
        ({"rank": 4, "alpha": 1.0, "dropout": 1.0}, "--network_dropout"),
    ],
)
def test_numbers_out_of_range_name_the_flag(settings: dict[str, float], flag: str) -> None:
    with pytest.raises(ValueError, match=flag):
        create_network(make_dit(), **settings)  # pyright: ignore[reportArgumentType]
