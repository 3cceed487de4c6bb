"""LoRA for Wan's DiT, with the names musubi-tuner, ComfyUI and diffusers read (`--network_module networks.lora_wan`).

LoRA (Hu et al. 2021, arXiv 2106.09685) adds a product of two thin matrices to a frozen Linear:
y = W·x + b + multiplier·(alpha / rank)·up·down·x. Every Linear inside the DiT's blocks gets one; the camera adapter's
Linears never do, they are trained as they are.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.logs import get_logger
from networks.lora_files import LoRAEntry, lora_shapes, read_lora, write_lora

log = get_logger("lora")

PREFIX = "lora_unet_"
_SHOWN = 5


def lora_targets(dit: nn.Module) -> dict[str, str]:
    """Which Linears get a LoRA: {name in a LoRA file: dotted path in the DiT}.

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
    targets = {PREFIX + path.replace(".", "_"): path for path in paths}
    assert len(targets) == len(paths), "two modules share a flattened name"
    return targets


class LoRALinear(nn.Module):
    """The trained part of one Linear: `lora_down` [rank, in], `lora_up` [out, rank] and `alpha`, in float32."""

    alpha: Tensor

    def __init__(self, in_features: int, out_features: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.lora_down = nn.Linear(in_features, rank, bias=False, dtype=torch.float32)
        self.lora_up = nn.Linear(rank, out_features, bias=False, dtype=torch.float32)
        self.register_buffer("alpha", torch.tensor(float(alpha)))
        self.dropout = nn.Dropout(dropout)
        self.rank = rank
        self.scale = float(alpha) / rank
        nn.init.kaiming_uniform_(self.lora_down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_up.weight)
        self.register_load_state_dict_post_hook(LoRALinear._follow_alpha)

    def _follow_alpha(self, _: object) -> None:
        # a plain number, so that the forward pass never waits for the device to tell it
        self.scale = float(self.alpha) / self.rank

    def forward(self, base: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Output of the Linear `base` for `x` [..., in], plus the low-rank part, [..., out].

        The sum is made inside the second matrix product and in place, with the scale folded in: one pass over the
        large output instead of one for each of product, scale and sum.
        """
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        # two axes from the start: an in-place sum on a view would make autograd copy the gradient
        rows = x.to(dtype).flatten(0, -2)
        output = base(rows)
        low = self.dropout(functional.linear(rows, self.lora_down.weight.to(dtype)))
        output.addmm_(low, self.lora_up.weight.to(dtype).t(), alpha=self.scale)
        return output.unflatten(0, x.shape[:-1])


class LoRANetwork(nn.Module):
    """All LoRAs of one DiT; children carry the names of the LoRA file, so the state dict is the file.

    Args:
        shapes: {name in the file: (in_features, out_features)}.
        rank: inner dimension, at least 1 (`--network_dim`).
        alpha: the update is scaled by alpha / rank (`--network_alpha`).
        dropout: chance of dropping a rank channel while training, 0 <= p < 1 (`--network_dropout`).
    """

    def __init__(self, shapes: Mapping[str, tuple[int, int]], rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        for name, (in_features, out_features) in shapes.items():
            self.add_module(name, LoRALinear(in_features, out_features, rank, alpha, dropout))
        self.rank = rank
        self._applied: list[nn.Linear] = []

    @property
    def alpha(self) -> float:
        """The alpha in use: the one it was made with, or that of the file it was loaded from."""
        return float(next(iter(self.loras().values())).alpha)

    def loras(self) -> dict[str, LoRALinear]:
        """{name in the file: module}, in the order of the DiT."""
        return {name: child for name, child in self.named_children() if isinstance(child, LoRALinear)}

    def apply_to(self, dit: nn.Module) -> None:
        """Make the DiT's Linears answer with their LoRA; its parameters and state dict stay as they are.

        Raises:
            ValueError: the DiT has not the modules this network was made for.
        """
        assert not self._applied, "this network is applied already"
        targets, loras = lora_targets(dit), self.loras()
        absent = [name for name in loras if name not in targets]
        if absent:
            raise ValueError(f"LoRA: the DiT has no module for {_some(absent)}; the network was made for another DiT")
        for name, lora in loras.items():
            linear = dit.get_submodule(targets[name])
            assert isinstance(linear, nn.Linear)
            linear.forward = functools.partial(lora, linear.forward)
            self._applied.append(linear)

    def remove(self) -> None:
        """Undo `apply_to`; the last network applied to a DiT is removed first."""
        for linear in self._applied:
            wrapped = linear.forward
            assert isinstance(wrapped, functools.partial)
            linear.forward = wrapped.args[0]
        self._applied = []

    def save(
        self, path: str | Path, dtype: torch.dtype | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write the LoRA file, whole or not at all, in `dtype` (None: float32 as trained), with the file's hashes."""
        write_lora(path, {key: value.to(dtype or value.dtype) for key, value in self.state_dict().items()}, metadata)

    def load(self, path: str | Path) -> None:
        """Take over the weights and the alphas of a LoRA file (`--network_weights`).

        A file that covers only some modules is taken with a warning; the others keep what they have.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file holds modules this network has not, or another rank; nothing is changed then.
        """
        entries, loras = read_lora(path), self.loras()
        unknown = [name for name in entries if name not in loras]
        if unknown:
            raise ValueError(f"{path}: {len(unknown)} LoRA modules fit nothing in this network: {_some(unknown)}")
        for name, entry in entries.items():
            ours = loras[name]
            shapes = (ours.lora_down.weight.shape, ours.lora_up.weight.shape)
            if (entry.down.shape, entry.up.shape) != shapes:
                raise ValueError(
                    f"{path}: {name} is down {tuple(entry.down.shape)}, up {tuple(entry.up.shape)}, this network has "
                    f"{tuple(shapes[0])}, {tuple(shapes[1])}; use --network_dim {entry.rank} or another file"
                )
        alphas = sorted({entry.alpha for entry in entries.values() if entry.alpha != self.alpha})
        if alphas:
            log.warning("%s: its alpha, %g, is used instead of --network_alpha %g", path, alphas[0], self.alpha)
        for name, entry in entries.items():
            loras[name].load_state_dict(
                {"lora_down.weight": entry.down, "lora_up.weight": entry.up, "alpha": torch.tensor(entry.alpha)}
            )
        if len(entries) < len(loras):
            absent = [name for name in loras if name not in entries]
            log.warning("%s has no weights for %d of the LoRA modules: %s", path, len(absent), _some(absent))


def create_network(dit: nn.Module, rank: int = 4, alpha: float = 1.0, dropout: float | None = None) -> LoRANetwork:
    """A fresh network for every target of `dit`, in float32 on the CPU; not applied yet.

    Raises:
        ValueError: a number is out of range, named by its flag.
    """
    if rank < 1:
        raise ValueError(f"--network_dim {rank}: at least 1 is needed")
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f"--network_alpha {alpha}: a positive number is needed (the update is scaled by alpha / dim)")
    if not 0.0 <= (dropout or 0.0) < 1.0:
        raise ValueError(f"--network_dropout {dropout}: a chance below 1 is needed")
    shapes = {}
    for name, path in lora_targets(dit).items():
        linear = dit.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        shapes[name] = (linear.in_features, linear.out_features)
    return LoRANetwork(shapes, rank, alpha, dropout or 0.0)


def merge_lora(dit: nn.Module, path: str | Path, multiplier: float = 1.0) -> int:
    """Add a LoRA file to the DiT's own weights, computed in float32 whatever their dtype.

    Args:
        dit: the network whose Linears are changed in place, on their own device.
        path: a LoRA file with musubi-tuner's names.
        multiplier: strength, 1 as trained.

    Returns:
        How many Linears were changed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: some of the file fits nothing in the DiT, or has other shapes, or the DiT is in fp8; no weight is
            changed then.
    """
    entries = _entries_for(dit, path)
    weights = {name: dit.get_parameter(name) for name in entries}
    if any(weight.dtype.itemsize == 1 for weight in weights.values()):
        raise ValueError(f"{path}: cannot be merged into weights that are in fp8; it is merged while they are loaded")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(_merged(weight, entries[name], multiplier))
    return len(entries)


def merge_while_loading(
    loras: Sequence[tuple[str | Path, float]],
) -> Callable[[nn.Module], dict[str, Callable[[Tensor], Tensor]]]:
    """Merge LoRA files into a DiT's weights as they are read, before they are rounded to half precision or fp8.

    Args:
        loras: files with musubi-tuner's names, and the strength of each, 1 as trained.

    Returns:
        What `wan.loading.load_dit` takes as `merge`: given the DiT, which need have no memory yet, it reads the files
        and checks that all of them fits (ValueError where not), and gives {name of a weight: function that takes it
        as it is in its file and gives it with the LoRAs in it, in float32}.
    """

    def prepare(dit: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
        found = [(_entries_for(dit, path), multiplier) for path, multiplier in loras]
        for (path, multiplier), (entries, _) in zip(loras, found, strict=True):
            log.info("merging %d modules of %s, times %g", len(entries), path, multiplier)

        def merge(name: str, weight: Tensor) -> Tensor:
            for entries, multiplier in found:
                if name in entries:
                    weight = _merged(weight, entries[name], multiplier)
            return weight

        return {name: functools.partial(merge, name) for entries, _ in found for name in entries}

    return prepare


def check_lora(dit: nn.Module, path: str | Path) -> None:
    """Check from a LoRA file's header that `merge_while_loading` will take it; no weights are read.

    Args:
        dit: the network, which need have no memory.
        path: a LoRA file with musubi-tuner's names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no LoRA file, or some of it fits nothing in the DiT, or has other shapes.
    """
    _targets_of(dit, path, lora_shapes(path))


def _entries_for(dit: nn.Module, path: str | Path) -> dict[str, LoRAEntry]:
    """{name of a weight of the DiT: what a LoRA file adds to it}, all of the file."""
    entries = read_lora(path)
    shapes = {name: (entry.up.shape[0], entry.down.shape[1]) for name, entry in entries.items()}
    return dict(zip(_targets_of(dit, path, shapes), entries.values(), strict=True))


def _targets_of(dit: nn.Module, path: str | Path, shapes: Mapping[str, tuple[int, int]]) -> list[str]:
    """Names of the DiT's weights that the modules {name: (out, in)} of a LoRA file change, in their order."""
    targets = lora_targets(dit)
    unmatched = [name for name in shapes if name not in targets]
    if unmatched:
        raise ValueError(
            f"{path}: {len(unmatched)} of {len(shapes)} LoRA modules fit nothing in this DiT: {_some(unmatched)}; "
            f"the file was made for another network (see --task)"
        )
    for name, shape in shapes.items():
        wanted = tuple(dit.get_parameter(targets[name] + ".weight").shape)
        if shape != wanted:
            raise ValueError(
                f"{path}: {name} changes a weight of {shape}, the DiT's is {wanted}; "
                f"the file was made for a DiT of another size (see --task)"
            )
    return [targets[name] + ".weight" for name in shapes]


def _merged(weight: Tensor, entry: LoRAEntry, multiplier: float) -> Tensor:
    down, up = entry.down.to(weight.device, torch.float32), entry.up.to(weight.device, torch.float32)
    return torch.addmm(weight.float(), up, down, alpha=multiplier * entry.alpha / entry.rank)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)})" if len(names) > _SHOWN else "")
