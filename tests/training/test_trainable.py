"""What is trained: the list, the flags of the tensors, the optimizer's groups and the gradients agree."""

from pathlib import Path

import pytest
import torch
from torch import nn

from networks.lora_wan import create_network
from tests.training.tiny_run import RandomSet, make_adapter, make_config, make_dit
from training.objective import batch_loss, draw_sigmas_and_noise
from training.optimizers import make_optimizer
from training.trainable import collect_trainable, describe, parameter_groups, set_trainable

WORDS = [None, ["self_attn.q"], ["head", "ffn.0"], ["all"]]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("words", WORDS)
def test_what_is_in_the_optimizer_has_a_gradient_and_nothing_else(
    tmp_path: Path, words: list[str] | None, checkpointing: bool
) -> None:
    dit, adapter = make_dit(), make_adapter()
    network = create_network(dit, 2, 2.0)
    network.apply_to(dit)
    dit.attach_adapter(adapter)
    if checkpointing:
        dit.enable_gradient_checkpointing()
    with torch.no_grad():
        # away from zero, so that no gradient vanishes by the zero start
        for parameter in [*network.parameters(), *adapter.parameters()]:
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    trainable = collect_trainable(dit, network, adapter, words)
    set_trainable((dit, network, adapter), trainable)
    optimizer = make_optimizer("AdamW", parameter_groups(trainable, 1e-3), 1e-3, None, torch.device("cpu"))
    batch = RandomSet(2, batch_size=2)[(0, 1)]
    batch_loss(dit, batch, *draw_sigmas_and_noise(make_config(tmp_path), batch, 3), with_camera=True).backward()

    everything = {id(p): name for module in (dit, network) for name, p in module.named_parameters()}
    listed = {id(item.parameter) for item in trainable}
    in_optimizer = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(in_optimizer) == sorted(listed), "each once, and no other"
    for identity, name in everything.items():
        parameter = next(p for module in (dit, network) for p in module.parameters() if id(p) == identity)
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
