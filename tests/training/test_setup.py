"""What the script builds before it trains."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from common.weights import read_tensors
from networks.lora_wan import create_network
from tests.training.tiny_run import RandomSet, make_adapter, make_config, make_dit, run
from training.loop import train
from training.setup import autocast_dtype, build_network, make_accelerator


@pytest.fixture
def fresh_state() -> Iterator[None]:
    """Accelerate keeps one precision per process; this test wants another."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def test_network_by_module_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert build_network(make_config(tmp_path, network_module=None), make_dit()) is None
    network = build_network(make_config(tmp_path, network_dim=8, network_alpha=8.0), make_dit())
    assert network is not None and network.rank == 8
    assert not caplog.text
    build_network(make_config(tmp_path, network_dim=64, network_alpha=1.0), make_dit())
    assert "--network_alpha" in caplog.text


@pytest.mark.parametrize("module", ["networks.nothing", "networks.lora_files", "json", "./networks"])
def test_wrong_module_is_a_mistake(tmp_path: Path, module: str) -> None:
    with pytest.raises(ValueError, match="--network_module"):
        build_network(make_config(tmp_path, network_module=module), make_dit())


def test_network_weights_are_the_start(tmp_path: Path) -> None:
    first = create_network(make_dit(), 4, 4.0)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.fill_(0.5)
    first.save(tmp_path / "first.safetensors")
    network = build_network(make_config(tmp_path, network_weights=str(tmp_path / "first.safetensors")), make_dit())
    assert network is not None
    assert all(parameter.eq(0.5).all() for parameter in network.parameters())


def test_building_does_not_touch_the_global_generator(tmp_path: Path) -> None:
    dit, before = make_dit(), torch.get_rng_state()
    build_network(make_config(tmp_path), dit)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("changes", "flag"),
    [({"logging_dir": "logs"}, "--logging_dir"), ({"log_with": "wandb"}, "--log_with wandb")],
)
def test_a_tracker_that_is_not_installed_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], flag: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"{flag}.*pip install"):
        make_accelerator(make_config(tmp_path, **changes))


@pytest.mark.usefixtures("fresh_state")
def test_bf16_trains_float32_weights_close_to_float32(tmp_path: Path) -> None:
    """A bf16 DiT under autocast: LoRA and adapter stay float32, and the loss is that of float32 to bf16's precision."""
    run(make_config(tmp_path / "fp32", mixed_precision="no"), RandomSet(3))
    AcceleratorState._reset_state(True)
    config = make_config(tmp_path / "bf16", mixed_precision="bf16", gradient_checkpointing=True)
    accelerator = make_accelerator(config)
    dtype = autocast_dtype(accelerator)
    assert dtype == torch.bfloat16
    dit = make_dit().to(dtype)
    network = build_network(dataclasses.replace(config, seed=0), dit)
    train(config, accelerator, dit, network, make_adapter(), RandomSet(3))
    for name in ("run.safetensors", "run_camera.safetensors"):
        stored = read_tensors(tmp_path / "bf16" / name)
        assert all(value.dtype == torch.float32 for value in stored.values())
    rows = [(tmp_path / kind / "run_loss.csv").read_text().splitlines()[1:] for kind in ("fp32", "bf16")]
    for row, other in zip(*rows, strict=True):
        assert float(row.split(",")[2]) == pytest.approx(float(other.split(",")[2]), rel=0.02)
