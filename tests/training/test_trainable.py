"""What is trained: the list, the flags of the tensors, the optimizer's groups and the gradients agree."""

from pathlib import Path

import pytest
import torch
from torch import nn

from networks.lora_wan import create_network
from tests.training.tiny_run import ADAPTER, RandomSet, make_adapter, make_config, make_dit
from training.objective import batch_loss, draw_camera_gain, draw_sigmas_and_noise
from training.optimizers import make_optimizer
from training.order import BatchPlace
from training.trainable import collect_trainable, describe, parameter_groups, set_trainable
from wan.config import CrossConfig, ForkConfig, PluckerConfig

ADAPTERS = {
    "v2": ADAPTER,
    "cross": CrossConfig(inner_dim=16, num_heads=2, hidden_dim=32, token_dim=16, blocks=(0, 1)),
    "plucker": PluckerConfig(hidden_dim=16),
    "v1": ForkConfig(middle_dim=8, hidden_dim=16, num_heads=2, blocks=(0, 1)),
}
WORDS = [None, ["self_attn.q"], ["head", "ffn.0"], ["all"]]


@pytest.mark.parametrize("design", list(ADAPTERS))
@pytest.mark.parametrize("parts", ["lora", "adapter", "both"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("words", WORDS)
def test_what_is_in_the_optimizer_has_a_gradient_and_nothing_else(
    tmp_path: Path, words: list[str] | None, checkpointing: bool, parts: str, design: str
) -> None:
    dit = make_dit()
    adapter = make_adapter(config=ADAPTERS[design]) if parts != "lora" else None
    network = create_network(dit, 2, 2.0) if parts != "adapter" else None
    if network is not None:
        network.apply_to(dit)
    dit.attach_adapter(adapter)
    modules = [module for module in (network, adapter) if module is not None]
    if checkpointing:
        dit.enable_gradient_checkpointing()
    with torch.no_grad():
        # away from zero, so that no gradient vanishes by the zero start
        for parameter in (parameter for module in modules for parameter in module.parameters()):
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    trainable = collect_trainable(dit, network, adapter, words)
    set_trainable((dit, network, adapter), trainable)
    optimizer = make_optimizer("AdamW", parameter_groups(trainable, 1e-3), 1e-3, None, torch.device("cpu"))
    batch = RandomSet(2, batch_size=2)[(0, 1)]
    drawn = draw_sigmas_and_noise(make_config(tmp_path), batch, BatchPlace(3, 0, 0, 1))
    batch_loss(dit, batch, *drawn, with_camera=adapter is not None).backward()

    everything = {id(p): (name, p) for module in (dit, *modules) for name, p in module.named_parameters()}
    listed = {id(item.parameter) for item in trainable}
    in_optimizer = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(in_optimizer) == sorted(listed), "each once, and no other"
    for identity, (name, parameter) in everything.items():
        assert parameter.requires_grad == (identity in listed), name
        assert (parameter.grad is not None) == (identity in listed), name
        if identity in listed:
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_parts_and_names() -> None:
    dit, adapter = make_dit(), make_adapter()
    network = create_network(dit, 2, 2.0)
    dit.attach_adapter(adapter)
    trainable = collect_trainable(dit, network, adapter, ["blocks.1.modulation"])
    assert len({item.name for item in trainable}) == len(trainable)
    assert {item.part for item in trainable} == {"lora", "adapter", "dit"}
    assert [item.name for item in trainable if item.part == "dit"] == ["dit.blocks.1.modulation"]
    assert "lora.lora_unet_blocks_0_self_attn_q.lora_down.weight" in {item.name for item in trainable}
    assert [group["part"] for group in parameter_groups(trainable, 1.0)] == ["lora", "adapter", "dit"]
    for adapters_own, rates in ((None, [0.5, 0.5, 0.5]), (0.25, [0.5, 0.25, 0.5])):
        assert [group["lr"] for group in parameter_groups(trainable, 0.5, adapters_own)] == rates
    assert describe(trainable).endswith("dit: 1 tensors, 192 parameters")


def test_all_takes_the_whole_dit_and_the_adapter_once() -> None:
    dit, adapter = make_dit(), make_adapter()
    dit.attach_adapter(adapter)
    trainable = collect_trainable(dit, None, adapter, ["all"])
    identities = [id(item.parameter) for item in trainable]
    assert sorted(identities) == sorted(id(p) for p in dit.parameters())
    assert {item.name for item in trainable if item.part == "dit"} == {
        f"dit.{k}" for k, _ in make_dit().named_parameters()
    }


def test_a_word_that_fits_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"--trainable_modules 'myadapter'.*patch_embedding"):
        collect_trainable(make_dit(), None, None, ["head", "myadapter"])


def test_nothing_to_train_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        collect_trainable(make_dit(), None, None, None)


def test_training_weights_below_float32_warns(caplog: pytest.LogCaptureFixture) -> None:
    dit: nn.Module = make_dit().bfloat16()
    collect_trainable(dit, None, None, ["head"])
    assert "rounding" in caplog.text


def test_cameras_are_dropped_clip_by_clip_as_often_as_told_and_the_same_again() -> None:
    drawn = torch.stack([gain for seed in range(400) if (gain := draw_camera_gain(0.25, 5, seed)) is not None])
    assert drawn.shape == (400, 5) and set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean().item() == pytest.approx(0.75, abs=0.03)
    assert not torch.equal(drawn[:, 0], drawn[:, 1]), "each clip by itself"
    again = draw_camera_gain(0.25, 5, 7)
    assert again is not None and torch.equal(again, drawn[7])
    assert draw_camera_gain(0.0, 5, 7) is None
    everyone = draw_camera_gain(1.0, 5, 7)
    assert everyone is not None and not everyone.any()


def test_a_dropped_camera_leaves_the_loss_of_the_base_and_no_gradient(tmp_path: Path) -> None:
    dit, adapter = make_dit(), make_adapter()
    with torch.no_grad():
        for layer in adapter.output_layers():
            layer.weight.add_(0.1)
    dit.attach_adapter(adapter)
    batch = RandomSet(2, batch_size=2)[(0, 1)]
    drawn = draw_sigmas_and_noise(make_config(tmp_path), batch, BatchPlace(3, 0, 0, 1))
    base = batch_loss(dit, batch, *drawn, with_camera=False)
    loss = batch_loss(dit, batch, *drawn, with_camera=True, camera_gain=torch.zeros(2))
    assert torch.equal(loss, base) and not torch.equal(loss, batch_loss(dit, batch, *drawn, with_camera=True))
    loss.backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in adapter.parameters())
