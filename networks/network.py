"""What every trained network is, LoRA or LyCORIS': modules named as in its file, applied to a DiT from outside."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from common.logs import get_logger
from networks.lora_files import ModuleChange, open_lora, some, write_lora
from networks.module_names import ALPHA, UP, ModuleNames, flat
from networks.settings import NetworkSettings, check_patterns, chosen_modules, rank_and_alpha

log = get_logger("lora")


def lora_targets(dit: nn.Module) -> dict[str, str]:
    """Which Linears can get a LoRA: {name in a LoRA file: dotted path in the DiT}.

    The file's name flattens the path's dots to underscores, which cannot be undone by rule (`k_img` has its own), so
    the map is built from the modules that are there. For Wan2.1: 10 per block, 12 with image cross-attention.

    Raises:
        ValueError: the network has no Linear inside `blocks`, so it is not one of ours.
    """
    paths = [
        path
        for path, module in dit.named_modules()
        if isinstance(module, nn.Linear) and path.startswith("blocks.") and "adapter" not in path
    ]
    if not paths:
        raise ValueError(f"LoRA: {type(dit).__name__} has no Linear below `blocks`; a Wan DiT was expected")
    targets = {flat(path): path for path in paths}
    assert len(targets) == len(paths), "two modules share a flattened name"
    return targets


@dataclass(frozen=True)
class Target:
    """One Linear that is to get a LoRA."""

    path: str
    """Of the Linear in the DiT."""
    linear: nn.Linear
    """The Linear."""
    rank: int
    """Inner dimension, at least 1."""
    alpha: float
    """The update is scaled by alpha / rank."""


def plan_targets(
    dit: nn.Module, rank: int, alpha: float, settings: NetworkSettings, like: Mapping[str, tuple[int, float]] | None
) -> dict[str, Target]:
    """{name in a LoRA file: what gets a LoRA}, in the order of the DiT.

    Args:
        dit: the network.
        rank: where no pattern says another.
        alpha: where no pattern says another.
        settings: patterns of modules, ranks and alphas.
        like: {path: (rank, alpha)} of a file; then its modules, and no others, get these.

    Raises:
        ValueError: a pattern fits nothing, or the file has modules that can get no LoRA; they are named.
    """
    targets = lora_targets(dit)
    paths = list(targets.values())
    if like is not None:
        beyond = [path for path in like if path not in paths]
        if beyond:
            raise ValueError(
                f"--dim_from_weights: {len(beyond)} modules of the file cannot be trained: {some(beyond)}; merge it by "
                "--base_weights instead"
            )
        chosen = {path: like[path] for path in paths if path in like}
    else:
        check_patterns(paths, settings)
        chosen = {path: rank_and_alpha(path, rank, alpha, settings) for path in chosen_modules(paths, settings)}
    plan = {}
    for path, (own_rank, own_alpha) in chosen.items():
        linear = dit.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        plan[flat(path)] = Target(path, linear, own_rank, own_alpha)
        if settings.verbose:
            log.info("LoRA on %s: rank %d, alpha %g", path, own_rank, own_alpha)
    return plan


class Network(nn.Module, ABC):
    """The trained part; its children carry the names of the LoRA file, so its state dict is the file.

    Args:
        names: of the DiT it is made for, to understand files of any spelling.
        rank: what the metadata call the network's dim.
        kind: of the files it reads; see `networks.deltas.kind_of`.
    """

    def __init__(self, names: ModuleNames, rank: int, kind: str) -> None:
        super().__init__()
        self.names, self.rank, self.kind = names, rank, kind

    @property
    def alpha(self) -> float:
        """The alpha in use: the one it was made with, or that of the file it was loaded from."""
        return float(next(self.children()).get_buffer(ALPHA))

    @abstractmethod
    def apply_to(self, dit: nn.Module) -> None:
        """Make the DiT's Linears answer with their part; its parameters and state dict stay as they are.

        Raises:
            ValueError: the DiT has not the modules this network was made for.
        """

    @abstractmethod
    def remove(self) -> None:
        """Undo `apply_to`; the last network applied to a DiT is removed first."""

    @abstractmethod
    def limit_norms(self, longest: float) -> None:
        """Shrink every module whose change of its weight is longer than `longest` in the Frobenius norm to that."""

    def save(
        self, path: str | Path, dtype: torch.dtype | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write the file, whole or not at all, in `dtype` (None: float32 as trained), with the file's hashes."""
        write_lora(path, {key: value.to(dtype or value.dtype) for key, value in self.state_dict().items()}, metadata)

    def load(self, path: str | Path) -> None:
        """Take over the weights and the alphas of a file, in any spelling (`--network_weights`).

        A file that covers only some modules is taken with a warning; the others keep what they have.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file holds modules this network has not, another kind or another rank; nothing is changed
                then.
        """
        children = dict(self.named_children())
        found = {flat(change.path): change for change in open_lora(path, self.names).changes}
        unknown = [change.spelling for name, change in found.items() if name not in children]
        if unknown:
            raise ValueError(f"{path}: {len(unknown)} LoRA modules fit nothing in this network: {some(unknown)}")
        loaded = {name: self._state_of(path, change, children[name]) for name, change in found.items()}
        alphas = [(float(state[ALPHA]), float(children[name].get_buffer(ALPHA))) for name, state in loaded.items()]
        if changed := [pair for pair in alphas if pair[0] != pair[1]]:
            log.warning("%s: its alpha, %g, is used instead of --network_alpha %g", path, *changed[0])
        for name, state in loaded.items():
            children[name].load_state_dict(state)
        if len(loaded) < len(children):
            absent = [name for name in children if name not in loaded]
            log.warning("%s has no weights for %d of the LoRA modules: %s", path, len(absent), some(absent))

    def _state_of(self, path: str | Path, change: ModuleChange, module: nn.Module) -> dict[str, torch.Tensor]:
        """The state dict of one module, from its part of a file."""
        ours, theirs = module.state_dict(), change.shapes
        shapes = {name: tensor.shape for name, tensor in ours.items() if name != ALPHA}
        if change.kind != self.kind or set(theirs) != set(shapes):
            raise ValueError(
                f"{path}: {change.spelling} is a {change.kind} of {', '.join(theirs)}; this network is a {self.kind} "
                f"of {', '.join(shapes)}. Start from another file, or merge this one by --base_weights"
            )
        if theirs != shapes:
            told = "; ".join(f"{name} {tuple(theirs[name])} and {tuple(shapes[name])}" for name in shapes)
            raise ValueError(
                f"{path}: {change.spelling} has other shapes than this network: {told}; use --network_dim "
                f"{change.rank}, --dim_from_weights, or another file"
            )
        alpha = change.alpha if change.alpha is not None else float(change.rank or self.rank)
        return {**change.read(path), ALPHA: torch.tensor(alpha)}


def learns_faster(key: str) -> bool:
    """Whether LoRA+ gives this parameter of a network the higher learning rate: the up matrices."""
    return key.endswith(f".{UP}")
