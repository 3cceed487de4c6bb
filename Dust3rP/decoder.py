"""Encoder and decoders of DUSt3R: pictures to features, pairs of features to the tokens that the heads read.

Shapes in names: B batch, L patches, C channels.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from Dust3rP.blocks import DecoderBlock, EncoderBlock, LayerNorm, wide
from Dust3rP.config import Dust3RConfig
from Dust3rP.rope import Grid, RotaryTable, rotary_table


class Features(NamedTuple):
    """What the encoder makes of a picture, whatever it is paired with later."""

    tokens: Tensor
    """[B, L, encoder_dim], patches row by row, in the dtype of the weights."""
    grid: Grid
    """Rows and columns of patches."""


class PatchEmbed(nn.Conv2d):
    """Patches of a picture to tokens, in float32: pixels are not rounded to half precision."""

    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__(3, dim, patch_size, patch_size)

    def forward(self, input: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, L, C]; a matrix product gives the same as the convolution."""
        rows, columns = self.kernel_size
        patches = input.to(self.weight.dtype).unflatten(3, (-1, columns)).unflatten(2, (-1, rows))
        return F.linear(patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2), self.weight.flatten(1), self.bias)


class Encoder(nn.Module):
    """The vision transformer that both pictures go through, each by itself."""

    def __init__(self, config: Dust3RConfig) -> None:
        super().__init__()
        dim = config.encoder_dim
        self.head_dim = dim // config.encoder_heads
        self.patch_size = config.patch_size
        self.patch_embed = PatchEmbed(dim, config.patch_size)
        self.blocks = nn.ModuleList(
            EncoderBlock(dim, config.encoder_heads, config.encoder_mlp) for _ in range(config.encoder_depth)
        )
        self.norm = LayerNorm(dim)

    def forward(self, images: Tensor) -> Features:
        """Features of pictures [B, 3, H, W] in [-1, 1].

        Raises:
            ValueError: not three channels, or a side is no multiple of the patch size.
        """
        size = self.patch_size
        if images.ndim != 4 or images.shape[1] != 3 or any(side % size or not side for side in images.shape[2:]):
            raise ValueError(f"images {list(images.shape)}: expected [B, 3, H, W], H and W multiples of {size}")
        grid = images.shape[2] // size, images.shape[3] // size
        x_BLC = self.patch_embed(images)
        rope = rotary_table(grid, self.head_dim, x_BLC.device, wide(x_BLC.dtype))
        for block in self.blocks:
            x_BLC = block(x_BLC, rope)
        return Features(self.norm(x_BLC), grid)


class Decoders(nn.Module):
    """The two decoders, one for each picture; block by block each reads what the other was before that block."""

    def __init__(self, config: Dust3RConfig) -> None:
        super().__init__()
        dim, heads = config.decoder_dim, config.decoder_heads
        self.head_dim = dim // heads
        self.levels = config.head_levels
        self.embed = nn.Linear(config.encoder_dim, dim)
        self.blocks1 = nn.ModuleList(DecoderBlock(dim, heads, config.decoder_mlp) for _ in range(config.decoder_depth))
        self.blocks2 = nn.ModuleList(DecoderBlock(dim, heads, config.decoder_mlp) for _ in range(config.decoder_depth))
        self.norm = LayerNorm(dim)

    def forward(self, features1: Features, features2: Features) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens of the levels that the heads read (`Dust3RConfig.head_levels`), for either picture.

        Level 0 is what the encoder made; the last one alone has gone through the norm.
        """
        rope1, rope2 = self._rope(features1), self._rope(features2)
        levels = [(features1.tokens, features2.tokens)]
        x1_BLC, x2_BLC = (self.embed(f.tokens).to(wide(f.tokens.dtype)) for f in (features1, features2))
        for block1, block2 in zip(self.blocks1, self.blocks2, strict=True):
            x1_BLC, x2_BLC = block1(x1_BLC, x2_BLC, rope1, rope2), block2(x2_BLC, x1_BLC, rope2, rope1)
            levels.append((x1_BLC, x2_BLC))
        levels[-1] = self.norm(x1_BLC), self.norm(x2_BLC)
        return [levels[n][0] for n in self.levels], [levels[n][1] for n in self.levels]

    def _rope(self, features: Features) -> RotaryTable:
        return rotary_table(features.grid, self.head_dim, features.tokens.device, wide(features.tokens.dtype))
