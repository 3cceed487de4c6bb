"""Wan2.1's diffusion transformer with our camera adapter: the figure of the paper.

    latents, image condition ─ patch embedding ─┐
    timestep ─ time embedding ─ modulation ─────┤
    text, image tokens ── context ──────────────┼─ blocks ─ head ─ velocity
    camera ─── camera tokens ─── camera adapter ┘

Source: Wan-Video/Wan2.1 `wan/modules/model.py` (official `WanModel`); parameter names are the official ones, and the
adapter's follow under `adapter.`.

Shapes in names: B batch, L video tokens, C = dim.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from camera.network_input import CameraInput
from wan.adapters.interface import CameraAdapter, CameraTokens
from wan.attention import pick_attention
from wan.blocks import ContextKV, ContextTokens, WanAttentionBlock
from wan.config import DiTConfig
from wan.embeddings import (
    Grid,
    Head,
    ImageEmbedding,
    PatchEmbedding,
    TextEmbedding,
    TimeEmbedding,
    TimeProjection,
)
from wan.rope import rotary_table, video_pairs


@dataclass(frozen=True)
class Tokens:
    """Conditions prepared for denoising: all that depends on neither the latents nor the timestep."""

    context: ContextTokens
    """Text and image tokens."""
    cached: tuple[ContextKV, ...] | None = None
    """Keys and values of the context in every block, if asked for."""
    camera: CameraTokens | None = None
    """The camera; may be shared between the conditional and the unconditional branch. None: no camera."""

    def without_camera(self) -> "Tokens":
        """The same request with no camera; nothing is computed or copied."""
        return replace(self, camera=None)


class WanModel(nn.Module):
    """The DiT of every task; which one is told by the config.

    Args:
        config: sizes.
        attn_mode: attention backend, one of `wan.attention.ATTN_MODES`.
    """

    adapter: CameraAdapter | None

    def __init__(self, config: DiTConfig, attn_mode: str = "torch") -> None:
        super().__init__()
        attend = pick_attention(attn_mode)
        self.config = config
        self.gradient_checkpointing = False
        self.patch_embedding = PatchEmbedding(config)
        self.text_embedding = TextEmbedding(config)
        self.time_embedding = TimeEmbedding(config)
        self.time_projection = TimeProjection(config)
        self.img_emb = None if config.image_dim is None else ImageEmbedding(config, config.image_dim)
        self.blocks = nn.ModuleList(WanAttentionBlock(config, attend) for _ in range(config.num_layers))
        self.head = Head(config)
        self.adapter = None

    def attach_adapter(self, adapter: CameraAdapter | None) -> None:
        """Let a camera adapter act in the blocks; None takes it off.

        Raises:
            ValueError: the adapter was made for another DiT.
        """
        if adapter is not None and (adapter.dit_dim, adapter.dit_layers) != (self.config.dim, self.config.num_layers):
            raise ValueError(
                f"a camera adapter for {adapter.dit_layers} blocks of width {adapter.dit_dim} does not fit this DiT "
                f"of {self.config.num_layers} blocks of width {self.config.dim}"
            )
        self.adapter = adapter

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        self.gradient_checkpointing = True

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        context: Sequence[Tensor] | Tensor,
        clip_features: Tensor | None = None,
        image_condition: Tensor | None = None,
        camera: CameraInput | None = None,
        camera_gain: Tensor | None = None,
    ) -> Tensor:
        """Velocity of the noisy latents: `prepare`, then `denoise`; see there for the arguments."""
        tokens = self.prepare(context, clip_features, camera, camera_gain=camera_gain)
        return self.denoise(latents, timestep, tokens, image_condition)

    def prepare(
        self,
        context: Sequence[Tensor] | Tensor,
        clip_features: Tensor | None = None,
        camera: CameraInput | CameraTokens | None = None,
        cache_kv: bool = False,
        camera_gain: Tensor | None = None,
    ) -> Tokens:
        """Embed the conditions, which may lie on any device, once per video.

        Args:
            context: T5 tokens, a list of [L_i, text_dim] or zero-padded [B, L, text_dim]; at most text_len long.
            clip_features: CLIP tokens [B, tokens, image_dim], where the DiT has image cross-attention and only there.
            camera: of the B videos, or the `camera` of earlier tokens, which is then shared.
            cache_kv: also keep the keys and values of every block (0.63 GB a branch at 14B in bf16; for the camera of
                81 frames 480 × 832 1.7 GB with the adapter `cross`, 3.4 GB with `v1`, none with the others).
            camera_gain: [B], multiplies what the camera adds to each video; 0 drops it.

        Raises:
            ValueError: a condition is missing, too much, or of a wrong shape.
        """
        if (clip_features is None) != (self.img_emb is None):
            found, wanted = (
                ("none", "needs them") if clip_features is None else ("some", "has no image cross-attention")
            )
            raise ValueError(f"clip_features: got {found}, but this DiT {wanted}; is it the DiT of this task?")
        image = None if self.img_emb is None else self.img_emb(clip_features)
        tokens = ContextTokens(self.text_embedding(context), image)
        blocks = cast(Iterable[WanAttentionBlock], self.blocks)
        cached = tuple(block.cross_attn.project(tokens) for block in blocks) if cache_kv else None
        if camera is not None and self.adapter is None:
            raise ValueError("a camera was given, but no camera adapter is attached to this DiT")
        if isinstance(camera, CameraInput) and self.adapter is not None:
            return Tokens(tokens, cached, self.adapter.prepare(camera, cache_kv, camera_gain))
        return Tokens(tokens, cached, cast(CameraTokens | None, camera))

    def denoise(
        self, latents: Tensor, timestep: Tensor, tokens: Tokens, image_condition: Tensor | None = None
    ) -> Tensor:
        """Velocity (noise - latent) that the model sees in noisy latents.

        Args:
            latents: [B, 16, f, h, w], h and w even.
            timestep: [B], 0 to 1000.
            tokens: the result of `prepare` for the same B videos.
            image_condition: [B, in_dim - 16, f, h, w], mask then image latent; for the models that read one.

        Returns:
            [B, 16, f, h, w] in float32.

        Raises:
            ValueError: shapes do not fit together.
        """
        x_BfhwC = self.patch_embedding(self._input(latents, image_condition))
        grid: Grid = (x_BfhwC.shape[1], x_BfhwC.shape[2], x_BfhwC.shape[3])
        self._check_tokens(tokens, latents.shape[0], grid)
        rope = rotary_table(grid, video_pairs(self.config.head_dim), self.config.rope_theta, latents.device)
        time_BC = self.time_embedding(timestep.expand(latents.shape[0]))
        modulation_B6C = self.time_projection(time_BC)
        adapter = self.adapter
        camera = None if adapter is None else adapter.at_timestep(tokens.camera, timestep)

        # the residual stream is float32 as in the official model: in bfloat16, 40 blocks lose a digit
        x_BLC = x_BfhwC.flatten(1, 3).float()
        term = None if adapter is None else adapter.patch_term(camera)
        if term is not None:
            x_BLC = x_BLC + term
        for index, block in enumerate(self.blocks):
            context = tokens.context if tokens.cached is None else tokens.cached[index]
            branch = None if adapter is None else adapter.branch(index, camera)
            arguments = (x_BLC, modulation_B6C, rope, context, branch)
            recompute = self.gradient_checkpointing and torch.is_grad_enabled()
            x_BLC = checkpoint(block, *arguments, use_reentrant=False) if recompute else block(*arguments)
        return self.head(x_BLC, time_BC, grid)

    def _input(self, latents: Tensor, image_condition: Tensor | None) -> Tensor:
        config = self.config
        _, rows, columns = config.patch_size
        if latents.ndim != 5 or latents.shape[3] % rows or latents.shape[4] % columns:
            raise ValueError(
                f"latents {list(latents.shape)}: expected [B, {config.out_dim}, f, h, w] with h and w multiples of "
                f"{rows} and {columns}"
            )
        x = latents if image_condition is None else torch.cat([latents, image_condition.to(latents.dtype)], dim=1)
        if x.shape[1] != config.in_dim:
            raise ValueError(
                f"this DiT reads {config.in_dim} channels ({config.out_dim} latent, {config.condition_channels} image "
                f"condition) but got {x.shape[1]}; is it the DiT of this task?"
            )
        return x

    def _check_tokens(self, tokens: Tokens, batch: int, grid: Grid) -> None:
        if tokens.context.text.shape[0] != batch:
            raise ValueError(f"{tokens.context.text.shape[0]} contexts for {batch} latents; one each is needed")
        if tokens.camera is None:
            return
        camera_grid = (tokens.camera.videos, *tokens.camera.grid)
        if camera_grid != (batch, *grid):
            raise ValueError(
                f"camera tokens [B, f, rows, columns] {list(camera_grid)} for latents of {[batch, *grid]}: make the "
                "Plücker maps on the latent grid, one group per latent frame"
            )
