"""What trackers and files are told of a run."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from common.weights import read_metadata, read_tensors
from tests.training.tiny_run import RandomSet, make_config, make_networks, run
from training.config import TrainingConfig
from training.loop import train
from training.metadata import modelspec
from training.trackers import start_trackers, told_config, tracker_names


class FakeWandb(types.ModuleType):
    """The part of wandb that accelerate and we call, in memory."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.keys: list[str] = []
        self.started: list[dict[str, Any]] = []

    def login(self, key: str) -> None:
        self.keys.append(key)


class Recorder:
    """An accelerator that remembers what it was asked to start."""

    is_main_process = True

    def __init__(self) -> None:
        self.asked: tuple[Any, ...] = ()

    def init_trackers(self, project: str, config: Any, init_kwargs: Any) -> None:
        self.asked = (project, config, init_kwargs)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    return fake


def test_wandb_is_set_up_as_the_flags_say(tmp_path: Path, wandb: FakeWandb) -> None:
    recorder = Recorder()
    config = TrainingConfig(log_with="wandb", wandb_api_key="secret", wandb_run_name="one", log_tracker_name="mine")
    assert tracker_names(config) == ["wandb"]
    start_trackers(config, recorder)  # pyright: ignore[reportArgumentType]
    assert wandb.keys == ["secret"] and recorder.asked == ("mine", None, {"wandb": {"name": "one"}})
    (tmp_path / "t.toml").write_text("[wandb]\ngroup = 'g'\n")
    config = TrainingConfig(log_with="wandb", wandb_run_name="one", log_tracker_config=str(tmp_path / "t.toml"))
    start_trackers(config, recorder)  # pyright: ignore[reportArgumentType]
    assert recorder.asked == ("network_train", None, {"wandb": {"group": "g"}})
    (tmp_path / "t.toml").write_text("group = ")
    with pytest.raises(ValueError, match=r"--log_tracker_config .*t\.toml: no TOML"):
        start_trackers(config, recorder)  # pyright: ignore[reportArgumentType]


def test_neither_keys_nor_places_are_told() -> None:
    config = TrainingConfig(
        wandb_api_key="secret", output_dir="/home/me", resume="/home/me/s", camera_adapter="/home/me/w", seed=3
    )
    told = told_config(config)
    assert told["seed"] == 3 and told["learning_rate"] == 2e-6 and told["gradient_checkpointing"] is False
    assert not any("secret" in str(value) or "/home/me" in str(value) for value in told.values())


def test_tensorboard_gets_validation_and_flags(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from training.setup import make_accelerator

    logs = tmp_path / "logs"
    config = make_config(tmp_path, logging_dir=str(logs), log_prefix="my-", log_config=True, max_train_epochs=1)
    dit, network, adapter = make_networks(config)
    train(config, make_accelerator(config), dit, network, adapter, RandomSet(2), held_out=RandomSet(2))
    (folder,) = logs.iterdir()
    assert folder.name.startswith("my-")
    events = EventAccumulator(str(folder / "network_train")).Reload()
    assert set(events.Tags()["scalars"]) >= {"loss", "lr", "memory_gb", "validation/loss", "validation/sigma_0.5"}
    assert [event.step for event in events.Scalars("validation/loss")] == [0, 2]
    assert all(event.value > 0 for event in events.Scalars("memory_gb"))


def test_metadata_flags(tmp_path: Path) -> None:
    config = make_config(
        tmp_path, metadata_title="T", metadata_author="A", metadata_tags="x,y", metadata_reso="832,480",
        metadata_arch="wan2.1/camera", max_train_epochs=1, no_metadata=True,
    )  # fmt: skip
    run(config, RandomSet(1))
    metadata = read_metadata(tmp_path / "run.safetensors")
    assert {key: metadata[f"modelspec.{key}"] for key in ("title", "author", "tags", "resolution", "architecture")} == {
        "title": "T", "author": "A", "tags": "x,y", "resolution": "832x480", "architecture": "wan2.1/camera",
    }  # fmt: skip
    assert "ss_seed" not in metadata and metadata["ss_network_dim"] == "4"
    assert modelspec(TrainingConfig(metadata_reso="512"))["modelspec.resolution"] == "512x512"
    with pytest.raises(ValueError, match="--metadata_reso"):
        TrainingConfig(metadata_reso="832x480")


def test_compiled_blocks_train_the_same(tmp_path: Path) -> None:
    """With a compiler that only traces; names of weights stay what they are."""
    plain = make_config(tmp_path / "plain", max_train_epochs=1)
    run(plain, RandomSet(2))
    compiled = make_config(tmp_path / "compiled", max_train_epochs=1, compile=True, compile_backend="eager")
    dit, network, adapter = make_networks(compiled)
    train(compiled, Accelerator(), dit, network, adapter, RandomSet(2))
    for name in ("run.safetensors", "run_camera.safetensors"):
        one, other = read_tensors(tmp_path / "plain" / name), read_tensors(tmp_path / "compiled" / name)
        assert one.keys() == other.keys()
        assert all((one[key] - other[key]).abs().max() < 1e-5 for key in one)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"xformers": True}, "--xformers has no effect: attention runs through PyTorch's kernels"),
        ({"guidance_scale": 3.0}, "--guidance_scale has no effect"),
        ({"save_last_n_steps": 3}, "--save_last_n_steps is not used: there is no --save_every_n_steps"),
        ({"discrete_flow_shift": 3.0}, "--discrete_flow_shift is used only by --timestep_sampling shift, not by sigma"),
        ({"weighting_scheme": "mode", "timestep_sampling": "shift"}, "--weighting_scheme mode"),
        ({"validate_every_n_steps": 3}, "--validate_every_n_steps is not used"),
        ({"wandb_run_name": "x"}, "--wandb_run_name is not used"),
        ({"sample_prompts": "p.txt"}, "--sample_prompts is not used"),
    ],
)
def test_flags_without_effect_are_named(flags: dict[str, Any], said: str) -> None:
    (sentence,) = TrainingConfig(**flags).unused_flags()
    assert said in sentence


def test_a_usual_run_has_nothing_to_say() -> None:
    assert TrainingConfig().unused_flags() == []
