"""Linear layers whose weights take one byte each: float8 E4M3, plain or with one scale per output row.

E4M3 has 3 bits of mantissa, so a rounded weight is off by at most 2^-4 of itself (Micikevicius et al. 2022,
arXiv 2209.05433) as long as it is not below 2^-6, where steps are 2^-9 whatever the size. Weights of a DiT are mostly
of that size; a scale of amax / 448 per output row brings each row's largest weight to the top of the range.

Activations and sums stay in the dtype the layer is called in: the weight is widened before the product. With `fast`
the activations are rounded to E4M3 too, one scale per token, and the GPU multiplies in 8 bits.
"""

import math
import re
from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0
"""Largest finite E4M3 number."""

# numbers that are rounded at once: on a CPU few, since large blocks that come and go leave holes in the heap
_PIECE, _PIECE_ON_CPU = 1 << 24, 1 << 18

Fp8Mode = Literal["none", "base", "scaled"]
FP8_MODES: tuple[Fp8Mode, ...] = get_args(Fp8Mode)
"""none: no fp8. base: weights rounded as they are (`--fp8`, `--fp8_base`). scaled: a scale per row (`--fp8_scaled`)."""

# what is not named here stays as it is: embeddings, norms, modulation, head, biases, and every camera weight
_DIT_WEIGHTS = re.compile(r"blocks\.\d+\.(self_attn\.[qkvo]|cross_attn\.([qkvo]|[kv]_img)|ffn\.[02])\.weight")
# without `wo`: transformers casts that layer's input to the dtype of its weight
_T5_WEIGHTS = re.compile(r"encoder\.block\.\d+\.layer\.(0\.SelfAttention\.[qkvo]|1\.DenseReluDense\.wi_[01])\.weight")


def is_fp8_weight(name: str) -> bool:
    """Whether the weight of that name (official for the DiT, ours for T5) is one that fp8 modes keep in one byte."""
    return _DIT_WEIGHTS.fullmatch(name) is not None or _T5_WEIGHTS.fullmatch(name) is not None


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight to E4M3 with one scale per output row.

    Args:
        weight: [out, in], of any floating-point type.

    Returns:
        [out, in] in E4M3, and scales [out, 1] in float32 with weight ≈ rounded · scale; a row of zeros has scale 1.
    """
    amax = torch.linalg.vector_norm(weight, math.inf, dim=1, keepdim=True).float()
    scale = torch.where(amax > 0, amax / FP8_MAX, 1.0)
    return _rounded(weight, scale), scale


def round_to_fp8(weight: Tensor) -> Tensor:
    """Round a weight [out, in] to E4M3 as it is; what is beyond its range becomes its largest number."""
    return weight.clone() if weight.dtype == FP8 else _rounded(weight, torch.ones(len(weight), 1, device=weight.device))


def _rounded(weight: Tensor, scale: Tensor) -> Tensor:
    """Quotient of weight and scale in E4M3, some rows at a time: the float32 numbers in between take little memory."""
    rounded = torch.empty(weight.shape, dtype=FP8, device=weight.device)
    step = max(1, (_PIECE_ON_CPU if weight.device.type == "cpu" else _PIECE) // weight.shape[1])
    for start in range(0, len(weight), step):
        rows = slice(start, start + step)
        rounded[rows] = (weight[rows].float() / scale[rows]).clamp_(-FP8_MAX, FP8_MAX)
    return rounded


class FP8Linear(nn.Linear):
    """A frozen linear layer with its weight in E4M3 and, if scaled, one scale per output row.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        bias: whether there is one; it keeps the dtype to compute in.
        scaled: whether there are scales, `scale` [out, 1] in float32.
    """

    scale: Tensor | None

    def __init__(self, in_features: int, out_features: int, bias: bool, scaled: bool) -> None:
        super().__init__(in_features, out_features, bias)
        self.weight = nn.Parameter(self.weight.detach().to(FP8), requires_grad=False)
        self.register_buffer("scale", torch.ones(out_features, 1) if scaled else None)
        self.fast = False

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out] in the dtype of the input, or of autocast where that is on."""
        device = input.device.type
        if torch.is_autocast_enabled(device):
            input = input.to(torch.get_autocast_dtype(device))
        bias = None if self.bias is None else self.bias.to(input.dtype)
        if self.fast and not (torch.is_grad_enabled() and input.requires_grad):
            return _multiply_in_fp8(input, self.weight, self.scale, bias)
        return _WidenedLinear.apply(input, self.weight, self.scale, bias)


class _WidenedLinear(torch.autograd.Function):
    """x · Wᵀ + b with W widened for the product only: backward widens it again instead of keeping it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return F.linear(x, widen(weight, scale, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        weight, scale = ctx.saved_tensors
        return gradients[0] @ widen(weight, scale, gradients[0].dtype), None, None, None


def widen(weight: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """An E4M3 weight [out, in] with its scales [out, 1], if any, in `dtype`; the product is rounded once."""
    return weight.to(dtype) if scale is None else (weight.float() * scale).to(dtype)


def _multiply_in_fp8(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    rows = x.flatten(0, -2)
    x8, x_scale = quantise_rows(rows)
    w_scale = torch.ones(len(weight), 1, device=x.device) if scale is None else scale
    # the only way to the GPU's 8-bit product that every supported torch has
    y = torch._scaled_mm(  # pyright: ignore[reportPrivateImportUsage]
        x8, weight.t(), scale_a=x_scale, scale_b=w_scale.t(), out_dtype=torch.bfloat16, use_fast_accum=True
    )
    y = y.to(x.dtype) if bias is None else y.to(x.dtype) + bias
    return y.unflatten(0, x.shape[:-1])


def use_fp8(module: nn.Module, names: Iterable[str], scaled: bool) -> None:
    """Put an `FP8Linear` of the same sizes in the place of each linear layer whose weight is named, on its device.

    Args:
        module: a network, usually still without memory (on the meta device).
        names: of weights, NAME.weight.
        scaled: whether the weights come with scales.
    """
    for name in names:
        path = name.removesuffix(".weight")
        layer = module.get_submodule(path)
        assert isinstance(layer, nn.Linear)
        with torch.device(layer.weight.device):
            new = FP8Linear(layer.in_features, layer.out_features, layer.bias is not None, scaled)
        parent, _, own = path.rpartition(".")
        setattr(module.get_submodule(parent), own, new)


def check_fast_fp8(device: torch.device) -> None:
    """Refuse `--fp8_fast` on a device that cannot.

    Raises:
        ValueError: it has no 8-bit products.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
        raise ValueError(
            "--fp8_fast needs a GPU that multiplies in 8 bits (compute capability 8.9 or newer: Ada, Hopper, "
            f"Blackwell); {device} is none. Leave the flag out"
        )


def use_fast_fp8(module: nn.Module, device: torch.device) -> int:
    """Let the fp8 layers of a network multiply in 8 bits (`--fp8_fast`); gives how many there are.

    Raises:
        ValueError: the device cannot, or the network has no fp8 layers.
    """
    check_fast_fp8(device)
    layers = [layer for layer in module.modules() if isinstance(layer, FP8Linear)]
    if not layers:
        raise ValueError("--fp8_fast needs fp8 weights: add --fp8 or --fp8_scaled")
    for layer in layers:
        layer.fast = True
    return len(layers)
