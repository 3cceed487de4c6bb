"""The ray caster: which solid each ray meets first, where, and what colour the baked surface has there.

Directions are unnormalised with z = 1 in the camera's frame, so a ray's parameter at its hit is the z-depth.
Everything is batched over worlds and runs on any device; nothing depends on values, so shapes stay constant.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from tools.procedural_world.baking import Atlas, to_face
from tools.procedural_world.batch import Shapes, WorldBatch
from tools.procedural_world.intersect import distances

_RAYS_AT_ONCE = {"cpu": 1 << 15}


def render(
    worlds: WorldBatch,
    atlas: Atlas,
    c2w: Tensor,
    intrinsics: Tensor,
    height: int,
    width: int,
    supersampling: int = 2,
    compiled: bool = False,
) -> Tensor:
    """Pictures of every world along its own path.

    Args:
        worlds, atlas: from `pack` and `bake`.
        c2w: [B, F, 4, 4] poses relative to the first camera of each world, OpenCV axes.
        intrinsics: [B, F, 4] normalised (fx, fy, cx, cy).
        height, width: of the pictures, in pixels.
        supersampling: rays per pixel along each side.
        compiled: by torch.compile, which pays for many batches of one shape.

    Returns:
        [B, F, height, width, 3] uint8, RGB.
    """
    pictures, shapes, colors_of = [], worlds.shapes, _compiled_colors() if compiled else _colors
    share = torch.linspace(0, 1, c2w.shape[1], device=c2w.device)
    for frame in range(c2w.shape[1]):
        fine = (height * supersampling, width * supersampling)
        colors = torch.cat(
            [
                colors_of(shapes, atlas.picture, atlas.tiles, c2w[:, frame], rays, share[frame])
                for rays in _bands(intrinsics[:, frame], *fine, len(c2w))
            ],
            dim=-1,
        )
        picture = functional.avg_pool2d(colors.view(len(c2w), 3, *fine), supersampling)
        pictures.append(picture.mul(255).round_().clamp_(0, 255).to(torch.uint8))
    return torch.stack(pictures, dim=1).permute(0, 1, 3, 4, 2).contiguous()


def _colors(shapes: Shapes, picture: Tensor, tiles: Tensor, c2w: Tensor, rays: Tensor, over: Tensor) -> Tensor:
    """What rays [B, 3, N] of one camera per world see: [B, 3, N]. Tensors alone, so that it compiles once."""
    return Atlas(picture, tiles).sample(*trace(shapes, c2w, rays, over)[1:])


@cache
def _compiled_colors() -> Callable[..., Tensor]:
    return torch.compile(_colors, dynamic=False)


@dataclass(frozen=True)
class Sight:
    """What one camera per world sees through the pixel centres; every tensor is [B, height, width]."""

    depth: Tensor
    """z-depth in scene units: along the optical axis, not along the ray."""
    solid: Tensor
    """int64 place of the solid in its world; 0 is the room."""
    face: Tensor
    """int64 face of the solid: 0 to 5 for -x, +x, -y (up), +y (down), -z, +z of its own axes."""


def cast(worlds: WorldBatch, c2w: Tensor, intrinsics: Tensor, height: int, width: int, over: float = 0.0) -> Sight:
    """Geometry seen by cameras c2w [B, 4, 4], relative to the first of each world, with intrinsics [B, 4].

    `over` is the share of the clip that is over: 0 at its first frame, where things that move begin, 1 at its last.
    """
    found = []
    for rays in _bands(intrinsics, height, width, len(c2w)):
        depth, solid, point = trace(worlds.shapes, c2w, rays, over)
        found.append((depth, solid, to_face(point)[0]))
    depth, solid, face = (torch.cat(pieces, dim=-1).view(-1, height, width) for pieces in zip(*found, strict=True))
    return Sight(depth, solid, face)


def pixel_rays(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Camera-frame directions [B, 3, height, width] with z = 1 through the centres of a pixel grid."""
    kind = {"dtype": intrinsics.dtype, "device": intrinsics.device}
    x = (torch.arange(width, **kind) + 0.5) / width
    y = (torch.arange(height, **kind) + 0.5) / height
    fx, fy, cx, cy = intrinsics[..., None].unbind(1)
    across = ((x - cx) / fx)[:, None, :].expand(-1, height, width)
    down = ((y - cy) / fy)[:, :, None].expand(-1, height, width)
    return torch.stack((across, down, torch.ones_like(across)), dim=1)


def _bands(intrinsics: Tensor, height: int, width: int, worlds: int) -> tuple[Tensor, ...]:
    """The rays of a picture [B, 3, N], in pieces that stay in the processor's cache."""
    rays = pixel_rays(intrinsics.float(), height, width).flatten(2)
    most = _RAYS_AT_ONCE.get(rays.device.type, rays[0].numel() * worlds)
    return rays.split(max(1, most // worlds), dim=-1)


def trace(shapes: Shapes, c2w: Tensor, rays: Tensor, over: float | Tensor = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """First hits of any rays of one camera per world.

    Args:
        shapes: what can be hit.
        c2w: [B, 4, 4] relative to the first camera of each world.
        rays: [B, 3, N] directions in the camera's frame, z = 1.
        over: share of the clip that is over, 0 to 1.

    Returns:
        z-depth [B, N], place of the solid [B, N], and the point hit in that solid's own frame [B, 3, N].
    """
    batch, _, count = rays.shape
    camera = shapes.start @ c2w.float()
    shift = (shapes.shift - over * shapes.drift).transpose(1, 2)
    origin = torch.einsum("bsij,bj->bis", shapes.to_local, camera[:, :3, 3]) + shift
    turn = torch.einsum("bsij,bjk->bisk", shapes.to_local, camera[:, :3, :3]).reshape(batch, -1, 3)
    direction = torch.bmm(turn, rays).view(batch, 3, -1, count)
    depth, solid = distances(shapes.boxes, origin[..., None], direction).min(dim=1)
    chosen = solid[:, None].expand(-1, 3, -1)
    direction = direction.gather(2, chosen[:, :, None])[:, :, 0]
    return depth, solid, torch.addcmul(origin.gather(2, chosen), direction, depth[:, None])
