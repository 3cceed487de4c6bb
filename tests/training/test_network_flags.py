"""The flags of networks in training: LoRA+, ranks from a file, limits of norms, whole checkpoints."""

import json
from pathlib import Path

import pytest
import torch

from common.weights import read_metadata, read_tensors, write_tensors
from networks.lora_wan import create_network
from networks.merging import merge_lora
from networks.settings import NetworkSettings
from tests.training.tiny_run import DIT, RandomSet, make_adapter, make_config, make_dit, make_networks
from training.full_checkpoint import write_full_checkpoint
from training.loop import train
from training.setup import build_network, make_accelerator
from training.trainable import collect_trainable, parameter_groups
from wan.adapters.files import load_adapter, save_adapter
from wan.loading import load_dit


def test_lora_plus_has_a_group_of_its_own_and_every_parameter_is_in_one() -> None:
    dit, network, adapter = make_dit(), create_network(make_dit(), 2, 2.0), make_adapter()
    trainable = collect_trainable(dit, network, adapter, ["head"])
    groups = {group["part"]: group for group in parameter_groups(trainable, 0.5, 0.25, 16.0)}
    rates = {part: group["lr"] for part, group in groups.items()}
    assert rates == {"lora": 0.5, "lora+": 8.0, "adapter": 0.25, "dit": 0.5}
    ups = {id(lora.lora_up.weight) for lora in network.loras().values()}
    assert {id(p) for p in groups["lora+"]["params"]} == ups
    everything = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(everything) == sorted(id(item.parameter) for item in trainable)


def test_modules_ranks_and_alphas_from_a_file(tmp_path: Path) -> None:
    given = NetworkSettings(exclude_patterns=[r".*cross.*"], rank_pattern={"ffn.0": 6}, alpha_pattern={"ffn.0": 3.0})
    first = create_network(make_dit(), 2, 1.0, settings=given)
    first.save(tmp_path / "l.safetensors")
    config = make_config(tmp_path, network_weights=str(tmp_path / "l.safetensors"), dim_from_weights=True)
    network = build_network(config, make_dit())
    assert network is not None and network.state_dict().keys() == first.state_dict().keys()
    for key, value in network.state_dict().items():
        assert torch.equal(value, first.state_dict()[key]), key


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"dim_from_weights": True}, "--network_weights"),
        ({"base_weights_multiplier": [1.0]}, "1 --base_weights_multiplier for 0"),
        ({"scale_weight_norms": 0.0}, "--scale_weight_norms"),
        ({"network_args": ["rank=4"]}, "--network_args rank"),
    ],
)
def test_contradictions_are_named(tmp_path: Path, changes: dict[str, object], flag: str) -> None:
    with pytest.raises(ValueError, match=flag):
        make_config(tmp_path, **changes)


def test_norms_stay_below_the_limit_while_training(tmp_path: Path) -> None:
    config = make_config(tmp_path, scale_weight_norms=0.02, network_args=["loraplus_lr_ratio=4"], max_train_epochs=3)
    dit, network, adapter = make_networks(config)
    train(config, make_accelerator(config), dit, network, adapter, RandomSet(2))
    norms = [(x.lora_up.weight @ x.lora_down.weight * x.scale).norm().item() for x in network.loras().values()]
    assert max(norms) == pytest.approx(0.02, rel=1e-3)
    metadata = read_metadata(tmp_path / "run.safetensors")
    assert json.loads(metadata["ss_network_args"]) == {"loraplus_lr_ratio": "4"}


@pytest.mark.parametrize("words", [None, ["self_attn.q"]])
def test_a_whole_checkpoint_is_what_was_trained(tmp_path: Path, words: list[str] | None) -> None:
    write_tensors(tmp_path / "dit.safetensors", make_dit().state_dict())
    base = create_network(make_dit(), 2, 2.0)
    for lora in base.loras().values():
        torch.nn.init.normal_(lora.lora_up.weight)
    base.save(tmp_path / "base.safetensors")
    changes = {"trainable_modules": words, "base_weights": [str(tmp_path / "base.safetensors")]}
    config = make_config(tmp_path, save_full_checkpoint=True, max_train_epochs=2, save_every_n_epochs=1, **changes)
    dit, network, adapter = make_networks(config)
    merge_lora(dit, tmp_path / "base.safetensors")
    train(config, make_accelerator(config), dit, network, adapter, RandomSet(2), dit_file=tmp_path / "dit.safetensors")
    assert (tmp_path / "total-1.safetensors").exists()
    whole = load_dit(tmp_path / "total-2.safetensors", DIT, device="cpu", dtype=torch.float32)
    network.remove()
    dit.attach_adapter(None)
    merge_lora(dit, tmp_path / "run.safetensors")
    assert read_tensors(tmp_path / "total-2.safetensors").keys() == dit.state_dict().keys()
    for key, value in dit.state_dict().items():
        torch.testing.assert_close(whole.state_dict()[key], value, rtol=0, atol=1e-6)
    key = "blocks.0.self_attn.q.weight"
    assert (whole.state_dict()[key] - make_dit().state_dict()[key]).norm() > 0.01


def test_an_adapter_travels_along_and_the_fp8_file_is_refused(tmp_path: Path) -> None:
    tensors = {f"model.diffusion_model.{key}": value.bfloat16() for key, value in make_dit().state_dict().items()}
    write_tensors(tmp_path / "dit.safetensors", tensors, {"made_by": "a test"})
    network = create_network(make_dit(), 2, 2.0)
    torch.nn.init.normal_(network.loras()["lora_unet_blocks_0_ffn_0"].lora_up.weight)
    network.save(tmp_path / "l.safetensors")
    adapter = make_adapter()
    with torch.no_grad():
        for layer in adapter.output_layers():
            layer.weight.fill_(0.5)
    save_adapter(tmp_path / "a.safetensors", adapter, {"base_task": "i2v-tiny"})
    loras, out = [(tmp_path / "l.safetensors", 0.5)], tmp_path / "out.safetensors"
    files = (tmp_path / "dit.safetensors", DIT, loras)
    assert write_full_checkpoint(out, *files, camera_adapter=tmp_path / "a.safetensors") == 24
    dit = load_dit(out, DIT, device="cpu", dtype=torch.bfloat16)
    expected = load_dit(tmp_path / "dit.safetensors", DIT, device="cpu", dtype=torch.bfloat16)
    merge_lora(expected, tmp_path / "l.safetensors", 0.5)
    for key, value in expected.state_dict().items():
        assert torch.equal(dit.state_dict()[key], value), key
    loaded = load_adapter(out, DIT)
    for key, value in adapter.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    said = read_metadata(out)
    assert said["made_by"] == "a test" and json.loads(said["omnicam_merged"]) == [["l.safetensors", 0.5]]

    small = {key: value.to(torch.float8_e4m3fn) if value.ndim == 2 else value for key, value in tensors.items()}
    write_tensors(tmp_path / "dit.safetensors", small)
    with pytest.raises(ValueError, match="in fp8"):
        write_full_checkpoint(out, *files)
    write_full_checkpoint(out, *files, dtype=torch.bfloat16)
    assert {value.dtype for value in read_tensors(out).values()} == {torch.bfloat16}
