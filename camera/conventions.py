"""Named conventions of poses, and the way from each to ours: camera-to-world in OpenCV axes."""

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.poses import invert

AXES = {"opencv": (1.0, 1.0, 1.0), "opengl": (1.0, -1.0, -1.0), "pytorch3d": (-1.0, -1.0, 1.0)}
"""Camera axes by name, as signs of OpenCV's x right, y down, z forward. All are right-handed.

opengl (also NeRF, Blender): x right, y up, z backward. pytorch3d: x left, y up, z forward.
"""
CONVENTIONS = tuple(f"{axes}_{direction}" for axes in AXES for direction in ("c2w", "w2c"))
"""The camera's axes, and whether a matrix is camera-to-world or world-to-camera."""


def to_opencv_c2w(matrices: Float64[Tensor, "*batch 4 4"], convention: str) -> Float64[Tensor, "*batch 4 4"]:
    """Rigid poses of a named convention as c2w in OpenCV axes; the world is left as it is."""
    axes, direction = _parts(convention)
    c2w = invert(matrices) if direction == "w2c" else matrices
    return c2w * _signs(axes, matrices)


def from_opencv_c2w(c2w: Float64[Tensor, "*batch 4 4"], convention: str) -> Float64[Tensor, "*batch 4 4"]:
    """The inverse of `to_opencv_c2w`."""
    axes, direction = _parts(convention)
    own = c2w * _signs(axes, c2w)
    return invert(own) if direction == "w2c" else own


def _signs(axes: str, like: Tensor) -> Float64[Tensor, "4"]:
    """Column k of a c2w matrix is the camera's k-th axis, so other axes are other signs of the columns."""
    return torch.tensor([*AXES[axes], 1.0], dtype=like.dtype, device=like.device)


def _parts(convention: str) -> tuple[str, str]:
    if convention not in CONVENTIONS:
        raise ValueError(f"convention '{convention}': expected one of {', '.join(CONVENTIONS)}")
    axes, direction = convention.rsplit("_", 1)
    return axes, direction
