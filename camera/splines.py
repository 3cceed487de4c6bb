"""Curves through samples in time: where a time lies, cubic interpolation, the cubic smoothing spline."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def neighbours(
    times: Float[Tensor, "F"], wanted: Float[Tensor, "N"]
) -> tuple[Int64[Tensor, "N"], Int64[Tensor, "N"], Float[Tensor, "N"]]:
    """Indices of the samples before and after each wanted time, and how far it lies between them.

    The fraction is 0 at the one before and 1 at the one after. Outside the range the two are those of the first or
    last interval, and the fraction is below 0 or above 1; a single sample is its own neighbour, at fraction 0.
    """
    last = len(times) - 1
    after = torch.searchsorted(times.contiguous(), wanted.contiguous()).clamp(min=min(1, last), max=last)
    before = (after - 1).clamp(min=0)
    if last == 0:
        return before, after, torch.zeros_like(wanted)
    return before, after, (wanted - times[before]) / (times[after] - times[before])


def cubic(
    values: Float[Tensor, "F D"], times: Float[Tensor, "F"], before: Int64[Tensor, "N"], fraction: Float[Tensor, "N"]
) -> Float[Tensor, "N D"]:
    """Cubic Hermite interpolation through the samples, with continuous velocity; straight on outside them.

    The velocity at a sample is that of the parabola through it and its two neighbours, at an end through the three
    last samples (de Boor 1978, "A Practical Guide to Splines", chapter IV: Bessel's choice), so parabolas are
    reproduced exactly and each sample moves the curve by no more than two intervals.

    Args:
        values: at `times`, which are strictly increasing.
        before, fraction: as `neighbours` gives them.
    """
    if len(times) == 1:
        return values[before]
    gaps = times.diff()
    velocity = _parabola_velocity(values, gaps)
    inside = fraction.clamp(0, 1)
    s, step = inside[:, None], gaps[before][:, None]
    start, end = values[before], values[before + 1]
    curve = (
        start + s.square() * (3 - 2 * s) * (end - start)
        + step * s * (1 - s) * ((1 - s) * velocity[before] - s * velocity[before + 1])
    )  # fmt: skip
    overshoot = (fraction - inside)[:, None] * step
    return curve + overshoot * torch.where(overshoot < 0, velocity[before], velocity[before + 1])


def _parabola_velocity(values: Float[Tensor, "F D"], gaps: Float[Tensor, "F-1"]) -> Float[Tensor, "F D"]:
    slopes = values.diff(dim=0) / gaps[:, None]
    if len(slopes) == 1:
        return slopes.expand(2, -1)
    left, right = gaps[:-1, None], gaps[1:, None]
    inner = (right * slopes[:-1] + left * slopes[1:]) / (left + right)
    return torch.cat((2 * slopes[:1] - inner[:1], inner, 2 * slopes[-1:] - inner[-1:]))


def smoothing_spline(values: Float[Tensor, "F D"], times: Float[Tensor, "F"], seconds: float) -> Float[Tensor, "F D"]:
    """Values at `times` of the cubic smoothing spline, which keeps the first and the last value exactly.

    Minimises the integral over time of |x - values|^2 + seconds^4 |x''|^2, so an oscillation of angular frequency w
    is multiplied by 1 / (1 + (w seconds)^4), whatever the frame rate. Reinsch's algorithm (Green and Silverman 1994,
    "Nonparametric Regression and Generalized Linear Models", section 2.3.3), time and memory linear in F.
    """
    if len(times) < 3:
        return values
    gaps = times.diff()
    inverse, stiffness = 1 / gaps, seconds**4
    # column j of Q, the second difference at the inner sample j: (lower, middle, upper)
    lower, upper = inverse[:-1], inverse[1:]
    middle = -lower - upper
    # 1 / weight of each sample: its share of time; none for the ends, which do not move
    freedom = torch.zeros_like(times)
    freedom[1:-1] = 2 / (gaps[:-1] + gaps[1:])
    diagonal = (gaps[:-1] + gaps[1:]) / 3 + stiffness * (
        freedom[:-2] * lower.square() + freedom[1:-1] * middle.square() + freedom[2:] * upper.square()
    )
    beside = gaps[1:-1] / 6 + stiffness * (
        freedom[1:-2] * middle[:-1] * lower[1:] + freedom[2:-1] * upper[:-1] * middle[1:]
    )
    beyond = stiffness * freedom[2:-2] * upper[:-2] * lower[2:]
    bend = _solve_pentadiagonal(diagonal, beside, beyond, (values.diff(dim=0) * inverse[:, None]).diff(dim=0))
    pull = torch.zeros_like(values)
    pull[:-2] += lower[:, None] * bend
    pull[1:-1] += middle[:, None] * bend
    pull[2:] += upper[:, None] * bend
    return values - stiffness * freedom[:, None] * pull


def _solve_pentadiagonal(
    diagonal: Float[Tensor, "n"], beside: Float[Tensor, "n-1"], beyond: Float[Tensor, "max(n-2,0)"], right: Tensor
) -> Float[Tensor, "n D"]:
    """Solve a symmetric positive definite system of two bands beside the diagonal, by its L D L^T factors."""
    rows, d, l1, l2 = len(diagonal), diagonal.tolist(), [*beside.tolist(), 0.0], [*beyond.tolist(), 0.0, 0.0]
    found = right.double().cpu().numpy().copy()
    for i in range(rows):
        if i >= 1:
            # l1[i - 1] and l2[i - 1] are divided by their pivots already
            d[i] -= d[i - 1] * l1[i - 1] ** 2
            l1[i] -= d[i - 1] * l1[i - 1] * l2[i - 1]
            found[i] -= l1[i - 1] * found[i - 1]
        if i >= 2:
            d[i] -= d[i - 2] * l2[i - 2] ** 2
            found[i] -= l2[i - 2] * found[i - 2]
        l1[i] /= d[i]
        l2[i] /= d[i]
    for i in reversed(range(rows)):
        found[i] /= d[i]
        if i + 1 < rows:
            found[i] -= l1[i] * found[i + 1]
        if i + 2 < rows:
            found[i] -= l2[i] * found[i + 2]
    return torch.from_numpy(found).to(right)
