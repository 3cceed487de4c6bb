"""Where the second camera of each pair stands in the first one's: from its pixels and the points they show.

Resection (PnP) by Gauss-Newton, many pairs at once. Only directions count, so errors of depth along the second camera's
rays, which are a network's largest, do not move it. The focal length of each pair is a nuisance: a network that takes
the lens for longer or shorter in one pair would else push the camera back or forth.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from camera.poses import turn
from Dust3rP.robust import deviation, geman_mcclure

_STEPS = 10
_KERNEL = 3.0
"""Residuals of this many standard deviations count a quarter."""
_FOCAL_SPREAD = 0.03
"""How far, as a share, the lens of one pair is expected to be from the shared one."""
_INDEPENDENT = 100.0
"""Number of independent pixels that a picture is worth where the lens is weighed against that expectation."""
_DAMPING = 1e-9
_LONGEST = 0.5
"""Longest turn of one step, radians, and longest way as a share of the scene's depth."""
_EXACT = 1e-9


class Resection(NamedTuple):
    """Second camera in the first one's frame, in the unit of the pair."""

    rotation: Float[Tensor, "E 3 3"]
    """Of the second camera's axes: x_i = rotation @ x_j + translation."""
    translation: Float[Tensor, "E 3"]
    focal_ratio: Float[Tensor, "E"]
    """The pair's own focal length in units of the shared one."""
    spread: Float[Tensor, "E"]
    """Standard deviation of the residuals, in focal lengths (radians in the middle of the picture)."""
    weights: Float[Tensor, "E M"]
    """What each pixel counted: the weight given, times 0 to 1 as it agrees with the rest."""

    def in_second(self, points: Float[Tensor, "E M 3"]) -> Float[Tensor, "E M 3"]:
        """Points of the first camera's frame in the second one's."""
        return (points - self.translation[:, None]) @ self.rotation


def resect(
    points: Float[Tensor, "E M 3"],
    rays: Float[Tensor, "M 2"],
    weights: Float[Tensor, "E M"],
    rotation: Float[Tensor, "E 3 3"],
    translation: Float[Tensor, "E 3"],
) -> Resection:
    """Refine poses until the points fall onto their pixels' rays.

    Args:
        points: in the first camera of each pair.
        rays: (x/z, y/z) of the second camera's pixels.
        weights: of the pixels, 0 or more.
        rotation, translation: where to start.
    """
    inverse = rotation.mT
    way = -(inverse @ translation[..., None])[..., 0]
    log_ratio = points.new_zeros(len(points))
    for _ in range(_STEPS):
        moved = points @ inverse.mT + way[:, None]
        residual, now, spread = _residual(moved, rays, weights, log_ratio)
        step = _step(moved, residual, now, spread, log_ratio)
        step = _limited(step, moved[..., 2], now)
        turned = turn(step[:, :3])
        inverse, way = turned @ inverse, (turned @ way[..., None])[..., 0] + step[:, 3:6]
        log_ratio = log_ratio + step[:, 6]
    residual, now, spread = _residual(points @ inverse.mT + way[:, None], rays, weights, log_ratio)
    return Resection(inverse.mT, -(inverse.mT @ way[..., None])[..., 0], log_ratio.exp(), spread, now)


def _residual(
    moved: Float[Tensor, "E M 3"], rays: Float[Tensor, "M 2"], weights: Float[Tensor, "E M"], log_ratio: Tensor
) -> tuple[Float[Tensor, "E M 2"], Float[Tensor, "E M"], Float[Tensor, "E"]]:
    """Distances from the rays, robust weights, and the standard deviation of the former."""
    depth = moved[..., 2:]
    front = depth[..., 0] > 0
    projected = log_ratio.exp()[:, None, None] * moved[..., :2] / torch.where(front[..., None], depth, 1.0)
    residual = rays - projected
    length = residual.norm(dim=-1)
    spread = deviation(length, torch.where(front, weights, 0.0)).clamp_min(_EXACT)
    agreement = geman_mcclure((length / (_KERNEL * spread[:, None])).square())
    return residual, torch.where(front, weights * agreement, 0.0), spread


def _step(
    moved: Float[Tensor, "E M 3"],
    residual: Float[Tensor, "E M 2"],
    weights: Float[Tensor, "E M"],
    spread: Float[Tensor, "E"],
    log_ratio: Float[Tensor, "E"],
) -> Float[Tensor, "E 7"]:
    """One Gauss-Newton step (turn, way, log focal ratio) of x -> exp(turn) x + way."""
    ratio = log_ratio.exp()[:, None]
    near = 1 / torch.where(moved[..., 2] > 0, moved[..., 2], 1.0)
    u, v, zero = moved[..., 0] * near, moved[..., 1] * near, torch.zeros_like(near)
    across = torch.stack((-u * v, 1 + u * u, -v, near, zero, -u * near, u), dim=-1) * ratio[..., None]
    down = torch.stack((-1 - v * v, u * v, u, zero, near, -v * near, v), dim=-1) * ratio[..., None]
    slopes = torch.cat((across, down), dim=1)
    weighted = slopes * weights.repeat(1, 2)[..., None]
    normal = weighted.mT @ slopes
    gradient = (weighted.mT @ torch.cat((residual[..., 0], residual[..., 1]), dim=1)[..., None])[..., 0]
    prior = spread.square() * weights.sum(dim=1) / (_INDEPENDENT * _FOCAL_SPREAD**2)
    normal[:, 6, 6] += prior
    gradient[:, 6] -= prior * log_ratio
    scale = normal.diagonal(dim1=1, dim2=2).clamp_min(torch.finfo(normal.dtype).tiny).sqrt()
    scaled = normal / (scale[:, :, None] * scale[:, None, :])
    scaled.diagonal(dim1=1, dim2=2).add_(_DAMPING)
    return torch.linalg.solve_ex(scaled, gradient / scale)[0].nan_to_num(0.0) / scale


def _limited(
    step: Float[Tensor, "E 7"], depth: Float[Tensor, "E M"], weights: Float[Tensor, "E M"]
) -> Float[Tensor, "E 7"]:
    """The step cut to what the linear model is good for."""
    middle = (weights * depth).sum(dim=1) / weights.sum(dim=1).clamp_min(torch.finfo(depth.dtype).tiny)
    length = torch.maximum(step[:, :3].norm(dim=1), step[:, 3:6].norm(dim=1) / middle.abs().clamp_min(_EXACT))
    length = torch.maximum(length, step[:, 6].abs()).nan_to_num(0.0)
    return step * (_LONGEST / length.clamp_min(_LONGEST))[:, None]
