"""Names and shapes of the released checkpoints: one table, official name to ours, and the sizes that the shapes tell.

A .pth holds the 3x3 convolutions of a DPT head's levels twice, under `scratch.layerN_rn` and `scratch.layer_rn.(N-1)`;
the .safetensors of the Hugging Face hub only under the first. Files of CroCo's kind lack the second decoder's blocks,
which then start as the first one's.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

import torch

from common.weights import compare_tensors
from Dust3rP.config import DPTConfig, Dust3RConfig
from Dust3rP.model import Dust3R

KeyTable = dict[str, str | None]
"""Official name -> ours; None for a tensor that is never used, and may be missing."""

HEAD_DIM = 64
"""Channels of an attention head in all released models; no tensor's shape tells it."""

_LINEAR = "{side}.proj"
_BLOCK = ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
_DECODER_BLOCK = (*_BLOCK, "norm3", "norm_y", *(f"cross_attn.{name}" for name in ("projq", "projk", "projv", "proj")))
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


class _Shaped(Protocol):
    @property
    def shape(self) -> torch.Size: ...


S = TypeVar("S", bound=_Shaped)


def key_table(config: Dust3RConfig) -> KeyTable:
    """Every name of an official file of that config; 1009 for the ViT-L with DPT heads."""
    layers = {
        "patch_embed.proj": "encoder.patch_embed",
        "enc_norm": "encoder.norm",
        "decoder_embed": "decoders.embed",
        "dec_norm": "decoders.norm",
    }
    for n in range(config.encoder_depth):
        layers |= {f"enc_blocks.{n}.{name}": f"encoder.blocks.{n}.{name}" for name in _BLOCK}
    for official, ours in (("dec_blocks", "blocks1"), ("dec_blocks2", "blocks2")):
        for n in range(config.decoder_depth):
            layers |= {f"{official}.{n}.{name}": f"decoders.{ours}.{n}.{name}" for name in _DECODER_BLOCK}
    table: KeyTable = {"mask_token": None}
    table |= {f"{key}.{kind}": f"{ours}.{kind}" for key, ours in layers.items() for kind in ("weight", "bias")}
    for side in (1, 2):
        table |= _linear_names(side) if config.dpt is None else _dpt_names(side)
    return table


def _linear_names(side: int) -> KeyTable:
    official = _LINEAR.format(side=f"downstream_head{side}")
    return {f"{official}.{kind}": f"head{side}.proj.{kind}" for kind in ("weight", "bias")}


def _dpt_names(side: int) -> KeyTable:
    """Of one DPT head; refinenet4 has a unit for a skip that it is never given."""
    layers: dict[str, str | None] = {f"head.{2 * n}": name for n, name in enumerate(("at_half", "at_full", "point"))}
    table: KeyTable = {}
    for n in range(4):
        layers[f"act_postprocess.{n}.0"] = f"levels.{n}.project"
        if n != 2:
            layers[f"act_postprocess.{n}.1"] = f"levels.{n}.resample"
        refine = f"scratch.refinenet{n + 1}"
        layers[f"{refine}.out_conv"] = f"fusions.{n}.out"
        for conv in ("conv1", "conv2"):
            layers[f"{refine}.resConfUnit1.{conv}"] = f"fusions.{n}.skip.{conv}" if n < 3 else None
            layers[f"{refine}.resConfUnit2.{conv}"] = f"fusions.{n}.unit.{conv}"
        table[f"scratch.layer{n + 1}_rn.weight"] = table[f"scratch.layer_rn.{n}.weight"] = f"levels.{n}.narrow.weight"
    for kind in ("weight", "bias"):
        table |= {f"{key}.{kind}": None if ours is None else f"{ours}.{kind}" for key, ours in layers.items()}
    return {f"downstream_head{side}.dpt.{key}": ours and f"head{side}.{ours}" for key, ours in table.items()}


