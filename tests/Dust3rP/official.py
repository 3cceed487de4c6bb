"""DUSt3R's checkpoints as their authors' files list them, written out from facts, with random numbers, at any size.

Independent of `Dust3rP.keys`: the test of one is the other.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.weights import write_tensors


@dataclass(frozen=True)
class Sizes:
    """Of the ViT-L by default."""

    encoder: tuple[int, int] = (1024, 24)
    decoder: tuple[int, int] = (768, 12)
    heads: tuple[int, int] = (16, 12)
    widths: tuple[int, int, int, int] = (96, 192, 384, 768)
    features: int = 256
    half: int = 128
    linear: bool = False


TINY = Sizes(encoder=(32, 2), decoder=(24, 10), heads=(2, 2), widths=(3, 4, 5, 6), features=8, half=6)
TINY_LINEAR = Sizes(encoder=(24, 3), decoder=(32, 2), heads=(3, 2), linear=True)


def official_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every key of a .pth and its shape, in the order of the table of facts."""
    (e, depth), (d, layers) = sizes.encoder, sizes.decoder
    shapes: dict[str, tuple[int, ...]] = {"mask_token": (1, 1, d), "patch_embed.proj.weight": (e, 3, 16, 16)}
    shapes["patch_embed.proj.bias"] = (e,)

    def norm(key: str, width: int) -> None:
        shapes.update({f"{key}.weight": (width,), f"{key}.bias": (width,)})

    def linear(key: str, out: int, *rest: int) -> None:
        shapes.update({f"{key}.weight": (out, *rest), f"{key}.bias": (out,)})

    for block in (f"enc_blocks.{n}" for n in range(depth)):
        norm(f"{block}.norm1", e)
        norm(f"{block}.norm2", e)
        linear(f"{block}.attn.qkv", 3 * e, e)
        linear(f"{block}.attn.proj", e, e)
        linear(f"{block}.mlp.fc1", 4 * e, e)
        linear(f"{block}.mlp.fc2", e, 4 * e)
    norm("enc_norm", e)
    norm("dec_norm", d)
    linear("decoder_embed", d, e)
    for block in (f"{name}.{n}" for name in ("dec_blocks", "dec_blocks2") for n in range(layers)):
        for name in ("norm1", "norm2", "norm3", "norm_y"):
            norm(f"{block}.{name}", d)
        linear(f"{block}.attn.qkv", 3 * d, d)
        for name in ("attn.proj", "cross_attn.projq", "cross_attn.projk", "cross_attn.projv", "cross_attn.proj"):
            linear(f"{block}.{name}", d, d)
        linear(f"{block}.mlp.fc1", 4 * d, d)
        linear(f"{block}.mlp.fc2", d, 4 * d)
    for head in ("downstream_head1", "downstream_head2"):
        if sizes.linear:
            linear(f"{head}.proj", 4 * 256, d)
        else:
            shapes |= {f"{head}.dpt.{key}": shape for key, shape in _dpt_shapes(sizes).items()}
    return shapes


def _dpt_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    e, d, f, w = sizes.encoder[0], sizes.decoder[0], sizes.features, sizes.widths
    shapes: dict[str, tuple[int, ...]] = {}
    for n in range(4):
        shapes[f"scratch.layer{n + 1}_rn.weight"] = shapes[f"scratch.layer_rn.{n}.weight"] = (f, w[n], 3, 3)
        shapes |= {f"scratch.refinenet{n + 1}.out_conv.weight": (f, f, 1, 1)}
        shapes |= {f"scratch.refinenet{n + 1}.out_conv.bias": (f,)}
        for conv in (f"scratch.refinenet{n + 1}.resConfUnit{u}.conv{c}" for u in (1, 2) for c in (1, 2)):
            shapes |= {f"{conv}.weight": (f, f, 3, 3), f"{conv}.bias": (f,)}
        shapes |= {f"act_postprocess.{n}.0.weight": (w[n], d if n else e, 1, 1), f"act_postprocess.{n}.0.bias": (w[n],)}
    for n, kernel in ((0, 4), (1, 2), (3, 3)):
        shapes |= {
            f"act_postprocess.{n}.1.weight": (w[n], w[n], kernel, kernel),
            f"act_postprocess.{n}.1.bias": (w[n],),
        }
    for n, (out, into, kernel) in enumerate(((sizes.half, f, 3), (sizes.half, sizes.half, 3), (4, sizes.half, 1))):
        shapes |= {f"head.{2 * n}.weight": (out, into, kernel, kernel), f"head.{2 * n}.bias": (out,)}
    return shapes


def random_state(sizes: Sizes, seed: int = 0) -> dict[str, Tensor]:
    """Numbers that let signals through at their size, float64; the two names of a tensor share one."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for key, shape in official_shapes(sizes).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) > 1:
            # the exponential of a head's last layer turns large numbers into huge ones
            gain = 0.2 if key.endswith("head.4.weight") else 1.0
            state[key] = gain * noise / torch.Size(shape[1:]).numel() ** 0.5
        elif "norm" in key and key.endswith("weight"):
            state[key] = 1 + 0.1 * noise
        else:
            state[key] = 0.1 * noise
    for head in () if sizes.linear else ("downstream_head1", "downstream_head2"):
        for n in range(4):
            state[f"{head}.dpt.scratch.layer_rn.{n}.weight"] = state[f"{head}.dpt.scratch.layer{n + 1}_rn.weight"]
    return state


def write_pth(path: Path, state: dict[str, Tensor]) -> Path:
    """As the training program writes it: the namespace of its arguments, the state, and what else it saves."""
    args = argparse.Namespace(model="AsymmetricCroCo3DStereo(nothing that anybody evaluates)", epochs=3)
    torch.save({"args": args, "model": state, "epoch": 2, "best_so_far": 0.5}, path)
    return path


def write_safetensors(path: Path, state: dict[str, Tensor]) -> Path:
    """As the hub has it: tensors that are the same are stored once, under `layerN_rn`."""
    write_tensors(path, {key: tensor for key, tensor in state.items() if ".layer_rn." not in key})
    return path
