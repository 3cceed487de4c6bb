"""Dense attention without masks, by the backend the user names.

Shapes in names: B batch, L queries, S keys, N heads, D channels of a head.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(q [B, L, N, D], k [B, S, N, D], v [B, S, N, D]) -> [B, L, N * D]."""


def sdpa(q_BLND: Tensor, k_BSND: Tensor, v_BSND: Tensor) -> Tensor:
    """Torch's scaled dot product attention, which picks cuDNN, flash or plain kernels by itself."""
    q, k, v = q_BLND.transpose(1, 2), k_BSND.transpose(1, 2), v_BSND.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


_BACKENDS: dict[str, Attend] = {"torch": sdpa, "sdpa": sdpa}

ATTN_MODES = tuple(_BACKENDS)
"""Values of `--attn_mode` that work."""


def pick_attention(attn_mode: str) -> Attend:
    """The attention function of an `--attn_mode`.

    Raises:
        ValueError: the mode is unknown or not available.
    """
    if attn_mode not in _BACKENDS:
        raise ValueError(f"--attn_mode {attn_mode!r} is not available here; use one of {', '.join(ATTN_MODES)}")
    return _BACKENDS[attn_mode]
