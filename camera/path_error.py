"""How far a path of unknown scale is from the true one: degrees, and percent of the true path's length."""

from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

from camera.alignment import fitted_scale
from camera.poses import relative_to, rotation_angle


@dataclass(frozen=True)
class PathError:
    """Errors after the best scale alone; both paths start at the identity, nothing is turned or moved."""

    rotation_deg: float
    """Root mean square."""
    rotation_max_deg: float
    position_percent: float
    """Root mean square distance of the centres, in percent of the length of the true path."""
    position_max_percent: float


def path_error(measured: Float64[Tensor, "F 4 4"], true: Float64[Tensor, "F 4 4"], shortest: float = 1e-3) -> PathError:
    """Compare frame by frame, each path in its own first camera.

    Args:
        measured: c2w, any scale.
        true: c2w of as many frames.
        shortest: positions are compared with at least this length, for a true path that stands still.
    """
    assert measured.shape == true.shape, (measured.shape, true.shape)
    one, two = relative_to(measured, measured[0]), relative_to(true, true[0])
    turned = rotation_angle(one[:, :3, :3].mT @ two[:, :3, :3]).rad2deg()
    length = max(float(two[:, :3, 3].diff(dim=0).norm(dim=1).sum()), shortest)
    scale = fitted_scale(one[:, :3, 3], two[:, :3, 3])
    away = (scale * one[:, :3, 3] - two[:, :3, 3]).norm(dim=1) * 100 / length
    return PathError(
        float(turned.square().mean().sqrt()),
        float(turned.max()),
        float(away.square().mean().sqrt()),
        float(away.max()),
    )
