"""What a camera adapter is given: the camera of a clip as tensors on the grids of the network."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from camera.plucker import FRAMES_PER_LATENT, exact, first_repeated, latent_rays
from camera.poses import invert
from camera.ray_frames import ray_frames

PATCH = 2
"""Rows and columns of the latent grid that one video token covers (Wan2.1's patch size)."""


class CameraInput(NamedTuple):
    """The camera of a clip, or of a batch of clips (axes `*batch`), each with its own.

    f latent frames; F' = 4 f video frames, the first of them four times; h, w the latent grid.
    """

    rays: Float[Tensor, "*batch f 24 H W"]
    """Plücker maps, grouped per latent frame (`camera.plucker.group_frames`); H, W = `ray_scale` times h, w."""
    frames: Float[Tensor, "*batch f rows columns 4 4"]
    """Ray-to-world pose of every video token (`camera.ray_frames`), from the last pose of its latent frame."""
    poses: Float[Tensor, "*batch f 4 4 4"]
    """Camera-to-world poses of the four video frames of every latent frame."""
    lenses: Float[Tensor, "*batch f 4"]
    """Normalised intrinsics (fx/W, fy/H, cx/W, cy/H) of the last of them."""


def camera_input(
    c2w: Float[Tensor, "*batch F 4 4"],
    intrinsics: Float[Tensor, "*batch F 4"],
    height: int,
    width: int,
    ray_scale: int = 1,
    rebase: bool = True,
) -> CameraInput:
    """The camera of 4n + 1 video frames, in the camera of the first of them; computed in float64, given in float32.

    So a motion of the whole world, cameras and all, changes nothing.

    Args:
        c2w: camera-to-world, OpenCV axes.
        intrinsics: normalised, one row per frame.
        height, width: rows and columns of the latent grid.
        ray_scale: rays per latent position, along each side; the adapter's `ray_scale`.
        rebase: express the poses in the first one; only the fork's legacy geometry leaves them as they are.

    Raises:
        ValueError: the number of video frames is not 4n + 1, or the grid is not one of whole tokens.
    """
    if height % PATCH or width % PATCH:
        raise ValueError(f"latent grid {height} x {width}: expected multiples of {PATCH}, so that it is whole tokens")
    poses = exact(c2w)
    if rebase:
        poses = invert(poses[..., :1, :, :]) @ poses
    rays = latent_rays(poses, intrinsics, height * ray_scale, width * ray_scale)
    groups = first_repeated(poses, dim=-3).unflatten(-3, (-1, FRAMES_PER_LATENT))
    lenses = intrinsics[..., ::FRAMES_PER_LATENT, :]
    frames = ray_frames(groups[..., -1, :, :], lenses, height // PATCH, width // PATCH)
    return CameraInput(rays, frames.float(), groups.float(), lenses.float())


def stack_inputs(cameras: list[CameraInput]) -> CameraInput:
    """One batch of the cameras of several clips of one shape; that of a single clip is not copied."""
    if len(cameras) == 1:
        return CameraInput(*(part[None] for part in cameras[0]))
    return CameraInput(*(torch.stack(parts) for parts in zip(*cameras, strict=True)))
