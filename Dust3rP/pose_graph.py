"""Poses of all pictures from the relative poses of pairs, by robust Gauss-Newton.

Rotations are compared as rotation vectors, translations in the first camera's axes. How wrong pairs are is learnt from
how they disagree: the spread of rotations, that of translations (which grows with the distance of the two cameras), and
whether an error of a pair's rotation swings the second camera round the first one, as errors of networks that turn the
whole picture do.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from camera.poses import assemble, cross_matrix, rotation_vector, turn
from Dust3rP.robust import cauchy, deviation

_STEPS = 50
_LEARNING = 10
"""Steps in which the noise is learnt anew; fixed afterwards, so that the rest converges."""
_SETTLED = 1e-7
"""Radians, and shares of the scene's depth, of the largest move of the last step."""
_KERNEL = 2.0
"""Residuals of this many standard deviations count half."""
_NEAR = 0.05
"""Cameras nearer than this share of the scene's depth have translations as uncertain as those at this distance."""
_EXACT = 1e-10
_SWING_PRIOR = 1e-9
_DAMPING = 1e-9


class Relative(NamedTuple):
    """Measured poses of pairs, in one unit."""

    first: Int64[Tensor, "E"]
    second: Int64[Tensor, "E"]
    rotation: Float[Tensor, "E 3 3"]
    """x_first = rotation @ x_second + translation."""
    translation: Float[Tensor, "E 3"]
    trust: Float[Tensor, "E"]
    """Weight, 0 (unused) or more."""


@dataclass(frozen=True)
class Noise:
    """How wrong the pairs are."""

    rotation: float
    """Standard deviation of a component of the rotation vector, radians."""
    translation: float
    """Standard deviation of a component of the translation, as a share of the distance of the cameras."""
    swing: float
    """0 to 1: share of a rotation error by which the second camera is turned round the first one."""


@dataclass(frozen=True)
class PoseGraph:
    """What the optimisation found."""

    c2w: Float[Tensor, "N 4 4"]
    turn_error: Float[Tensor, "E"]
    """Angle between each pair's rotation and that of the poses, radians."""
    way_error: Float[Tensor, "E"]
    """Difference of the translations, as a share of the distance of the two cameras."""
    turn_noise: Float[Tensor, "N"]
    """Expected error of each picture's rotation, a standard deviation of one component, radians."""
    way_noise: Float[Tensor, "N"]
    """The same of its centre, in the poses' unit."""
    noise: Noise
    steps: int
    converged: bool


def optimise_poses(
    start: Float[Tensor, "N 4 4"], pairs: Relative, depth: float, free: Int64[Tensor, "K"] | None = None
) -> PoseGraph:
    """The poses that agree best with the pairs.

    Args:
        start: c2w.
        pairs: measured.
        depth: typical depth of the scene, above 0.
        free: pictures whose poses may change; every pair has at most one of them (each is then solved on its own).
            None: all but picture 0, together.
    """
    c2w, step, settled = start, 0, False
    noise = Noise(1.0, 1.0, 0.0)
    while step < _STEPS and not settled:
        step += 1
        errors = _errors(c2w, pairs)
        if step <= _LEARNING:
            noise = _noise(errors, pairs, depth, learn_swing=step > 2)
        weights = _weights(errors, pairs, noise, depth)
        normal, gradient = _slopes(errors, pairs, noise, weights)
        if free is None:
            move = _solve_all(normal, gradient, pairs, len(start))
        else:
            move = _solve_each(normal, gradient, pairs, free, len(start))
        c2w = assemble(c2w[:, :3, :3] @ turn(move[:, :3]), c2w[:, :3, 3] + move[:, 3:])
        settled = float(torch.maximum(move[:, :3].abs().max(), move[:, 3:].abs().max() / depth)) < _SETTLED
    errors = _errors(c2w, pairs)
    way_error = errors.way.norm(dim=1) / _distance(errors, depth)
    noises = _picture_noises(errors, pairs, noise, depth, len(start))
    return PoseGraph(c2w, errors.turn.norm(dim=1), way_error, *noises, noise, step, settled)


