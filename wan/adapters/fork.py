"""v1: the OmniCam-Wan fork's adapter, under its own names and with its own shapes, and without its faults.

A small transformer over the Plücker rays of each latent frame gives tokens of the DiT's width; in every block the
cross-attention's own queries attend to them, and the result joins those of text and image before the output layer.
Facts (names, shapes, arithmetic): Yangxiaoda1/OmniCam-Wan2 `wan/modules/model.py` and `myplucker.py` at b8f8f88.

What differs, by the rules of the project's camera notes:

- R1: one attention, times `camera_scale`. The fork computed it twice and added both in training (2.0), and left it
  out in evaluation mode (0.0).
- R3: batch norm by its stored statistics, folded into the convolution; rays and their transformer in float32.
- R4: the rays' tokens are made once per video, and with `cache_kv` the codes of keys and values too.
- R5: new adapters attend within the latent frame; files of the fork (`same_frame=False`) among all frames.
- R6: the last layer of the values starts at zero; the statistics and the mixing of poses are not trained.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from camera.network_input import CameraInput
from camera.plucker import FRAMES_PER_LATENT, plucker_map
from wan.adapters.interface import CameraAdapter, CameraTokens
from wan.attention import sdpa
from wan.blocks import CameraBranch, LayerNorm, RMSNorm, linear_float32
from wan.config import ForkConfig

_TORCH_EPS = 1e-5

Codes = tuple[Tensor, Tensor]
"""Keys and values of one block before their last layers, each [B, L, middle_dim]."""


class PoseMixing(nn.Module):
    """The fork's 1x1 convolution over the four poses of a latent frame: a weighted sum of matrices, plus a number.

    A sum of poses is no pose. New adapters take the last one (weights 0 0 0 1, bias 0), and it is not trained.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, FRAMES_PER_LATENT, 1, 1))
        self.register_buffer("bias", torch.zeros(1))

    def forward(self, poses: Float[Tensor, "b f 4 4 4"]) -> Float[Tensor, "b f 4 4"]:
        """Latent frame 0 keeps its one pose."""
        mixed = (poses[:, 1:] * self.weight[0].float()).sum(dim=2) + self.bias.float()
        return torch.cat((poses[:, :1, -1], mixed), dim=1)


