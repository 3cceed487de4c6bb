"""Plücker maps added to the video tokens once, after the patch embedding, through a bottleneck.

The rays of all four video frames of a token, on a grid finer than the tokens, go through a hidden layer to the DiT's
width. Source of the place and of the grouping: aigc-apps/VideoX-Fun `videox_fun/models/wan_camera_adapter.py`, whose
`SimpleAdapter` unshuffles pixels 8 × 8, convolves them to the DiT's width and adds a residual block there: 503 M
parameters at 14B, where ours has 5 M. As a design of its own, `plucker`, it is the cheapest baseline.
"""

from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from camera.network_input import CameraInput
from wan.adapters.interface import CameraAdapter, CameraTokens, ray_patches
from wan.blocks import linear_float32
from wan.config import PluckerConfig, RelativeConfig
from wan.config_adapters import PATCH, RAY_CHANNELS


class FineBranch(nn.Module):
    """Rays of a patch -> hidden layer -> the DiT's width; the second layer starts at zero."""

    def __init__(self, config: PluckerConfig | RelativeConfig, dit_dim: int) -> None:
        super().__init__()
        self.side = PATCH * config.fine_scale
        self.rays_of = config.rays_of
        self.rays = nn.Linear(RAY_CHANNELS * self.side**2, config.hidden_dim)
        self.o = nn.Linear(config.hidden_dim, dit_dim, bias=False)

    def embed(self, rays: Tensor) -> Tensor:
        """Plücker maps [B, f, 24, H, W] -> hidden features [B, L, hidden_dim]; all but the result in float32."""
        patches = ray_patches(rays.to(self.rays.weight.device), self.side, self.rays_of)
        return F.gelu(linear_float32(self.rays, patches)).flatten(1, 3).to(self.o.weight.dtype)


@dataclass(frozen=True)
class PluckerTokens(CameraTokens):
    """The hidden features are kept, not the term: at 14B they are a fifth of it, and the rest costs 0.02 %."""

    hidden: Tensor
    """[B, L, hidden_dim]."""


class PluckerAdapter(CameraAdapter):
    """The fine branch alone."""

    def __init__(self, config: PluckerConfig, dit_dim: int, layers: int) -> None:
        super().__init__(config, dit_dim, layers)
        self.fine = FineBranch(config, dit_dim)
        self.reset_parameters()

    def prepare(self, camera: CameraInput, cache_kv: bool = False, gain: Tensor | None = None) -> PluckerTokens:
        """See `CameraAdapter.prepare`; there are no keys and values."""
        grid = self.check_rays(camera)
        return PluckerTokens(len(camera.rays), grid, gain, self.fine.embed(camera.rays))

    def patch_term(self, camera: CameraTokens | None) -> Tensor | None:
        """See `CameraAdapter.patch_term`."""
        if camera is None or self.camera_scale == 0:
            return None
        return self.fine.o(self.weighed(cast(PluckerTokens, camera).hidden, camera))

    def output_layers(self) -> list[nn.Linear]:
        """That of the fine branch."""
        return [self.fine.o]
