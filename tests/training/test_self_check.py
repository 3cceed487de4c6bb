"""What is said when nothing is learnt: a case of each, and silence where something is."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from tests.training.tiny_run import RandomSet, make_config, make_networks
from training.loop import train
from training.self_check import EVERY_STEPS, FIRST_STEPS, SelfCheck


def parts() -> dict[str, list[Tensor]]:
    return {"lora": [torch.zeros(4), torch.ones(3)], "adapter": [torch.zeros(2)]}


def watch(
    steps: int, gradient: float = 1.0, rate: float = 1e-4, moving: tuple[str, ...] = ("lora", "adapter")
) -> list[str]:
    watched, said = parts(), []
    check = SelfCheck(watched, 0)
    for step in range(1, steps + 1):
        for part in moving:
            watched[part][0] += 1e-4
        said += check.observe(step, gradient, rate)
    return said


def test_quiet_where_everything_moves() -> None:
    assert watch(3 * EVERY_STEPS) == []


@pytest.mark.parametrize(("still", "name"), [("lora", "the LoRA"), ("adapter", "the camera adapter")])
def test_a_part_that_stays_is_named(still: str, name: str) -> None:
    said = watch(FIRST_STEPS + EVERY_STEPS, moving=tuple({"lora", "adapter"} - {still}))
    assert len(said) == 2, "after the first steps, and once every so many"
    assert f"step {FIRST_STEPS}: {name} has not moved since step 0" in said[0]
    assert f"since step {FIRST_STEPS}" in said[1]


def test_a_warm_up_from_zero_is_no_fault() -> None:
    assert watch(FIRST_STEPS, rate=0.0, moving=()) == []


def test_zero_gradients_are_said_now_and_then() -> None:
    said = watch(2 * EVERY_STEPS, gradient=0.0, moving=())
    assert [int(line.split(":")[0].split()[1]) for line in said] == [1, FIRST_STEPS, EVERY_STEPS, 2 * EVERY_STEPS]
    assert all("every gradient is zero" in line for line in said)


def said_in_training(tmp_path: Path, caplog: pytest.LogCaptureFixture, zero_head: bool = False, **changes: Any) -> str:
    config = make_config(tmp_path, max_train_epochs=None, max_train_steps=FIRST_STEPS + 1, **changes)
    dit, network, adapter = make_networks(config)
    if zero_head:
        torch.nn.init.zeros_(dit.head.head.weight)
    caplog.clear()
    train(config, Accelerator(), dit, network, adapter, RandomSet(3))
    return "".join(record.message for record in caplog.records if record.levelname == "WARNING")


def test_in_real_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert said_in_training(tmp_path, caplog) == ""
    assert "every gradient is zero" in said_in_training(tmp_path, caplog, zero_head=True)
    never = said_in_training(tmp_path, caplog, camera_dropout=1.0)
    assert "the camera adapter has not moved" in never and "--camera_dropout" in never and "the LoRA" not in never


def test_a_feeble_alpha_is_named_when_the_network_is_built(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = dataclasses.replace(make_config(tmp_path), network_dim=64, network_alpha=1.0)
    make_networks(config)
    assert "--network_alpha 1 with --network_dim 64" in caplog.text
