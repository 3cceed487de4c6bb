"""How much smoothing takes the noise from a path and leaves its motion."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from camera.poses import rotation_angle
from camera.smoothing import smooth_poses

_WIDTHS = (0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Standard deviations of the Gaussian that are tried, in frames."""


def smoothing_seconds(
    c2w: Float64[Tensor, "F 4 4"],
    times: Float64[Tensor, "F"],
    turn_noise: Float[Tensor, "F"],
    way_noise: Float[Tensor, "F"],
) -> float:
    """Width (s) for `camera.smoothing.smooth_poses` by which the expected error of the path is least; 0 for none.

    Mallows' C_p (1973): what smoothing changes, mean |y - s(y)|^2, is its bias and the noise that it takes away, so the
    expected error is mean |y - s(y)|^2 + 2 v h - v, where v is the variance of the noise and h the share of a
    frame in its own mean. Rotations and centres are each measured by their own v and added up.

    Args:
        c2w: the path.
        times: seconds, increasing.
        turn_noise: standard deviations of one component of each rotation, radians.
        way_noise: the same of each centre, in the path's unit.
    """
    turn_variance, way_variance = (3 * float(one.square().median()) for one in (turn_noise, way_noise))
    step = float(times[-1] - times[0]) / (len(times) - 1)
    best, least = 0.0, 2.0
    for width in _WIDTHS:
        if width * step > float(times[-1] - times[0]) / 4:
            break
        smooth = smooth_poses(c2w, times, width * step)
        turned = rotation_angle(c2w[:, :3, :3].mT @ smooth[:, :3, :3]).square().mean()
        moved = (c2w[:, :3, 3] - smooth[:, :3, 3]).square().sum(dim=1).mean()
        offsets = torch.arange(-int(4 * width), int(4 * width) + 1, dtype=torch.float64)
        own = float(1 / (-(offsets / width).square() / 2).exp().sum())
        risk = float(turned) / turn_variance + float(moved) / way_variance + 2 * (2 * own - 1)
        if risk < least:
            best, least = width * step, risk
    return best
