"""The loop as a whole: files, exact resume, independence of the layout of the work, and how it ends badly."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from common.weights import read_metadata, read_tensors
from networks.lora_wan import create_network
from tests.training.tiny_run import (
    ADAPTER,
    DIT,
    RandomSet,
    launch,
    make_adapter,
    make_config,
    make_dit,
    make_networks,
    run,
)
from training.loop import train
from training.setup import make_accelerator
from wan.adapters.files import load_adapter


def losses(folder: Path) -> list[float]:
    with (folder / "run_loss.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def assert_same_files(one: Path, other: Path, name: str) -> None:
    a, b = read_tensors(one / name), read_tensors(other / name)
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert torch.equal(value, b[key]), key


def test_leaves_the_files_it_should(tmp_path: Path) -> None:
    config = make_config(tmp_path, max_train_epochs=3, save_every_n_epochs=1, save_every_n_steps=4, save_state=True)
    summary = run(config, RandomSet(3))
    assert (summary.steps, summary.epochs) == (9, 3)
    weights = ["run", "run-000001", "run-000002", "run-step00000004", "run-step00000008"]
    files = {f"{name}{end}.safetensors" for name in weights for end in ("", "_camera")}
    states = {f"{name}-state" for name in weights}
    assert {path.name for path in tmp_path.iterdir()} == files | states | {"run_loss.csv", "run_loss.png"}
    assert summary.files == (tmp_path / "run.safetensors", tmp_path / "run_camera.safetensors")
    assert len(losses(tmp_path)) == 9
    assert {p.name for p in (tmp_path / "run-state").iterdir()} == {
        "model.safetensors",
        "optimizer.bin",
        "scheduler.bin",
        "training_state.json",
    }


def test_files_load_again_and_say_what_they_are(tmp_path: Path) -> None:
    config = make_config(tmp_path, training_comment="a test", save_precision="bf16")
    dit, network, adapter = make_networks(config)
    train(
        config, Accelerator(), dit, network, adapter, RandomSet(2), {"base_task": "i2v-tiny", "ss_num_train_items": "2"}
    )
    again = create_network(make_dit(), 4, 4.0)
    again.load(tmp_path / "run.safetensors")
    for key, value in again.state_dict().items():
        assert torch.equal(value, network.state_dict()[key].bfloat16().float())
    metadata = read_metadata(tmp_path / "run.safetensors")
    assert metadata["ss_steps"] == "4" and metadata["ss_epoch"] == "2" and metadata["ss_seed"] == "7"
    assert metadata["ss_timestep_sampling"] == "shift" and metadata["ss_discrete_flow_shift"] == "3.0"
    assert metadata["ss_training_comment"] == "a test" and metadata["ss_num_train_items"] == "2"
    assert metadata["modelspec.architecture"] == "wan2.1/lora"
    assert "ss_network_dropout" not in metadata
    loaded = load_adapter(tmp_path / "run_camera.safetensors", DIT)
    assert loaded.is_trained()
    assert read_metadata(tmp_path / "run_camera.safetensors")["base_task"] == "i2v-tiny"
    assert read_metadata(tmp_path / "run_camera.safetensors")["trained_steps"] == "4"


def test_learns(tmp_path: Path) -> None:
    run(
        make_config(tmp_path, max_train_epochs=40, lr_scheduler="constant_with_warmup", lr_warmup_steps=2), RandomSet(2)
    )
    course = losses(tmp_path)
    assert sum(course[-20:]) < 0.9 * sum(course[:20]), course


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer_type": "AdamW", "lr_scheduler": "cosine", "lr_warmup_steps": 3},
        {"optimizer_type": "sgd", "optimizer_args": ["momentum=0.9"], "network_dropout": 0.3},
        {"trainable_modules": ["head", "modulation"]},
        {"gradient_accumulation_steps": 2, "gradient_checkpointing": True, "max_data_loader_n_workers": 2},
    ],
    ids=["adamw", "sgd-dropout", "base-parameters", "accumulation-workers"],
)
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Same losses and same weights, bit for bit, from a state in the middle of an epoch."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    config = make_config(whole, max_train_epochs=3, save_every_n_steps=2, save_state=True, **changes)
    run(config, RandomSet(5))
    states = sorted(path.name for path in whole.glob("run-step*-state"))
    assert len(states) >= 2
    for state in (states[0], states[-1]):
        rest = halves / state
        resumed = dataclasses.replace(config, output_dir=str(rest), resume=str(whole / state))
        # what is not trained is not in a state: the user gives the same DiT again, and a fresh LoRA and adapter
        dit, network, adapter = make_dit(0), make_networks(config, seed=99)[1], make_adapter(99)
        train(resumed, Accelerator(), dit, network, adapter, RandomSet(5))
        assert losses(rest) == losses(whole)[int(state[len("run-step") : -len("-state")]) :]
        for name in final_files(whole):
            assert_same_files(whole, rest, name)


def final_files(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("run*.safetensors") if "step" not in path.name]


def test_resuming_at_the_end_of_an_epoch_with_a_longer_run(tmp_path: Path) -> None:
    """Ten epochs at once, and two of them resumed to ten: the schedule is stretched, the data go on."""
    config = make_config(tmp_path / "a", max_train_epochs=2, save_state_on_train_end=True)
    run(config, RandomSet(3))
    longer = dataclasses.replace(
        config, output_dir=str(tmp_path / "b"), max_train_epochs=4, resume=str(tmp_path / "a" / "run-state"), seed=None
    )
    assert run(longer, RandomSet(3)).steps == 12
    run(dataclasses.replace(config, output_dir=str(tmp_path / "c"), max_train_epochs=4), RandomSet(3))
    assert losses(tmp_path / "b") == losses(tmp_path / "c")[6:]


def test_resuming_what_is_finished_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = make_config(tmp_path, save_state=True)
    run(config, RandomSet(2))
    summary = run(dataclasses.replace(config, resume=str(tmp_path / "run-state")), RandomSet(2))
    assert summary.loss is None and summary.steps == 4
    assert "--max_train_epochs" in caplog.text
    assert len(losses(tmp_path)) == 4


def test_the_adapter_has_a_learning_rate_of_its_own_and_keeps_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At a rate that is all but zero it stays where it is, while the LoRA moves."""
    config = make_config(
        tmp_path, adapter_learning_rate=1e-12, save_state=True, max_train_steps=2, max_train_epochs=None
    )
    _, network, adapter = trained = make_networks(config)
    before = {key: value.clone() for key, value in adapter.state_dict().items()}
    train(config, Accelerator(), *trained, RandomSet(3))
    assert all(torch.allclose(value, before[key], atol=1e-9) for key, value in adapter.state_dict().items())
    assert any(parameter.abs().max() > 1e-3 for name, parameter in network.named_parameters() if "lora_up" in name)
    run(dataclasses.replace(config, resume=str(tmp_path / "run-state"), adapter_learning_rate=1.0), RandomSet(3))
    assert "the learning rate 1 of the adapter is ignored" in caplog.text and "of the lora is" not in caplog.text


