"""The files a run leaves: LoRA, camera adapter, and the DiT where it was trained itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from common.logs import get_logger
from common.precision import parse_dtype
from common.weights import write_tensors
from networks.network import Network
from training.config import TrainingConfig
from training.metadata import RunFacts, adapter_metadata, lora_metadata
from training.trainable import DIT, Trainable
from wan.adapters.files import save_adapter
from wan.adapters.interface import CameraAdapter

log = get_logger("training")

_ADAPTER_KEYS = "adapter."


def epoch_name(output_name: str, epoch: int) -> str:
    """Name of the checkpoint after `epoch` epochs, as musubi-tuner writes it: NAME-000001."""
    return f"{output_name}-{epoch:06d}"


def step_name(output_name: str, step: int) -> str:
    """Name of the checkpoint after `step` optimizer steps, as musubi-tuner writes it: NAME-step00000001."""
    return f"{output_name}-step{step:08d}"


@dataclass(frozen=True)
class CheckpointWriter:
    """Knows what is to be saved, where, and what the files say about themselves."""

    config: TrainingConfig
    facts: RunFacts
    dit: nn.Module
    network: Network | None
    adapter: CameraAdapter | None
    trainable: Sequence[Trainable]

    def write(self, name: str, step: int, epoch: int) -> list[Path]:
        """Write NAME.safetensors, NAME_camera.safetensors and NAME_dit.safetensors, those that there are.

        Each file is whole or not there. The DiT is written, complete and in official names, only where parameters
        of its own were trained. An existing file of the name is replaced.
        """
        broken = [item.name for item in self.trainable if not item.parameter.isfinite().all()]
        if broken:
            raise ValueError(
                f"{len(broken)} trained tensors hold NaN or infinity ({broken[0]} first), so nothing is saved; lower "
                "--learning_rate and go on from the last checkpoint"
            )
        folder = Path(self.config.output_dir)
        dtype = parse_dtype(self.config.save_precision or "float32")
        files: list[Path] = []
        if self.network is not None:
            files.append(folder / f"{name}.safetensors")
            self.network.save(files[-1], dtype, lora_metadata(self.config, self.facts, self.network, step, epoch))
        if self.adapter is not None:
            files.append(folder / f"{name}_camera.safetensors")
            save_adapter(files[-1], self.adapter, adapter_metadata(self.facts, step, epoch), dtype)
        if any(item.part == DIT for item in self.trainable):
            files.append(folder / f"{name}_dit.safetensors")
            own = {key: value for key, value in self.dit.state_dict().items() if not key.startswith(_ADAPTER_KEYS)}
            write_tensors(files[-1], own, adapter_metadata(self.facts, step, epoch))
        log.info("saved %s", ", ".join(str(file) for file in files))
        return files
