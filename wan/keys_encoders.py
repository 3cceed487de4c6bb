"""Parameter names of the three encoders: one two-way table per network, official name to the other one.

The other one is the name in `transformers` for T5 and CLIP, which our modules carry too because their layers come from
there, and in `diffusers` for the VAE. A table maps each official name to the names that its tensor becomes: usually
one; three where the official file keeps query, key and value in one tensor, stacked on the first axis; none where we
drop it knowingly.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

from common.tensor_headers import TensorEntry
from wan.config import CLIPConfig, T5Config, VAEConfig
from wan.keys import rename_all

KeyTable = dict[str, tuple[str, ...] | None]
"""Official name -> names in our module; None for a tensor that is read over."""

CLIP_DROPPED = (
    *("textual.", "log_scale"),
    *("text_model.", "text_projection.", "logit_scale", "visual_projection.", "vision_model.embeddings.position_ids"),
)
"""Beginnings of names in a CLIP file, official ones and transformers', that are not of the image tokens' making."""

T5_DROPPED = ("spiece_model",)
"""Names in a T5 file that are no weights: the tokenizer that Comfy's repackaged files carry along."""

T = TypeVar("T", Tensor, TensorEntry)


def t5_table(config: T5Config) -> KeyTable:
    """Official umT5 encoder <-> `UMT5EncoderModel` of transformers."""
    block = {
        "norm1.weight": "layer.0.layer_norm.weight",
        "attn.q.weight": "layer.0.SelfAttention.q.weight",
        "attn.k.weight": "layer.0.SelfAttention.k.weight",
        "attn.v.weight": "layer.0.SelfAttention.v.weight",
        "attn.o.weight": "layer.0.SelfAttention.o.weight",
        "pos_embedding.embedding.weight": "layer.0.SelfAttention.relative_attention_bias.weight",
        "norm2.weight": "layer.1.layer_norm.weight",
        "ffn.gate.0.weight": "layer.1.DenseReluDense.wi_0.weight",
        "ffn.fc1.weight": "layer.1.DenseReluDense.wi_1.weight",
        "ffn.fc2.weight": "layer.1.DenseReluDense.wo.weight",
    }
    table: KeyTable = {
        "token_embedding.weight": ("encoder.embed_tokens.weight",),
        "norm.weight": ("encoder.final_layer_norm.weight",),
    }
    for n in range(config.num_layers):
        table |= {f"blocks.{n}.{official}": (f"encoder.block.{n}.{ours}",) for official, ours in block.items()}
    return table


def clip_table(config: CLIPConfig) -> KeyTable:
    """Official visual tower <-> `CLIPVisionModel` of transformers, without the last block, which is never run."""
    block = {
        "norm1": ("layer_norm1",),
        "attn.to_qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attn.proj": ("self_attn.out_proj",),
        "norm2": ("layer_norm2",),
        "mlp.0": ("mlp.fc1",),
        "mlp.2": ("mlp.fc2",),
    }
    table: KeyTable = {
        "visual.cls_embedding": ("vision_model.embeddings.class_embedding",),
        "visual.pos_embedding": ("vision_model.embeddings.position_embedding.weight",),
        "visual.patch_embedding.weight": ("vision_model.embeddings.patch_embedding.weight",),
        "visual.head": None,
    }
    for kind in ("weight", "bias"):
        table[f"visual.pre_norm.{kind}"] = (f"vision_model.pre_layrnorm.{kind}",)
        table[f"visual.post_norm.{kind}"] = (f"vision_model.post_layernorm.{kind}",)
        for n in range(config.num_layers):
            run = n < config.num_layers - 1
            for official, ours in block.items():
                names = tuple(f"vision_model.encoder.layers.{n}.{name}.{kind}" for name in ours)
                table[f"visual.transformer.{n}.{official}.{kind}"] = names if run else None
    return table


def vae_table(config: VAEConfig) -> KeyTable:
    """Official VAE, whose names our module keeps <-> `AutoencoderKLWan` of diffusers."""
    last = len(config.dim_mult) - 1
    layers = {
        "encoder.conv1": "encoder.conv_in",
        "encoder.head.0": "encoder.norm_out",
        "encoder.head.2": "encoder.conv_out",
    }
    layers |= {
        name.replace("encoder", "decoder"): other.replace("encoder", "decoder") for name, other in layers.items()
    }
    layers |= {"conv1": "quant_conv", "conv2": "post_quant_conv"}
    pairs: dict[str, str] = {}
    for half in ("encoder", "decoder"):
        pairs |= _vae_block(f"{half}.middle.0", f"{half}.mid_block.resnets.0")
        pairs |= _vae_block(f"{half}.middle.2", f"{half}.mid_block.resnets.1")
        attention = {"norm.gamma", "to_qkv.weight", "to_qkv.bias", "proj.weight", "proj.bias"}
        pairs |= {f"{half}.middle.1.{key}": f"{half}.mid_block.attentions.0.{key}" for key in attention}
    index = 0
    for stage in range(last + 1):
        for _ in range(config.num_res_blocks):
            pairs |= _vae_block(f"encoder.downsamples.{index}", f"encoder.down_blocks.{index}")
            index += 1
        if stage < last:
            pairs |= _vae_resample(f"encoder.downsamples.{index}", f"encoder.down_blocks.{index}")
            index += 1
    index = 0
    for stage in range(last + 1):
        for block in range(config.num_res_blocks + 1):
            pairs |= _vae_block(f"decoder.upsamples.{index}", f"decoder.up_blocks.{stage}.resnets.{block}")
            index += 1
        if stage < last:
            pairs |= _vae_resample(f"decoder.upsamples.{index}", f"decoder.up_blocks.{stage}.upsamplers.0")
            index += 1
    for name, other in layers.items():
        kinds = ("gamma",) if other.endswith("norm_out") else ("weight", "bias")
        pairs |= {f"{name}.{kind}": f"{other}.{kind}" for kind in kinds}
    return {name: (other,) for name, other in pairs.items()}


