"""Plücker rays of the pixels of every video frame, and their grouping per latent frame."""

import torch
from jaxtyping import Float
from torch import Tensor

FRAMES_PER_LATENT = 4
COMPONENTS = 6


def plucker_map(
    c2w: Float[Tensor, "F 4 4"], intrinsics: Float[Tensor, "F 4"], height: int, width: int
) -> Float[Tensor, "F 6 {height} {width}"]:
    """Plücker coordinates of the rays through the centres of a height x width grid over each frame.

    Components 0-2 are the moment o x d (o the camera centre), 3-5 the unit direction d, both in the world of
    `c2w`. The moment does not depend on which point of the ray is taken for o (Plücker 1865; in this order in
    CameraCtrl, arXiv 2404.02101, section 3.2).

    Args:
        c2w: camera-to-world, OpenCV axes.
        intrinsics: normalised (fx/W, fy/H, cx/W, cy/H), so the grid may be the pixels or the latents.
        height, width: rows and columns of the grid.
    """
    assert height > 0 and width > 0, (height, width)
    assert len(c2w) == len(intrinsics), (c2w.shape, intrinsics.shape)
    like = {"dtype": c2w.dtype, "device": c2w.device}
    v = (torch.arange(height, **like) + 0.5) / height
    u = (torch.arange(width, **like) + 0.5) / width
    fx, fy, cx, cy = intrinsics.to(c2w.dtype)[:, :, None, None].unbind(1)
    x = ((u[None, None, :] - cx) / fx).expand(-1, height, -1)
    y = ((v[None, :, None] - cy) / fy).expand(-1, -1, width)
    rays = torch.stack((x, y, torch.ones_like(x)), dim=1)
    direction = torch.einsum("fij,fjhw->fihw", c2w[:, :3, :3], rays)
    direction = direction / direction.norm(dim=1, keepdim=True)
    moment = torch.linalg.cross(c2w[:, :3, 3, None, None].expand_as(direction), direction, dim=1)
    return torch.cat((moment, direction), dim=1)


def group_frames(maps: Float[Tensor, "F 6 h w"]) -> Float[Tensor, "f 24 h w"]:
    """Gather the rays of the video frames that each latent frame covers.

    Latent frame 0 holds video frame 0 four times, latent frame k holds frames 4k-3 ... 4k, as Wan's causal VAE
    does. Channel = sub_frame * 6 + component.

    Raises:
        ValueError: the number of video frames is not 4n + 1.
    """
    frames = len(maps)
    if frames % FRAMES_PER_LATENT != 1:
        raise ValueError(f"{frames} video frames: expected 4n + 1 (1, 5, ... 33, ... 81), as the VAE does")
    padded = torch.cat((maps[:1].expand(FRAMES_PER_LATENT - 1, -1, -1, -1), maps))
    return padded.reshape(-1, FRAMES_PER_LATENT * COMPONENTS, *maps.shape[2:])
