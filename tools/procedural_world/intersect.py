"""Where rays meet boxes and spheres, each in its own frame, and how far points are from them."""

import torch
from torch import Tensor

from tools.procedural_world.batch import WorldBatch

_NOT_ZERO = 1e-9


def distances(boxes: int, origin: Tensor, direction: Tensor) -> Tensor:
    """Ray parameters at the first hit of every solid: [B, S, N], inf for a miss; for the room, at its walls.

    Args:
        boxes: number of leading solids that are boxes, the room included.
        origin: [B, 3, S, N or 1] in the frame of each solid.
        direction: [B, 3, S, N] in the frame of each solid.
    """
    return torch.cat(
        (
            _box_distance(origin[:, :, :boxes], direction[:, :, :boxes]),
            _sphere_distance(origin[:, :, boxes:], direction[:, :, boxes:]),
        ),
        dim=1,
    )


def _box_distance(origin: Tensor, direction: Tensor) -> Tensor:
    """Slab test [B, 3, S, N] -> [B, S, N]: entry into a box; exit from the first one, the room."""
    reach = (direction + _NOT_ZERO).reciprocal_()
    middle = -origin * reach
    reach.abs_()
    leave = middle + reach
    enter = middle.sub_(reach)
    far = torch.minimum(torch.minimum(leave[:, 0], leave[:, 1]), leave[:, 2])
    near = torch.maximum(torch.maximum(enter[:, 0], enter[:, 1]), enter[:, 2])
    near.masked_fill_((near > far) | (near < 0), torch.inf)
    near[:, 0] = far[:, 0]
    return near


def _sphere_distance(origin: Tensor, direction: Tensor) -> Tensor:
    """Nearer root of |origin + t direction| = 1, [B, 3, S, N] -> [B, S, N]."""
    square = direction.square().sum(dim=1)
    toward = -(direction * origin).sum(dim=1)
    inside = toward.square() - square * (origin.square().sum(dim=1) - 1)
    distance = (toward - inside.clamp_min(0).sqrt()) / square
    return distance.masked_fill_((inside <= 0) | (distance < 0), torch.inf)


def to_solids(worlds: WorldBatch, points: Tensor) -> Tensor:
    """Points of the room [B, 3, N] in the frame of every solid [B, 3, S, N]."""
    return torch.einsum("bsij,bjn->bisn", worlds.to_local, points) + worlds.shift.transpose(1, 2)[..., None]


def turn_to_solids(worlds: WorldBatch, directions: Tensor) -> Tensor:
    """Directions of the room [B, 3, N] in the frame of every solid [B, 3, S, N]."""
    return torch.einsum("bsij,bjn->bisn", worlds.to_local, directions)


def gap_to_things(worlds: WorldBatch, points: Tensor) -> Tensor:
    """Distance [B, S - 1, N] in scene units from points of the room [B, 3, N] to each solid but the room; 0 inside.

    For solids that move it is inf.
    """
    local = to_solids(worlds, points)[:, :, 1:].abs()
    half = worlds.half.transpose(1, 2)[:, :, 1:, None]
    boxes = worlds.boxes - 1
    outside = ((local[:, :, :boxes] - 1) * half[:, :, :boxes]).clamp_min(0)
    outward = local[:, :, boxes:].square().sum(dim=1).sqrt()
    gap = torch.cat((outside.square().sum(dim=1).sqrt(), (outward - 1).clamp_min(0) * half[:, 0, boxes:]), dim=1)
    return gap.masked_fill(~worlds.still[:, 1:], torch.inf)
