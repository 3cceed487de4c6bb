"""The files a run leaves: LoRA, camera adapter, and the DiT where it was trained itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.logs import get_logger
from common.precision import parse_dtype
from common.weights import write_tensors
from networks.network import Network
from training.config import TrainingConfig
from training.full_checkpoint import write_full_checkpoint
from training.metadata import RunFacts, adapter_metadata, lora_metadata
from training.trainable import DIT, Trainable
from wan.adapters.files import save_adapter
from wan.adapters.interface import CameraAdapter
from wan.model import WanModel

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
    dit: WanModel
    network: Network | None
    adapter: CameraAdapter | None
    trainable: Sequence[Trainable]
    dit_file: Path | None = None
    """Where the DiT came from, for `--save_full_checkpoint`."""

    def write(self, name: str, step: int, epoch: int, with_full: bool = False) -> list[Path]:
        """Write NAME.safetensors, NAME_camera.safetensors and NAME_dit.safetensors, those that there are.

        With `with_full`, and where `--save_full_checkpoint` asks for it, also total-EPOCH.safetensors.

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
        if with_full and self.config.save_full_checkpoint:
            lora = None if self.network is None else folder / f"{name}.safetensors"
            files.append(self._write_full(folder / f"total-{epoch}.safetensors", lora))
        log.info("saved %s", ", ".join(str(file) for file in files))
        return files

    def _write_full(self, path: Path, lora: Path | None) -> Path:
        """The DiT's own file with everything in it that this run merged and trained, but the camera adapter."""
        assert self.dit_file is not None, "the script says where the DiT came from"
        own = {item.key: item.parameter for item in self.trainable if item.part == DIT}
        if own:
            # what --base_weights added is in them already
            own = {key: value for key, value in self.dit.state_dict().items() if not key.startswith(_ADAPTER_KEYS)}
        loras = [] if own else self.config.base_loras
        write_full_checkpoint(
            path, self.dit_file, self.dit.config, [*loras, *([] if lora is None else [(lora, 1.0)])], trained=own
        )
        return path
