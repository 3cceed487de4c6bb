"""v2: attention relative to viewing rays, beside self-attention, and a fine Plücker branch at the patches.

Every video token i has a rigid frame T_i, its ray-to-world pose (`camera.ray_frames`). On part of each head's channels,
in groups of 4 read as homogeneous coordinates, with D_i = T_i^-1 (world to ray):

    q_i <- D_i^T q_i    k_j <- D_j^-1 k_j    v_j <- D_j^-1 v_j    out_i <- D_i out_i

so q_i meets k_j through D_i D_j^-1 = T_i^-1 T_j, the pose of ray j as ray i sees it, and values arrive in the frame of
the token that reads them. The other channels have the DiT's rotary positions. Sources: GTA (arXiv 2310.10375), PRoPE
(arXiv 2507.10496), UCPE (arXiv 2512.07237: the frames of single rays; a parallel branch an eighth as wide).

The branch reads what self-attention reads, and is added to its output before the gate, so the base model's own scale
applies. Keys and values depend on the video, so what is kept per video is the frames and the tables.

Shapes in names: B videos, L queries, S keys, N heads, D channels of a head, C = dim of the DiT.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camera.network_input import CameraInput
from camera.poses import assemble, invert
from camera.ray_frames import pool_cells, pooled_frames
from wan.adapters.interface import CameraAdapter, CameraTokens, Grid
from wan.adapters.patch import FineBranch
from wan.attention import sdpa
from wan.blocks import CameraBranch, RMSNorm
from wan.config import RelativeConfig
from wan.rope import RotaryTable, apply_rotary, rotary_table, video_pairs


class RayTurns(NamedTuple):
    """How queries, keys, values and outputs are turned; matrices in float32."""

    to_ray: Tensor
    """D [B, L, 4, 4] of the queries' tokens: world to ray."""
    to_world: Tensor
    """D^-1 [B, S, 4, 4] of the keys' cells: ray to world."""
    rope_q: RotaryTable
    rope_k: RotaryTable


@dataclass(frozen=True)
class RelativeTokens(CameraTokens):
    """Turns of the attention, and hidden features of the fine branch."""

    turns: RayTurns
    hidden: Tensor | None
    """[B, L, hidden_dim]; None where there is no fine branch."""


class RayAttention(nn.Module):
    """One block's attention among all video tokens, relative to their rays."""

    def __init__(self, config: RelativeConfig, dit_dim: int) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.relative_dim = config.relative_dim
        self.kv_stride = config.kv_stride
        self.q = nn.Linear(dit_dim, config.inner_dim, bias=False)
        self.k = nn.Linear(dit_dim, config.inner_dim, bias=False)
        self.v = nn.Linear(dit_dim, config.inner_dim, bias=False)
        self.o = nn.Linear(config.inner_dim, dit_dim, bias=False)
        self.norm_q = RMSNorm(config.inner_dim, config.eps)
        self.norm_k = RMSNorm(config.inner_dim, config.eps)

    def attend(self, x: Float[Tensor, "b tokens dim"], turns: RayTurns, grid: Grid) -> Float[Tensor, "b tokens inner"]:
        """What the video tokens see, before the output layer."""
        x_BLC = x.to(self.q.weight.dtype)
        x_BSC = pool_tokens(x_BLC, grid) if self.kv_stride == 2 else x_BLC
        v_BSND = self._heads(self.v(x_BSC))
        dtype = v_BSND.dtype
        q_BLND = self._turned(self.norm_q(self.q(x_BLC)), turns.to_ray.mT, turns.rope_q).to(dtype)
        k_BSND = self._turned(self.norm_k(self.k(x_BSC)), turns.to_world, turns.rope_k).to(dtype)
        y_BLND = self._heads(sdpa(q_BLND, k_BSND, self._relative(v_BSND, turns.to_world)))
        return self._relative(y_BLND, turns.to_ray).flatten(2)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))

    def _turned(self, x: Tensor, matrices: Tensor, rope: RotaryTable) -> Tensor:
        relative, rest = self._heads(x).tensor_split((self.relative_dim,), dim=-1)
        return torch.cat((apply_matrices(relative, matrices), apply_rotary(rest, rope)), dim=-1)

    def _relative(self, x_BLND: Tensor, matrices: Tensor) -> Tensor:
        relative, rest = x_BLND.tensor_split((self.relative_dim,), dim=-1)
        return torch.cat((apply_matrices(relative, matrices).to(x_BLND.dtype), rest), dim=-1)


