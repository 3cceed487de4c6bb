"""Solid textures in numbers: checks, stripes, mosaics, tiles and marble times smooth value noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tools.procedural_world.materials import COLORS, Texture

_JOINT = 0.05
"""Half width of the joints between tiles, in cells."""


@dataclass(frozen=True)
class Paint:
    """M surfaces to be painted at n points each."""

    cells: Tensor
    """[M, n, 3] points in cells of the texture."""
    blur: Tensor
    """[M, 1, 3] texel sides in cells: edges are softened by as much; 0 across the surface."""
    colors: Tensor
    """[M, 2, 3] linear RGB."""
    direction: Tensor
    """[M, 1, 3] along which stripes alternate."""
    cloud: Tensor
    """[M, n, 1] smooth noise, 0 to 1."""

    def take(self, rows: list[int]) -> "Paint":
        """The surfaces `rows` only."""
        return Paint(*(getattr(self, name)[rows] for name in ("cells", "blur", "colors", "direction", "cloud")))


def albedo(textures: Sequence[Texture], points: Tensor, texel: Tensor, cloud: Tensor) -> Tensor:
    """Linear RGB [M, n, 3] of M surfaces.

    Args:
        textures: one for each surface.
        points: [M, n, 3] in scene units, in the frame of the solid.
        texel: [M, 3] sides of a texel in scene units, 0 along the surface's normal.
        cloud: [M, n, 1] smooth noise, 0 to 1.
    """
    cell = _tensor([texture.cell for texture in textures], points)[:, None, None]
    paint = Paint(
        cells=points / cell + _tensor([texture.offset for texture in textures], points)[:, None],
        blur=texel[:, None] / cell,
        colors=(_tensor([[COLORS[name] for name in texture.colors] for texture in textures], points) / 255) ** 2.2,
        direction=_tensor([texture.direction for texture in textures], points)[:, None],
        cloud=cloud,
    )
    painted = torch.empty_like(points)
    for pattern, painter in _PAINTERS.items():
        rows = [index for index, texture in enumerate(textures) if texture.pattern == pattern]
        if rows:
            painted[rows] = painter(paint.take(rows))
    contrast = _tensor([texture.contrast for texture in textures], points)[:, None, None]
    return painted * (1 + contrast * (2 * cloud - 1))


def clouds(textures: Sequence[Texture], points: Tensor) -> Tensor:
    """Smooth noise [M, n], 0 to 1, in two sizes that follow the cells of each texture; points as for `albedo`."""
    cell = _tensor([texture.cell for texture in textures], points)[:, None, None]
    drift = points / cell + _tensor([texture.offset for texture in textures], points)[:, None]
    return 0.6 * value_noise(drift * 0.9, 11) + 0.4 * value_noise(drift * 2.1, 29)


def _tensor(values: Sequence[object], like: Tensor) -> Tensor:
    return torch.tensor(np.array(values), dtype=like.dtype, device=like.device)


def value_noise(points: Tensor, seed: int) -> Tensor:
    """Smooth noise [...] in 0 to 1 of points [..., 3] with features of size 1 (value noise on the integer lattice)."""
    corner = points.floor()
    weight = points - corner
    weight = weight * weight * (3 - 2 * weight)
    corner = corner.to(torch.int64)
    noise = torch.zeros_like(points[..., 0])
    for index in range(8):
        step = torch.tensor([index & 1, index >> 1 & 1, index >> 2], device=points.device)
        share = torch.where(step > 0, weight, 1 - weight).prod(dim=-1)
        noise += share * lattice_random(corner + step, seed)
    return noise


def lattice_random(corner: Tensor, seed: int) -> Tensor:
    """One number in [0, 1) for every integer point [..., 3]; the primes are those of Teschner et al. 2003."""
    x, y, z = corner.unbind(-1)
    mixed = x * 73856093 ^ y * 19349663 ^ z * 83492791 ^ seed * 2654435761
    for _ in range(2):
        mixed = (mixed ^ mixed >> 15) & 0xFFFFFF
        mixed = mixed * 0x2C1B3C6D
    return ((mixed >> 12) & 0xFFFF).to(torch.float32) / 0x10000


def _wave(cells: Tensor) -> Tensor:
    """Triangle wave of period 2: zero at integers, rising to 0.5 in even cells and falling to -0.5 in odd ones."""
    return ((cells - 0.5).remainder(2) - 1).abs() - 0.5


def _alternate(cells: Tensor, blur: Tensor) -> Tensor:
    """+1 in even and -1 in odd cells, with edges as soft as a texel."""
    return (_wave(cells) / blur.clamp_min(1e-6)).clamp(-1, 1)


def _mix(paint: Paint, share: Tensor) -> Tensor:
    return torch.lerp(paint.colors[:, 1:], paint.colors[:, :1], share)


def _checkered(paint: Paint) -> Tensor:
    return _mix(paint, 0.5 + 0.5 * _alternate(paint.cells, paint.blur).prod(dim=-1, keepdim=True))


def _striped(paint: Paint) -> Tensor:
    along = (paint.cells * paint.direction).sum(dim=-1, keepdim=True)
    blur = (paint.blur * paint.direction).sum(dim=-1, keepdim=True)
    return _mix(paint, 0.5 + 0.5 * _alternate(along, blur))


def _marbled(paint: Paint) -> Tensor:
    return _mix(paint, ((paint.cloud - 0.5) * 3 + 0.5).clamp(0, 1))


def _mosaic(paint: Paint) -> Tensor:
    cell = paint.cells.floor().to(torch.int64)
    colors = _mix(paint, (lattice_random(cell, 3)[..., None] < 0.5).float())
    return colors * _tone(cell) * (1 - 0.45 * _joints(paint))


def _tiled(paint: Paint) -> Tensor:
    tile = paint.colors[:, :1] * _tone(paint.cells.floor().to(torch.int64))
    return torch.lerp(tile, paint.colors[:, 1:], _joints(paint))


def _tone(cell: Tensor) -> Tensor:
    """Brightness of each tile, 0.7 to 1.15."""
    return 0.7 + 0.45 * lattice_random(cell, 7)[..., None]


def _joints(paint: Paint) -> Tensor:
    """1 on the joints between cells, 0 in them; joints in the plane of the surface do not count."""
    to_edge = _wave(paint.cells).abs()
    line = ((_JOINT - to_edge) / paint.blur.clamp_min(1e-6) + 0.5).clamp(0, 1)
    return (line * (paint.blur > 0)).amax(dim=-1, keepdim=True)


_PAINTERS = {
    "checkered": _checkered,
    "striped": _striped,
    "mosaic": _mosaic,
    "tiled": _tiled,
    "marbled": _marbled,
}
