"""The table of losses, state folders, and the wait of Ctrl-C for the end of a step."""

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from training.gradients import average_gradients, clip_gradients
from training.interrupt import stop_on_signal
from training.records import LossTable
from training.state import Counters, Stateful, load_state, read_counters, save_state
from training.trainable import Trainable


def test_table_keeps_full_precision_and_forgets_what_is_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "x_loss.csv"
    table = LossTable(path, 0)
    for step in range(1, 6):
        table.add(step, 0, step / 3, 1e-4, 0.5, 1.0)
    with path.open("a") as file:
        file.write("6,0,0.12")
    lines = path.read_text().splitlines()
    assert lines[0] == "step,epoch,loss,learning_rate,gradient_norm,seconds"
    assert float(lines[1].split(",")[2]) == 1 / 3
    LossTable(path, 3).add(4, 0, 9.0, 1e-4, 0.5, 1.0)
    assert [line.split(",")[0] for line in path.read_text().splitlines()[1:]] == ["1", "2", "3", "4"]
    LossTable(path, 0)
    assert len(path.read_text().splitlines()) == 1


def test_table_draws_itself(tmp_path: Path) -> None:
    table = LossTable(tmp_path / "x_loss.csv", 0)
    for step in range(1, 60):
        table.add(step, 0, 1 / step, 1e-4, 0.5, 1.0)
    table.draw(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def stateful(seed: int) -> Stateful:
    torch.manual_seed(seed)
    dit = nn.Linear(3, 2)
    trainable = [Trainable("dit", key, parameter) for key, parameter in dit.named_parameters()]
    optimizer = torch.optim.AdamW(dit.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    dit(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
    return Stateful(dit, None, None, trainable, optimizer, scheduler, None)


def test_state_round_trip_keeps_identities(tmp_path: Path) -> None:
    one, other = stateful(0), stateful(1)
    save_state(tmp_path / "s-state", one, Counters(seed=3, batches=8, step=5, epoch=1, position=2))
    assert read_counters(tmp_path / "s-state") == Counters(seed=3, batches=8, step=5, epoch=1, position=2)
    parameters = list(other.dit.parameters())
    load_state(tmp_path / "s-state", other)
    assert all(a is b for a, b in zip(parameters, other.dit.parameters(), strict=True))
    for a, b in zip(one.dit.parameters(), other.dit.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(one.optimizer.state[a]["exp_avg"], other.optimizer.state[b]["exp_avg"])
    assert other.scheduler.get_last_lr() == one.scheduler.get_last_lr()


def test_a_state_that_fails_leaves_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stateful(0)
    save_state(tmp_path / "s-state", run, Counters(seed=3, batches=8, step=5))

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space"):
            save_state(tmp_path / "s-state", run, Counters(seed=3, batches=8, step=6))
    assert [path.name for path in tmp_path.iterdir()] == ["s-state"]
    assert read_counters(tmp_path / "s-state").step == 5
    save_state(tmp_path / "s-state", run, Counters(seed=3, batches=8, step=7))
    assert [path.name for path in tmp_path.iterdir()] == ["s-state"]
    assert read_counters(tmp_path / "s-state").step == 7


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    run = stateful(0)
    save_state(tmp_path / "s", run, Counters(seed=3, batches=8))
    for content in (b"nonsense", b"hello", b""):
        (tmp_path / "s" / "optimizer.bin").write_bytes(content)
        with pytest.raises(ValueError, match=r"optimizer\.bin"):
            load_state(tmp_path / "s", run)
    (tmp_path / "s" / "optimizer.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"optimizer\.bin"):
        load_state(tmp_path / "s", run)
    (tmp_path / "s" / "training_state.json").write_text("{}")
    with pytest.raises(ValueError, match=r"training_state\.json"):
        read_counters(tmp_path / "s")


@pytest.mark.parametrize(
    ("edited", "told"),
    [
        ({"epoch": -1}, "epoch is -1"),
        ({"step": 5.5}, r"step is 5\.5"),
        ({"step": "5"}, "step is '5'"),
        ({"seed": True}, "seed is True"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"position": 8}, "position 8 of an epoch of 8 batches"),
        ({"batches": 0, "position": 1}, "position 1 of an epoch of 0 batches"),
        ({"epoch": 5}, "5 steps in 5 epochs and 2 batches"),
        ({"format": "2"}, "another format"),
    ],
)
def test_counters_that_no_run_has_counted_are_refused(tmp_path: Path, edited: dict[str, object], told: str) -> None:
    save_state(tmp_path / "s", stateful(0), Counters(seed=3, batches=8, step=5, epoch=1, position=2))
    file = tmp_path / "s" / "training_state.json"
    text = json.dumps({**json.loads(file.read_text()), **edited})
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"training_state\.json: .*{told}.*expected a state"):
        read_counters(tmp_path / "s")


@settings(max_examples=25)
@given(batches=st.integers(1, 9), stride=st.integers(1, 4), steps=st.integers(0, 30))
def test_counters_of_any_run_are_taken(batches: int, stride: int, steps: int) -> None:
    counters = Counters(seed=0, batches=batches)
    for _ in range(steps):
        counters.advance(min(stride, batches - counters.position))
    with TemporaryDirectory() as folder:
        Path(folder, "training_state.json").write_text(json.dumps({"format": "1", **asdict(counters)}))
        assert read_counters(folder) == counters


def test_counters_roll_over() -> None:
    counters = Counters(seed=0, batches=5)
    assert [counters.advance(taken) for taken in (2, 2, 1)] == [False, False, True]
    assert (counters.step, counters.epoch, counters.position) == (3, 1, 0)


def test_parameters_without_a_part_in_the_loss_count_as_zero() -> None:
    from accelerate import Accelerator

    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    for _ in range(4):
        (used * torch.tensor([1.0, 3.0])).sum().backward()
    average_gradients([used, unused], Accelerator(cpu=True), 4)
    assert used.grad is not None and used.grad.tolist() == [1.0, 3.0]
    assert unused.grad is not None and not unused.grad.any()
    assert clip_gradients([used, unused], 0.0).item() == pytest.approx(10**0.5)
    assert used.grad.tolist() == [1.0, 3.0]
    clip_gradients([used, unused], 1.0)
    assert used.grad.norm().item() == pytest.approx(1.0, rel=1e-4)


def test_signals_wait_and_handlers_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    clock = [100.0]
    monkeypatch.setattr("training.interrupt.time.monotonic", lambda: clock[0])
    with stop_on_signal() as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        # a launcher that passes the same key press on
        os.kill(os.getpid(), signal.SIGINT)
        clock[0] += 10
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