def test_levels_that_teach_the_adapter_nothing_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = make_config(tmp_path, max_train_steps=1, max_train_epochs=None)
    dit, network, _ = make_networks(config)
    adapter = make_adapter(config=dataclasses.replace(ADAPTER, sigma_window=(0.5, 1.0)))
    train(config, Accelerator(), dit, network, adapter, RandomSet(1))
    assert "--min_timestep 500 --max_timestep 1000" in caplog.text
    caplog.clear()
    adapter = make_adapter(config=dataclasses.replace(ADAPTER, sigma_window=(0.5, 1.0)))
    dit, network, _ = make_networks(config)
    train(dataclasses.replace(config, min_timestep=600), Accelerator(), dit, network, adapter, RandomSet(1))
    assert "acts at noise levels" not in caplog.text


def test_resuming_takes_steps_again_without_counting_them_twice(tmp_path: Path) -> None:
    config = make_config(tmp_path, save_every_n_steps=2, save_state=True, max_train_epochs=3)
    run(config, RandomSet(2))
    before = losses(tmp_path)
    run(dataclasses.replace(config, resume=str(tmp_path / "run-step00000002-state")), RandomSet(2))
    assert losses(tmp_path) == before


def test_resume_refuses_what_does_not_fit(tmp_path: Path) -> None:
    config = make_config(tmp_path, save_every_n_steps=2, save_state=True)
    run(config, RandomSet(3))
    middle = str(tmp_path / "run-step00000002-state")
    with pytest.raises(ValueError, match=r"middle of an epoch of 3 batches"):
        run(dataclasses.replace(config, resume=middle), RandomSet(4))
    with pytest.raises(ValueError, match=r"--network_dim"):
        run(dataclasses.replace(config, resume=middle, network_dim=8), RandomSet(3))
    with pytest.raises(ValueError, match=r"dit\.head.*--trainable_modules"):
        run(dataclasses.replace(config, resume=middle, trainable_modules=["head"]), RandomSet(3))
    with pytest.raises(ValueError, match=r"--optimizer_type"):
        run(dataclasses.replace(config, resume=middle, optimizer_type="SGD"), RandomSet(3))
    with pytest.raises(FileNotFoundError, match="--resume"):
        run(dataclasses.replace(config, resume=str(tmp_path / "nowhere")), RandomSet(3))
    with pytest.raises(FileNotFoundError, match="not a training state"):
        run(dataclasses.replace(config, resume=str(tmp_path)), RandomSet(3))


def test_the_order_of_work_does_not_depend_on_its_layout(tmp_path: Path) -> None:
    """Accumulation only changes how often the weights move, never the batches, their noise or their sigma."""
    shared: dict[str, Any] = {"max_train_epochs": 1, "optimizer_type": "SGD", "learning_rate": 1e-12}
    run(make_config(tmp_path / "one", **shared), RandomSet(5))
    run(make_config(tmp_path / "two", gradient_accumulation_steps=2, **shared), RandomSet(5))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 5 and len(two) == 3
    assert two == pytest.approx([(one[0] + one[1]) / 2, (one[2] + one[3]) / 2, one[4]], rel=1e-5)


