"""Fresh weights with which the tiny DiT shows the first frame, standing still, before its first training step.

A transformer learns from noise in days what a few minutes on a CPU cannot teach it. Here it starts with the two facts
that image-to-video needs first: what is where (block 0 looks from every place at the same place in the first frame),
and how a velocity follows from a noisy latent x and a clean one, (x - clean) / sigma. Training then has only the
motion to learn. All other weights are the official ones of `wan.initialise`, the ungated cross-attention made small.

Channels of the residual stream: 0-63 noisy patch, 64-127 patch of the image latent, 128 mask, 129-192 the copy.
"""

import torch

from wan.blocks import WanAttentionBlock
from wan.config import MASK_CHANNELS
from wan.initialise import initialise
from wan.model import WanModel

SHARPNESS = 3.0
"""Weight of the query and key norms of the copying head: neighbours differ by about 7 in its logits."""
INVERSE_SIGMA = 1.2
"""Stands for 1 / sigma, until training finds out; most noise levels of flow shift 3 are near 0.8."""
QUIET = 0.1
"""Factor on the output of every cross-attention."""
COLOURS, DETAILS = 0.9, 0.4
"""How much of the copy to believe: latent channels 0-2 (colours, see `wan.vae_initialise`) move least."""
_RMS = 0.8
"""Typical root mean square of the residual stream, by which the norms divide."""


def start_from_first_frame(dit: WanModel, seed: int) -> None:
    """Set every weight of a small image-to-video DiT in place, the same for the same seed.

    Args:
        dit: on the CPU; patches of 2 x 2, at least 193 channels, and heads as wide as a patch has numbers or wider.
        seed: of everything that is random.
    """
    config = dit.config
    patch = config.out_dim * config.patch_size[1] * config.patch_size[2]
    assert config.in_dim == 2 * config.out_dim + MASK_CHANNELS and config.dim > 3 * patch and config.head_dim >= patch
    initialise(dit, seed)
    with torch.no_grad():
        _embed(dit, patch)
        block = dit.blocks[0]
        assert isinstance(block, WanAttentionBlock)
        _copy(block, patch)
        for other in dit.blocks:
            assert isinstance(other, WanAttentionBlock)
            other.cross_attn.o.weight *= QUIET
        head = dit.head.head.weight.zero_()
        channel = torch.arange(patch)
        head[channel, channel] = INVERSE_SIGMA * _RMS
        head[channel, 2 * patch + 1 + channel] = -INVERSE_SIGMA * _RMS
        dit.head.modulation.zero_()


def _embed(dit: WanModel, patch: int) -> None:
    """Each number of a patch to a channel of its own, ordered as the head orders them: channels vary fastest."""
    weight, latent = dit.patch_embedding.weight, dit.config.out_dim
    weight[: 2 * patch + 1] = 0.0
    weight[2 * patch + 1 : 3 * patch + 1] = 0.0
    for row in range(2):
        for column in range(2):
            channel = torch.arange(latent)
            place = (row * 2 + column) * latent + channel
            weight[place, channel, 0, row, column] = 1.0
            weight[patch + place, latent + MASK_CHANNELS + channel, 0, row, column] = 1.0
    weight[2 * patch, latent : latent + MASK_CHANNELS] = 1.0 / (MASK_CHANNELS * 4)


def _copy(block: WanAttentionBlock, patch: int) -> None:
    """Head 0 looks at the same row and column of the frame whose mask is one, and writes its image latent."""
    attention = block.self_attn
    pairs = attention.q.weight.shape[0] // attention.num_heads // 2
    axis = pairs // 3
    # rotary pairs come as frame, row, column; the slowest of the frame's hardly turns within a video
    slowest, places = pairs - 2 * axis - 1, torch.arange(pairs - 2 * axis, pairs)
    for layer, norm in ((attention.q, attention.norm_q), (attention.k, attention.norm_k)):
        layer.weight.zero_()
        layer.bias.zero_()
        layer.bias[2 * places] = 1.0
        norm.weight.fill_(SHARPNESS)
    attention.q.bias[2 * slowest] = 1.0
    attention.k.weight[2 * slowest, 2 * patch] = _RMS
    value, output = attention.v.weight, attention.o.weight
    value[:patch] = 0.0
    value[torch.arange(patch), patch + torch.arange(patch)] = _RMS
    copy = 2 * patch + 1 + torch.arange(patch)
    output[copy] = 0.0
    belief = torch.full((patch // 4,), DETAILS)
    belief[:3] = COLOURS
    output[copy, torch.arange(patch)] = belief.repeat(4)
    # shift, scale and gate of self-attention: as they are, and open where the copy goes
    block.modulation[0, :3] = 0.0
    block.modulation[0, 2, copy] = 1.0
