"""What every camera adapter is to the DiT: prepared once per video, then a term at the patches and one in each block.

    CameraInput ─ prepare ─ CameraTokens ─┬─ patch_term ─ added to the video tokens after the patch embedding
       (once per video, kept for all      └─ branch(block) ─ added inside a block, at one of three places
        steps and guidance branches)

Every output layer starts at zero, so a new adapter leaves the model as it is, bit for bit, and nothing depends on
training or evaluation mode. Geometry is float32 whatever the dtype of the weights: half precision would swallow small
motions.

Shapes in names: B videos, L video tokens, C = dim of the DiT.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from camera.network_input import CameraInput
from camera.plucker import FRAMES_PER_LATENT
from wan.blocks import CameraBranch, LayerNorm, RMSNorm
from wan.config import AdapterConfig
from wan.config_adapters import PATCH, RAY_CHANNELS

Grid = tuple[int, int, int]
"""Latent frames, rows and columns of video tokens."""


@dataclass(frozen=True)
class CameraTokens:
    """A camera prepared for denoising: once per video, shared by all steps and both guidance branches."""

    videos: int
    """B."""
    grid: Grid
    """Of the video tokens it is for."""
    gain: Tensor | None
    """[B], multiplies the contribution to each video: 0 drops its camera. None: 1 for all."""


class CameraAdapter(nn.Module):
    """One design; attach it with `WanModel.attach_adapter`.

    Args:
        config: sizes and blocks.
        dit_dim: width of the DiT it is made for.
        layers: blocks of that DiT.

    Raises:
        ValueError: the config names a block that the DiT does not have.
    """

    camera_scale: float
    """Multiplies every contribution: 1 as trained, 0 skips the work and leaves the model as without an adapter."""
    sigma_window: tuple[float, float]
    """Noise levels at which the camera acts; the config's, unless set."""

    def __init__(self, config: AdapterConfig, dit_dim: int, layers: int) -> None:
        super().__init__()
        last = max(config.blocks, default=0)
        if last >= layers:
            raise ValueError(
                f"the adapter sits in block {last}, but the DiT has {layers} blocks; blocks=0:{layers} is all"
            )
        self.config: AdapterConfig = config
        self.dit_dim = dit_dim
        self.dit_layers = layers
        self.camera_scale = 1.0
        self.sigma_window = config.sigma_window

    def prepare(self, camera: CameraInput, cache_kv: bool = False, gain: Tensor | None = None) -> CameraTokens:
        """All that depends on neither the latents nor the timestep, to be made once per batch of videos.

        Args:
            camera: of B videos, on the grids of their latents.
            cache_kv: also keep keys and values of every layer, where they depend on the camera alone.
            gain: see `CameraTokens.gain`.

        Raises:
            ValueError: shapes do not fit together.
        """
        raise NotImplementedError

    def patch_term(self, camera: CameraTokens | None) -> Tensor | None:
        """What to add to the video tokens after the patch embedding, [B, L, C]; None for nothing."""
        return None

    def branch(self, block: int, camera: CameraTokens | None) -> CameraBranch | None:
        """What to add inside DiT block number `block`; None for nothing."""
        return None

    def output_layers(self) -> list[nn.Linear]:
        """The layers that start at zero."""
        raise NotImplementedError

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Set fresh weights: outputs zero, norms one, other layers normal with unit gain."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d):
                normal = torch.randn(layer.weight.shape, generator=generator)
                with torch.no_grad():
                    layer.weight.copy_(normal * layer.weight[0].numel() ** -0.5)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, LayerNorm):
                layer.reset_parameters()
            elif isinstance(layer, RMSNorm):
                nn.init.ones_(layer.weight)
        for layer in self.output_layers():
            nn.init.zeros_(layer.weight)

    def is_trained(self) -> bool:
        """Whether any output layer has left its zero start."""
        return any(bool(layer.weight.any()) for layer in self.output_layers())

    def at_timestep(self, camera: CameraTokens | None, timestep: Tensor) -> CameraTokens | None:
        """The camera as it acts at timesteps [B], 0 to 1000: not at all at those outside the sigma window."""
        if camera is None or self.camera_scale == 0:
            return None
        low, high = self.sigma_window
        if (low, high) == (0.0, 1.0):
            return camera
        acts = ((timestep >= 1000 * low) & (timestep <= 1000 * high)).float()
        return replace(camera, gain=acts if camera.gain is None else acts * camera.gain)

    def weighed(self, term: Tensor, camera: CameraTokens) -> Tensor:
        """A term [B, ...] times `camera_scale` and each video's gain; output layers have no bias, so before them."""
        if self.camera_scale != 1:
            term = term * self.camera_scale
        if camera.gain is not None:
            term = term * camera.gain.to(term).view(-1, *(1,) * (term.ndim - 1))
        return term

    def check_rays(self, camera: CameraInput) -> Grid:
        """The grid of video tokens that a camera is for.

        Raises:
            ValueError: its Plücker maps are not grouped, or not on a grid of whole tokens, or too coarse or fine.
        """
        rays, side = camera.rays, PATCH * self.config.ray_scale
        whole = rays.ndim == 5 and rays.shape[3] % side == 0 and rays.shape[4] % side == 0
        if not whole or rays.shape[2] != RAY_CHANNELS:
            raise ValueError(
                f"camera rays {list(rays.shape)}: expected [B, f, {RAY_CHANNELS}, h, w] with h, w "
                f"{self.config.ray_scale} times the latent grid, multiples of {side}"
            )
        grid = (rays.shape[1], rays.shape[3] // side, rays.shape[4] // side)
        if camera.frames.shape[:-2] != (len(rays), *grid):
            raise ValueError(
                f"camera frames {list(camera.frames.shape)}: expected one 4 x 4 matrix for each of the "
                f"{[len(rays), *grid]} [B, f, rows, columns] video tokens"
            )
        return grid


def ray_patches(rays: Tensor, side: int, rays_of: str) -> Tensor:
    """[B, f, c, h, w] -> [B, f, h / side, w / side, c * side * side]: the rays of each patch, in float32.

    Args:
        rays: Plücker maps, grouped per latent frame.
        side: rows and columns of a patch.
        rays_of: `group` as they are; `last` puts those of the last video frame in the place of all four.
    """
    if rays_of == "last":
        rays = rays.unflatten(2, (FRAMES_PER_LATENT, -1))[:, :, -1:].expand(-1, -1, FRAMES_PER_LATENT, -1, -1, -1)
        rays = rays.flatten(2, 3)
    patches = rays.float().unflatten(4, (-1, side)).unflatten(3, (-1, side))
    return patches.permute(0, 1, 3, 5, 2, 4, 6).flatten(4)


def linear_layers(layers: nn.Sequential) -> list[nn.Linear]:
    """The linear layers of a sequence."""
    return [layer for layer in cast(Iterable[nn.Module], layers) if isinstance(layer, nn.Linear)]
