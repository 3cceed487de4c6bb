"""Rotary position embedding over a grid: angles in float64, tables and arithmetic in float32.

Shapes in names: B batch, L positions, N heads, D channels of a head.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class RotaryTable(NamedTuple):
    """Cosines and sines of every position and channel pair, each [L, D / 2] in float32."""

    cos: Tensor
    sin: Tensor


def video_pairs(head_dim: int) -> tuple[int, int, int]:
    """Channel pairs that turn with the frame, the row and the column (official `rope_apply`)."""
    pairs = head_dim // 2
    return (pairs - 2 * (pairs // 3), pairs // 3, pairs // 3)


@lru_cache(maxsize=16)
def rotary_table(
    grid: tuple[int, ...],
    pairs: tuple[int, ...],
    theta: float,
    device: torch.device,
    cells: tuple[int, ...] | None = None,
) -> RotaryTable:
    """Table for the positions of a grid, the last axis fastest; made once per shape and device, then kept.

    Args:
        grid: length of each axis, e.g. (frames, rows, columns).
        pairs: channel pairs that turn with each axis; pair i of p turns by position * theta ** (-i / p).
        theta: base of the frequencies.
        device: where the table goes.
        cells: for each axis, how many positions a cell holds; the table is then that of the cells' centres, and the
            last cell holds what is left. None: single positions.
    """
    # a table first made under inference_mode could not be used in training later
    with torch.inference_mode(False), torch.no_grad():
        sizes = cells or (1,) * len(grid)
        axes = torch.meshgrid(*map(_centres, grid, sizes), indexing="ij")
        angles = torch.cat(
            [
                axis.reshape(-1, 1) * theta ** (-torch.arange(count, dtype=torch.float64) / count)
                for axis, count in zip(axes, pairs, strict=True)
            ],
            dim=1,
        )
        return RotaryTable(angles.cos().float().to(device), angles.sin().float().to(device))


def _centres(length: int, size: int) -> Tensor:
    positions = torch.arange(length, dtype=torch.float64)
    return torch.stack([cell.mean() for cell in positions.split(size)])


def apply_rotary(x_BLND: Tensor, table: RotaryTable) -> Tensor:
    """Turn neighbouring channels (2i, 2i + 1) by the angles of their position; the result is float32."""
    even, odd = x_BLND.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table.cos[:, None], table.sin[:, None]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
