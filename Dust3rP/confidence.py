"""How sure the poses of pictures are, 0 to 1."""

import torch
from jaxtyping import Float
from torch import Tensor

from Dust3rP.measuring import Measured, Pixels
from Dust3rP.pose_graph import PoseGraph, Relative

_TURN_DEG = 5.0
"""A pair whose rotation is this far from that of the poses counts half, and likewise below."""
_WAY = 0.3
"""Of its translation, as a share of the distance of the two cameras."""
_SPREAD = 0.05
"""Of the pixels about their rays, in focal lengths."""


def picture_confidence(
    graph: PoseGraph, edges: Relative, measured: Measured, pixels: Pixels, pictures: int
) -> Float[Tensor, "N"]:
    """Mean over each picture's pairs: how sure the network is, how many pixels agree, and how well pose and pixels do.

    The network is as sure as 1 - 1 / c, where c is the geometric mean of its confidences.
    """
    sure = 1 - (-(pixels.weights_i.mean(dim=1) + pixels.weights_j.mean(dim=1)) / 2).exp()
    fit = _half_at(graph.turn_error.rad2deg(), _TURN_DEG) * _half_at(graph.way_error, _WAY)
    quality = sure * measured.agreed * measured.usable * fit * _half_at(measured.spread, _SPREAD)
    ends = torch.cat((edges.first, edges.second))
    total = quality.new_zeros(pictures).index_add(0, ends, quality.repeat(2))
    return total / torch.bincount(ends, minlength=pictures).clamp_min(1)


def _half_at(values: Float[Tensor, "E"], half: float) -> Float[Tensor, "E"]:
    return 1 / (1 + (values / half).square())
