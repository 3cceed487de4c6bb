"""cross: in some blocks, video tokens look at the viewing rays of their own latent frame.

Per latent frame, a cross-attention from video tokens to ray tokens, with rotary row and column positions on queries
and keys, so that a token can tell the rays that pass through it. Merged after the cross-attention to text and image.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camera.network_input import CameraInput
from wan.adapters.interface import CameraAdapter, CameraTokens, linear_layers, ray_patches
from wan.attention import sdpa
from wan.blocks import CameraBranch, LayerNorm, RMSNorm, linear_float32
from wan.config import CrossConfig
from wan.rope import RotaryTable, apply_rotary, rotary_table

RayKV = tuple[Tensor, Tensor]
"""Keys and values of one adapter layer, each [B * f, S, heads, D]; S ray tokens per latent frame."""


@dataclass(frozen=True)
class CrossTokens(CameraTokens):
    """Ray tokens, and perhaps what the layers make of them."""

    rays: Tensor
    """[B, f, S, token_dim] in float32."""
    rope: RotaryTable
    """Of the rows and columns, for the queries of the video tokens and the keys of the ray tokens."""
    cached: tuple[RayKV, ...] | None = None
    """Keys and values of every adapter layer, if asked for."""


class CameraAttention(nn.Module):
    """One block's attention from video tokens to the ray tokens of the same latent frame."""

    def __init__(self, config: CrossConfig, dit_dim: int) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.norm = LayerNorm(dit_dim, config.eps)
        self.q = nn.Linear(dit_dim, config.inner_dim)
        self.k = nn.Linear(config.token_dim, config.inner_dim)
        self.v = nn.Linear(config.token_dim, config.inner_dim, bias=False)
        self.o = nn.Linear(config.inner_dim, dit_dim, bias=False)
        self.norm_q = RMSNorm(config.inner_dim, config.eps)
        self.norm_k = RMSNorm(config.inner_dim, config.eps)

    def project(self, camera: CrossTokens) -> RayKV:
        """Keys (turned by row and column) and values of the ray tokens."""
        rays = camera.rays.flatten(0, 1).to(self.k.weight.dtype)
        v = self._heads(self.v(rays))
        return self._turn(self.norm_k(self.k(rays)), camera.rope).to(v.dtype), v

    def attend(
        self, x: Float[Tensor, "b tokens dim"], camera: CrossTokens, kv: RayKV | None
    ) -> Float[Tensor, "b tokens inner"]:
        """What the video tokens see, before the output layer."""
        k, v = kv if kv is not None else self.project(camera)
        frames = self.norm(x).to(self.q.weight.dtype).reshape(k.shape[0], -1, x.shape[-1])
        q = self._turn(self.norm_q(self.q(frames)), camera.rope).to(v.dtype)
        return sdpa(q, k, v).reshape(*x.shape[:2], -1)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))

    def _turn(self, x: Tensor, rope: RotaryTable) -> Tensor:
        return apply_rotary(self._heads(x), rope)


class CrossAdapter(CameraAdapter):
    """Plücker maps in, per-block contributions out."""

    def __init__(self, config: CrossConfig, dit_dim: int, layers: int) -> None:
        super().__init__(config, dit_dim, layers)
        self.sizes = config
        rows, columns = config.patch_size
        self.ray_embedding = nn.Sequential(
            nn.Linear(config.ray_channels * rows * columns, config.hidden_dim),
            nn.GELU(),
            nn.Linear(config.hidden_dim, config.token_dim),
        )
        self.layers = nn.ModuleList(CameraAttention(config, dit_dim) for _ in config.blocks)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Fresh weights, by which a token starts out looking at its own ray."""
        super().reset_parameters(generator)
        for layer in self._layers():
            # equal biases of queries and keys, once turned, agree best at distance 0
            nn.init.ones_(layer.q.bias)
            nn.init.ones_(layer.k.bias)
            nn.init.constant_(layer.norm_q.weight, 2.0)
            nn.init.constant_(layer.norm_k.weight, 2.0)

    def prepare(self, camera: CameraInput, cache_kv: bool = False, gain: Tensor | None = None) -> CrossTokens:
        """See `CameraAdapter.prepare`."""
        grid = self.check_rays(camera)
        first, second = linear_layers(self.ray_embedding)
        patches = ray_patches(camera.rays.to(first.weight.device), self.sizes.patch_size[0], self.sizes.rays_of)
        rays = linear_float32(second, nn.functional.gelu(linear_float32(first, patches)))
        pairs = self.sizes.inner_dim // self.sizes.num_heads // 4
        rope = rotary_table(grid[1:], (pairs, pairs), self.sizes.rope_theta, rays.device)
        tokens = CrossTokens(len(rays), grid, gain, rays.flatten(2, 3), rope)
        if not cache_kv:
            return tokens
        return replace(tokens, cached=tuple(layer.project(tokens) for layer in self._layers()))

    def branch(self, block: int, camera: CameraTokens | None) -> CameraBranch | None:
        """See `CameraAdapter.branch`."""
        if camera is None or self.camera_scale == 0 or block not in self.sizes.blocks:
            return None
        index = self.sizes.blocks.index(block)
        rays = cast(CrossTokens, camera)
        kv = None if rays.cached is None else rays.cached[index]
        return CameraBranch("after_cross", partial(self._contribution, self._layers()[index], rays, kv))

    def output_layers(self) -> list[nn.Linear]:
        """Those of the attention layers."""
        return [layer.o for layer in self._layers()]

    def _contribution(self, layer: CameraAttention, camera: CrossTokens, kv: RayKV | None, x: Tensor) -> Tensor:
        return layer.o(self.weighed(layer.attend(x, camera, kv), camera)).to(x.dtype)

    def _layers(self) -> list[CameraAttention]:
        return [layer for layer in self.layers if isinstance(layer, CameraAttention)]
