"""A rigid frame for every ray: what attention between rays of several cameras is made relative to.

The frame of a ray has its origin in the camera's centre, its z axis along the ray, and its x axis as near to the
camera's right as that allows, so y points down. Nothing of it depends on where the world's origin is once it is
compared with another: T_i^-1 T_j is the pose of ray j as ray i sees it.

After UCPE (arXiv 2512.07237), whose ray frames have the same origin and z axis, but x across the ray and the camera's y
axis. The two are one on the picture's middle row and column, and elsewhere differ by a turn about the ray.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from camera.plucker import camera_rays, exact
from camera.poses import assemble


def ray_frames(
    c2w: Float[Tensor, "*batch 4 4"], intrinsics: Float[Tensor, "*batch 4"], height: int, width: int
) -> Float[Tensor, "*batch {height} {width} 4 4"]:
    """Ray-to-world poses of the rays through the centres of a height x width grid over each picture.

    Args:
        c2w: camera-to-world, OpenCV axes. The result has its dtype and is on its device.
        intrinsics: normalised (fx/W, fy/H, cx/W, cy/H).
        height, width: rows and columns of the grid.
    """
    assert c2w.shape[:-2] == intrinsics.shape[:-1], (c2w.shape, intrinsics.shape)
    pose = exact(c2w)
    z = (pose[..., :3, :3] @ camera_rays(exact(intrinsics), height, width)).mT.unflatten(-2, (height, width))
    right, centre = pose[..., None, None, :3, 0], pose[..., None, None, :3, 3]
    return assemble(_rotation(right.expand(z.shape), z), centre.expand(z.shape)).to(c2w.dtype)


def pooled_frames(frames: Float[Tensor, "*batch rows columns 4 4"]) -> Float[Tensor, "*batch r c 4 4"]:
    """The frames of cells of 2 x 2 rays of one camera: along their mean direction; see `pool_cells` for the edges."""
    mean = pool_cells(frames.flatten(-2)).unflatten(-1, (4, 4))
    return assemble(_rotation(mean[..., :3, 0], mean[..., :3, 2]), mean[..., :3, 3])


def pool_cells(values: Tensor) -> Tensor:
    """[..., rows, columns, channels] -> [..., r, c, channels]: means over cells of 2 x 2; r, c halves, rounded up.

    The cells at an odd edge hold what is left of them. No shapes for the type checker: this runs under torch.compile.
    """
    for axis in (-3, -2):
        if values.shape[axis] % 2:
            last = values.narrow(axis, values.shape[axis] - 1, 1)
            values = torch.cat((values, last), dim=axis)
    cells = values.unflatten(-2, (-1, 2)).unflatten(-4, (-1, 2))
    return cells.mean(dim=(-4, -2))


def _rotation(right: Float[Tensor, "*batch 3"], along: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Axes x, y, z as columns: z along `along`, x the part of `right` across it (Gram-Schmidt)."""
    z = along / along.norm(dim=-1, keepdim=True)
    across = right - (right * z).sum(dim=-1, keepdim=True) * z
    x = across / across.norm(dim=-1, keepdim=True)
    return torch.stack((x, torch.linalg.cross(z, x), z), dim=-1)
