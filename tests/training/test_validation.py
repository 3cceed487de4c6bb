"""Held-out clips: the same numbers whenever the model is the same, and no trace in the training."""

import csv
import dataclasses
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from tests.training.tiny_run import RandomSet, launch, make_config, make_networks
from training.config import TrainingConfig
from training.loop import train
from training.validation import ValidationResult, validate

HELD_OUT = 4


def table(folder: Path) -> list[dict[str, float]]:
    with (folder / "run_validation.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def train_with(config: TrainingConfig, held_out: RandomSet | None) -> None:
    dit, network, adapter = make_networks(config)
    train(config, Accelerator(), dit, network, adapter, RandomSet(3), held_out=held_out)


def measure(config: TrainingConfig, held_out: RandomSet, seed: int = 0) -> ValidationResult:
    dit, network, adapter = make_networks(config, seed)
    network.apply_to(dit)
    dit.attach_adapter(adapter)
    dit.train()
    found = validate(config, Accelerator(), dit, network, True, held_out)
    assert dit.training and network.training
    return found


def test_it_is_repeatable_and_a_mean_over_clips(tmp_path: Path) -> None:
    """Dropout is off, so two tries agree; and batches of one and of two clips have the same clips in them."""
    config = make_config(tmp_path, network_dropout=0.5, validation_sigmas=[0.8, 0.2, 0.2])
    one = measure(config, RandomSet(HELD_OUT))
    assert one == measure(config, RandomSet(HELD_OUT))
    assert [sigma for sigma, _ in one.by_sigma] == [0.2, 0.8]
    assert one.loss == pytest.approx((one.by_sigma[0][1] + one.by_sigma[1][1]) / 2)
    assert one != measure(config, RandomSet(HELD_OUT), seed=1)
    fewer = measure(dataclasses.replace(config, max_validation_steps=1), RandomSet(HELD_OUT))
    assert fewer != one


def test_a_model_of_zeros_has_the_loss_that_it_must_have(tmp_path: Path) -> None:
    """Without a velocity the error is |noise - latent|^2: 2 for standard normal latents, at every noise level."""
    config = make_config(tmp_path)
    dit, network, adapter = make_networks(config)
    torch.nn.init.zeros_(dit.head.head.weight)
    torch.nn.init.zeros_(dit.head.head.bias)
    network.apply_to(dit)
    dit.attach_adapter(adapter)
    found = validate(config, Accelerator(), dit, network, True, RandomSet(16))
    assert all(loss == pytest.approx(2.0, abs=0.1) for _, loss in found.by_sigma)
    assert len({loss for _, loss in found.by_sigma}) == 1, "the same noise at every level"


def test_training_does_not_notice_it(tmp_path: Path) -> None:
    config = make_config(tmp_path / "with", network_dropout=0.3, validate_every_n_steps=2)
    train_with(config, RandomSet(HELD_OUT))
    train_with(dataclasses.replace(config, output_dir=str(tmp_path / "without")), None)
    rows = [[line.split(",")[:3] for line in (tmp_path / kind / "run_loss.csv").read_text().splitlines()]
            for kind in ("with", "without")]  # fmt: skip
    assert rows[0] == rows[1]
    assert [row["step"] for row in table(tmp_path / "with")] == [0, 2, 4, 6]
    assert not (tmp_path / "without" / "run_validation.csv").exists()
    # the picture has a second panel
    assert (tmp_path / "with" / "run_loss.png").stat().st_size > (tmp_path / "without" / "run_loss.png").stat().st_size


def test_once_an_epoch_unless_said_otherwise_and_falling(tmp_path: Path) -> None:
    """Trained and validated on the same clips, the loss falls."""
    train_with(make_config(tmp_path, max_train_epochs=20), RandomSet(3))
    rows = table(tmp_path)
    assert [row["epoch"] for row in rows] == list(range(21))
    assert rows[-1]["loss"] < 0.95 * rows[0]["loss"]
    assert set(rows[0]) == {"step", "epoch", "loss", *(f"sigma_{s}" for s in (0.1, 0.3, 0.5, 0.7, 0.9))}


def test_a_resumed_run_validates_as_the_whole_one(tmp_path: Path) -> None:
    config = make_config(tmp_path / "a", save_state=True, save_every_n_steps=2, validate_every_n_steps=1)
    train_with(config, RandomSet(HELD_OUT))
    before = table(tmp_path / "a")
    train_with(dataclasses.replace(config, resume=str(tmp_path / "a" / "run-step00000002-state")), RandomSet(HELD_OUT))
    assert table(tmp_path / "a") == before and len(before) == 7


def test_two_processes_share_the_clips(tmp_path: Path) -> None:
    done = launch(2, tmp_path / "two", {"clips": 3}, {"clips": 5}, max_train_epochs=1, learning_rate=1e-30)
    assert done.returncode == 0, done.stderr
    config = make_config(tmp_path / "one", max_train_epochs=1, learning_rate=1e-30)
    train_with(config, RandomSet(5))
    for one, two in zip(table(tmp_path / "one"), table(tmp_path / "two"), strict=True):
        for key in set(one) - {"step"}:
            assert one[key] == pytest.approx(two[key], rel=1e-5), key


def test_nothing_to_validate_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no held-out clips"):
        train_with(make_config(tmp_path), RandomSet(0))