def _vae_block(official: str, other: str) -> dict[str, str]:
    names = {"residual.0.gamma": "norm1.gamma", "residual.3.gamma": "norm2.gamma"}
    for kind in ("weight", "bias"):
        names |= {f"residual.2.{kind}": f"conv1.{kind}", f"residual.6.{kind}": f"conv2.{kind}"}
        names[f"shortcut.{kind}"] = f"conv_shortcut.{kind}"
    return {f"{official}.{key}": f"{other}.{name}" for key, name in names.items()}


def _vae_resample(official: str, other: str) -> dict[str, str]:
    keys = [f"{layer}.{kind}" for layer in ("resample.1", "time_conv") for kind in ("weight", "bias")]
    return {f"{official}.{key}": f"{other}.{key}" for key in keys}


def from_official(tensors: Mapping[str, T], table: KeyTable, dropped: tuple[str, ...] = ()) -> dict[str, T]:
    """Rename, split and reshape official tensors; what the table does not know keeps its name.

    Args:
        tensors: an official state dict, whole or in part; or what a file's header says of its tensors.
        table: of that network.
        dropped: beginnings of further names to leave out.
    """
    result: dict[str, T] = {}
    for key, tensor in tensors.items():
        names = table.get(key, (key,))
        if names is None or key.startswith(dropped):
            continue
        if any(name != key and (name in tensors or name in result) for name in names):
            result[key] = tensor  # a second tensor of the same meaning, for the strict comparison to report
        elif len(names) == 1:
            result[names[0]] = tensor.reshape(_without_leading_ones(key, tensor))
        elif len(tensor.shape) > 0 and tensor.shape[0] % len(names) == 0:
            result |= dict(zip(names, cast(Sequence[T], tensor.chunk(len(names))), strict=True))
        else:
            result[key] = tensor
    return result


def t5_to_ours(tensors: Mapping[str, T], config: T5Config) -> dict[str, T]:
    """Tensors of a T5 file under our names, from official, transformers' or Comfy's names.

    transformers keeps the embedding under `shared.weight`, under `encoder.embed_tokens.weight`, or under both; Comfy's
    repackaged `umt5_xxl_*.safetensors` has transformers' names and the tokenizer as `spiece_model`, which is not read.
    """
    result = from_official(tensors, t5_table(config), T5_DROPPED)
    shared = result.pop("shared.weight", None)
    if shared is not None:
        result.setdefault("encoder.embed_tokens.weight", shared)
    return result


def clip_to_ours(tensors: Mapping[str, T], config: CLIPConfig) -> dict[str, T]:
    """Tensors of a CLIP file under our names, from official or transformers' names, without what is never run.

    transformers' `CLIPVisionModel`, `CLIPVisionModelWithProjection` (Comfy's `clip_vision_h.safetensors`) and
    `CLIPModel` begin the tower's names with `vision_model.`; `CLIPVisionModel` of transformers 5 does not.
    """
    if "embeddings.class_embedding" in tensors:
        tensors = {f"vision_model.{key}": tensor for key, tensor in tensors.items()}
    last = f"vision_model.encoder.layers.{config.num_layers - 1}."
    return from_official(tensors, clip_table(config), (*CLIP_DROPPED, last))


def vae_to_ours(tensors: Mapping[str, T], config: VAEConfig) -> dict[str, T]:
    """Tensors of a VAE file under our (official) names, from official or diffusers' names.

    Comfy's `wan_2.1_vae.safetensors` has official names; Kijai's WanVideoWrapper also takes them after `model.`.
    """
    back = {other: official for official, names in vae_table(config).items() for other in names or ()}
    return rename_all(tensors, lambda key: back.get(key, key.removeprefix("model.")))


def to_official(tensors: Mapping[str, Tensor], table: KeyTable) -> dict[str, Tensor]:
    """The inverse of `from_official`; tensors that were dropped are not there.

    Raises:
        ValueError: a tensor of the table is missing, or one is there that the table does not know.
    """
    result: dict[str, Tensor] = {}
    used: set[str] = set()
    for key, names in table.items():
        if names is None or not any(name in tensors for name in names):
            continue
        missing = [name for name in names if name not in tensors]
        if missing:
            raise ValueError(f"{key} cannot be put together: {', '.join(missing)} missing")
        parts = [tensors[name] for name in names]
        joined = torch.cat(parts) if len(parts) > 1 else parts[0]
        result[key] = joined.reshape(_with_leading_ones(key, joined))
        used.update(names)
    unknown = [name for name in tensors if name not in used]
    if unknown:
        raise ValueError(f"{len(unknown)} names without an official one: {', '.join(unknown[:5])}")
    return result


# official CLIP keeps its class token and positions with axes of length 1 in front: [1, 1, dim] and [1, tokens, dim]
_LEADING_ONES = {"visual.cls_embedding": 2, "visual.pos_embedding": 1}


def _without_leading_ones(key: str, tensor: Tensor | TensorEntry) -> tuple[int, ...]:
    axes = _LEADING_ONES.get(key, 0)
    return tuple(tensor.shape[axes:]) if tensor.shape[:axes].numel() == 1 else tuple(tensor.shape)


def _with_leading_ones(key: str, tensor: Tensor) -> tuple[int, ...]:
    return (1,) * _LEADING_ONES.get(key, 0) + tuple(tensor.shape)
