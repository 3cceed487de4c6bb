"""What surrounds the blocks of the DiT: embeddings of latents, timestep, text and image, and the head.

Official parameter names and arithmetic (Wan-Video/Wan2.1 `wan/modules/model.py`); the parts that are float32 there
are float32 here, whatever the dtype of the weights.

Shapes in names: B batch, L video tokens, C = dim.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan.blocks import LayerNorm, linear_float32
from wan.config import DiTConfig

Grid = tuple[int, int, int]
"""Latent frames, rows and columns of video tokens."""


class PatchEmbedding(nn.Conv3d):
    """Patches of the latent, with its image condition, to video tokens."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(config.in_dim, config.dim, config.patch_size, config.patch_size)

    def forward(self, input: Tensor) -> Tensor:
        """[B, in_dim, f, h, w] -> [B, f, h / 2, w / 2, dim]; a matrix product gives the same as the convolution."""
        assert self.bias is not None
        _, rows, columns = self.kernel_size
        patches = input.to(self.bias.dtype).unflatten(4, (-1, columns)).unflatten(3, (-1, rows))
        patches = patches.permute(0, 2, 3, 5, 1, 4, 6).flatten(4)
        return F.linear(patches, self.weight.flatten(1), self.bias)


class TextEmbedding(nn.Sequential):
    """T5 tokens, zero-padded to text_len, to context tokens (official `text_embedding`)."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(
            nn.Linear(config.text_dim, config.dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.dim, config.dim),
        )
        self.text_len = config.text_len

    def forward(self, input: Sequence[Tensor] | Tensor) -> Tensor:
        """A list of [L_i, text_dim], or [B, L, text_dim] -> [B, text_len, dim].

        Raises:
            ValueError: a text is longer than text_len, or its tokens are of another width.
        """
        first = self[0]
        assert isinstance(first, nn.Linear)
        for tokens in input[:1] if isinstance(input, Tensor) else input:
            if tokens.ndim != 2 or tokens.shape[0] > self.text_len or tokens.shape[1] != first.in_features:
                raise ValueError(
                    f"context {list(tokens.shape)}: expected [L, {first.in_features}] with L up to {self.text_len}; "
                    "is the text cache of another text encoder?"
                )
        if isinstance(input, Tensor):
            padded = F.pad(input, (0, 0, 0, self.text_len - input.shape[1]))
        else:
            padded = torch.stack([F.pad(tokens, (0, 0, 0, self.text_len - len(tokens))) for tokens in input])
        return super().forward(padded.to(first.weight.device, first.bias.dtype))


class ImageEmbedding(nn.Module):
    """CLIP tokens to context tokens (official `MLPProj`)."""

    def __init__(self, config: DiTConfig, image_dim: int) -> None:
        super().__init__()
        self.image_dim = image_dim
        self.proj = nn.Sequential(
            LayerNorm(image_dim),
            nn.Linear(image_dim, image_dim),
            nn.GELU(),
            nn.Linear(image_dim, config.dim),
            LayerNorm(config.dim),
        )
        if config.image_pos_tokens:
            self.emb_pos = nn.Parameter(torch.zeros(1, config.image_pos_tokens, image_dim))
        else:
            self.emb_pos = None

    def forward(self, clip_features: Tensor) -> Tensor:
        """[B, tokens, image_dim] -> [B, tokens, dim] in the dtype of the weights.

        With `emb_pos`, first and last frame may also come as [2 * B, tokens / 2, image_dim], first before last.

        Raises:
            ValueError: the tokens are of another width.
        """
        if clip_features.ndim != 3 or clip_features.shape[-1] != self.image_dim:
            raise ValueError(
                f"clip_features {list(clip_features.shape)}: expected [B, tokens, {self.image_dim}]; "
                "is the latent cache of another image encoder?"
            )
        norm_in, linear_in, gelu, linear_out, norm_out = self.proj
        assert isinstance(linear_in, nn.Linear)
        dtype = linear_in.bias.dtype
        clip_features = clip_features.to(linear_in.weight.device)
        if self.emb_pos is not None:
            clip_features = clip_features.reshape(-1, *self.emb_pos.shape[1:]) + self.emb_pos
        hidden = gelu(linear_in(norm_in(clip_features).to(dtype)))
        return norm_out(linear_out(hidden)).to(dtype)


class TimeEmbedding(nn.Sequential):
    """Sinusoid of the timestep through two linear layers, in float32 (official `time_embedding`)."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(nn.Linear(config.freq_dim, config.dim), nn.SiLU(), nn.Linear(config.dim, config.dim))

    def forward(self, input: Tensor) -> Tensor:
        """Timesteps [B] (0 to 1000) -> [B, dim] in float32."""
        first, silu, second = self
        assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
        return linear_float32(second, silu(linear_float32(first, sinusoid(input, first.in_features))))


class TimeProjection(nn.Sequential):
    """Time embedding to the modulation of the blocks, in float32 (official `time_projection`)."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(nn.SiLU(), nn.Linear(config.dim, 6 * config.dim))

    def forward(self, input: Tensor) -> Tensor:
        """[B, dim] -> [B, 6, dim] in float32: shift, scale, gate of attention, then of the feed-forward network."""
        silu, linear = self
        assert isinstance(linear, nn.Linear)
        return linear_float32(linear, silu(input)).unflatten(1, (6, -1))


def sinusoid(timestep: Tensor, dim: int) -> Tensor:
    """Timesteps [B] -> [B, dim] in float32: cosines, then sines, computed in float64.

    Source: official `sinusoidal_embedding_1d`.
    """
    half = dim // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=timestep.device) / half)
    angles = timestep.double()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


class Head(nn.Module):
    """Last norm, modulation and projection to the latent's patches, in float32 (official `Head`, `unpatchify`)."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.norm = LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.head = nn.Linear(config.dim, config.out_dim * config.patch_size[1] * config.patch_size[2])
        self.modulation = nn.Parameter(torch.randn(1, 2, config.dim) / config.dim**0.5)

    def forward(self, x_BLC: Tensor, time_BC: Tensor, grid: Grid) -> Tensor:
        """Video tokens [B, L, C] and the time embedding [B, C] -> latents [B, out_dim, f, h, w] in float32."""
        _, rows, columns = self.patch_size
        shift, scale = (self.modulation.float() + time_BC[:, None]).unsqueeze(2).unbind(1)
        patches = linear_float32(self.head, torch.addcmul(shift, self.norm(x_BLC), 1 + scale))
        # within a patch the channels vary fastest
        patches = patches.unflatten(1, grid).unflatten(4, (rows, columns, -1))
        return patches.permute(0, 6, 1, 2, 4, 3, 5).flatten(5).flatten(3, 4)
