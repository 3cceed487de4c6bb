"""Old checkpoints go, new ones stay; what killed runs left is put right; what does not fit a resumed run is named."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_records import stateful
from tests.training.tiny_run import RandomSet, make_config, run
from training.config import TrainingConfig
from training.keeping import clean_up, prune, state_folders
from training.order import Layout
from training.resume import compare_settings, newest_state, settings_of, with_resume
from training.state import Counters, save_state


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def fill(folder: Path, *numbers: int, pattern: str) -> None:
    for number in numbers:
        stem = pattern.format(number)
        for end in ("", "_camera", "_dit"):
            (folder / f"{stem}{end}.safetensors").touch()
        (folder / f"{stem}-state").mkdir()


def test_epochs_are_counted_in_checkpoints(tmp_path: Path) -> None:
    fill(tmp_path, 2, 4, 6, 8, pattern="run-{:06d}")
    fill(tmp_path, 2, pattern="run-step{:08d}")
    fill(tmp_path, 2, pattern="run-longer-{:06d}")
    config = make_config(tmp_path, save_every_n_epochs=2, save_last_n_epochs=2, save_last_n_epochs_state=1)
    prune(config, "epoch", 8)
    kept = {f"run-{n:06d}{end}.safetensors" for n in (6, 8) for end in ("", "_camera", "_dit")} | {"run-000008-state"}
    assert {name for name in names(tmp_path) if name.startswith("run-00")} == kept
    assert sum(name.startswith("run-step") for name in names(tmp_path)) == 4
    assert sum(name.startswith("run-longer") for name in names(tmp_path)) == 4


def test_steps_are_counted_in_steps_and_states_follow_their_files(tmp_path: Path) -> None:
    fill(tmp_path, 100, 200, 300, 400, pattern="run-step{:08d}")
    prune(make_config(tmp_path, save_every_n_steps=100, save_last_n_steps=150), "step", 400)
    assert names(tmp_path) == {
        f"run-step{n:08d}{end}"
        for n in (300, 400)
        for end in (".safetensors", "_camera.safetensors", "_dit.safetensors", "-state")
    }


def test_nothing_goes_unasked(tmp_path: Path) -> None:
    fill(tmp_path, 1, 2, 3, pattern="run-{:06d}")
    before = names(tmp_path)
    prune(make_config(tmp_path, save_every_n_epochs=1), "epoch", 3)
    assert names(tmp_path) == before


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_remains_of_killed_runs_are_put_right(tmp_path: Path) -> None:
    dead, alive = dead_process(), os.getppid()
    for name in (
        f".run-000001-state.new-{dead}",
        f".run-000002-state.old-{dead}",
        f".run-000003-state.old-{dead}",
        "run-000003-state",
        f".run-000004-state.new-{os.getpid()}",
        f".run-000005-state.new-{alive}",
        f".other-000001-state.new-{dead}",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    clean_up(tmp_path, "run")
    assert names(tmp_path) == {
        "run-000002-state", "run-000003-state", f".run-000005-state.new-{alive}", f".other-000001-state.new-{dead}",
    }  # fmt: skip
    assert (tmp_path / "run-000003-state" / "run-000003-state").exists(), "the new one had taken its place"
    assert clean_up(tmp_path / "nowhere", "run") == []


def test_states_of_this_run_alone_are_found(tmp_path: Path) -> None:
    for name in (
        "run-state",
        "run-000001-state",
        "run-step00000007-state",
        "run-b-000001-state",
        ".run-state",
        "run-1-state",
    ):
        (tmp_path / name).mkdir()
    assert {path.name for path in state_folders(tmp_path, "run")} == {
        "run-state", "run-000001-state", "run-step00000007-state",
    }  # fmt: skip


def test_latest_is_the_state_with_the_most_steps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = make_config(tmp_path, resume="latest")
    assert newest_state(config) is None and with_resume(config).resume is None
    for name, step in (("run-000001-state", 5), ("run-step00000012-state", 12), ("run-000002-state", 10)):
        save_state(tmp_path / name, stateful(0), Counters(seed=1, batches=5, step=step, epoch=step // 5))
    (tmp_path / "run-step00000099-state").mkdir()
    assert with_resume(config).resume == str(tmp_path / "run-step00000012-state")
    assert "run-step00000099-state is passed over" in caplog.text
    named = dataclasses.replace(config, resume="somewhere")
    assert with_resume(named) is named


def saved(folder: Path, **changes: Any) -> TrainingConfig:
    config = make_config(folder, gradient_accumulation_steps=2, lr_scheduler="cosine", **changes)
    save_state(folder / "s", stateful(0), Counters(seed=1, batches=5), settings_of(config, Layout(2, 2)))
    return config


@pytest.mark.parametrize("changes", [{"network_alpha": 1.0}, {"optimizer_type": "SGD"}, {"network_module": None}])
def test_what_a_resumed_run_cannot_have_is_refused_by_name(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = saved(tmp_path)
    (flag,) = changes
    with pytest.raises(ValueError, match=f"that run had --{flag} {getattr(config, flag)}, and --{flag}"):
        compare_settings(tmp_path / "s", dataclasses.replace(config, **changes), Layout(2, 2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lr_scheduler": "linear"}, "--lr_scheduler is linear, and was cosine"),
        ({"min_timestep": 3}, "--min_timestep is 3, and was (not given)"),
        ({"optimizer_args": ["weight_decay=0"]}, "--optimizer_args"),
    ],
)
def test_what_makes_it_another_run_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], said: str
) -> None:
    config = saved(tmp_path)
    compare_settings(tmp_path / "s", dataclasses.replace(config, **changes), Layout(2, 2))
    assert said in caplog.text and caplog.text.count("WARNING") == 1


def test_only_the_product_of_ranks_and_accumulation_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = dataclasses.replace(saved(tmp_path, optimizer_type="AdamW"), optimizer_type="adamw")
    for layout in (Layout(2, 2), Layout(1, 4), Layout(4, 1)):
        compare_settings(tmp_path / "s", config, layout)
    assert not caplog.text
    compare_settings(tmp_path / "s", config, Layout(1, 2))
    assert (
        "1 process(es) with --gradient_accumulation_steps 2 take 2 batches a step, and the resumed run took 4"
        in caplog.text
    )


def test_states_without_settings_still_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_state(tmp_path / "s", stateful(0), Counters(seed=1, batches=5))
    compare_settings(tmp_path / "s", make_config(tmp_path), Layout(1, 1))
    assert not caplog.text


def test_another_alpha_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    config = make_config(tmp_path, save_state_on_train_end=True, max_train_epochs=1)
    run(config, RandomSet(2))
    resumed = dataclasses.replace(config, resume=str(tmp_path / "run-state"), network_alpha=2.0, max_train_epochs=2)
    with pytest.raises(ValueError, match=r"--network_alpha 4\.0"):
        run(resumed, RandomSet(2))