def config_of(
    tensors: Mapping[str, _Shaped], encoder_heads: int | None = None, decoder_heads: int | None = None
) -> Dust3RConfig:
    """Sizes of the network of a file, from the names and shapes of its tensors.

    Args:
        tensors: of the file, official names.
        encoder_heads: heads of the encoder's attention; None is one for every 64 channels.
        decoder_heads: the same of the decoders.

    Raises:
        ValueError: the file is not DUSt3R's (says which name it lacks), or the number of heads does not fit.
    """

    def sides(key: str, axes: int) -> torch.Size:
        if key not in tensors or len(tensors[key].shape) != axes:
            found = f"has it in the shape {list(tensors[key].shape)}" if key in tensors else "lacks it"
            raise ValueError(f"no DUSt3R: expected {key} with {axes} axes, the file {found}")
        return tensors[key].shape

    patch, decoder = sides("patch_embed.proj.weight", 4), sides("decoder_embed.weight", 2)
    encoder_mlp, decoder_mlp = (sides(f"{name}_blocks.0.mlp.fc1.weight", 2)[0] for name in ("enc", "dec"))
    dpt = None
    if _LINEAR.format(side="downstream_head1") + ".weight" not in tensors:
        head = "downstream_head1.dpt."
        dpt = DPTConfig(
            widths=tuple(sides(f"{head}act_postprocess.{n}.0.weight", 4)[0] for n in range(4)),
            features=sides(f"{head}scratch.refinenet1.out_conv.weight", 4)[0],
            half=sides(f"{head}head.0.weight", 4)[0],
            last=sides(f"{head}head.2.weight", 4)[0],
        )
    return Dust3RConfig(
        encoder_dim=patch[0],
        encoder_depth=_blocks(tensors, "enc_blocks"),
        encoder_heads=patch[0] // HEAD_DIM if encoder_heads is None else encoder_heads,
        encoder_mlp=encoder_mlp,
        decoder_dim=decoder[0],
        decoder_depth=max(_blocks(tensors, "dec_blocks"), _blocks(tensors, "dec_blocks2")),
        decoder_heads=decoder[0] // HEAD_DIM if decoder_heads is None else decoder_heads,
        decoder_mlp=decoder_mlp,
        patch_size=patch[2],
        dpt=dpt,
    )


def _blocks(tensors: Iterable[str], name: str) -> int:
    numbers = [key.split(".")[1] for key in tensors if key.startswith(f"{name}.")]
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=-1)


def to_ours(tensors: Mapping[str, S], model: Dust3R) -> dict[str, S]:
    """The tensors of an official file, or what its header says of them, under our names, strictly.

    Raises:
        ValueError: names every tensor that is missing, unexpected or of another shape.
    """
    table, state = key_table(model.config), model.state_dict()
    if not any(key.startswith("dec_blocks2.") for key in tensors):
        copied = [(key, tensor) for key, tensor in tensors.items() if key.startswith("dec_blocks.")]
        tensors = {**tensors, **{key.replace("dec_blocks.", "dec_blocks2.", 1): tensor for key, tensor in copied}}
    found: dict[str, S] = {}
    # the first official name of each tensor of ours: what messages call it
    wanted: dict[str, str] = {}
    for key, ours in table.items():
        if ours is not None:
            official = wanted.setdefault(ours, key)
            if key in tensors and (ours not in found or key == official):
                found[ours] = tensors[key]
    misfit = compare_tensors(
        {wanted[ours]: state[ours] for ours in wanted},
        {wanted[ours]: tensor for ours, tensor in found.items()} | {k: t for k, t in tensors.items() if k not in table},
    )
    if misfit:
        kinds = {"missing": misfit.missing, "unexpected": misfit.unexpected, "of another shape": misfit.misshapen}
        said = (f"{len(keys)} {kind}: {', '.join(_folded(keys))}" for kind, keys in kinds.items() if keys)
        raise ValueError(f"keys {'; '.join(said)}")
    return found


def _folded(keys: Iterable[str]) -> Iterator[str]:
    """Names that differ only in a block's number as one: dec_blocks.{0-11}.norm_y.weight."""
    groups: dict[str, list[int]] = {}
    for key in keys:
        number = _NUMBER.search(key)
        if number is None:
            groups.setdefault(key, [])
        else:
            groups.setdefault(f"{key[: number.start()]}{{}}{key[number.end() :]}", []).append(int(number[0]))
    for pattern, numbers in groups.items():
        if numbers:
            low, high = min(numbers), max(numbers)
            whole = numbers == list(range(low, high + 1)) and len(numbers) > 1
            text = f"{{{low}-{high}}}" if whole else ",".join(map(str, numbers))
            yield pattern.replace("{}", text, 1)
        else:
            yield pattern
