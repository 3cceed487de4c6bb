"""Adding LoRA files to the weights of a DiT: in place, or while the weights are read."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from common.logs import get_logger
from common.tensor_headers import TensorEntry
from networks.deltas import changed_weight
from networks.lora_files import LoRAFile, ModuleChange, open_lora
from networks.module_names import DIFF_BIAS, DIFF_MODULATION, ModuleNames, module_names

log = get_logger("lora")

WeightChange = Callable[[Tensor], Tensor]
"""Takes a weight as it is, of any type, and gives it changed: a new tensor in float32 on the same device."""
Rename = Callable[[str], str]


def merge_lora(dit: nn.Module, path: str | Path, multiplier: float = 1.0, to_diffusers: Rename | None = None) -> int:
    """Add a LoRA file to the DiT's own weights, computed in float32 whatever their dtype.

    Args:
        dit: the network whose weights are changed in place, on their own device.
        path: a LoRA, LoHa or LoKr file, or one of differences, in any known spelling.
        multiplier: strength, 1 as trained.
        to_diffusers: see `networks.module_names.module_names`.

    Returns:
        How many modules were changed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: some of the file fits nothing in the DiT, or has other shapes, or the DiT is in fp8; no weight is
            changed then.
    """
    names = module_names(dit, to_diffusers)
    file = open_lora(path, names)
    changes = weight_changes([(file, multiplier)], names)
    weights = {name: dit.get_parameter(name) for name in changes}
    if any(weight.dtype.itemsize == 1 for weight in weights.values()):
        raise ValueError(f"{path}: cannot be merged into weights that are in fp8; it is merged while they are loaded")
    for change in file.changes:
        change.read(path)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(changes[name](weight))
    return len(file.changes)


def merge_while_loading(
    loras: Sequence[tuple[str | Path, float]], to_diffusers: Rename | None = None
) -> Callable[[nn.Module], dict[str, WeightChange]]:
    """Merge LoRA files into a DiT's weights as they are read, before they are rounded to half precision or fp8.

    Args:
        loras: files in any known spelling, and the strength of each, 1 as trained.
        to_diffusers: see `networks.module_names.module_names`.

    Returns:
        What `wan.loading.load_dit` takes as `merge`: given the DiT, which need have no memory yet, it looks at the
        files and checks that all of them fits (ValueError where not), and gives {name of a weight: function that
        takes it as it is in its file and gives it with the LoRAs in it, in float32}. Each function reads its own part
        of the files, so that they are never whole in memory.
    """

    def prepare(dit: nn.Module) -> dict[str, WeightChange]:
        names = module_names(dit, to_diffusers)
        files = [(open_lora(path, names), multiplier) for path, multiplier in loras]
        for file, multiplier in files:
            log.info("merging %d modules of %s, times %g", len(file.changes), file.source, multiplier)
        return weight_changes(files, names)

    return prepare


def check_lora(dit: nn.Module, path: str | Path, to_diffusers: Rename | None = None) -> None:
    """Check from a LoRA file's header that `merge_while_loading` will take it; no weights are read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no LoRA file, or some of it fits nothing in the DiT, or has other shapes.
    """
    open_lora(path, module_names(dit, to_diffusers))


def weight_changes(files: Sequence[tuple[LoRAFile, float]], names: ModuleNames) -> dict[str, WeightChange]:
    """{name of a weight: what the files, one after another, make of it}.

    Args:
        files: opened for the DiT of `names`, and the strength of each.
        names: of the DiT.
    """
    steps: dict[str, list[WeightChange]] = {}
    for file, multiplier in files:
        for change in file.changes:
            for name, part in _parted(change, names).items():
                steps.setdefault(name, []).append(functools.partial(_change, file.source, part, multiplier))
    return {name: functools.partial(_in_order, own) for name, own in steps.items()}


def _parted(change: ModuleChange, names: ModuleNames) -> dict[str, ModuleChange]:
    """{name of a weight: what changes it}: a module's weight, its bias and its modulation."""
    parted: dict[str, dict[str, TensorEntry]] = {}
    for part, entry in change.parts.items():
        name = names.weight_of(change.path, part)
        assert name is not None, "looked at when the file was opened"
        parted.setdefault(name, {})[part] = entry
    return {name: replace(change, parts=parts) for name, parts in parted.items()}


def _in_order(steps: Sequence[WeightChange], weight: Tensor) -> Tensor:
    for step in steps:
        weight = step(weight)
    return weight


def _change(source: Path, change: ModuleChange, multiplier: float, weight: Tensor) -> Tensor:
    parts = {name: tensor.float() for name, tensor in change.read(source, weight.device).items()}
    for whole in (DIFF_BIAS, DIFF_MODULATION):
        if whole in parts:
            return weight.float() + multiplier * parts[whole].view(weight.shape)
    return changed_weight(weight, parts, change.alpha, multiplier)
