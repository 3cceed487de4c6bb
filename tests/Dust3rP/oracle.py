"""DUSt3R once more, slowly, in numpy's float64, from the facts alone: what `Dust3rP` is compared with.

It shares no line with the network that it tests. `Facts` are the facts that are easily got wrong, each of which can be
set to the wrong value.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = Mapping[str, Array]

_erf = np.vectorize(math.erf)


@dataclass(frozen=True)
class Facts:
    eps: float = 1e-6
    tanh_gelu: bool = False
    rope_base: float = 100.0
    swap_axes: bool = False
    dec_norm: bool = True
    hook_shift: int = 0
    align_corners: bool = True
    crop_from: int = 0
    in_turn: bool = False


def dust3r(
    state: State, image1: Array, image2: Array, heads: tuple[int, int], facts: Facts | None = None
) -> tuple[Array, Array, Array, Array]:
    """Points and confidence of two pictures [3, H, W]; `heads` of the encoder's and of the decoders' attention."""
    facts = facts or Facts()
    grids = [(image.shape[1] // 16, image.shape[2] // 16) for image in (image1, image2)]
    encoded = [
        _encode(state, image, grid, heads[0], facts) for image, grid in zip((image1, image2), grids, strict=True)
    ]
    x, y = (tokens @ state["decoder_embed.weight"].T + state["decoder_embed.bias"] for tokens in encoded)
    lists = [[encoded[0]], [encoded[1]]]
    depth = len({key.split(".")[1] for key in state if key.startswith("dec_blocks.")})
    for n in range(depth):
        before = x
        x = _decoder_block(state, f"dec_blocks.{n}.", x, y, grids[0], grids[1], heads[1], facts)
        seen = x if facts.in_turn else before
        y = _decoder_block(state, f"dec_blocks2.{n}.", y, seen, grids[1], grids[0], heads[1], facts)
        lists[0].append(x)
        lists[1].append(y)
    result: list[Array] = []
    for side, tokens, grid in zip((1, 2), lists, grids, strict=True):
        if facts.dec_norm:
            tokens[-1] = _norm(state, "dec_norm", tokens[-1], facts)
        maps = _head(state, f"downstream_head{side}.", tokens, grid, facts)
        length = np.sqrt((maps[:3] ** 2).sum(axis=0))
        points = maps[:3] / np.maximum(length, 1e-8) * (np.exp(length) - 1)
        result += [points.transpose(1, 2, 0), 1 + np.exp(maps[3])]
    return result[0], result[1], result[2], result[3]


def _linear(state: State, key: str, x: Array) -> Array:
    return np.einsum("lc,oc->lo", x, state[f"{key}.weight"]) + state[f"{key}.bias"]


def _norm(state: State, key: str, x: Array, facts: Facts) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + facts.eps)
    return scaled * state[f"{key}.weight"] + state[f"{key}.bias"]


def _mlp(state: State, key: str, x: Array, facts: Facts) -> Array:
    z = _linear(state, f"{key}.fc1", x)
    if facts.tanh_gelu:
        z = 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    else:
        z = 0.5 * z * (1 + _erf(z / math.sqrt(2)))
    return _linear(state, f"{key}.fc2", z)


def _turn(x: Array, grid: tuple[int, int], facts: Facts) -> Array:
    """One head's queries or keys [L, D]: the angle is a float32 product, everything else float64."""
    half = x.shape[1] // 2
    quarter = half // 2
    turned = np.empty_like(x)
    one, base = np.float32(1), np.float32(facts.rope_base)
    for row in range(grid[0]):
        for column in range(grid[1]):
            patch = row * grid[1] + column
            for axis, position in enumerate((column, row) if facts.swap_axes else (row, column)):
                part = x[patch, axis * half : (axis + 1) * half]
                for k in range(quarter):
                    frequency = one / base ** np.float32(np.float32(2 * k) / np.float32(half))
                    angle = float(np.float32(position) * frequency)
                    a, b = part[k], part[k + quarter]
                    turned[patch, axis * half + k] = a * math.cos(angle) - b * math.sin(angle)
                    turned[patch, axis * half + k + quarter] = b * math.cos(angle) + a * math.sin(angle)
    return turned


def _attention(
    q: Array, k: Array, v: Array, grids: tuple[tuple[int, int], tuple[int, int]], heads: int, facts: Facts
) -> Array:
    result = np.empty_like(q)
    width = q.shape[1] // heads
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        logits = _turn(q[:, part], grids[0], facts) @ _turn(k[:, part], grids[1], facts).T / math.sqrt(width)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        result[:, part] = weights / weights.sum(axis=1, keepdims=True) @ v[:, part]
    return result


def _self_attention(state: State, key: str, x: Array, grid: tuple[int, int], heads: int, facts: Facts) -> Array:
    q, k, v = np.split(_linear(state, f"{key}.qkv", x), 3, axis=1)
    return _linear(state, f"{key}.proj", _attention(q, k, v, (grid, grid), heads, facts))


