"""What every pair of pictures measures: focal lengths, the second camera's pose, depth maps of both pictures.

A pair is (i, j); its points are in camera i. All shapes: E pairs, M = H W pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camera.poses import assemble
from Dust3rP.depths import DepthViews
from Dust3rP.focal import pixel_offsets, weiszfeld_focal
from Dust3rP.pairs import PairPoints
from Dust3rP.resection import resect
from Dust3rP.similarity import fit_similarity

_AT_ONCE = 64
"""Pairs measured at once: their intermediate results stay in the processor's cache and in little memory."""
_AGREED = 0.25
"""A pixel whose robust weight is at least this agrees with its pair's pose."""


class Pixels(NamedTuple):
    """Points and weights of pairs, float64, pixels in one row."""

    points_i: Float[Tensor, "E M 3"]
    points_j: Float[Tensor, "E M 3"]
    weights_i: Float[Tensor, "E M"]
    """ln(confidence), DUSt3R's own weight; 0 where a point is not finite."""
    weights_j: Float[Tensor, "E M"]
    height: int
    width: int


class Measured(NamedTuple):
    """Poses and depths, each pair in its own unit."""

    relative: Float[Tensor, "E 4 4"]
    """Camera j in camera i."""
    views: DepthViews
    """Sides 0 to E - 1 are the pictures i, sides E to 2 E - 1 the pictures j."""
    spread: Float[Tensor, "E"]
    """Of the pixels of j about their rays, in focal lengths."""
    agreed: Float[Tensor, "E"]
    """Share of the weight of j that agrees with the pose."""
    usable: Bool[Tensor, "E"]
    """False where the points fit no pose at all."""


def to_pixels(pair_points: PairPoints) -> Pixels:
    """The points of pairs as the measuring wants them."""
    height, width = pair_points.confidence_i.shape[1:]
    points, weights = [], []
    for some, confidence in ((pair_points.points_i, pair_points.confidence_i),
                             (pair_points.points_j, pair_points.confidence_j)):  # fmt: skip
        flat = some.flatten(1, 2).double()
        finite = flat.isfinite().all(dim=-1)
        points.append(torch.where(finite[..., None], flat, 0.0))
        weight = confidence.flatten(1).double().clamp_min(1).log().nan_to_num(0.0, posinf=0.0)
        weights.append(torch.where(finite, weight, 0.0))
    return Pixels(points[0], points[1], weights[0], weights[1], height, width)


def measure_focals(pixels: Pixels, middle_px: tuple[float, float]) -> Float[Tensor, "E"]:
    """The focal length (px) that each pair gives its first picture; NaN where none is shown."""
    shape = (-1, pixels.height, pixels.width)
    offsets = pixel_offsets(pixels.height, pixels.width, middle_px, pixels.points_i)
    parts = zip(pixels.points_i.split(_AT_ONCE), pixels.weights_i.split(_AT_ONCE), strict=True)
    return torch.cat([weiszfeld_focal(points.view(*shape, 3), offsets, weights.view(*shape))
                      for points, weights in parts])  # fmt: skip


def measure_pairs(
    pairs: Sequence[tuple[int, int]], pixels: Pixels, focal_px: float, middle_px: tuple[float, float]
) -> Measured:
    """Pose and depths of every pair, given the one focal length."""
    rays = pixel_offsets(pixels.height, pixels.width, middle_px, pixels.points_i).flatten(0, 1) / focal_px
    own, poses, depths, weights = _own_views(pairs, pixels), [], [], []
    spreads, agreed = [], []
    for start in range(0, len(pairs), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        points, given = pixels.points_j[part], pixels.weights_j[part]
        guess = fit_similarity(*_two_views(points, given, rays, own[part], pixels))
        found = resect(points, rays, given, guess.rotation, guess.translation)
        poses.append(assemble(found.rotation, found.translation))
        depths.append(found.in_second(points)[..., 2])
        weights.append(found.weights)
        spreads.append(found.spread)
        agreed.append(_share(found.weights, given))
    relative, depth_j, agreed_weights = torch.cat(poses), torch.cat(depths), torch.cat(weights)
    usable = relative.isfinite().flatten(1).all(dim=1) & (agreed_weights > 0).any(dim=1)
    relative = torch.where(usable[:, None, None], relative, torch.eye(4).to(relative))
    views = _depth_views(pairs, pixels, depth_j, agreed_weights)
    return Measured(relative, views, torch.cat(spreads), torch.cat(agreed), usable)


def pair_scores(pixels: Pixels) -> Float[Tensor, "E"]:
    """How sure the network is of each pair: the product of the mean weights of its two pictures (DUSt3R's score, of
    logarithms of the confidences)."""
    return pixels.weights_i.mean(dim=1) * pixels.weights_j.mean(dim=1)


def _own_views(pairs: Sequence[tuple[int, int]], pixels: Pixels) -> list[int]:
    """For every pair (i, j) the number of one that shows j in its own camera: (j, i), or the surest (j, k); else -1."""
    scores = pair_scores(pixels).tolist()
    number = {pair: index for index, pair in enumerate(pairs)}
    surest: dict[int, int] = {}
    for index, (i, _) in enumerate(pairs):
        if i not in surest or scores[index] > scores[surest[i]]:
            surest[i] = index
    return [number.get((j, i), surest.get(j, -1)) for i, j in pairs]


def _two_views(
    points: Float[Tensor, "E M 3"], weights: Float[Tensor, "E M"], rays: Float[Tensor, "M 2"],
    own: Sequence[int], pixels: Pixels,
) -> tuple[Float[Tensor, "E M 3"], Float[Tensor, "E M 3"], Float[Tensor, "E M"]]:  # fmt: skip
    """Points of the second picture in its own camera, the same in the first one's, and weights.

    Where no pair shows it in its own camera, it is taken for as deep as the first camera sees it.
    """
    chosen = torch.tensor(own, device=points.device)
    known = chosen >= 0
    depth = points[..., 2:].clamp_min(0)
    assumed = torch.cat((rays * depth, depth), dim=-1)
    shown = torch.where(known[:, None, None], pixels.points_i[chosen], assumed)
    both = torch.where(known[:, None], (weights * pixels.weights_i[chosen]).sqrt(), weights)
    return shown, points, both


def _depth_views(
    pairs: Sequence[tuple[int, int]], pixels: Pixels, depth_j: Float[Tensor, "E M"], weights_j: Float[Tensor, "E M"]
) -> DepthViews:
    depth = torch.cat((pixels.points_i[..., 2], depth_j))
    weights = torch.cat((pixels.weights_i, weights_j))
    front = depth > 0
    image = torch.tensor([i for i, _ in pairs] + [j for _, j in pairs], device=depth.device)
    pair = torch.arange(len(pairs), device=depth.device).repeat(2)
    weights = torch.where(front, weights, 0.0)
    return DepthViews(torch.where(front, depth, 1.0).log(), weights, image, pair, weights.mean(dim=1))


def _share(agreed: Float[Tensor, "E M"], given: Float[Tensor, "E M"]) -> Float[Tensor, "E"]:
    """Share of the given weight on pixels whose robust weight is at least _AGREED."""
    total = given.sum(dim=1).clamp_min(torch.finfo(given.dtype).tiny)
    return torch.where(agreed >= _AGREED * given, given, 0.0).sum(dim=1) / total
