"""The parts of Wan2.1's diffusion transformer, under the official parameter names.

Source of the arithmetic: Wan-Video/Wan2.1 `wan/modules/model.py`. Norms, modulation, time embedding and head are
computed in float32 whatever the dtype of the weights; the attention and feed-forward layers in the weights' dtype.

Shapes in names: B batch, L video tokens, S context tokens, N heads, D channels of a head, C = N * D.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan.attention import Attend
from wan.config import DiTConfig
from wan.rope import RotaryTable, apply_rotary


class CameraBranch(NamedTuple):
    """What a camera adapter does inside one block."""

    place: Literal["beside_self", "in_cross", "after_cross"]
    """Where it is added.

    beside_self: given what self-attention is given, to its output, before the gate.
    in_cross: given the queries of cross-attention, to what they see, before the output layer.
    after_cross: given the video tokens after cross-attention, to them.
    """
    add: Callable[[Tensor], Tensor]
    """Video tokens [B, L, C], or queries [B, L, N, D] -> what to add, [B, L, C]."""


class ContextTokens(NamedTuple):
    """What cross-attention looks at: text [B, text_len, C] and, for image-to-video, image tokens [B, S, C]."""

    text: Tensor
    image: Tensor | None


class ContextKV(NamedTuple):
    """Keys and values of one block's context, each [B, S, N, D]; the image pair is None for text-to-video."""

    k: Tensor
    v: Tensor
    k_img: Tensor | None
    v_img: Tensor | None


class LayerNorm(nn.LayerNorm):
    """Layer norm computed in float32; the result is float32 (official `WanLayerNorm`)."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., C] -> [..., C] in float32."""
        weight = None if self.weight is None else self.weight.float()
        bias = None if self.bias is None else self.bias.float()
        return F.layer_norm(input.float(), self.normalized_shape, weight, bias, self.eps)


class RMSNorm(nn.Module):
    """Root-mean-square norm over all channels of all heads, in float32 (official `WanRMSNorm`)."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C] in float32."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps)


def linear_float32(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer in float32, whatever its own dtype and under autocast too."""
    with torch.autocast(x.device.type, enabled=False):
        bias = None if layer.bias is None else layer.bias.float()
        return F.linear(x.float(), layer.weight.float(), bias)


class _Attention(nn.Module):
    """The layers that self- and cross-attention share."""

    def __init__(self, config: DiTConfig, attend: Attend) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.attend = attend
        self.q = nn.Linear(config.dim, config.dim)
        self.k = nn.Linear(config.dim, config.dim)
        self.v = nn.Linear(config.dim, config.dim)
        self.o = nn.Linear(config.dim, config.dim)
        self.norm_q = RMSNorm(config.dim, config.eps)
        self.norm_k = RMSNorm(config.dim, config.eps)

    def heads(self, x_BLC: Tensor) -> Tensor:
        """[B, L, C] -> [B, L, N, D]."""
        return x_BLC.unflatten(-1, (self.num_heads, -1))


class SelfAttention(_Attention):
    """Attention among all video tokens, with rotary positions (official `WanSelfAttention`)."""

    def forward(self, x_BLC: Tensor, rope: RotaryTable) -> Tensor:
        """[B, L, C] -> [B, L, C]."""
        v_BLND = self.heads(self.v(x_BLC))
        q_BLND = apply_rotary(self.heads(self.norm_q(self.q(x_BLC))), rope).to(v_BLND.dtype)
        k_BLND = apply_rotary(self.heads(self.norm_k(self.k(x_BLC))), rope).to(v_BLND.dtype)
        return self.o(self.attend(q_BLND, k_BLND, v_BLND))