def test_every_trained_tensor_moves_and_nothing_else(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    dit, network, adapter = make_networks(config)
    before = {key: value.clone() for key, value in dit.state_dict().items()}
    loras = {key: value.clone() for key, value in network.state_dict().items()}
    train(config, Accelerator(), dit, network, adapter, RandomSet(3))
    for key, value in dit.state_dict().items():
        if not key.startswith("adapter."):
            assert torch.equal(value, before[key]), key
    fresh = make_adapter().state_dict()
    assert all(not torch.equal(value, fresh[key]) for key, value in adapter.state_dict().items())
    changed = [key for key, value in network.state_dict().items() if not torch.equal(value, loras[key])]
    assert set(changed) == {key for key in loras if not key.endswith("alpha")}


def test_adapter_at_step_0_changes_nothing() -> None:
    dit, batch = make_dit(), RandomSet(2, batch_size=2)[(0, 1)]

    def velocity(camera: Tensor | None) -> Tensor:
        return dit(
            batch["latents"].float(),
            torch.tensor([100.0, 900.0]),
            batch["t5"],
            clip_features=batch["clip"],
            image_condition=batch["latents_image"],
            camera=camera,
        )

    without = velocity(None)
    dit.attach_adapter(make_adapter())
    assert torch.equal(velocity(batch["camera"]), without)


def test_trains_without_cameras_and_without_lora(tmp_path: Path) -> None:
    config = make_config(tmp_path / "lora", max_train_epochs=1)
    dit, network, _ = make_networks(config)
    train(config, Accelerator(), dit, network, None, RandomSet(2, camera=False))
    assert {path.name for path in (tmp_path / "lora").glob("*.safetensors")} == {"run.safetensors"}
    config = make_config(tmp_path / "adapter", network_module=None, max_train_epochs=1)
    dit, network, adapter = make_networks(config)
    assert network is None
    train(config, Accelerator(), dit, None, adapter, RandomSet(2))
    assert {path.name for path in (tmp_path / "adapter").glob("*.safetensors")} == {"run_camera.safetensors"}


def test_base_parameters_are_saved_whole_in_official_names(tmp_path: Path) -> None:
    config = make_config(tmp_path, trainable_modules=["all"], network_module=None)
    run(config, RandomSet(2))
    stored, official = read_tensors(tmp_path / "run_dit.safetensors"), make_dit().state_dict()
    assert stored.keys() == official.keys()
    assert not torch.equal(stored["blocks.0.ffn.0.weight"], official["blocks.0.ffn.0.weight"])


def test_a_loss_that_is_no_number_names_the_clips_and_keeps_the_weights(tmp_path: Path) -> None:
    config = make_config(tmp_path, gradient_accumulation_steps=2, max_train_epochs=1)
    dit, network, adapter = make_networks(config)
    training_set = RandomSet(6, batch_size=2, poisoned=4)
    with pytest.raises(ValueError, match=r"step \d.*clip4") as error:
        train(config, Accelerator(), dit, network, adapter, training_set)
    guilty = next(batch for batch in training_set.batch_order(7, 0) if 4 in batch)
    innocent = {f"clip{n}" for n in range(6) if n not in guilty}
    assert not any(name in str(error.value) for name in innocent)
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no batches"):
        run(make_config(tmp_path), RandomSet(0))


def test_tensorboard_only_when_asked(tmp_path: Path) -> None:
    run(make_config(tmp_path / "quiet", max_train_epochs=1), RandomSet(1))
    assert not list(tmp_path.rglob("events.out.tfevents*"))
    config = make_config(tmp_path / "loud", logging_dir=str(tmp_path / "logs"), max_train_epochs=1)
    dit, network, adapter = make_networks(config)
    train(config, make_accelerator(config), dit, network, adapter, RandomSet(2))
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))


def test_ctrl_c_finishes_the_step_and_saves_the_state(tmp_path: Path) -> None:
    done = launch(1, tmp_path, {"clips": 3, "pressing": True}, save_state=True)
    assert done.returncode == 130, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"run-step00000002-state", "run_loss.csv", "run_loss.png"}
    config = make_config(tmp_path)
    run(dataclasses.replace(config, resume=str(tmp_path / "run-step00000002-state")), RandomSet(3))
    run(dataclasses.replace(config, output_dir=str(tmp_path / "whole")), RandomSet(3))
    assert losses(tmp_path) == losses(tmp_path / "whole")


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(make_config(tmp_path / name, max_train_epochs=1), RandomSet(2))
    for name in final_files(tmp_path / "a"):
        assert_same_files(tmp_path / "a", tmp_path / "b", name)


def test_without_a_seed_runs_differ(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(make_config(tmp_path / name, max_train_epochs=1, seed=None), RandomSet(2))
    assert losses(tmp_path / "a") != losses(tmp_path / "b")
