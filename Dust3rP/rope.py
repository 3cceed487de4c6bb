"""Rotary position embedding over patches, "RoPE100" of CroCo v2 (Weinzaepfel et al., ICCV 2023).

The first half of a head's channels turns with the patch's row, the second with its column. Within each half of D
channels, channel k turns together with channel k + D / 2, by the angle position * 100 ** (-2k / D).

Shapes in names: B batch, L patches, N heads, D channels of a head.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

Grid = tuple[int, int]
"""Rows and columns of patches."""

BASE = 100.0
"""Base of the frequencies."""


class RotaryTable(NamedTuple):
    """Cosines and sines of every patch, each [L, 2, D / 4]: row and column, then frequencies."""

    cos: Tensor
    sin: Tensor


@lru_cache(maxsize=32)
def rotary_table(grid: Grid, head_dim: int, device: torch.device, dtype: torch.dtype) -> RotaryTable:
    """The table of a grid of patches, rows after one another; angles are float32, as those that DUSt3R learnt with.

    Args:
        grid: rows and columns.
        head_dim: channels of a head, a multiple of 4.
        device: where the table goes.
        dtype: float32 or float64, of cosines and sines.
    """
    # a table first made under inference_mode could not be used in training later
    with torch.inference_mode(False), torch.no_grad():
        exponents = torch.arange(0, head_dim // 2, 2, dtype=torch.float32) / (head_dim // 2)
        frequencies = 1.0 / BASE**exponents
        rows, columns = (torch.arange(length, dtype=torch.float32) for length in grid)
        positions = torch.cartesian_prod(rows, columns)
        angles = (positions[..., None] * frequencies).to(dtype)
        return RotaryTable(angles.cos().to(device), angles.sin().to(device))


def apply_rotary(x_BLND: Tensor, table: RotaryTable) -> Tensor:
    """Turn queries or keys by the angles of their patches; computed in the table's dtype, returned in x's."""
    first, second = x_BLND.to(table.cos.dtype).unflatten(-1, (2, 2, -1)).unbind(-2)
    cos, sin = table.cos[:, None], table.sin[:, None]
    turned = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-2)
    return turned.flatten(-3).to(x_BLND.dtype)
