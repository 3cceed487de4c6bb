"""Rigid poses: inverse, relative pose, rotations, twists, interpolation in time. Batch first, OpenCV axes, radians."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camera.splines import cubic, neighbours

PATHS = ("linear", "cubic", "screw")
"""Ways from one pose to the next; see `interpolate_poses`."""
OUTSIDE = ("hold", "extrapolate")
"""What is before the first and after the last pose: the camera stands, or goes on at its last velocity."""

ORTHONORMAL = 1e-3
"""How far R^T R may be from the identity in a matrix that is meant as a rotation (`skewness`)."""
_SMALL_ANGLE = 1e-6
_SERIES_ANGLE = 1e-3


def invert(c2w: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Inverse of rigid poses: c2w to w2c and back. Uses the transpose, so R must be a rotation."""
    rotation = c2w[..., :3, :3].mT
    return assemble(rotation, -(rotation @ c2w[..., :3, 3:])[..., 0])


def assemble(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """Poses [[R, t], [0, 1]] from their parts."""
    upper = torch.cat((rotation, translation[..., None]), dim=-1)
    lower = torch.zeros_like(upper[..., :1, :])
    # filled, since assigning a number copies it from the CPU to the device
    lower[..., 3].fill_(1)
    return torch.cat((upper, lower), dim=-2)


def relative_to(c2w: Float[Tensor, "*batch 4 4"], reference: Float[Tensor, "4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The same poses seen from `reference` (c2w), which itself becomes the identity."""
    return invert(reference) @ c2w


def skewness(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Largest entry of |R^T R - 1|: 0 for rotations and mirror images, NaN where R^T R overflows."""
    identity = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    return (matrix.mT @ matrix - identity).abs().amax(dim=(-2, -1))


def is_mirrored(matrix: Float[Tensor, "*batch 3 3"]) -> Bool[Tensor, "*batch"]:
    """True where the determinant is below 0: left-handed axes."""
    x, y, z = matrix.unbind(-1)
    # a triple product: torch's batched determinant costs milliseconds
    return (torch.linalg.cross(x, y) * z).sum(dim=-1) < 0


def cross_matrix(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrices [v]x with [v]x w = v x w."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))


def quaternion_of(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (w, x, y, z) of rotations, sign free.

    Row k of the 4x4 matrix built here is 4 q_k q; the row with the largest diagonal is the well-conditioned one
    (Shepperd 1978, "Quaternion from rotation matrix").
    """
    (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = (row.unbind(-1) for row in rotation.unbind(-2))
    one = torch.ones_like(r00)
    w, x, y, z = one + r00 + r11 + r22, one + r00 - r11 - r22, one - r00 + r11 - r22, one - r00 - r11 + r22
    wx, wy, wz = r21 - r12, r02 - r20, r10 - r01
    xy, xz, yz = r01 + r10, r02 + r20, r12 + r21
    rows = (w, wx, wy, wz, wx, x, xy, xz, wy, xy, y, yz, wz, xz, yz, z)
    products = torch.stack(rows, dim=-1).unflatten(-1, (4, 4))
    best = torch.stack((w, x, y, z), dim=-1).argmax(dim=-1)
    row = products.take_along_dim(best[..., None, None], dim=-2)[..., 0, :]
    return row / row.norm(dim=-1, keepdim=True)


def rotation_of(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations of unit quaternions (w, x, y, z): I + 2 w [v]x + 2 [v]x^2 with v = (x, y, z)."""
    cross = cross_matrix(quaternion[..., 1:])
    identity = torch.eye(3, dtype=quaternion.dtype, device=quaternion.device)
    return identity + 2 * (quaternion[..., :1, None] * cross + cross @ cross)


def turn(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation about the axis `vector` by its length in radians (right-handed: x turns to y about z)."""
    half = vector.norm(dim=-1, keepdim=True) / 2
    # sinc is 1 at 0 without a division; torch's sinc(a) is sin(pi a) / (pi a)
    return rotation_of(torch.cat((half.cos(), vector / 2 * torch.sinc(half / torch.pi)), dim=-1))


def rotation_vector(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Axis times angle (radians, 0 to pi) of rotations: the inverse of `turn`."""
    quaternion = quaternion_of(rotation)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = quaternion[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[..., :1])
    # for a tiny turn angle / sine is 2 and the axis is lost in the division
    return quaternion[..., 1:] * torch.where(sine < _SMALL_ANGLE, 2.0, angle / sine)


def rotation_angle(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angle of rotations in radians, 0 to pi, exact also near both ends."""
    return rotation_vector(rotation).norm(dim=-1)


def slerp(
    first: Float[Tensor, "*batch 3 3"], second: Float[Tensor, "*batch 3 3"], fraction: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Rotations on the shortest turn from `first` (fraction 0) to `second` (fraction 1), at even speed.

    Spherical linear interpolation of quaternions (Shoemake 1985).
    """
    start, end = quaternion_of(first), quaternion_of(second)
    end = torch.where((start * end).sum(dim=-1, keepdim=True) < 0, -end, end)
    angle = 2 * torch.atan2((end - start).norm(dim=-1), (end + start).norm(dim=-1))
    even = angle < _SMALL_ANGLE
    sine = torch.where(even, 1.0, angle.sin())
    weight_start = torch.where(even, 1 - fraction, ((1 - fraction) * angle).sin() / sine)
    weight_end = torch.where(even, fraction, (fraction * angle).sin() / sine)
    mixed = weight_start[..., None] * start + weight_end[..., None] * end
    return rotation_of(mixed / mixed.norm(dim=-1, keepdim=True))


def nearest_rotation(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotations nearest to nearly orthonormal matrices of positive determinant (Frobenius norm, by SVD)."""
    u, _, vh = torch.linalg.svd(matrix)
    return u @ vh


def exp_se3(twist: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 4 4"]:
    """Poses reached in unit time at constant twists: the exponential of SE(3).

    Lynch and Park 2017, "Modern Robotics", proposition 3.25.

    Args:
        twist: linear velocity (components 0-2, in the camera's own axes) and angular velocity (3-5, radians).
    """
    linear, angular = twist.split(3, dim=-1)
    angle = angular.norm(dim=-1)[..., None, None]
    cross = cross_matrix(angular)
    small = angle < _SERIES_ANGLE
    # (1 - cos a) / a^2 without a difference, and (a - sin a) / a^3 by its series where that would be 0 / 0
    first = torch.sinc(angle / (2 * torch.pi)).square() / 2
    second = torch.where(small, 1 / 6 - angle.square() / 120, (angle - angle.sin()) / angle.pow(3))
    way = linear + ((first * cross + second * (cross @ cross)) @ linear[..., None])[..., 0]
    return assemble(turn(angular), way)


def log_se3(pose: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 6"]:
    """Twists (linear, angular) that reach the poses in unit time by the shorter turn: the inverse of `exp_se3`.

    At a turn of exactly 180 degrees both ways are as long and either is returned.
    """
    angular = rotation_vector(pose[..., :3, :3])
    angle = angular.norm(dim=-1)[..., None, None]
    cross = cross_matrix(angular)
    half = angle / 2
    small = angle < _SERIES_ANGLE
    weight = torch.where(small, 1 / 12 + angle.square() / 720, (1 - half / half.tan()) / angle.square())
    translation = pose[..., :3, 3:]
    linear = translation - cross @ translation / 2 + weight * (cross @ cross @ translation)
    return torch.cat((linear[..., 0], angular), dim=-1)


def screw(
    first: Float[Tensor, "*batch 4 4"], second: Float[Tensor, "*batch 4 4"], fraction: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 4 4"]:
    """Poses on the screw motion from `first` (fraction 0) to `second` (fraction 1), at constant twist.

    The one-parameter subgroup of SE(3) through both poses: the camera turns about a fixed axis in space and slides
    along it (Chasles), so its centre goes round an arc where SLERP + linear goes along the chord.
    """
    return first @ exp_se3(fraction[..., None] * log_se3(invert(first) @ second))


def mirror(c2w: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Cameras of a horizontally flipped picture: those of the mirrored world, x to -x, with axes right-handed again."""
    signs = torch.tensor([-1.0, 1, 1, 1], dtype=c2w.dtype, device=c2w.device)
    return signs[:, None] * c2w * signs


def interpolate_poses(
    c2w: Float[Tensor, "F 4 4"],
    times: Float[Tensor, "F"],
    wanted: Float[Tensor, "N"],
    path: str = "linear",
    outside: str = "hold",
) -> Float[Tensor, "N 4 4"]:
    """Poses at the `wanted` times (s).

    Args:
        c2w: poses at `times`.
        times: seconds, strictly increasing.
        wanted: seconds, in any order.
        path: between poses, "linear" is SLERP and a straight line at even speed; "cubic" is SLERP and a cubic
            through the centres without corners (`camera.splines.cubic`), which may overshoot where a move starts;
            "screw" is the constant twist from pose to pose (`screw`).
        outside: "hold" keeps the first and the last pose; "extrapolate" goes on as the first and the last interval
            end, "cubic" along its tangent.

    Raises:
        ValueError: an unknown `path` or `outside`.
    """
    if path not in PATHS or outside not in OUTSIDE:
        raise ValueError(f"path '{path}', outside '{outside}': expected one of {PATHS} and one of {OUTSIDE}")
    before, after, fraction = neighbours(times, wanted)
    if outside == "hold":
        fraction = fraction.clamp(0, 1)
    if path == "screw":
        return screw(c2w[before], c2w[after], fraction)
    rotation = slerp(c2w[before, :3, :3], c2w[after, :3, :3], fraction)
    if path == "cubic":
        return assemble(rotation, cubic(c2w[:, :3, 3], times, before, fraction))
    return assemble(rotation, torch.lerp(c2w[before, :3, 3], c2w[after, :3, 3], fraction[:, None]))