class RayLayer(nn.Module):
    """One pre-norm transformer layer over the rays of a frame, in float32 (the fork's `TransformerBlock`)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = LayerNorm(dim, _TORCH_EPS)
        # only to hold the parameters under torch's names; its own forward is not used
        self.attn = nn.MultiheadAttention(dim, num_heads)
        self.norm2 = LayerNorm(dim, _TORCH_EPS)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Identity(), nn.Linear(4 * dim, dim), nn.Identity()
        )

    def forward(self, x: Float[Tensor, "n tokens dim"]) -> Float[Tensor, "n tokens dim"]:
        """Attention among the tokens, then the feed-forward layers."""
        weight, bias = self.attn.in_proj_weight.float(), self.attn.in_proj_bias.float()
        q, k, v = F.linear(self.norm1(x), weight, bias).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        x = x + linear_float32(self.attn.out_proj, sdpa(q, k, v))
        first, second = (cast(nn.Linear, self.mlp[index]) for index in (0, 3))
        return x + linear_float32(second, linear_float32(first, self.norm2(x)).relu())


class RayTransformer(nn.Module):
    """Plücker maps to tokens of the DiT's width, frame by frame, in float32 (the fork's `PluckerNet`)."""

    def __init__(self, config: ForkConfig, dit_dim: int) -> None:
        super().__init__()
        self.initial_conv = nn.Conv3d(6, config.hidden_dim, 1)
        self.transformer_layers = nn.ModuleList(
            RayLayer(config.hidden_dim, config.num_heads) for _ in range(config.num_layers)
        )
        self.final_conv2d = nn.Conv2d(config.hidden_dim, dit_dim, 3, padding=1)
        self.final_bn2d = nn.BatchNorm2d(dit_dim, _TORCH_EPS)

    def forward(self, rays: Float[Tensor, "n 6 rows columns"]) -> Float[Tensor, "n tokens dim"]:
        """Tokens row by row."""
        first, last, norm = self.initial_conv, self.final_conv2d, self.final_bn2d
        assert first.bias is not None and last.bias is not None
        assert norm.running_var is not None and norm.running_mean is not None
        with torch.autocast(rays.device.type, enabled=False):
            tokens = rays.float().flatten(2).mT
            x = F.linear(tokens, first.weight.float().flatten(1), first.bias.float())
            for layer in self.transformer_layers:
                x = layer(x)
            gain = norm.weight.float() * (norm.running_var.float() + norm.eps).rsqrt()
            weight = last.weight.float() * gain.view(-1, 1, 1, 1)
            bias = (last.bias.float() - norm.running_mean.float()) * gain + norm.bias.float()
            maps = x.mT.unflatten(2, rays.shape[2:])
            return F.conv2d(maps, weight, bias, padding=1).relu().flatten(2).mT


class TwoLinear(nn.Module):
    """Two linear layers with nothing between them: a product of low rank (the fork's `CombinedLinear`)."""

    def __init__(self, dim: int, middle_dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, middle_dim)
        self.linear2 = nn.Linear(middle_dim, dim)


class CameraKV(nn.Module):
    """What the fork adds to a block's cross-attention."""

    def __init__(self, config: ForkConfig, dit_dim: int) -> None:
        super().__init__()
        self.k_camera1 = TwoLinear(dit_dim, config.middle_dim)
        self.v_camera1 = TwoLinear(dit_dim, config.middle_dim)
        self.norm_k_cam1 = RMSNorm(dit_dim, config.eps)

    def codes(self, rays_BLC: Tensor) -> Codes:
        """Keys and values of the ray tokens before their last layers."""
        return self.k_camera1.linear1(rays_BLC), self.v_camera1.linear1(rays_BLC)

    def project(self, codes: Codes, heads: int) -> tuple[Tensor, Tensor]:
        """Keys and values [B, L, N, D]."""
        v = self.v_camera1.linear2(codes[1])
        k = self.norm_k_cam1(self.k_camera1.linear2(codes[0])).to(v.dtype)
        return k.unflatten(-1, (heads, -1)), v.unflatten(-1, (heads, -1))


class CameraBlock(nn.Module):
    """Holds a block's layers under the fork's names."""

    def __init__(self, config: ForkConfig, dit_dim: int) -> None:
        super().__init__()
        self.cross_attn = CameraKV(config, dit_dim)


@dataclass(frozen=True)
class ForkTokens(CameraTokens):
    """Ray tokens, and perhaps the codes of the layers."""

    rays: Tensor
    """[B, L, C] in the dtype of the layers."""
    cached: tuple[Codes, ...] | None = None
    """Codes of every block, if asked for: 84 MB a block at 14B for 81 frames of 480 x 832."""


class ForkAdapter(CameraAdapter):
    """Poses of the video frames in, contributions to the cross-attention out."""

    def __init__(self, config: ForkConfig, dit_dim: int, layers: int) -> None:
        super().__init__(config, dit_dim, layers)
        self.sizes = config
        self.conv = PoseMixing()
        self.myadapter = RayTransformer(config, dit_dim)
        self.blocks = nn.ModuleDict({str(block): CameraBlock(config, dit_dim) for block in config.blocks})
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Fresh weights with zero values."""
        super().reset_parameters(generator)
        for layer in self.myadapter.transformer_layers:
            assert isinstance(layer, RayLayer)
            weight = layer.attn.in_proj_weight
            with torch.no_grad():
                weight.copy_(torch.randn(weight.shape, generator=generator) * weight.shape[1] ** -0.5)
            nn.init.zeros_(layer.attn.in_proj_bias)

    def prepare(self, camera: CameraInput, cache_kv: bool = False, gain: Tensor | None = None) -> ForkTokens:
        """See `CameraAdapter.prepare`."""
        grid = self.check_rays(camera)
        layers = self._layers()
        place = layers[0].k_camera1.linear1.weight
        poses = self.conv(camera.poses.to(place.device, torch.float32))
        rays = plucker_map(poses, camera.lenses.to(poses), *grid[1:]).flatten(0, 1)
        tokens_BLC = self.myadapter(rays).unflatten(0, (-1, grid[0])).flatten(1, 2).to(place.dtype)
        tokens = ForkTokens(len(poses), grid, gain, tokens_BLC)
        if not cache_kv:
            return tokens
        return replace(tokens, cached=tuple(layer.codes(tokens_BLC) for layer in layers))

    def branch(self, block: int, camera: CameraTokens | None) -> CameraBranch | None:
        """See `CameraAdapter.branch`."""
        if camera is None or self.camera_scale == 0 or block not in self.sizes.blocks:
            return None
        index, rays = self.sizes.blocks.index(block), cast(ForkTokens, camera)
        codes = None if rays.cached is None else rays.cached[index]
        return CameraBranch("in_cross", partial(self._contribution, self._layers()[index], rays, codes))

    def output_layers(self) -> list[nn.Linear]:
        """The last layers of the values."""
        return [layer.v_camera1.linear2 for layer in self._layers()]

    def _contribution(self, layer: CameraKV, camera: ForkTokens, codes: Codes | None, q_BLND: Tensor) -> Tensor:
        k, v = layer.project(layer.codes(camera.rays) if codes is None else codes, q_BLND.shape[2])
        q = q_BLND.to(v.dtype)
        if self.sizes.same_frame:
            q, k, v = (x.unflatten(1, (camera.grid[0], -1)).flatten(0, 1) for x in (q, k, v))
        y_BLC = sdpa(q, k, v).reshape(*q_BLND.shape[:2], -1)
        return self.weighed(y_BLC, camera).to(q_BLND.dtype)

    def _layers(self) -> list[CameraKV]:
        return [block.cross_attn for block in self.blocks.values() if isinstance(block, CameraBlock)]
