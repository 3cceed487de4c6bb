"""Heads of DUSt3R: tokens to a point and a confidence for every pixel. In float32 (float64 beside float64).

Shapes in names: B batch, L patches, C channels, H and W pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from Dust3rP.config import DPTConfig, Dust3RConfig
from Dust3rP.rope import Grid

_SHORTEST = 1e-8


class PointMap(NamedTuple):
    """What a head says of a picture, every `stride`-th pixel of it."""

    points: Tensor
    """[B, H, W, 3], x right, y down, z forward, in the camera of the first picture of the pair."""
    confidence: Tensor
    """[B, H, W], above 1."""


def point_map(channels_B4HW: Tensor) -> PointMap:
    """Points and confidence of a head's four channels.

    Source: depth_mode ('exp', -inf, inf) and conf_mode ('exp', 1, inf) of the released models: a point lies in the
    direction of xyz at the distance exp(|xyz|) - 1, and the confidence is 1 + exp of the fourth channel.
    """
    xyz = channels_B4HW[:, :3].movedim(1, -1)
    length = xyz.norm(dim=-1, keepdim=True)
    return PointMap(xyz / length.clamp(min=_SHORTEST) * length.expm1(), 1 + channels_B4HW[:, 3].exp())


class LinearHead(nn.Module):
    """One linear layer on the last tokens, which gives the pixels of each patch."""

    def __init__(self, config: Dust3RConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.proj = nn.Linear(config.decoder_dim, 4 * config.patch_size**2)

    def forward(self, levels: Sequence[Tensor], grid: Grid, stride: int = 1) -> PointMap:
        """Tokens of the last level [B, L, C] alone -> every `stride`-th pixel."""
        (tokens,) = levels
        with torch.autocast(tokens.device.type, enabled=False):
            channels = _as_map(self.proj(tokens.to(self.proj.weight.dtype)), grid)
            return point_map(F.pixel_shuffle(channels, self.patch_size)[:, :, ::stride, ::stride])


class Level(nn.Module):
    """Tokens of one depth as a map of one scale.

    Args:
        dim: width of the tokens.
        width: of the map before it is brought to the width of the fusion.
        features: width of the fusion.
        resample: to the level's scale; the identity for that of the patches.
    """

    def __init__(self, dim: int, width: int, features: int, resample: nn.Module) -> None:
        super().__init__()
        self.project = nn.Conv2d(dim, width, 1)
        self.resample = resample
        self.narrow = nn.Conv2d(width, features, 3, padding=1, bias=False)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """[B, L, C] -> [B, features, rows, columns] of the level."""
        return self.narrow(self.resample(self.project(_as_map(tokens.to(self.project.weight.dtype), grid))))


class ResidualUnit(nn.Module):
    """Two convolutions, each after a ReLU, added to what they are given."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return x_BCHW + self.conv2(self.conv1(x_BCHW.relu()).relu())


class Fusion(nn.Module):
    """The map so far with the next finer level, at twice its size; the coarsest level begins and has no skip."""

    def __init__(self, features: int, begins: bool) -> None:
        super().__init__()
        self.skip = None if begins else ResidualUnit(features)
        self.unit = ResidualUnit(features)
        self.out = nn.Conv2d(features, features, 1)

    def forward(self, x_BCHW: Tensor, level_BCHW: Tensor | None = None) -> Tensor:
        """[B, C, H, W] and a level of the same shape -> [B, C, 2H, 2W]."""
        if self.skip is not None:
            assert level_BCHW is not None, "only the coarsest level has nothing to be fused with"
            x_BCHW = x_BCHW + self.skip(level_BCHW)
        return self.out(_twice(self.unit(x_BCHW)))


class DPTHead(nn.Module):
    """Four levels of tokens, fused from coarse to fine (Ranftl et al., ICCV 2021)."""

    def __init__(self, config: Dust3RConfig, dpt: DPTConfig) -> None:
        super().__init__()
        widths, features = dpt.widths, dpt.features
        resamples = (
            nn.ConvTranspose2d(widths[0], widths[0], 4, 4),
            nn.ConvTranspose2d(widths[1], widths[1], 2, 2),
            nn.Identity(),
            nn.Conv2d(widths[3], widths[3], 3, stride=2, padding=1),
        )
        self.levels = nn.ModuleList(
            Level(config.level_dim(depth), width, features, resample)
            for depth, width, resample in zip(config.head_levels, widths, resamples, strict=True)
        )
        self.fusions = nn.ModuleList(Fusion(features, begins=n == len(widths) - 1) for n in range(len(widths)))
        self.at_half = nn.Conv2d(features, dpt.half, 3, padding=1)
        self.at_full = nn.Conv2d(dpt.half, dpt.last, 3, padding=1)
        self.point = nn.Conv2d(dpt.last, 4, 1)

    def forward(self, levels: Sequence[Tensor], grid: Grid, stride: int = 1) -> PointMap:
        """Tokens of the four levels, each [B, L, C] -> every `stride`-th pixel.

        What the last convolutions would say of other pixels is not computed; the numbers are the same.
        """
        with torch.autocast(levels[0].device.type, enabled=False):
            maps = [level(tokens, grid) for level, tokens in zip(self.levels, levels, strict=True)]
            # an odd number of patches was rounded up in the coarsest level
            fused = self.fusions[3](maps[3])[:, :, : grid[0], : grid[1]]
            for n in (2, 1, 0):
                fused = self.fusions[n](fused, maps[n])
            half = _twice(self.at_half(fused))
            full = F.conv2d(half, self.at_full.weight, self.at_full.bias, stride=stride, padding=1)
            return point_map(self.point(full.relu()))


def make_head(config: Dust3RConfig) -> LinearHead | DPTHead:
    """The head of the config's kind."""
    return LinearHead(config) if config.dpt is None else DPTHead(config, config.dpt)


def _as_map(tokens_BLC: Tensor, grid: Grid) -> Tensor:
    """[B, L, C] -> [B, C, rows, columns]."""
    return tokens_BLC.transpose(1, 2).unflatten(2, grid)


def _twice(x_BCHW: Tensor) -> Tensor:
    """At twice the size, bilinear, with the corners kept."""
    return F.interpolate(x_BCHW, scale_factor=2, mode="bilinear", align_corners=True)