def _picture_noises(
    errors: "_Errors", pairs: Relative, noise: Noise, depth: float, pictures: int
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
    """Standard deviations of turn and way of each picture, were its neighbours exact.

    Of a weighted mean of K residuals r, by what they are and not by their model: sqrt(sum w^2 r^2 K / (K - 1)) / sum w,
    the sandwich estimator (White 1980).
    """
    weights, noises = _weights(errors, pairs, noise, depth), []
    ends = torch.cat((pairs.first, pairs.second))
    count = torch.bincount(ends, minlength=pictures)
    way = errors.way - noise.swing * _swing(errors, pairs)
    for weight, residual in ((weights.turn, errors.turn), (weights.way, way)):
        squares = weight.square() * residual.square().sum(dim=1) / 3
        total, spread = (
            weight.new_zeros(pictures).index_add(0, ends, one.repeat(2)).clamp_min(torch.finfo(weight.dtype).tiny)
            for one in (weight, squares)
        )
        noises.append((spread * count / (count - 1).clamp_min(1)).sqrt() / total)
    return noises[0], noises[1]


class _Errors(NamedTuple):
    turn: Float[Tensor, "E 3"]
    """Rotation vector from the measured second camera to that of the poses, in the former's axes."""
    way: Float[Tensor, "E 3"]
    """Translation of the poses minus the measured one, in the first camera's axes."""
    offset: Float[Tensor, "E 3"]
    """Second centre in the first camera, of the poses."""
    relative: Float[Tensor, "E 3 3"]
    """Rotation of the poses."""
    to_first: Float[Tensor, "E 3 3"]
    """From the world's axes to the first camera's."""


class _Weights(NamedTuple):
    """Inverse variances, times trust and robust weights."""

    turn: Float[Tensor, "E"]
    way: Float[Tensor, "E"]


def _errors(c2w: Float[Tensor, "N 4 4"], pairs: Relative) -> _Errors:
    first, second = c2w[pairs.first], c2w[pairs.second]
    inverse = first[:, :3, :3].mT
    relative = inverse @ second[:, :3, :3]
    offset = (inverse @ (second[:, :3, 3:] - first[:, :3, 3:]))[..., 0]
    return _Errors(rotation_vector(pairs.rotation.mT @ relative), offset - pairs.translation, offset, relative, inverse)


def _swing(errors: _Errors, pairs: Relative) -> Float[Tensor, "E 3"]:
    """What the way's error would be if each rotation error had turned the pair round the first camera."""
    return torch.linalg.cross((errors.relative @ errors.turn[..., None])[..., 0], pairs.translation)


def _distance(errors: _Errors, depth: float) -> Float[Tensor, "E"]:
    return (errors.offset.square().sum(dim=1) + (_NEAR * depth) ** 2).sqrt()


def _noise(errors: _Errors, pairs: Relative, depth: float, learn_swing: bool) -> Noise:
    used = pairs.trust
    distance = _distance(errors, depth)
    swung = _swing(errors, pairs)
    share = 0.0
    if learn_swing:
        robust = used * cauchy((errors.way.norm(dim=1) / distance / 0.05).square()) / distance.square()
        power = float((robust * swung.square().sum(dim=1)).sum())
        share = float((robust * (errors.way * swung).sum(dim=1)).sum()) / (power + _SWING_PRIOR * float(used.sum()))
        share = min(1.0, max(0.0, share))
    way = (errors.way - share * swung).norm(dim=1) / distance
    # the median length of a vector of three normal components is 1.538 standard deviations
    rotation, translation = (float(deviation(one, used)) / (1.4826 * 1.538) for one in (errors.turn.norm(dim=1), way))
    return Noise(max(rotation, _EXACT), max(translation, _EXACT), share)


def _weights(errors: _Errors, pairs: Relative, noise: Noise, depth: float) -> _Weights:
    turn_share = cauchy(errors.turn.square().sum(dim=1) / (3 * (_KERNEL * noise.rotation) ** 2))
    spread = noise.translation * _distance(errors, depth)
    way = errors.way - noise.swing * _swing(errors, pairs)
    way_share = cauchy(way.square().sum(dim=1) / (3 * (_KERNEL * spread).square()))
    return _Weights(pairs.trust * turn_share / noise.rotation**2, pairs.trust * way_share / spread.square())


def _slopes(
    errors: _Errors, pairs: Relative, noise: Noise, weights: _Weights
) -> tuple[Float[Tensor, "E 12 12"], Float[Tensor, "E 12"]]:
    """Normal matrix and right side of each pair for (turn, way) of its first and (turn, way) of its second camera.

    A camera moves by R <- R exp(turn), in its own axes, and c <- c + way, in the world's.
    """
    count, kind = len(pairs.first), {"dtype": errors.turn.dtype, "device": errors.turn.device}
    eye = torch.eye(3, **kind).expand(count, 3, 3)
    turn_slopes = torch.zeros(count, 3, 12, **kind)
    turn_slopes[:, :, 0:3], turn_slopes[:, :, 6:9] = -errors.relative.mT, eye
    way_slopes = torch.zeros(count, 3, 12, **kind)
    way_slopes[:, :, 0:3] = cross_matrix(errors.offset)
    way_slopes[:, :, 3:6], way_slopes[:, :, 9:12] = -errors.to_first, errors.to_first
    way = errors.way - noise.swing * _swing(errors, pairs)
    way_slopes = way_slopes + noise.swing * cross_matrix(pairs.translation) @ errors.relative @ turn_slopes
    normal = (turn_slopes * weights.turn[:, None, None]).mT @ turn_slopes
    normal = normal + (way_slopes * weights.way[:, None, None]).mT @ way_slopes
    gradient = (turn_slopes.mT @ (errors.turn * weights.turn[:, None])[..., None])[..., 0]
    gradient = gradient + (way_slopes.mT @ (way * weights.way[:, None])[..., None])[..., 0]
    return normal, -gradient


def _solve_all(normal: Tensor, gradient: Tensor, pairs: Relative, pictures: int) -> Float[Tensor, "N 6"]:
    """One step of all pictures but picture 0, which stays."""
    blocks = normal.new_zeros(pictures, pictures, 6, 6)
    right = normal.new_zeros(pictures, 6)
    ends = (pairs.first, pairs.second)
    for row, one in enumerate(ends):
        right.index_add_(0, one, gradient[:, 6 * row : 6 * row + 6])
        for column, other in enumerate(ends):
            block = normal[:, 6 * row : 6 * row + 6, 6 * column : 6 * column + 6]
            blocks.index_put_((one, other), block, accumulate=True)
    matrix = blocks.transpose(1, 2).reshape(6 * pictures, 6 * pictures)[6:, 6:]
    move = _solved(matrix[None], right[1:].reshape(1, -1))
    return torch.cat((right.new_zeros(1, 6), move.view(-1, 6)))


def _solve_each(
    normal: Tensor, gradient: Tensor, pairs: Relative, free: Int64[Tensor, "K"], pictures: int
) -> Float[Tensor, "N 6"]:
    """One step of each free picture on its own; the others stay."""
    blocks, right = normal.new_zeros(pictures, 6, 6), normal.new_zeros(pictures, 6)
    for row, one in enumerate((pairs.first, pairs.second)):
        part = slice(6 * row, 6 * row + 6)
        blocks.index_add_(0, one, normal[:, part, part])
        right.index_add_(0, one, gradient[:, part])
    move = torch.zeros_like(right)
    move[free] = _solved(blocks[free], right[free])
    return move


def _solved(matrix: Float[Tensor, "B D D"], right: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """Solutions of positive semi-definite systems, with a little damping and in even units."""
    scale = matrix.diagonal(dim1=1, dim2=2).clamp_min(torch.finfo(matrix.dtype).tiny).sqrt()
    even = matrix / (scale[:, :, None] * scale[:, None, :])
    even.diagonal(dim1=1, dim2=2).add_(_DAMPING)
    return torch.linalg.solve_ex(even, right / scale)[0].nan_to_num(0.0) / scale
