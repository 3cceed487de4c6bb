"""One depth map for every picture and one scale for every pair, from what all pairs say of both.

Depths are compared as logarithms: a network's errors of depth grow with depth.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from Dust3rP.robust import cauchy, weighted_median

_ROUNDS = 3
_DEPTH_KERNEL = 0.1
"""Depths further than this share from the picture's mean count less than half."""
_SCALE_KERNEL = 0.1
"""Scales of pairs further than this share from what the others say count less than half."""
_GAUGE = 1e-9


class DepthViews(NamedTuple):
    """Depth maps of pictures, one for each time that a pair shows one: S = 2 E sides of pairs."""

    log_depth: Float[Tensor, "S M"]
    """In the picture's own camera and the unit of the pair."""
    weights: Float[Tensor, "S M"]
    """0 where there is no depth."""
    image: Int64[Tensor, "S"]
    """Number of the picture, 0 to N - 1."""
    pair: Int64[Tensor, "S"]
    """Number of the pair, 0 to E - 1."""
    trust: Float[Tensor, "S"]
    """Weight of the side, 0 or more."""


class JoinedDepths(NamedTuple):
    """All in one unit: the geometric mean of the scales of the pairs is 1."""

    log_depth: Float[Tensor, "N M"]
    weights: Float[Tensor, "N M"]
    """Sums of the weights of what agreed."""
    log_scale: Float[Tensor, "E"]
    """What the logarithms of a pair's lengths are to be raised by."""
    disagreement: Float[Tensor, "S"]
    """How far, in logarithms, each side's scale is from the pair's."""


def join_depths(views: DepthViews, pictures: int, pairs: int) -> JoinedDepths:
    """Depth maps and scales that agree best, alternating between the two.

    Scales are one linear system over all pictures, so that a long chain of pairs settles at once.
    """
    log_scale = views.log_depth.new_zeros(pairs)
    reference = _best_views(views, pictures)
    disagreement = views.log_depth.new_zeros(len(views.image))
    for _ in range(_ROUNDS):
        shared = torch.where(views.weights > 0, views.weights * reference.weights[views.image], 0.0)
        offsets = weighted_median(reference.log_depth[views.image] - views.log_depth, shared)
        trust = views.trust * (shared > 0).any(dim=1)
        log_scale, disagreement = _scales(offsets, trust, views, pictures, pairs)
        reference = _mean_maps(views, log_scale, pictures)
    return JoinedDepths(reference.log_depth, reference.weights, log_scale, disagreement)


def depth_scales(
    views: DepthViews, log_depth: Float[Tensor, "N M"], weights: Float[Tensor, "N M"]
) -> Float[Tensor, "S"]:
    """The logarithms of the scales that bring each view onto the depth map of its picture."""
    return weighted_median(log_depth[views.image] - views.log_depth, views.weights * weights[views.image])


class _Maps(NamedTuple):
    log_depth: Float[Tensor, "N M"]
    weights: Float[Tensor, "N M"]


def _best_views(views: DepthViews, pictures: int) -> _Maps:
    """Of each picture the most trusted of its views."""
    order = views.trust.argsort(stable=True)
    best = torch.zeros(pictures, dtype=torch.int64, device=order.device)
    best[views.image[order]] = order
    # assignment to equal indices is in no order on GPUs, so the best is checked by its value
    strongest = views.trust.new_zeros(pictures).scatter_reduce(0, views.image, views.trust, "amax")
    is_best = views.trust == strongest[views.image]
    best[views.image[is_best]] = is_best.nonzero()[:, 0]
    return _Maps(views.log_depth[best], views.weights[best])


def _scales(
    offsets: Float[Tensor, "S"], trust: Float[Tensor, "S"], views: DepthViews, pictures: int, pairs: int
) -> tuple[Float[Tensor, "E"], Float[Tensor, "S"]]:
    """Solve log_scale[pair] = offset + shift[picture] for scales and shifts, by reweighted least squares."""
    weights = trust
    scale, error = offsets.new_zeros(pairs), torch.zeros_like(offsets)
    for _ in range(_ROUNDS):
        on_pair = torch.zeros_like(scale).index_add(0, views.pair, weights).clamp_min(_GAUGE)
        # the pair's scale is the mean over its sides; what is left is a system of the pictures alone
        share = weights.new_zeros(pairs, pictures).index_put((views.pair, views.image), weights, accumulate=True)
        matrix = torch.diag(share.sum(dim=0)) - share.mT @ (share / on_pair[:, None])
        mean = torch.zeros_like(scale).index_add(0, views.pair, weights * offsets) / on_pair
        right = (share.mT @ mean) - torch.zeros_like(matrix[0]).index_add(0, views.image, weights * offsets)
        matrix = matrix + _GAUGE * torch.eye(pictures, dtype=matrix.dtype, device=matrix.device)
        shift = torch.linalg.solve(matrix, right)
        scale = mean + (share @ shift) / on_pair
        error = offsets + shift[views.image] - scale[views.pair]
        weights = trust * cauchy((error / _SCALE_KERNEL).square())
    return scale - scale.mean(), error


def _mean_maps(views: DepthViews, log_scale: Float[Tensor, "E"], pictures: int) -> _Maps:
    """Of each picture the mean of its views, without what is far from it."""
    placed = views.log_depth + log_scale[views.pair][:, None]
    weights = views.weights * views.trust[:, None]
    reference = placed
    for _ in range(_ROUNDS):
        total = weights.new_zeros(pictures, weights.shape[1]).index_add(0, views.image, weights)
        mean = torch.zeros_like(total).index_add(0, views.image, weights * placed)
        reference = mean / total.clamp_min(torch.finfo(total.dtype).tiny)
        agreement = cauchy(((placed - reference[views.image]) / _DEPTH_KERNEL).square())
        weights = views.weights * views.trust[:, None] * agreement
    total = weights.new_zeros(pictures, weights.shape[1]).index_add(0, views.image, weights)
    return _Maps(reference, total)
