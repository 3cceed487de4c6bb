"""Similarities between clouds of points, many at once: x -> scale * rotation @ x + translation."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_TINY = 1e-300


class Similarity(NamedTuple):
    """One similarity for each of a batch."""

    scale: Float[Tensor, "*batch"]
    rotation: Float[Tensor, "*batch 3 3"]
    translation: Float[Tensor, "*batch 3"]

    def apply(self, points: Float[Tensor, "*batch M 3"]) -> Float[Tensor, "*batch M 3"]:
        """The points moved."""
        turned = points @ self.rotation.mT
        return self.scale[..., None, None] * turned + self.translation[..., None, :]


def fit_similarity(
    source: Float[Tensor, "*batch M 3"], target: Float[Tensor, "*batch M 3"], weights: Float[Tensor, "*batch M"]
) -> Similarity:
    """Weighted least squares (Umeyama 1991, eqs. 34-43, with weights in its means); the rotation is never a mirror.

    Weights may sum to 0: the scale is then 0 and means nothing.
    """
    share = (weights / weights.sum(dim=-1, keepdim=True).clamp_min(_TINY))[..., None]
    source_mean, target_mean = (share * source).sum(dim=-2), (share * target).sum(dim=-2)
    x, y = source - source_mean[..., None, :], target - target_mean[..., None, :]
    u, singular, vh = torch.linalg.svd((share * y).mT @ x)
    signs = torch.ones_like(singular)
    signs[..., -1] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vh))
    rotation = (u * signs[..., None, :]) @ vh
    scale = (singular * signs).sum(dim=-1) / (share * x.square()).sum(dim=(-2, -1)).clamp_min(_TINY)
    moved = scale[..., None] * (rotation @ source_mean[..., None])[..., 0]
    return Similarity(scale, rotation, target_mean - moved)
