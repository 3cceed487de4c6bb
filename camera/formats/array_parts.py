"""Small conversions that the formats of arrays share."""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.poses import rotation_of

_PINHOLE = 1e-6
_UNIT = 1e-2


def as_matrices(poses: Float64[Tensor, "*batch rows 4"]) -> Float64[Tensor, "N 4 4"]:
    """Poses [N,4,4], also from [N,3,4] whose last row 0 0 0 1 is left out, and without a leading batch of 1."""
    poses = poses[0] if poses.ndim == 4 else poses
    if poses.shape[1] == 4:
        return poses
    lower = torch.zeros_like(poses[:, :1])
    lower[..., 3] = 1
    return torch.cat((poses, lower), dim=1)


def lens_of_matrices(intrinsics: Float64[Tensor, "*batch 3 3"], where: str) -> Float64[Tensor, "N 4"]:
    """(fx, fy, cx, cy) of matrices [[fx, 0, cx], [0, fy, cy], [0, 0, 1]].

    Raises:
        ValueError: a matrix of another form (transposed, or with skew); says where and which.
    """
    matrices = intrinsics.reshape(-1, 3, 3)
    lens = matrices[:, (0, 1, 0, 1), (0, 1, 2, 2)]
    # NaN passes here and is named by the track's own check
    wrong = (
        (matrices - matrices_of_lens(lens)).abs().amax(dim=(1, 2)) > _PINHOLE * (1 + lens.abs().amax(dim=1))
    ).nonzero()
    if len(wrong):
        raise ValueError(f"{where}: matrix {int(wrong[0])} (from 0) is no [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    return lens


def matrices_of_lens(lens: Float64[Tensor, "N 4"]) -> Float64[Tensor, "N 3 3"]:
    """Matrices [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] of (fx, fy, cx, cy)."""
    matrices = torch.zeros(len(lens), 3, 3, dtype=lens.dtype)
    matrices[:, (0, 1, 0, 1), (0, 1, 2, 2)] = lens
    matrices[:, 2, 2] = 1
    return matrices


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
