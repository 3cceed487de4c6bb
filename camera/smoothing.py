"""Smoothing of a path in time; its first and last pose stay."""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.poses import assemble, quaternion_of, rotation_of
from camera.splines import smoothing_spline

METHODS = ("gaussian", "spline")
"""Ways to smooth; see `smooth_poses`."""

# the kernel ends here, in standard deviations; the excess over 4 takes both of two samples on the edge
_REACH = 4 * (1 + 1e-9)
_ROWS = 256
_CANCELLED = 1e-3
_HALVING = math.sqrt(2 * math.log(2))


def smooth_poses(
    c2w: Float64[Tensor, "F 4 4"], times: Float64[Tensor, "F"], seconds: float, method: str = "gaussian"
) -> Float64[Tensor, "F 4 4"]:
    """The path without its trembling.

    "gaussian" smooths centres and rotations by a Gaussian in time; "spline" smooths the centres alone, by the cubic
    smoothing spline, and leaves the rotations. At the same `seconds` both halve an oscillation of period 5.3 seconds
    and keep slower ones; on faster ones the Gaussian is the stronger.

    The first and last pose are kept, and so is motion at even velocity: the Gaussian sees beyond an end the path
    turned round about that end. What changes is where a move starts and stops: half its speed is reached at the time
    at which it started before, its first trace is seen up to 4 `seconds` earlier ("spline": fading without end, with
    an overshoot of the opposite sign), and likewise at its stop.

    Args:
        c2w: poses at `times`, c2w in any world.
        times: seconds, strictly increasing; even steps are smoothed exactly as said, uneven ones nearly so.
        seconds: standard deviation of the Gaussian; above 0, up to a quarter of the length of the path.
        method: one of METHODS.

    Raises:
        ValueError: an unknown method, `seconds` out of range, or a camera that turns so far within `seconds` that its
            mean direction is lost.
    """
    if method not in METHODS:
        raise ValueError(f"smoothing method '{method}': expected one of {', '.join(METHODS)}")
    limit = float(times[-1] - times[0]) / 4
    if not 0 < seconds <= limit:
        raise ValueError(
            f"smoothing over {seconds} s: expected a number above 0, and up to {limit:g} s, a quarter of the path"
        )
    centres = c2w[:, :3, 3]
    if method == "spline":
        return assemble(c2w[:, :3, :3], smoothing_spline(centres, times, seconds / _HALVING))
    quaternions = _continuous(quaternion_of(c2w[:, :3, :3]))
    samples = torch.cat((_turned_round(quaternions, centres, 0), torch.cat((quaternions, centres), dim=1),
                         _turned_round(quaternions, centres, -1)))  # fmt: skip
    instants = torch.cat(((2 * times[0] - times[1:]).flip(0), times, (2 * times[-1] - times[:-1]).flip(0)))
    mean = _gaussian_mean(samples, instants, times, seconds)
    # the chordal mean of rotations: the sum of unit quaternions of one sign, brought back to unit length
    length = mean[:, :4].norm(dim=1, keepdim=True)
    if bool((length < _CANCELLED).any()):
        raise ValueError(f"smoothing over {seconds} s: the camera turns too far in that time; take less")
    smooth = assemble(rotation_of(mean[:, :4] / length), mean[:, 4:])
    smooth[0], smooth[-1] = c2w[0], c2w[-1]
    return smooth


def _continuous(quaternions: Float64[Tensor, "F 4"]) -> Float64[Tensor, "F 4"]:
    """The same rotations with signs by which no quaternion is opposite to the one before it."""
    opposite = (quaternions[1:] * quaternions[:-1]).sum(dim=1) < 0
    signs = torch.where(opposite, -1.0, 1.0).to(quaternions).cumprod(dim=0)
    return torch.cat((quaternions[:1], quaternions[1:] * signs[:, None]))


def _turned_round(
    quaternions: Float64[Tensor, "F 4"], centres: Float64[Tensor, "F 3"], end: int
) -> Float64[Tensor, "F-1 7"]:
    """The path beyond its first (end 0) or last (-1) pose: each pose turned round about that one, in order of time."""
    others = slice(1, None) if end == 0 else slice(None, -1)
    pivot = quaternions[end]
    # q0 q* q0, by the scalar product of the two: 2 (q . q0) q0 - q
    beyond = 2 * (quaternions[others] @ pivot)[:, None] * pivot - quaternions[others]
    return torch.cat((beyond, 2 * centres[end] - centres[others]), dim=1).flip(0)


def _gaussian_mean(
    samples: Float64[Tensor, "S D"], instants: Float64[Tensor, "S"], times: Float64[Tensor, "F"], seconds: float
) -> Float64[Tensor, "F D"]:
    """Means of the samples round each of `times`, weighted by a Gaussian and by the time that a sample stands for."""
    gaps = instants.diff()
    share = torch.cat((gaps[:1], gaps[:-1] + gaps[1:], gaps[-1:]))
    means = []
    for some in times.split(_ROWS):
        edges = torch.stack((some[0] - _REACH * seconds, some[-1] + _REACH * seconds))
        first, stop = torch.searchsorted(instants, edges).tolist()
        distance = (some[:, None] - instants[first:stop]) / seconds
        weight = (-distance.square() / 2).exp() * share[first:stop] * (distance.abs() <= _REACH)
        means.append(weight @ samples[first:stop] / weight.sum(dim=1, keepdim=True))
    return torch.cat(means)