class RelativeAdapter(CameraAdapter):
    """Ray frames and Plücker maps in, contributions to the patches and to self-attention out."""

    def __init__(self, config: RelativeConfig, dit_dim: int, layers: int) -> None:
        super().__init__(config, dit_dim, layers)
        self.sizes = config
        self.fine = FineBranch(config, dit_dim) if config.hidden_dim else None
        self.layers = nn.ModuleList(RayAttention(config, dit_dim) for _ in config.blocks)
        self.reset_parameters()

    def prepare(self, camera: CameraInput, cache_kv: bool = False, gain: Tensor | None = None) -> RelativeTokens:
        """See `CameraAdapter.prepare`; keys and values depend on the video and are not kept."""
        grid = self.check_rays(camera)
        hidden = None if self.fine is None else self.fine.embed(camera.rays)
        return RelativeTokens(len(camera.rays), grid, gain, self._turns(camera.frames, grid), hidden)

    def patch_term(self, camera: CameraTokens | None) -> Tensor | None:
        """See `CameraAdapter.patch_term`."""
        if camera is None or self.camera_scale == 0 or self.fine is None:
            return None
        return self.fine.o(self.weighed(cast(Tensor, cast(RelativeTokens, camera).hidden), camera))

    def branch(self, block: int, camera: CameraTokens | None) -> CameraBranch | None:
        """See `CameraAdapter.branch`."""
        if camera is None or self.camera_scale == 0 or block not in self.sizes.blocks:
            return None
        layer = self._layers()[self.sizes.blocks.index(block)]
        return CameraBranch("beside_self", partial(self._contribution, layer, cast(RelativeTokens, camera)))

    def output_layers(self) -> list[nn.Linear]:
        """Those of the attention layers and of the fine branch."""
        return [layer.o for layer in self._layers()] + ([] if self.fine is None else [self.fine.o])

    def _contribution(self, layer: RayAttention, camera: RelativeTokens, x: Tensor) -> Tensor:
        return layer.o(self.weighed(layer.attend(x, camera.turns, camera.grid), camera)).to(x.dtype)

    def _turns(self, frames: Tensor, grid: Grid) -> RayTurns:
        device = self._layers()[0].q.weight.device
        own = compress(frames.to(device, torch.float32), self.sizes.translation_unit)
        stride = self.sizes.kv_stride
        cells = pooled_frames(own) if stride == 2 else own
        pairs = video_pairs(self.sizes.inner_dim // self.sizes.num_heads - self.sizes.relative_dim)
        theta = self.sizes.rope_theta
        return RayTurns(
            invert(own).flatten(1, 3),
            cells.flatten(1, 3),
            rotary_table(grid, pairs, theta, device),
            rotary_table(grid, pairs, theta, device, (1, stride, stride)),
        )

    def _layers(self) -> list[RayAttention]:
        return [layer for layer in self.layers if isinstance(layer, RayAttention)]


def compress(frames: Float[Tensor, "*batch 4 4"], unit: float) -> Float[Tensor, "*batch 4 4"]:
    """Rigid frames whose translations t, counted in `unit`, become t · asinh(|t|) / |t|; rotations stay.

    Up to a unit this is |t| itself, within 12 %; far away it grows like log(2 |t|), so that metric trajectories of a
    hundred metres (5.3) do not drown the rotations or saturate the attention: the largest singular value of a frame
    stays below 1 + asinh(|t|). The frames stay rigid, and slow and fast stay different, which dividing by the
    trajectory's own maximum would undo. |t| is measured from the first frame, so where the world has its origin does
    not matter.
    """
    translation = frames[..., :3, 3] / unit
    length = translation.norm(dim=-1, keepdim=True)
    # the limit of asinh(r) / r at 0 is 1
    factor = torch.where(length < 1e-4, 1.0, length.asinh() / length.clamp(min=1e-4))
    return assemble(frames[..., :3, :3], translation * factor)


def apply_matrices(x_BLND: Tensor, matrices_BL44: Tensor) -> Tensor:
    """Multiply each group of 4 channels by its token's matrix; the result is float32.

    As sums of products, not as a product of matrices, which autocast and TF32 would round.
    """
    groups = x_BLND.float().unflatten(-1, (-1, 4))
    columns = matrices_BL44[:, :, None, None].unbind(-1)
    first, second, third, fourth = groups.split(1, dim=-1)
    turned = first * columns[0] + second * columns[1] + third * columns[2] + fourth * columns[3]
    return turned.flatten(-2)


def pool_tokens(x_BLC: Tensor, grid: Grid) -> Tensor:
    """[B, L, C] -> [B, S, C]: means of the video tokens over cells of 2 x 2 (`camera.ray_frames.pool_cells`)."""
    return pool_cells(x_BLC.unflatten(1, grid)).flatten(1, 3)
