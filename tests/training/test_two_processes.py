"""Two processes against one with accumulation 2: the same batches, the same averaged gradients, the same weights."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from common.weights import read_tensors
from tests.training.tiny_run import RandomSet, launch, make_config, run

# gradients are sums of two float32 numbers per element, whichever process made them; only their order may differ
TOLERANCE = 1e-6


def table(folder: Path) -> list[dict[str, float]]:
    with (folder / "run_loss.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def assert_same_training(one: Path, other: Path, first: int = 0) -> None:
    rows, others = table(one)[first:], table(other)
    assert len(rows) == len(others)
    for a, b in zip(rows, others, strict=True):
        for key in ("step", "epoch", "loss", "learning_rate"):
            assert a[key] == pytest.approx(b[key], rel=TOLERANCE), (key, a, b)
        # written with six digits
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=2e-6)
    for name in ("run.safetensors", "run_camera.safetensors"):
        ours, theirs = read_tensors(one / name), read_tensors(other / name)
        for key, value in ours.items():
            assert (value - theirs[key]).norm() <= TOLERANCE * (1e-3 + theirs[key].norm()), key


def test_two_processes_are_one_with_accumulation_two(tmp_path: Path) -> None:
    """Five batches, so that in the last step of an epoch the second process has nothing to do; dropout included.

    Plain gradient descent without clipping: a weight is its start minus the sum of the averaged gradients.
    """
    two, one = tmp_path / "two", tmp_path / "one"
    shared: dict[str, Any] = {
        "optimizer_type": "SGD",
        "learning_rate": 0.5,
        "max_grad_norm": 0.0,
        "network_dropout": 0.3,
        "save_state": True,
        "save_every_n_steps": 2,
    }
    done = launch(2, two, {"clips": 5}, **shared)
    assert done.returncode == 0, done.stderr
    accumulating = make_config(one, gradient_accumulation_steps=2, **shared)
    run(accumulating, RandomSet(5))
    assert len(table(two)) == 6
    assert_same_training(one, two)
    start = read_tensors(one / "run-step00000002_camera.safetensors")["layers.0.o.weight"]
    assert not torch.equal(start, read_tensors(one / "run_camera.safetensors")["layers.0.o.weight"])

    # a state of two processes, in the middle of an epoch, goes on in one
    resumed = tmp_path / "resumed"
    state = str(two / "run-step00000002-state")
    run(dataclasses.replace(accumulating, output_dir=str(resumed), resume=state), RandomSet(5))
    assert_same_training(two, resumed, first=2)


def test_a_bad_clip_of_one_process_stops_both_and_is_named(tmp_path: Path) -> None:
    done = launch(2, tmp_path, {"clips": 4, "poisoned": 2}, max_train_epochs=1)
    assert done.returncode == 1
    assert "no longer a finite number. Items: clip2." in done.stderr
    assert not list(tmp_path.glob("*.safetensors"))


def test_ctrl_c_at_one_process_stops_both_after_the_same_step(tmp_path: Path) -> None:
    launch(2, tmp_path, {"clips": 8, "pressing": True}, save_state=True)
    assert {path.name for path in tmp_path.iterdir()} == {"run-step00000002-state", "run_loss.csv", "run_loss.png"}
