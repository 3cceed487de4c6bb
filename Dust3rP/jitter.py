"""How much smoothing takes the noise from a path and leaves its motion."""

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.poses import assemble, rotation_angle, rotation_vector
from camera.smoothing import smooth_poses

_WIDTHS = (0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Standard deviations of the Gaussian that are tried, in frames."""
_UNDERSTATED = 2.0
"""What pairs say of the noise may be too small by this factor."""


def without_noise(
    c2w: Float64[Tensor, "F 4 4"],
    times: Float64[Tensor, "F"],
    turn_noise: Float64[Tensor, "F"],
    way_noise: Float64[Tensor, "F"],
) -> Float64[Tensor, "F 4 4"]:
    """The path smoothed (`camera.smoothing.smooth_poses`) as widely as leaves the least expected error.

    Rotations and centres each have a width of their own, none where smoothing would do more harm than good. Mallows'
    C_p (1973): what smoothing changes, mean |y - s(y)|^2, is its bias and the noise that it takes away, so the expected
    error is mean |y - s(y)|^2 + 2 v h - v, where v is the variance of the noise and h the share of a frame in its own
    mean.

    Args:
        c2w: the path.
        times: seconds, increasing.
        turn_noise: standard deviations of one component of each rotation, radians.
        way_noise: the same of each centre, in the path's unit.
    """
    length = float(times[-1] - times[0])
    rotation, centres = c2w[:, :3, :3], c2w[:, :3, 3]
    velocity = rotation_vector(rotation[:-1].mT @ rotation[1:])
    turn_variance = _variance(velocity.diff(dim=0), turn_noise)
    way_variance = _variance(centres.diff(n=2, dim=0), way_noise)
    least_turn, least_way = turn_variance, way_variance
    for width in _WIDTHS:
        seconds = width * length / (len(times) - 1)
        if seconds > length / 4:
            break
        smooth, own = smooth_poses(c2w, times, seconds), _own_share(width)
        turned = float(rotation_angle(c2w[:, :3, :3].mT @ smooth[:, :3, :3]).square().mean())
        moved = float((c2w[:, :3, 3] - smooth[:, :3, 3]).square().sum(dim=1).mean())
        turn_risk, way_risk = turned + turn_variance * (2 * own - 1), moved + way_variance * (2 * own - 1)
        if turn_risk < least_turn:
            least_turn, rotation = turn_risk, smooth[:, :3, :3]
        if way_risk < least_way:
            least_way, centres = way_risk, smooth[:, :3, 3]
    return assemble(rotation, centres)


def _variance(second_differences: Float64[Tensor, "G 3"], noise: Float64[Tensor, "F"]) -> float:
    """Variance of the noise of a path, of all three components together.

    Few pairs place each frame, and a robust mean of few agrees with them better than it should. So the noise is what
    the path trembles (a second difference has 6 times its variance), if that is no more than twice what the pairs say.
    """
    stated = float(noise.square().mean())
    trembling = float(second_differences.square().sum(dim=1).mean()) / 18 if len(second_differences) else stated
    return 3 * min(max(trembling, stated), _UNDERSTATED**2 * stated)


def _own_share(width: float) -> float:
    """The weight of a frame in its own mean, of a Gaussian of so many frames."""
    offsets = torch.arange(-int(4 * width), int(4 * width) + 1, dtype=torch.float64)
    return float(1 / (-(offsets / width).square() / 2).exp().sum())
