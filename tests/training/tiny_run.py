"""A DiT of a few thousand weights, a data set made of random numbers, and how to train one on the other."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from camera.network_input import CameraInput, camera_input, stack_inputs
from camera.poses import exp_se3
from dataset.batch import Batch
from training.config import TrainingConfig
from training.loop import Summary, train
from training.setup import build_network, make_accelerator
from wan.adapters.build import build_adapter
from wan.adapters.interface import CameraAdapter
from wan.config import WAN_CONFIGS, AdapterConfig, RelativeConfig
from wan.initialise import initialise
from wan.model import WanModel

DIT = dataclasses.replace(
    WAN_CONFIGS["i2v-tiny"].dit,
    dim=32,
    ffn_dim=48,
    num_heads=2,
    num_layers=2,
    text_dim=16,
    text_len=6,
    freq_dim=16,
    image_dim=16,
)
ADAPTER = RelativeConfig(inner_dim=20, num_heads=2, relative_dim=4, hidden_dim=16, blocks=(0, 1))


class RandomSet:
    """Clips of random numbers; as `dataset.training_set.TrainingSet` from outside."""

    def __init__(self, clips: int, batch_size: int = 1, poisoned: int | None = None, camera: bool = True) -> None:
        self.clips, self.batch_size, self.poisoned, self.camera = clips, batch_size, poisoned, camera

    def batch_order(self, seed: int, epoch: int) -> list[tuple[int, ...]]:
        numbers = list(range(self.clips))
        random.Random(f"{seed}/{epoch}").shuffle(numbers)
        return [tuple(numbers[i : i + self.batch_size]) for i in range(0, self.clips, self.batch_size)]

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        generators = [torch.Generator().manual_seed(index) for index in indices]

        def draw(*shape: int) -> torch.Tensor:
            return torch.stack([torch.randn(shape, generator=generator) for generator in generators])

        latents = draw(16, 2, 4, 4)
        for row, index in enumerate(indices):
            if index == self.poisoned:
                latents[row, 0, 0, 0, 0] = float("nan")
        texts = [torch.randn(2 + i % 3, 16, generator=g) for i, g in zip(indices, generators, strict=True)]
        return {
            "latents": latents.bfloat16(),
            "latents_image": draw(20, 2, 4, 4).bfloat16(),
            "clip": draw(5, 16).half(),
            "control": None,
            "t5": [text.bfloat16() for text in texts],
            "camera": stack_inputs([random_camera(generator) for generator in generators]) if self.camera else None,
            "item_keys": [f"clip{index}" for index in indices],
        }


def make_dit(seed: int = 0) -> WanModel:
    dit = WanModel(DIT)
    initialise(dit, seed=seed, head_std=0.1)
    return dit


def random_camera(generator: torch.Generator) -> CameraInput:
    """Of 2 latent frames of 4 x 4."""
    steps = torch.randn(5, 6, generator=generator, dtype=torch.float64) * 0.2
    return camera_input(exp_se3(steps), torch.tensor([[0.9, 1.2, 0.5, 0.5]]).double().expand(5, 4), 4, 4)


def make_adapter(seed: int = 0, config: AdapterConfig = ADAPTER) -> CameraAdapter:
    return build_adapter(config, DIT.dim, DIT.num_layers, torch.Generator().manual_seed(seed))


def make_config(folder: Path, **changes: Any) -> TrainingConfig:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "output_name": "run",
        "network_module": "networks.lora_wan",
        "network_dim": 4,
        "network_alpha": 4.0,
        "learning_rate": 1e-2,
        "seed": 7,
        "max_train_epochs": 2,
        "max_data_loader_n_workers": 0,
        "timestep_sampling": "shift",
        "discrete_flow_shift": 3.0,
    }
    return TrainingConfig(**{**settings, **changes})


def make_networks(config: TrainingConfig, seed: int = 0) -> tuple[WanModel, Any, CameraAdapter]:
    """DiT, LoRA and adapter, the same whenever they are made."""
    dit = make_dit(seed)
    return dit, build_network(dataclasses.replace(config, seed=seed), dit), make_adapter(seed)


def run(config: TrainingConfig, training_set: RandomSet, held_out: RandomSet | None = None) -> Summary:
    dit, network, adapter = make_networks(config)
    return train(config, make_accelerator(config), dit, network, adapter, training_set, held_out=held_out)


class PressingSet(RandomSet):
    """Presses Ctrl-C, on one process, while its second batch is read."""

    reads = 0

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        self.reads += 1
        if self.reads == 2 and int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__getitem__(indices)


def launch(
    processes: int,
    folder: Path,
    training_set: dict[str, Any],
    held_out: dict[str, Any] | None = None,
    **changes: Any,
) -> subprocess.CompletedProcess:
    """Train in processes of their own, as `accelerate launch` starts them on a CPU."""
    python = [sys.executable]
    if processes > 1:
        python += ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
        python += ["--num_processes", str(processes), "--main_process_port", "0"]
    here = Path(__file__).resolve()
    return subprocess.run(
        [*python, str(here), str(folder), json.dumps(training_set), json.dumps(changes), json.dumps(held_out)],
        env={**os.environ, "PYTHONPATH": str(here.parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def main() -> int:
    """What the launched processes run: FOLDER, training set, changes of the config and held-out set as JSON."""
    chosen = json.loads(sys.argv[2])
    kind = PressingSet if chosen.pop("pressing", False) else RandomSet
    try:
        held_out = json.loads(sys.argv[4])
        config = make_config(Path(sys.argv[1]), **json.loads(sys.argv[3]))
        run(config, kind(**chosen), None if held_out is None else RandomSet(**held_out))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
