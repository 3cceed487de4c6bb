"""Transformer blocks of DUSt3R: pre-norm, exact GELU, attention with rotary positions through torch's SDPA.

The residual stream and the norms are float32 whatever the dtype of the weights (float64 where they are float64); the
linear layers and attention compute in the weights' dtype.

Shapes in names: B batch, L patches, S patches of the other picture, N heads, D channels of a head, C = N * D.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from Dust3rP.rope import RotaryTable, apply_rotary

NORM_EPS = 1e-6


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of what is not computed in half precision: float32, or float64 beside float64."""
    return torch.promote_types(dtype, torch.float32)


class LayerNorm(nn.LayerNorm):
    """Layer norm of a residual stream; computed in the stream's dtype, returned in that of the weights."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=NORM_EPS)

    def forward(self, input: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
        return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps).to(self.weight.dtype)


class MLP(nn.Module):
    """Two linear layers with a GELU, the exact one, between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """[B, L, C] -> [B, L, C]."""
        return self.fc2(F.gelu(self.fc1(x_BLC)))


def attend(q_BLND: Tensor, k_BSND: Tensor, v_BSND: Tensor) -> Tensor:
    """Attention with logits over the root of D -> [B, L, C]."""
    q, k, v = q_BLND.transpose(1, 2), k_BSND.transpose(1, 2), v_BSND.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Attention among the patches of one picture."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_BLC: Tensor, rope: RotaryTable) -> Tensor:
        """[B, L, C] -> [B, L, C]."""
        q_BLND, k_BLND, v_BLND = self.qkv(x_BLC).unflatten(-1, (3, self.heads, -1)).unbind(2)
        return self.proj(attend(apply_rotary(q_BLND, rope), apply_rotary(k_BLND, rope), v_BLND))


class CrossAttention(nn.Module):
    """Attention from the patches of one picture to those of the other, each at the place it has in its own picture."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(dim, dim)
        self.projk = nn.Linear(dim, dim)
        self.projv = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_BLC: Tensor, y_BSC: Tensor, rope_x: RotaryTable, rope_y: RotaryTable) -> Tensor:
        """[B, L, C], [B, S, C] -> [B, L, C]."""
        q_BLND = apply_rotary(self.projq(x_BLC).unflatten(-1, (self.heads, -1)), rope_x)
        k_BSND = apply_rotary(self.projk(y_BSC).unflatten(-1, (self.heads, -1)), rope_y)
        return self.proj(attend(q_BLND, k_BSND, self.projv(y_BSC).unflatten(-1, (self.heads, -1))))


class EncoderBlock(nn.Module):
    """One block of the vision transformer that encodes a picture by itself."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = LayerNorm(dim)
        self.mlp = MLP(dim, hidden)

    def forward(self, x_BLC: Tensor, rope: RotaryTable) -> Tensor:
        """[B, L, C] -> [B, L, C]."""
        x_BLC = x_BLC + self.attn(self.norm1(x_BLC), rope)
        return x_BLC + self.mlp(self.norm2(x_BLC))


class DecoderBlock(nn.Module):
    """One block of a decoder: it looks at its own picture, then at the other one."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = SelfAttention(dim, heads)
        self.norm_y = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)
        self.cross_attn = CrossAttention(dim, heads)
        self.norm3 = LayerNorm(dim)
        self.mlp = MLP(dim, hidden)

    def forward(self, x_BLC: Tensor, y_BSC: Tensor, rope_x: RotaryTable, rope_y: RotaryTable) -> Tensor:
        """Own stream [B, L, C], the other one [B, S, C] -> [B, L, C]."""
        x_BLC = x_BLC + self.attn(self.norm1(x_BLC), rope_x)
        x_BLC = x_BLC + self.cross_attn(self.norm2(x_BLC), self.norm_y(y_BSC), rope_x, rope_y)
        return x_BLC + self.mlp(self.norm3(x_BLC))
