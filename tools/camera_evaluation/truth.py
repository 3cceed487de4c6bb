"""What the held-out clips really look like: pictures, depth of frame 0, and which pixels frame 0 has shown already."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from camera.poses import invert
from tools.camera_evaluation.held_out import HeldOutClip
from tools.procedural_world.baking import bake
from tools.procedural_world.batch import WorldBatch, pack
from tools.procedural_world.raycaster import cast, pixel_rays, render

_BATCH = {"cpu": 2}
"""Clips at once; larger batches of a CPU leave its cache."""
_LARGE_BATCH = 32
_SAME_SURFACE = 0.03
"""A pixel shows the surface of frame 0 when its depth there differs by less than this share."""


@dataclass(frozen=True)
class Truth:
    """N rendered clips, on the CPU."""

    frames: UInt8[Tensor, "N F H W 3"]
    """RGB."""
    depth: Float32[Tensor, "N H W"]
    """z-depth of frame 0 through the pixel centres, scene units."""
    seen: Bool[Tensor, "N F H W"]
    """Pixels whose surface stands still and is in sight in frame 0 too; a model can only invent the others."""


@torch.no_grad()
def render_truth(clips: Sequence[HeldOutClip], size: tuple[int, int], device: torch.device) -> Truth:
    """Render the clips along their commanded tracks.

    Args:
        clips: of equal length.
        size: height and width of the pictures.
        device: renders.
    """
    height, width = size
    frames, depth, seen = [], [], []
    batch = _BATCH.get(device.type, _LARGE_BATCH)
    for first in range(0, len(clips), batch):
        part = clips[first : first + batch]
        worlds = pack([clip.world for clip in part], device)
        c2w = torch.stack([clip.track.c2w for clip in part]).to(device, torch.float32)
        intrinsics = torch.stack([clip.track.intrinsics for clip in part]).to(device, torch.float32)
        frames.append(render(worlds, bake(worlds, width), c2w, intrinsics, height, width).cpu())
        start = cast(worlds, c2w[:, 0], intrinsics[:, 0], height, width).depth
        depth.append(start.cpu())
        seen.append(_seen_in_frame_0(worlds, c2w, intrinsics, start).cpu())
    return Truth(torch.cat(frames), torch.cat(depth), torch.cat(seen))


def _seen_in_frame_0(
    worlds: WorldBatch,
    c2w: Float32[Tensor, "B F 4 4"],
    intrinsics: Float32[Tensor, "B F 4"],
    start: Float32[Tensor, "B H W"],
) -> Bool[Tensor, "B F H W"]:
    """Lift every pixel by its depth, project it into frame 0, and compare with the depth found there."""
    height, width = start.shape[1:]
    masks = []
    for frame in range(c2w.shape[1]):
        over = frame / max(1, c2w.shape[1] - 1)
        sight = cast(worlds, c2w[:, frame], intrinsics[:, frame], height, width, over)
        still = worlds.still[..., 0].gather(1, sight.solid.flatten(1)).view_as(sight.solid)
        points = pixel_rays(intrinsics[:, frame], height, width) * sight.depth[:, None]
        to_start = invert(c2w[:, 0]) @ c2w[:, frame]
        points = torch.einsum("bij,bjhw->bihw", to_start[:, :3, :3], points) + to_start[:, :3, 3, None, None]
        fx, fy, cx, cy = intrinsics[:, 0, :, None, None].unbind(1)
        z = points[:, 2].clamp(min=1e-6)
        place = torch.stack((fx * points[:, 0] / z + cx, fy * points[:, 1] / z + cy), dim=-1) * 2 - 1
        there = F.grid_sample(start[:, None], place, mode="nearest", align_corners=False)[:, 0]
        # outside the picture grid_sample gives 0, which is no depth
        masks.append(still & (there > 0) & ((points[:, 2] - there).abs() < _SAME_SURFACE * there))
    return torch.stack(masks, dim=1)
