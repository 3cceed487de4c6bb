"""Plücker rays of the pixels of every video frame, and their grouping per latent frame."""

import torch
from jaxtyping import Float
from torch import Tensor

from camera.poses import cross_matrix

FRAMES_PER_LATENT = 4
COMPONENTS = 6


def plucker_map(
    c2w: Float[Tensor, "*batch F 4 4"], intrinsics: Float[Tensor, "*batch F 4"], height: int, width: int
) -> Float[Tensor, "*batch F 6 {height} {width}"]:
    """Plücker coordinates of the rays through the centres of a height x width grid over each frame.

    Components 0-2 are the moment o x d (o the camera centre), 3-5 the unit direction d, both in the world of
    `c2w`. The moment does not depend on which point of the ray is taken for o (Plücker 1865; in this order in
    CameraCtrl, arXiv 2404.02101, section 3.2).

    Args:
        c2w: camera-to-world, OpenCV axes. The result has its dtype and is on its device.
        intrinsics: normalised (fx/W, fy/H, cx/W, cy/H), so the grid may be the pixels or the latents.
        height, width: rows and columns of the grid.
    """
    assert height > 0 and width > 0, (height, width)
    assert c2w.shape[:-2] == intrinsics.shape[:-1], (c2w.shape, intrinsics.shape)
    rows, rays = _ray_matrices(exact(c2w)), camera_rays(exact(intrinsics), height, width)
    return (rows @ rays).to(c2w.dtype).unflatten(-1, (height, width))


def latent_rays(
    c2w: Float[Tensor, "*batch F 4 4"],
    intrinsics: Float[Tensor, "*batch F 4"],
    height: int,
    width: int,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*batch f 24 {height} {width}"]:
    """What the network is given: `group_frames` of `plucker_map`, in one step.

    Poses are worth giving in float64: all is computed in their precision or better and rounded once, at the end. Far
    from the origin a moment is large, and float32 loses the camera's small steps: give poses relative to the first
    frame (`CameraTrack.rebased`), made so in float64.

    Args:
        c2w: camera-to-world, OpenCV axes, of 4n + 1 video frames. The result is on its device.
        intrinsics: normalised, one row per frame.
        height, width: rows and columns of the latent grid.
        dtype: of the result.

    Raises:
        ValueError: the number of video frames is not 4n + 1.
    """
    latents = _latent_frames(c2w.shape[-3])
    pose_rows = first_repeated(_ray_matrices(exact(c2w)), dim=-3)
    lenses = exact(intrinsics)
    if bool((lenses == lenses[..., :1, :]).all()):
        # one lens: all frames share their rays in the camera, and one product of matrices does it
        rays = camera_rays(lenses[..., 0, :], height, width)
        maps = pose_rows.flatten(-3, -2) @ rays
    else:
        maps = (pose_rows @ camera_rays(first_repeated(lenses, dim=-2), height, width)).flatten(-3, -2)
    return maps.to(dtype).unflatten(-2, (latents, FRAMES_PER_LATENT * COMPONENTS)).unflatten(-1, (height, width))


def group_frames(maps: Float[Tensor, "*batch F 6 h w"]) -> Float[Tensor, "*batch f 24 h w"]:
    """Gather the rays of the video frames that each latent frame covers.

    Latent frame 0 holds video frame 0 four times, latent frame k holds frames 4k-3 ... 4k, as Wan's causal VAE
    does. Channel = sub_frame * 6 + component.

    Raises:
        ValueError: the number of video frames is not 4n + 1.
    """
    latents = _latent_frames(maps.shape[-4])
    grouped = first_repeated(maps, dim=-4).flatten(-4, -3)
    return grouped.unflatten(-3, (latents, FRAMES_PER_LATENT * COMPONENTS))


def _latent_frames(frames: int) -> int:
    if frames % FRAMES_PER_LATENT != 1:
        raise ValueError(f"{frames} video frames: expected 4n + 1 (1, 5, ... 33, ... 81), as the VAE does")
    return (frames - 1) // FRAMES_PER_LATENT + 1


def first_repeated(values: Tensor, dim: int) -> Tensor:
    """The frames with the first of them four times, along `dim`: F = 4n + 1 become 4 (n + 1)."""
    first = values.narrow(dim, 0, 1)
    return torch.cat([first] * (FRAMES_PER_LATENT - 1) + [values], dim=dim)


def exact(values: Tensor) -> Tensor:
    """In float64, where the device has it: products of poses and rays must not run in TF32 or bfloat16."""
    return values if values.device.type == "mps" else values.double()


def _ray_matrices(c2w: Float[Tensor, "*batch F 4 4"]) -> Float[Tensor, "*batch F 6 3"]:
    """Matrices that take a unit direction n of the camera to its ray: d = R n and o x d = [o]x R n."""
    rotation = c2w[..., :3, :3]
    return torch.cat((cross_matrix(c2w[..., :3, 3]) @ rotation, rotation), dim=-2)


def camera_rays(
    intrinsics: Float[Tensor, "*batch 4"], height: int, width: int
) -> Float[Tensor, "*batch 3 {height*width}"]:
    """Unit directions, in the camera, through the centres of the cells; the last axis runs along the rows."""
    like = {"dtype": intrinsics.dtype, "device": intrinsics.device}
    v = (torch.arange(height, **like) + 0.5) / height
    u = (torch.arange(width, **like) + 0.5) / width
    fx, fy, cx, cy = intrinsics[..., None].unbind(-2)
    x, y = ((u - cx) / fx)[..., None, :], ((v - cy) / fy)[..., :, None]
    inverse = (x.square() + y.square() + 1).rsqrt()
    return torch.stack((x * inverse, y * inverse, inverse), dim=-3).flatten(-2)
