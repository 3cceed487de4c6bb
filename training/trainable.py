"""What is trained: one list that both sets `requires_grad` and fills the optimizer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from common.logs import get_logger
from networks.network import learns_faster

log = get_logger("training")

LORA, ADAPTER, DIT = "lora", "adapter", "dit"
LORA_PLUS = "lora+"
"""The optimizer's group of the LoRA's parameters that learn faster (LoRA+)."""
EVERYTHING = "all"


@dataclass(frozen=True)
class Trainable:
    """One trained tensor."""

    part: str
    """`lora`, `adapter` or `dit`: the file it is saved to."""
    key: str
    """Its name inside that part."""
    parameter: nn.Parameter

    @property
    def name(self) -> str:
        """A name unique in the run, PART.KEY."""
        return f"{self.part}.{self.key}"


def collect_trainable(
    dit: nn.Module, network: nn.Module | None, adapter: nn.Module | None, trainable_modules: Sequence[str] | None
) -> list[Trainable]:
    """Every tensor that is to be trained, each once, in a fixed order.

    Args:
        dit: the base network; the adapter may be attached to it.
        network: LoRA, trained whole; None for none.
        adapter: camera adapter, trained whole; None for none.
        trainable_modules: parameters of the DiT itself whose name contains one of these words are trained too;
            `all` means all of them.

    Raises:
        ValueError: a word fits no parameter, or nothing at all is to be trained.
    """
    chosen = [Trainable(LORA, key, parameter) for key, parameter in _parameters(network)]
    chosen += [Trainable(ADAPTER, key, parameter) for key, parameter in _parameters(adapter)]
    apart = {id(item.parameter) for item in chosen}
    base = [(key, parameter) for key, parameter in _parameters(dit) if id(parameter) not in apart]
    words = list(trainable_modules or ())
    for word in words:
        if word != EVERYTHING and not any(word in key for key, _ in base):
            raise ValueError(
                f"--trainable_modules {word!r} fits no parameter of the DiT; its names look like {base[0][0]!r} and "
                f"{base[-1][0]!r}, and {EVERYTHING!r} means all"
            )
    picked = [Trainable(DIT, key, p) for key, p in base if any(w == EVERYTHING or w in key for w in words)]
    if any(item.parameter.dtype != torch.float32 for item in picked):
        log.warning("--trainable_modules trains weights below float32: small updates are lost in rounding")
    chosen += picked
    if not chosen:
        raise ValueError("nothing to train: give --network_module, a data set with cameras, or --trainable_modules")
    return chosen


def set_trainable(modules: Sequence[nn.Module | None], trainable: Sequence[Trainable]) -> None:
    """Freeze every parameter of `modules` except the listed ones."""
    for module in modules:
        if module is not None:
            module.requires_grad_(False)
    for item in trainable:
        item.parameter.requires_grad_(True)


def parameter_groups(
    trainable: Sequence[Trainable],
    learning_rate: float,
    adapter_learning_rate: float | None = None,
    loraplus_lr_ratio: float | None = None,
) -> list[dict[str, Any]]:
    """The optimizer's groups, one for each part that has any, with that part's name under `part`.

    Args:
        trainable: of `collect_trainable`.
        learning_rate: of every part.
        adapter_learning_rate: of the adapter, where it is another.
        loraplus_lr_ratio: how many times faster the LoRA's up matrices learn, in a group of their own, `LORA_PLUS`.
    """
    rates = {} if adapter_learning_rate is None else {ADAPTER: adapter_learning_rate}
    if loraplus_lr_ratio is not None:
        rates[LORA_PLUS] = learning_rate * loraplus_lr_ratio

    def group_of(item: Trainable) -> str:
        faster = LORA_PLUS in rates and item.part == LORA and learns_faster(item.key)
        return LORA_PLUS if faster else item.part

    groups: list[dict[str, Any]] = []
    for part in (LORA, LORA_PLUS, ADAPTER, DIT):
        parameters = [item.parameter for item in trainable if group_of(item) == part]
        if parameters:
            groups.append({"params": parameters, "lr": rates.get(part, learning_rate), "part": part})
    return groups


def describe(trainable: Sequence[Trainable]) -> str:
    """How many tensors and parameters of each part, for the log."""
    parts = []
    for part in (LORA, ADAPTER, DIT):
        sizes = [item.parameter.numel() for item in trainable if item.part == part]
        if sizes:
            parts.append(f"{part}: {len(sizes)} tensors, {sum(sizes):,} parameters")
    return "; ".join(parts)


def _parameters(module: nn.Module | None) -> Iterator[tuple[str, nn.Parameter]]:
    return iter(()) if module is None else module.named_parameters()
