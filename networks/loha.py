"""LoHa (`--network_module networks.loha`): two products of thin matrices, multiplied by elements (arXiv 2108.06098).

musubi-tuner's name for it; made by the package lycoris-lora.
"""

from dataclasses import replace
from typing import Any

from torch import nn

from networks import lycoris_wan
from networks.settings import NetworkSettings


def create_network(
    dit: nn.Module,
    rank: int = 4,
    alpha: float = 1.0,
    dropout: float | None = None,
    settings: NetworkSettings | None = None,
    **others: Any,
) -> lycoris_wan.LycorisNetwork:
    """As `networks.lycoris_wan.create_network` with `algo=loha`."""
    chosen = settings or NetworkSettings()
    if chosen.algo not in (None, "loha"):
        raise ValueError(f"--network_args algo={chosen.algo}: networks.loha is loha; use lycoris.kohya for others")
    return lycoris_wan.create_network(dit, rank, alpha, dropout, replace(chosen, algo="loha"), **others)
