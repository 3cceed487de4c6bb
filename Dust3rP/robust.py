"""Means that single wrong values do not move."""

import torch
from jaxtyping import Float
from torch import Tensor


def weighted_median(values: Float[Tensor, "*batch M"], weights: Float[Tensor, "*batch M"]) -> Float[Tensor, "*batch"]:
    """The lower weighted median along the last axis; the least value where all weights are 0."""
    ordered, order = values.sort(dim=-1)
    below = weights.gather(-1, order).cumsum(dim=-1)
    place = torch.searchsorted(below.contiguous(), below[..., -1:] / 2).clamp_max(values.shape[-1] - 1)
    return ordered.gather(-1, place)[..., 0]


def deviation(errors: Float[Tensor, "*batch M"], weights: Float[Tensor, "*batch M"]) -> Float[Tensor, "*batch"]:
    """Standard deviation of errors (0 or more, of a normal distribution in one dimension) from their median."""
    return 1.4826 * weighted_median(errors, weights)


def geman_mcclure(squares: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Weights of residuals r by (r / c)^2: 1 / (1 + (r / c)^2)^2, which lets go of outliers (Geman & McClure 1985)."""
    return (1 + squares).reciprocal().square()


def cauchy(squares: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Weights of residuals r by (r / c)^2: 1 / (1 + (r / c)^2), of the Cauchy (Lorentz) distribution."""
    return (1 + squares).reciprocal()
