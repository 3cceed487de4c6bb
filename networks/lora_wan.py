"""LoRA for Wan's DiT, with the names musubi-tuner, ComfyUI and diffusers read (`--network_module networks.lora_wan`).

LoRA (Hu et al. 2021, arXiv 2106.09685) adds a product of two thin matrices to a frozen Linear:
y = W·x + b + multiplier·(alpha / rank)·up·down·x. Every Linear inside the DiT's blocks gets one; the camera adapter's
Linears never do, they are trained as they are.
"""

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.lora_files import open_lora, some
from networks.module_names import ModuleNames, module_names
from networks.network import Network, Target, lora_targets, plan_targets
from networks.settings import LYCORIS_ONLY, NetworkSettings

__all__ = ["LoRALinear", "LoRANetwork", "create_network", "lora_targets"]


class LoRALinear(nn.Module):
    """The trained part of one Linear: `lora_down` [rank, in], `lora_up` [out, rank] and `alpha`, in float32.

    Args:
        in_features, out_features: of the Linear.
        rank: inner dimension.
        alpha: the update is scaled by alpha / rank.
        dropout: chance of dropping a channel of a token while training.
        rank_dropout: chance of dropping a channel of a whole clip while training; what is left is scaled up.
        module_dropout: chance of leaving the whole part out of one forward pass while training.
    """

    alpha: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        alpha: float,
        dropout: float = 0.0,
        rank_dropout: float = 0.0,
        module_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.lora_down = nn.Linear(in_features, rank, bias=False, dtype=torch.float32)
        self.lora_up = nn.Linear(rank, out_features, bias=False, dtype=torch.float32)
        self.register_buffer("alpha", torch.tensor(float(alpha)))
        self.dropout = nn.Dropout(dropout)
        self.rank_dropout, self.module_dropout = rank_dropout, module_dropout
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
        # drawn on the CPU, so that no step waits for the device
        if not (self.training and self.module_dropout and torch.rand(()).item() < self.module_dropout):
            low = self.dropout(functional.linear(rows, self.lora_down.weight.to(dtype)))
            if self.training and self.rank_dropout:
                low = self._drop_ranks(low, len(x))
            output.addmm_(low, self.lora_up.weight.to(dtype).t(), alpha=self.scale)
        return output.unflatten(0, x.shape[:-1])

    def _drop_ranks(self, low: Tensor, clips: int) -> Tensor:
        """The same channels for all tokens of a clip; `low` [clips·tokens, rank]."""
        kept = torch.rand(clips, 1, self.rank, device=low.device) >= self.rank_dropout
        gain = kept.to(low.dtype) / (1.0 - self.rank_dropout)
        return (low.unflatten(0, (clips, -1)) * gain).flatten(0, 1)


class LoRANetwork(Network):
    """All LoRAs of one DiT.

    Args:
        plan: {name in the file: what gets a LoRA}, of `plan_targets`.
        names: of the DiT.
        rank: what the metadata call the network's dim.
        dropout: chance of dropping a rank channel while training, 0 <= p < 1 (`--network_dropout`).
        settings: the other dropouts.
    """

    def __init__(
        self,
        plan: Mapping[str, Target],
        names: ModuleNames,
        rank: int,
        dropout: float = 0.0,
        settings: NetworkSettings | None = None,
    ) -> None:
        super().__init__(names, rank, "lora")
        chosen = settings or NetworkSettings()
        for name, target in plan.items():
            sizes = (target.linear.in_features, target.linear.out_features, target.rank, target.alpha)
            self.add_module(name, LoRALinear(*sizes, dropout, chosen.rank_dropout, chosen.module_dropout))
        self._applied: list[nn.Linear] = []

    def loras(self) -> dict[str, LoRALinear]:
        """{name in the file: module}, in the order of the DiT."""
        return {name: child for name, child in self.named_children() if isinstance(child, LoRALinear)}

    def apply_to(self, dit: nn.Module) -> None:
        """See `Network.apply_to`."""
        assert not self._applied, "this network is applied already"
        targets, loras = lora_targets(dit), self.loras()
        absent = [name for name in loras if name not in targets]
        if absent:
            raise ValueError(f"LoRA: the DiT has no module for {some(absent)}; the network was made for another DiT")
        for name, lora in loras.items():
            linear = dit.get_submodule(targets[name])
            assert isinstance(linear, nn.Linear)
            linear.forward = functools.partial(lora, linear.forward)
            self._applied.append(linear)

    def remove(self) -> None:
        """See `Network.remove`."""
        for linear in self._applied:
            wrapped = linear.forward
            assert isinstance(wrapped, functools.partial)
            linear.forward = wrapped.args[0]
        self._applied = []

    @torch.no_grad()
    def limit_norms(self, longest: float) -> None:
        """See `Network.limit_norms`; down and up shrink by the same factor (`--scale_weight_norms`).

        ‖up·down‖² = trace(upᵀ·up · down·downᵀ), products of rank × rank; nothing waits for the device.
        """
        for lora in self.loras().values():
            down, up = lora.lora_down.weight, lora.lora_up.weight
            square = ((up.t() @ up) * (down @ down.t())).sum().clamp(min=0)
            norm = square.sqrt() * abs(lora.scale)
            factor = (longest / norm.clamp(min=longest)).sqrt()
            down.mul_(factor)
            up.mul_(factor)


