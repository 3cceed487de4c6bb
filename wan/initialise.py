"""Fresh weights for the DiT, the same for the same seed on every machine and device.

The scheme is the official one (Wan-Video/Wan2.1 `WanModel.init_weights`): Xavier-uniform linear layers with zero
biases, normal (0.02) text and time embeddings, unit norms, a head that starts at zero.
"""

import torch
from torch import Tensor, nn

from wan.blocks import LayerNorm, RMSNorm, WanAttentionBlock
from wan.embeddings import ImageEmbedding, TextEmbedding, TimeEmbedding
from wan.model import WanModel

EMBEDDING_STD = 0.02
"""Spread of the text and time embeddings' weights."""


def initialise(model: WanModel, seed: int, head_std: float = 0.0) -> None:
    """Set every weight of a DiT in place, and those of its adapter if one is attached.

    Args:
        model: a DiT on any device but meta.
        seed: decides all weights; they are drawn on the CPU.
        head_std: standard deviation of the head's projection. The official 0 makes every velocity zero; tests that
            compare outputs give another.
    """
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(part) for part in _linears(model.text_embedding, model.time_embedding)}
    with torch.no_grad():
        for module in _without_adapter(model):
            if isinstance(module, nn.Linear) and id(module) in embeddings:
                _normal(module.weight, EMBEDDING_STD, generator)
            elif isinstance(module, nn.Linear | nn.Conv3d):
                _xavier_uniform(module.weight, generator)
            if isinstance(module, nn.Linear | nn.Conv3d) and module.bias is not None:
                module.bias.zero_()
            elif isinstance(module, LayerNorm):
                module.reset_parameters()
            elif isinstance(module, RMSNorm):
                module.weight.fill_(1.0)
            elif isinstance(module, WanAttentionBlock):
                _normal(module.modulation, model.config.dim**-0.5, generator)
            elif isinstance(module, ImageEmbedding) and module.emb_pos is not None:
                module.emb_pos.zero_()
        _normal(model.head.modulation, model.config.dim**-0.5, generator)
        _normal(model.head.head.weight, head_std, generator)
    if model.adapter is not None:
        model.adapter.reset_parameters(generator)


def _without_adapter(model: WanModel) -> list[nn.Module]:
    return [module for name, module in model.named_modules() if name.split(".")[0] != "adapter"]


def _linears(*parts: TextEmbedding | TimeEmbedding) -> list[nn.Linear]:
    return [layer for part in parts for layer in part if isinstance(layer, nn.Linear)]


def _normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    weight.copy_(torch.randn(weight.shape, generator=generator) * std)


def _xavier_uniform(weight: Tensor, generator: torch.Generator) -> None:
    rows, columns = weight.flatten(1).shape
    bound = (6.0 / (rows + columns)) ** 0.5
    weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * bound)
