"""What a LoRA, LoHa, LoKr or whole difference does to a weight: its shapes, checked, and its numbers, in float32.

    lora   up·down · alpha / rank                                  Hu et al. 2021, arXiv 2106.09685
    loha   (w1_a·w1_b) ∘ (w2_a·w2_b) · alpha / rank                Hyeon-Woo et al. 2021, arXiv 2108.06098
    lokr   w1 ⊗ w2, either of them a product w_a·w_b of inner dimension rank, then times alpha / rank
                                                                   Yeh et al. 2023, arXiv 2309.14859
    diff   the difference itself

Under `dora_scale` m (Liu et al. 2024, arXiv 2402.09353) the weight with its difference gets rows, or columns, of length
m. Names and conventions are those of files that LyCORIS and ComfyUI write.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from networks.module_names import ALPHA, DIFF, DIFF_BIAS, DIFF_MODULATION, DORA, DOWN, UP

Shapes = Mapping[str, torch.Size]

_HADA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_WHOLE = (DIFF_BIAS, DIFF_MODULATION)
# as LyCORIS adds it to a norm before it divides by it
_EPS = torch.finfo(torch.float32).eps


def kind_of(parts: Shapes) -> str | None:
    """lora, loha, lokr, diff, or None where only a bias or a modulation changes.

    Raises:
        ValueError: the parts are not whole, or belong to two kinds; says which.
    """
    names = set(parts) - {ALPHA, DORA, *_WHOLE}
    kinds = {"lora": {DOWN, UP}, "loha": set(_HADA), "diff": {DIFF}}
    for kind, wanted in kinds.items():
        if names & wanted:
            if missing := sorted(wanted - names):
                raise ValueError(f"has no {missing[0]}; the file is not whole")
            if extra := sorted(names - wanted):
                raise ValueError(f"has {extra[0]} beside a {kind}; one kind of change was expected")
            return kind
    if names:
        for side in ("lokr_w1", "lokr_w2"):
            pair = {f"{side}_a", f"{side}_b"}
            if (side in names) == bool(names & pair) or (names & pair and not pair <= names):
                raise ValueError(f"has no {side}, or not the pair {side}_a, {side}_b; the file is not whole")
        return "lokr"
    if not set(parts) & set(_WHOLE):
        raise ValueError("has no matrices; the file is not whole")
    return None


def rank_of(parts: Shapes) -> int | None:
    """Inner dimension of a module's matrices; None where they have none."""
    name = next((n for n in (DOWN, "hada_w1_b", "lokr_w2_b", "lokr_w1_b") if n in parts), None)
    return None if name is None else parts[name][0]


def changed_shape(parts: Shapes, kind: str) -> tuple[int, ...]:
    """Shape of the weight that the parts change; of a convolution's, [out, all the rest].

    Raises:
        ValueError: the matrices do not multiply; says which.
    """
    if kind == "diff":
        return tuple(parts[DIFF])
    if kind == "lora":
        down, up = parts[DOWN], parts[UP]
        whole = len(down) == len(up) and len(down) >= 2 and up.numel() == up[0] * up[1]
        if not whole or down[0] != up[1] or not down[0]:
            raise ValueError(f"has down {tuple(down)} and up {tuple(up)}; expected [r, in] and [out, r]")
        return up[0], down[1:].numel()
    if kind == "loha":
        first, second = (_product(parts, f"hada_{side}") for side in ("w1", "w2"))
        if first != second:
            raise ValueError(f"has products of {first} and {second}; expected two of one shape")
        return first
    first, second = (_product(parts, f"lokr_{side}") for side in ("w1", "w2"))
    return first[0] * second[0], first[1] * second[1]


def _product(parts: Shapes, name: str) -> tuple[int, int]:
    if name in parts:
        a = b = parts[name]
    else:
        a, b = parts[f"{name}_a"], parts[f"{name}_b"]
    if len(a) != 2 or len(b) != 2 or (name not in parts and (a[1] != b[0] or not b[0])):
        raise ValueError(f"has {name} of {tuple(a)} and {tuple(b)}; expected [out, r] and [r, in]")
    return a[0], b[1]


def changed_weight(weight: Tensor, parts: Mapping[str, Tensor], alpha: float | None, multiplier: float) -> Tensor:
    """A weight with a module's change in it, a new tensor in float32 on the weight's device.

    Args:
        weight: [out, ...], of any type.
        parts: the tensors of the change, in float32, on the same device.
        alpha: None counts as the rank.
        multiplier: strength, 1 as trained.
    """
    kind = kind_of({name: tensor.shape for name, tensor in parts.items()})
    wide = weight.float()
    if DORA in parts:
        return _decomposed(wide, wide + _delta(parts, kind, alpha).view(weight.shape), parts[DORA], multiplier)
    if kind == "lora":
        down, up = parts[DOWN].flatten(1), parts[UP].flatten(1)
        scale = multiplier * _scale(alpha, len(down))
        return torch.addmm(wide.flatten(1), up, down, alpha=scale).view(weight.shape)
    return wide + multiplier * _delta(parts, kind, alpha).view(weight.shape)


def _delta(parts: Mapping[str, Tensor], kind: str | None, alpha: float | None) -> Tensor:
    if kind == "diff":
        return parts[DIFF]
    scale = _scale(alpha, rank_of({name: tensor.shape for name, tensor in parts.items()}))
    if kind == "lora":
        return scale * (parts[UP].flatten(1) @ parts[DOWN].flatten(1))
    if kind == "loha":
        first, second = (parts[f"hada_{side}_a"] @ parts[f"hada_{side}_b"] for side in ("w1", "w2"))
        return scale * first * second
    assert kind == "lokr"
    first, second = (
        parts[name] if name in parts else parts[f"{name}_a"] @ parts[f"{name}_b"] for name in ("lokr_w1", "lokr_w2")
    )
    return scale * torch.kron(first, second)


def _scale(alpha: float | None, rank: int | None) -> float:
    """Whole matrices, which have no rank, are not scaled."""
    return 1.0 if alpha is None or rank is None else alpha / rank


def _decomposed(weight: Tensor, changed: Tensor, lengths: Tensor, multiplier: float) -> Tensor:
    """DoRA: `changed` with rows (lengths [out, 1] or [out]) or columns ([1, in]) of the lengths given."""
    rows = lengths.dim() == 1 or lengths.shape[0] == weight.shape[0]
    wanted = lengths.view(-1, *[1] * (weight.dim() - 1)) if rows else lengths
    others = tuple(axis for axis in range(weight.dim()) if axis != (0 if rows else 1))
    gain = wanted / (torch.linalg.vector_norm(changed, dim=others, keepdim=True) + _EPS)
    return changed * (multiplier * (gain - 1) + 1)