def _encode(state: State, image: Array, grid: tuple[int, int], heads: int, facts: Facts) -> Array:
    weight = state["patch_embed.proj.weight"]
    x = np.empty((grid[0] * grid[1], len(weight)))
    for row in range(grid[0]):
        for column in range(grid[1]):
            patch = image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            x[row * grid[1] + column] = np.einsum("chw,ochw->o", patch, weight) + state["patch_embed.proj.bias"]
    for n in range(len({key.split(".")[1] for key in state if key.startswith("enc_blocks.")})):
        block = f"enc_blocks.{n}."
        x = x + _self_attention(state, f"{block}attn", _norm(state, f"{block}norm1", x, facts), grid, heads, facts)
        x = x + _mlp(state, f"{block}mlp", _norm(state, f"{block}norm2", x, facts), facts)
    return _norm(state, "enc_norm", x, facts)


def _decoder_block(
    state: State,
    block: str,
    x: Array,
    y: Array,
    grid: tuple[int, int],
    other: tuple[int, int],
    heads: int,
    facts: Facts,
) -> Array:
    x = x + _self_attention(state, f"{block}attn", _norm(state, f"{block}norm1", x, facts), grid, heads, facts)
    memory = _norm(state, f"{block}norm_y", y, facts)
    q = _linear(state, f"{block}cross_attn.projq", _norm(state, f"{block}norm2", x, facts))
    k, v = (_linear(state, f"{block}cross_attn.proj{name}", memory) for name in "kv")
    x = x + _linear(state, f"{block}cross_attn.proj", _attention(q, k, v, (grid, other), heads, facts))
    return x + _mlp(state, f"{block}mlp", _norm(state, f"{block}norm3", x, facts), facts)


def _conv(state: State, key: str, x: Array, stride: int = 1) -> Array:
    """Convolution of [C, H, W] with padding that keeps the size at stride 1, tap by tap."""
    weight = state[f"{key}.weight"]
    pad = weight.shape[2] // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    height, width = ((side - 1) // stride + 1 for side in x.shape[1:])
    result = np.zeros((len(weight), height, width))
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            seen = padded[:, i : i + stride * height : stride, j : j + stride * width : stride][:, :height, :width]
            result += np.einsum("oc,chw->ohw", weight[:, :, i, j], seen)
    bias = state.get(f"{key}.bias")
    return result if bias is None else result + bias[:, None, None]


def _spread(state: State, key: str, x: Array) -> Array:
    """Transposed convolution whose stride is its kernel: every pixel becomes a square of its own."""
    weight = state[f"{key}.weight"]
    size = weight.shape[2]
    squares = np.einsum("chw,coij->ohiwj", x, weight)
    _, height, _, width, _ = squares.shape
    return squares.reshape(-1, height * size, width * size) + state[f"{key}.bias"][:, None, None]


def _twice(x: Array, facts: Facts) -> Array:
    for axis in (1, 2):
        before = x.shape[axis]
        after = 2 * before
        matrix = np.zeros((after, before))
        for n in range(after):
            if facts.align_corners:
                place = n * (before - 1) / (after - 1)
            else:
                place = min(max((n + 0.5) / 2 - 0.5, 0.0), before - 1)
            low = min(int(place), before - 1)
            matrix[n, low] += 1 - (place - low)
            matrix[n, min(low + 1, before - 1)] += place - low
        x = np.moveaxis(np.tensordot(matrix, x, axes=(1, axis)), 0, axis)
    return x


def _unit(state: State, key: str, x: Array) -> Array:
    inner = _conv(state, f"{key}.conv1", np.maximum(x, 0))
    return x + _conv(state, f"{key}.conv2", np.maximum(inner, 0))


def _fuse(state: State, key: str, x: Array, skip: Array | None, facts: Facts) -> Array:
    if skip is not None:
        x = x + _unit(state, f"{key}.resConfUnit1", skip)
    return _conv(state, f"{key}.out_conv", _twice(_unit(state, f"{key}.resConfUnit2", x), facts))


def _head(state: State, head: str, tokens: list[Array], grid: tuple[int, int], facts: Facts) -> Array:
    """The four channels [4, H, W]."""
    if f"{head}proj.weight" in state:
        # a patch's channels are (channel, row, column) of its pixels
        pixels = _linear(state, f"{head}proj", tokens[-1]).reshape(*grid, 4, 16, 16)
        return pixels.transpose(2, 0, 3, 1, 4).reshape(4, 16 * grid[0], 16 * grid[1])
    last = len(tokens) - 1
    hooks = [0, *(min(n + facts.hook_shift, last) for n in (last * 2 // 4, last * 3 // 4)), last]
    levels = []
    for n, hook in enumerate(hooks):
        key = f"{head}dpt.act_postprocess.{n}"
        level = _conv(state, f"{key}.0", tokens[hook].T.reshape(-1, *grid))
        if n < 2:
            level = _spread(state, f"{key}.1", level)
        if n == 3:
            level = _conv(state, f"{key}.1", level, stride=2)
        levels.append(_conv(state, f"{head}dpt.scratch.layer{n + 1}_rn", level))
    refine = f"{head}dpt.scratch.refinenet"
    x = _fuse(state, f"{refine}4", levels[3], None, facts)
    rows, columns = (min(facts.crop_from, side - length) for side, length in zip(x.shape[1:], grid, strict=True))
    x = x[:, rows : rows + grid[0], columns : columns + grid[1]]
    for n in (3, 2, 1):
        x = _fuse(state, f"{refine}{n}", x, levels[n - 1], facts)
    x = _twice(_conv(state, f"{head}dpt.head.0", x), facts)
    x = np.maximum(_conv(state, f"{head}dpt.head.2", x), 0)
    return _conv(state, f"{head}dpt.head.4", x)
