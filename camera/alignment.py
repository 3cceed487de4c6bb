"""Alignment of an estimated path to the true one: the best rotation, translation and scale (Umeyama 1991).

S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE PAMI 13(4), 1991;
the equations named below are those of the paper.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from camera.poses import assemble, turn

ALIGNMENTS = ("none", "scale", "se3", "sim3")
"""none; scale: only the scale of sim3; se3: rotation and translation; sim3: all three."""

STILL_ESTIMATE = "the estimated path is still"
STILL_TRUTH = "the true path is still, or the two have nothing in common"
STRAIGHT = "the path is straight: the turn about it is free"

_RANK = 1e-9


@dataclass(frozen=True, eq=False)
class Alignment:
    """y = scale * rotation @ x + translation, from the estimated world to the true one."""

    rotation: Float64[Tensor, "3 3"]
    translation: Float64[Tensor, "3"]
    scale: float
    degenerate: str
    """Why the data do not fix all of the transformation, or "" when they do."""

    def apply(self, c2w: Float64[Tensor, "F 4 4"]) -> Float64[Tensor, "F 4 4"]:
        """Poses of the estimate in the true world; the scale acts on the centres, never on the rotations."""
        centres = self.scale * c2w[:, :3, 3] @ self.rotation.mT + self.translation
        return assemble(self.rotation @ c2w[:, :3, :3], centres)


def align(source: Float64[Tensor, "F 4 4"], target: Float64[Tensor, "F 4 4"], kind: str) -> Alignment:
    """The transformation of one of ALIGNMENTS that brings the centres of `source` (c2w) nearest to those of `target`.

    A still path fixes no rotation and no scale, a straight one leaves the turn about its line free: then the
    smallest rotation and the scale 1 are taken where nothing is known, and `degenerate` says so.

    Raises:
        ValueError: `kind` is no alignment.
    """
    if kind not in ALIGNMENTS:
        raise ValueError(f"alignment '{kind}': expected one of {', '.join(ALIGNMENTS)}")
    if kind == "none":
        return _identity("")
    fitted = umeyama(source[:, :3, 3], target[:, :3, 3], with_scale=kind != "se3")
    if kind != "scale":
        return fitted
    # a straight path fixes its scale
    return replace(_identity(fitted.degenerate if fitted.degenerate != STRAIGHT else ""), scale=fitted.scale)


def umeyama(source: Float64[Tensor, "N 3"], target: Float64[Tensor, "N 3"], with_scale: bool) -> Alignment:
    """Least-squares rotation, translation and, if asked, scale from `source` to `target` points (eqs. 34-43).

    The determinant test of eq. 43 keeps the result a rotation where a reflection would fit better.
    """
    source_mean, target_mean = source.mean(dim=0), target.mean(dim=0)
    x, y = source - source_mean, target - target_mean
    u, singular, vh = torch.linalg.svd(y.mT @ x / len(x))
    signs = torch.ones_like(singular)
    signs[-1] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vh))
    rotation, degenerate = u @ torch.diag(signs) @ vh, ""
    size, noise = float(x.norm()), _RANK * max(float(source.norm()), float(target.norm()))
    # covariance <= |x| |y| / n: below a tiny share of that a singular value is rounding
    rank = int((singular > _RANK * size * float(y.norm()) / len(x)).sum())
    if size <= noise or float(y.norm()) <= noise:
        rotation, degenerate = _identity("").rotation, STILL_ESTIMATE if size <= noise else STILL_TRUTH
    elif rank < 2:
        rotation, degenerate = _shortest_turn(vh[0], u[:, 0]), STRAIGHT
    scale = float((singular * signs).sum()) * len(x) / size**2 if with_scale and size > noise else 1.0
    return Alignment(rotation, target_mean - scale * rotation @ source_mean, scale, degenerate)


def fitted_scale(source: Float[Tensor, "N 3"], target: Float[Tensor, "N 3"]) -> float:
    """The scale s >= 0 that minimises sum |s * source - target|^2, without turning or moving anything.

    It is <source, target> / <source, source>, and 0 when that is negative: a scale never mirrors a path. 1 when
    `source` does not move.
    """
    power = float((source * source).sum())
    return max(0.0, float((source * target).sum()) / power) if power > 0 else 1.0


def _identity(degenerate: str) -> Alignment:
    return Alignment(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 1.0, degenerate)


def _shortest_turn(start: Float64[Tensor, "3"], end: Float64[Tensor, "3"]) -> Float64[Tensor, "3 3"]:
    """The smallest rotation that brings the unit vector `start` to `end`; about any normal when they are opposite."""
    normal = torch.linalg.cross(start, end)
    if float(normal.norm()) < _RANK:
        helper = torch.eye(3, dtype=torch.float64)[start.abs().argmin()]
        normal = torch.linalg.cross(start, helper)
    angle = torch.atan2(torch.linalg.cross(start, end).norm(), start @ end)
    return turn(normal / normal.norm() * angle)
