"""LoRA, LoHa, LoKr and DoRA by the package lycoris-lora (`--network_module lycoris.kohya`, optional requirement).

LyCORIS' modules do the arithmetic; which Linears get one, names, files and errors are ours, so that its presets and
its own search for modules are not used.
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from networks.lora_files import some
from networks.lora_wan import check_numbers, ranks_of_file
from networks.module_names import ModuleNames, module_names
from networks.network import Network, Target, lora_targets, plan_targets
from networks.settings import NetworkSettings

_ALGORITHMS = {
    "lora": ("locon", "LoConModule"),
    "locon": ("locon", "LoConModule"),
    "loha": ("loha", "LohaModule"),
    "lokr": ("lokr", "LokrModule"),
}


class LycorisNetwork(Network):
    """LyCORIS' modules of one DiT.

    Args:
        plan: {name in the file: what gets a module}, of `plan_targets`.
        names: of the DiT.
        rank: what the metadata call the network's dim.
        algorithm: lora, locon, loha or lokr.
        dropout: as `--network_dropout`; LyCORIS has it for LoRA alone.
        settings: dropouts, DoRA, and the sizes of LoKr.
    """

    def __init__(
        self,
        plan: Mapping[str, Target],
        names: ModuleNames,
        rank: int,
        algorithm: str,
        dropout: float,
        settings: NetworkSettings,
    ) -> None:
        super().__init__(names, rank, "lora" if algorithm == "locon" else algorithm)
        self._applied = False
        make = _module_class(algorithm)
        for name, target in plan.items():
            self.add_module(name, _make_module(make, name, target, dropout, settings))

    def modules_of_lycoris(self) -> dict[str, Any]:
        """{name in the file: LyCORIS' module}."""
        return dict(self.named_children())

    def apply_to(self, dit: nn.Module) -> None:
        """See `Network.apply_to`; LyCORIS ties a module to its Linear when it is made, so `dit` must be that DiT."""
        assert not self._applied, "this network is applied already"
        targets = lora_targets(dit)
        strange = [
            name
            for name, module in self.modules_of_lycoris().items()
            if name not in targets or dit.get_submodule(targets[name]) is not module.org_module[0]
        ]
        if strange:
            raise ValueError(f"LyCORIS: the network was made for another DiT: {some(strange)}")
        for module in self.modules_of_lycoris().values():
            module.apply_to()
        self._applied = True

    def remove(self) -> None:
        """See `Network.remove`."""
        for module in self.modules_of_lycoris().values():
            module.restore()
        self._applied = False

    def load(self, path: str | Path) -> None:
        """See `Network.load`."""
        super().load(path)
        for module in self.modules_of_lycoris().values():
            # LyCORIS keeps the scale that it was made with; two whole matrices have none
            whole = getattr(module, "use_w1", False) and module.use_w2
            module.scale = 1.0 if whole else float(module.alpha) / module.lora_dim

    def limit_norms(self, longest: float) -> None:
        """See `Network.limit_norms`; LyCORIS' own rule, which waits for the device."""
        for module in self.modules_of_lycoris().values():
            module.apply_max_norm(longest)


def create_network(
    dit: nn.Module,
    rank: int = 4,
    alpha: float = 1.0,
    dropout: float | None = None,
    settings: NetworkSettings | None = None,
    like: str | Path | None = None,
    to_diffusers: Callable[[str], str] | None = None,
) -> LycorisNetwork:
    """A fresh network for the chosen targets of `dit`, in float32; arguments as `networks.lora_wan.create_network`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: lycoris-lora is not installed, or a setting is out of range or not LyCORIS' for this algorithm.
    """
    chosen = settings or NetworkSettings()
    algorithm = (chosen.algo or "lora").lower()
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"--network_args algo={chosen.algo}: expected one of {', '.join(_ALGORITHMS)}")
    check_numbers(rank, alpha, dropout)
    if algorithm in ("loha", "lokr"):
        if dropout:
            raise ValueError(
                f"--network_dropout: LyCORIS has none for {algorithm}; use --network_args rank_dropout={dropout} or "
                f"module_dropout={dropout}"
            )
        if chosen.loraplus_lr_ratio is not None:
            raise ValueError(f"--network_args loraplus_lr_ratio: {algorithm} has no up matrices; leave it out")
    names = module_names(dit, to_diffusers)
    kind = "lora" if algorithm == "locon" else algorithm
    plan = plan_targets(dit, rank, alpha, chosen, None if like is None else ranks_of_file(like, names, kind))
    if chosen.dora_wd and any(target.linear.weight.dtype.itemsize == 1 for target in plan.values()):
        raise ValueError("--network_args dora_wd needs whole weights; leave --fp8_base and --fp8_scaled out")
    if like is not None:
        rank = next(iter(plan.values())).rank
    return LycorisNetwork(plan, names, rank, algorithm, dropout or 0.0, chosen)


def _module_class(algorithm: str) -> Callable[..., nn.Module]:
    module, name = _ALGORITHMS[algorithm]
    try:
        return getattr(importlib.import_module(f"lycoris.modules.{module}"), name)
    except ImportError as error:
        raise ValueError(
            f"--network_module for {algorithm} needs the package lycoris-lora ({error}); pip install lycoris-lora, or "
            "use networks.lora_wan"
        ) from None


def _make_module(
    make: Callable[..., nn.Module], name: str, target: Target, dropout: float, settings: NetworkSettings
) -> nn.Module:
    """One module in float32; it leaves the Linear's own product to the Linear, unless DoRA needs the weights."""
    return make(
        name,
        target.linear,
        1.0,
        target.rank,
        target.alpha,
        dropout,
        settings.rank_dropout,
        settings.module_dropout,
        weight_decompose=settings.dora_wd,
        wd_on_out=settings.wd_on_output,
        bypass_mode=not settings.dora_wd,
        factor=settings.factor,
        decompose_both=settings.decompose_both,
        full_matrix=settings.full_matrix,
    ).to(torch.float32)
