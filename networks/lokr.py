"""LoKr (`--network_module networks.lokr`): a Kronecker product of two smaller matrices (arXiv 2309.14859).

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
    """As `networks.lycoris_wan.create_network` with `algo=lokr`."""
    chosen = settings or NetworkSettings()
    if chosen.algo not in (None, "lokr"):
        raise ValueError(f"--network_args algo={chosen.algo}: networks.lokr is lokr; use lycoris.kohya for others")
    return lycoris_wan.create_network(dit, rank, alpha, dropout, replace(chosen, algo="lokr"), **others)