class CrossAttention(_Attention):
    """Attention from video tokens to text and image tokens (official `WanT2V/WanI2VCrossAttention`).

    Text and image are attended apart and the two results added; the padding of the text is attended too.
    """

    def __init__(self, config: DiTConfig, attend: Attend) -> None:
        super().__init__(config, attend)
        if config.image_dim is not None:
            self.k_img = nn.Linear(config.dim, config.dim)
            self.v_img = nn.Linear(config.dim, config.dim)
            self.norm_k_img = RMSNorm(config.dim, config.eps)

    def project(self, context: ContextTokens) -> ContextKV:
        """Keys and values of the context; they depend neither on the latents nor on the timestep."""
        v = self.heads(self.v(context.text))
        k = self.heads(self.norm_k(self.k(context.text))).to(v.dtype)
        if context.image is None:
            return ContextKV(k, v, None, None)
        k_img = self.heads(self.norm_k_img(self.k_img(context.image))).to(v.dtype)
        return ContextKV(k, v, k_img, self.heads(self.v_img(context.image)))

    def forward(
        self, x_BLC: Tensor, context: ContextTokens | ContextKV, camera: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """[B, L, C] -> [B, L, C]; `camera` gives what the queries see of it."""
        kv = context if isinstance(context, ContextKV) else self.project(context)
        q_BLND = self.heads(self.norm_q(self.q(x_BLC))).to(kv.v.dtype)
        y_BLC = self.attend(q_BLND, kv.k, kv.v)
        if kv.k_img is not None and kv.v_img is not None:
            y_BLC = y_BLC + self.attend(q_BLND, kv.k_img, kv.v_img)
        if camera is not None:
            y_BLC = y_BLC + camera(q_BLND)
        return self.o(y_BLC)


class WanAttentionBlock(nn.Module):
    """One transformer block (official `WanAttentionBlock`; LoRA finds its layers by this class name)."""

    def __init__(self, config: DiTConfig, attend: Attend) -> None:
        super().__init__()
        self.norm1 = LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.self_attn = SelfAttention(config, attend)
        self.norm3 = LayerNorm(config.dim, config.eps)
        self.cross_attn = CrossAttention(config, attend)
        self.norm2 = LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.ffn = nn.Sequential(
            nn.Linear(config.dim, config.ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(config.ffn_dim, config.dim)
        )
        self.modulation = nn.Parameter(torch.randn(1, 6, config.dim) / config.dim**0.5)

    def forward(
        self,
        x_BLC: Tensor,
        modulation_B6C: Tensor,
        rope: RotaryTable,
        context: ContextTokens | ContextKV,
        camera: CameraBranch | None = None,
    ) -> Tensor:
        """One pass of the residual stream.

        Args:
            x_BLC: video tokens in float32, as the residual stream of the official model.
            modulation_B6C: shift, scale, gate of self-attention, then of the feed-forward network; float32.
            rope: rotary table of the video grid.
            context: text and image tokens, or this block's keys and values of them.
            camera: the adapter's branch in this block, if any.

        Returns:
            [B, L, C] in float32.
        """
        # biases are never quantised, so theirs is the dtype to compute in
        dtype = self.self_attn.q.bias.dtype
        shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff = (
            (self.modulation.float() + modulation_B6C).unsqueeze(2).unbind(1)
        )
        place, add = camera or (None, None)
        y_BLC = torch.addcmul(shift_sa, self.norm1(x_BLC), 1 + scale_sa).to(dtype)
        seen_BLC = self.self_attn(y_BLC, rope)
        if add is not None and place == "beside_self":
            seen_BLC = seen_BLC + add(y_BLC)
        x_BLC = torch.addcmul(x_BLC, seen_BLC, gate_sa)
        x_BLC = x_BLC + self.cross_attn(self.norm3(x_BLC).to(dtype), context, add if place == "in_cross" else None)
        if add is not None and place == "after_cross":
            x_BLC = x_BLC + add(x_BLC)
        y_BLC = torch.addcmul(shift_ff, self.norm2(x_BLC), 1 + scale_ff)
        return torch.addcmul(x_BLC, self.ffn(y_BLC.to(dtype)), gate_ff)
