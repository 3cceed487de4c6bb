"""State folders: everything `--resume` needs to go on as if nothing had happened.

    NAME-000001-state/
        training_state.json   counters, seed, size of the data set, and the settings of the run (training.resume)
        model.safetensors     trained tensors under PART.KEY, see training.trainable
        optimizer.bin, scheduler.bin, scaler.bin (fp16 only)   their state dicts, loadable with weights_only

No state of a random generator is kept: every random number of a run is a function of the seed and the counters
(training.order), so a run resumes exactly even with another number of processes.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.arguments import HIGHEST
from common.files import atomic_path, require_file
from common.tensor_headers import UNREADABLE, why
from common.weights import read_tensors, write_tensors
from networks.network import Network
from training.trainable import ADAPTER, DIT, LORA, Trainable
from wan.adapters.interface import CameraAdapter

FORMAT = "1"
_MODEL, _COUNTERS = "model.safetensors", "training_state.json"
_OPTIMIZER, _SCHEDULER, _SCALER = "optimizer.bin", "scheduler.bin", "scaler.bin"
_SHOWN = 5


@dataclass
class Counters:
    """Where a run stands."""

    seed: int
    """The seed of the whole run."""
    batches: int
    """Batches of an epoch, over all processes."""
    step: int = 0
    """Optimizer steps done."""
    epoch: int = 0
    """Epochs completed, and so the index of the current one."""
    position: int = 0
    """Batches of the current epoch that are done, over all processes."""

    def advance(self, taken: int) -> bool:
        """Count one optimizer step of `taken` batches; True if it was the last of its epoch."""
        self.step += 1
        self.position += taken
        if self.position < self.batches:
            return False
        self.epoch, self.position = self.epoch + 1, 0
        return True


@dataclass(frozen=True)
class Stateful:
    """The objects of a run that a state folder fills."""

    dit: nn.Module
    network: Network | None
    adapter: CameraAdapter | None
    trainable: Sequence[Trainable]
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler | None

    def tensors(self) -> dict[str, Tensor]:
        """{PART.KEY: tensor}: LoRA and adapter whole, with their buffers, and the DiT's own trained parameters."""
        parts = {LORA: self.network, ADAPTER: self.adapter}
        whole = {
            f"{part}.{key}": value
            for part, module in parts.items()
            if module is not None
            for key, value in module.state_dict().items()
        }
        return {**whole, **{item.name: item.parameter.data for item in self.trainable if item.part == DIT}}


def save_state(folder: Path, run: Stateful, counters: Counters, settings: Mapping[str, Any] | None = None) -> None:
    """Write a state folder, whole or not at all; one of the same name is replaced.

    `settings` are those of the run that change what it computes, for `training.resume` to compare with.
    """
    with _atomic_folder(folder) as temporary:
        write_tensors(temporary / _MODEL, run.tensors())
        _write(temporary / _OPTIMIZER, run.optimizer.state_dict())
        _write(temporary / _SCHEDULER, run.scheduler.state_dict())
        if run.scaler is not None:
            _write(temporary / _SCALER, run.scaler.state_dict())
        text = json.dumps({"format": FORMAT, **asdict(counters), "settings": dict(settings or {})}, indent=2)
        (temporary / _COUNTERS).write_text(text, encoding="utf-8")


def read_counters(folder: str | Path) -> Counters:
    """Where the run of a state folder stood.

    Raises:
        FileNotFoundError: there is no such folder, or it is not one of ours.
        ValueError: its counters are unreadable, of another format, or not those of any run.
    """
    file, values = _read_counters(folder)
    try:
        counters = Counters(**{field.name: values[field.name] for field in fields(Counters)})
    except KeyError as error:
        raise ValueError(f"--resume {file}: unreadable ({error}); expected a state written by this program") from None
    if mistake := _mistake(counters):
        raise ValueError(f"--resume {file}: {mistake}; expected a state as this program wrote it: resume from another")
    return counters


def read_settings(folder: str | Path) -> dict[str, Any]:
    """The settings of the run that wrote a state folder; empty for a state from before they were written.

    Raises:
        FileNotFoundError, ValueError: as `read_counters`.
    """
    file, values = _read_counters(folder)
    settings = values.get("settings", {})
    if not isinstance(settings, dict):
        raise ValueError(f"--resume {file}: unreadable (settings); expected a state written by this program")
    return settings


def _read_counters(folder: str | Path) -> tuple[Path, dict[str, Any]]:
    require_file(folder, "--resume", "Expected a folder NAME-000001-state written by --save_state.")
    file = require_file(Path(folder) / _COUNTERS, "--resume", "The folder is not a training state of this program.")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError("another format")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"--resume {file}: unreadable ({error}); expected a state written by this program") from None
    return file, values


def _mistake(counters: Counters) -> str:
    """What no run can have counted; empty when there is nothing of the kind."""
    for name, value in asdict(counters).items():
        if type(value) is not int or not 0 <= value <= HIGHEST["seed"]:
            return f"{name} is {value!r}, and counts from 0 up"
    if counters.position >= max(counters.batches, 1):
        return f"position {counters.position} of an epoch of {counters.batches} batches"
    if counters.step < counters.epoch + bool(counters.position):
        return f"{counters.step} steps in {counters.epoch} epochs and {counters.position} batches, each of one or more"
    return ""


def load_state(folder: str | Path, run: Stateful) -> None:
    """Fill the run's objects from a state folder; they keep their identity, so the optimizer stays tied to them.

    Raises:
        FileNotFoundError: a file of the folder is missing.
        ValueError: the state is of a run that trained something else; nothing is changed then.
    """
    root = Path(folder)
    stored, wanted = read_tensors(root / _MODEL), run.tensors()
    wrong = [key for key in wanted if key not in stored] + [key for key in stored if key not in wanted]
    wrong += [key for key in wanted if key in stored and stored[key].shape != wanted[key].shape]
    if wrong:
        raise ValueError(
            f"--resume {root}: {len(wrong)} trained tensors are not the same there: {', '.join(wrong[:_SHOWN])}; give "
            f"the same --network_module, --network_dim, --trainable_modules and adapter as in that run"
        )
    optimizer, scheduler = _read(root / _OPTIMIZER), _read(root / _SCHEDULER)
    settings = [set(group) for group in optimizer.get("param_groups", [])]
    if settings != [set(group) for group in run.optimizer.param_groups]:
        raise ValueError(f"--resume {root}: was saved by another optimizer; give the same --optimizer_type")
    for part, module in ((LORA, run.network), (ADAPTER, run.adapter)):
        if module is not None:
            prefix = f"{part}."
            module.load_state_dict({k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)})
    for item in run.trainable:
        if item.part == DIT:
            item.parameter.data.copy_(stored[item.name])
    try:
        run.optimizer.load_state_dict(optimizer)
    except (ValueError, KeyError) as error:
        raise ValueError(f"--resume {root}: {error}; give the same --optimizer_type as in that run") from None
    run.scheduler.load_state_dict(scheduler)
    if run.scaler is not None and (root / _SCALER).exists():
        run.scaler.load_state_dict(_read(root / _SCALER))


def _write(file: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(file) as temporary:
        torch.save(content, temporary)


def _read(file: Path) -> dict[str, Any]:
    require_file(file, "--resume", "The state folder is not whole.")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ValueError(f"--resume {file}: refused or unreadable ({why(error)}); resume from another state") from None


@contextmanager
def _atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder`; on success it takes its place, on any error it is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.new-{os.getpid()}")
    former = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            folder.rename(former)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if former.exists() and not folder.exists():
            former.rename(folder)
        raise
    shutil.rmtree(former, ignore_errors=True)
