"""Small conversions that the formats of arrays share."""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.intrinsics import intrinsics_of_k_px
from camera.poses import rotation_of

_UNIT = 1e-2


def as_matrices(poses: Float64[Tensor, "*batch rows 4"]) -> Float64[Tensor, "N 4 4"]:
    """Poses [N,4,4], also from [N,3,4] whose last row 0 0 0 1 is left out, and without a leading batch of 1."""
    poses = poses[0] if poses.ndim == 4 else poses
    if poses.shape[1] == 4:
        return poses
    lower = torch.zeros_like(poses[:, :1])
    lower[..., 3] = 1
    return torch.cat((poses, lower), dim=1)


def lens_of_matrices(k_px: Float64[Tensor, "*batch 3 3"], where: str) -> Float64[Tensor, "N 4"]:
    """(fx, fy, cx, cy) in pixels of matrices [[fx, 0, cx], [0, fy, cy], [0, 0, 1]].

    Raises:
        ValueError: a matrix of another form (transposed, with skew, or with NaN); says where and which.
    """
    try:
        return intrinsics_of_k_px(k_px.reshape(-1, 3, 3), (1, 1))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def repeated(rows: Float64[Tensor, "M width"], poses: int, where: str) -> Float64[Tensor, "N width"]:
    """One row for each pose; a single row stands for all. ValueError when there is another number."""
    if len(rows) == 1:
        return rows.expand(poses, rows.shape[1]).clone()
    if len(rows) != poses:
        raise ValueError(f"{where}: {len(rows)} rows for {poses} poses; expected one for each, or one for all")
    return rows


def unit_rotation(quaternion: Float64[Tensor, "N 4"], where: Sequence[str]) -> Float64[Tensor, "N 3 3"]:
    """Rotations of stored quaternions (w, x, y, z), brought to length 1.

    Raises:
        ValueError: one is far from length 1, so that it is damaged or something else; `where` has each one's place.
    """
    length = quaternion.norm(dim=1, keepdim=True)
    wrong = (~((length - 1).abs() < _UNIT)).nonzero()
    if len(wrong):
        frame = int(wrong[0, 0])
        raise ValueError(f"{where[frame]}: its quaternion has length {float(length[frame]):g}, expected 1")
    return rotation_of(quaternion / length)