def create_network(
    dit: nn.Module,
    rank: int = 4,
    alpha: float = 1.0,
    dropout: float | None = None,
    settings: NetworkSettings | None = None,
    like: str | Path | None = None,
    to_diffusers: Callable[[str], str] | None = None,
) -> LoRANetwork:
    """A fresh network for the chosen targets of `dit`, in float32 on the CPU; not applied yet.

    Args:
        dit: the network, which need have no memory.
        rank: `--network_dim`, at least 1.
        alpha: `--network_alpha`.
        dropout: `--network_dropout`.
        settings: `--network_args`.
        like: a LoRA file whose modules, ranks and alphas are taken (`--dim_from_weights`); not its weights.
        to_diffusers: see `networks.module_names.module_names`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a number is out of range, a pattern fits nothing, or an argument is LyCORIS'; named by its flag.
    """
    chosen = settings or NetworkSettings()
    theirs = [key for key in LYCORIS_ONLY if getattr(chosen, key) != getattr(NetworkSettings(), key)]
    if theirs:
        raise ValueError(
            f"--network_args {theirs[0]}: networks.lora_wan has no such thing, it comes from the package lycoris-lora: "
            f"use --network_module lycoris.kohya --network_args algo=lora {theirs[0]}={getattr(chosen, theirs[0])}"
        )
    check_numbers(rank, alpha, dropout)
    names = module_names(dit, to_diffusers)
    plan = plan_targets(dit, rank, alpha, chosen, None if like is None else ranks_of_file(like, names, "lora"))
    if like is not None:
        rank = next(iter(plan.values())).rank
    return LoRANetwork(plan, names, rank, dropout or 0.0, chosen)


def check_numbers(rank: int, alpha: float, dropout: float | None) -> None:
    """Refuse what no network can be made of.

    Raises:
        ValueError: a number is out of range, named by its flag.
    """
    if rank < 1:
        raise ValueError(f"--network_dim {rank}: at least 1 is needed")
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f"--network_alpha {alpha}: a positive number is needed (the update is scaled by alpha / dim)")
    if not 0.0 <= (dropout or 0.0) < 1.0:
        raise ValueError(f"--network_dropout {dropout}: a chance below 1 is needed")


def ranks_of_file(path: str | Path, names: ModuleNames, kind: str) -> dict[str, tuple[int, float]]:
    """{path of a module: (rank, alpha)} of a LoRA file, for `--dim_from_weights`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not of that kind, or does not fit the DiT.
    """
    ranks = {}
    for change in open_lora(path, names).changes:
        if change.kind != kind or change.rank is None:
            raise ValueError(
                f"--dim_from_weights: {path}: {change.spelling} is a {change.kind or 'bias'}, which tells no rank of a "
                f"{kind}; give --network_dim instead"
            )
        ranks[change.path] = (change.rank, float(change.rank) if change.alpha is None else change.alpha)
    return ranks
