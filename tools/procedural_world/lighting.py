"""Diffuse light on surfaces: one lamp with shadows, and a sky that does not reach into corners."""

import torch
from torch import Tensor
from torch.nn import functional

from tools.procedural_world.batch import WorldBatch
from tools.procedural_world.intersect import distances, gap_to_things, to_solids, turn_to_solids

_LAMP = (1.0, 0.95, 0.86)
_SKY = (0.43, 0.45, 0.50)
_OFF_SURFACE = 0.004
_RAYS_AT_ONCE = 1 << 15


def light(worlds: WorldBatch, place: Tensor, normal: Tensor, dark: Tensor) -> Tensor:
    """Linear RGB light [B, S, 6, n, 3] that a white surface would send to any camera.

    Args:
        worlds: what casts shadows.
        place, normal: [B, S, 6, n, 3] of the surface, in the room's frame.
        dark: [B, S, 6, n, 1] share of the sky that is hidden, from `room_corners` or `near_floor`.
    """
    to_lamp = worlds.lamp[:, None, None, None] - place
    distance = to_lamp.square().sum(dim=-1, keepdim=True).sqrt()
    facing = (to_lamp * normal).sum(dim=-1, keepdim=True).clamp_min(0) / distance
    lit = 1 - _soften(_shadow(worlds, place + _OFF_SURFACE * normal, to_lamp))
    key = 2.2 * facing * lit / (1 + 0.35 * distance.square())
    # the floor (normal -y) sees the bright ceiling
    sky = (0.9 - 0.1 * normal[..., 1:2]) * (1 - dark)
    warm, cool = (torch.tensor(color, device=place.device) for color in (_LAMP, _SKY))
    return key * warm + sky * cool


def room_corners(worlds: WorldBatch, place: Tensor, inner: Tensor) -> Tensor:
    """Hidden share of the sky on the room's faces: along its edges and close to things.

    `place` is [B, 1, 6, n, 3] in the room's frame, `inner` [6, n, 3] the same points on [-1, 1]^3.
    """
    edge = (1 - inner.abs()) * worlds.half[:, :1, None, None]
    on_face = inner.abs() == 1
    open_edges = (1 - 0.35 * torch.exp(-edge / 0.16)).masked_fill(on_face, 1).prod(dim=-1, keepdim=True)
    points = place.flatten(1, 3).transpose(1, 2)
    gaps = torch.cat([gap_to_things(worlds, piece) for piece in points.split(_RAYS_AT_ONCE, dim=-1)], dim=-1)
    open_things = (1 - 0.5 * torch.exp(-gaps / 0.09)).prod(dim=1)
    return 1 - open_edges * open_things.view(*place.shape[:-1], 1)


def near_floor(worlds: WorldBatch, place: Tensor) -> Tensor:
    """Hidden share of the sky on things: where they stand on the floor. `place` is [B, S, 6, n, 3]."""
    room = to_solids(worlds, place.flatten(1, 3).transpose(1, 2))[:, 1, 0]
    height = (1 - room) * worlds.half[:, :1, 1]
    return (0.45 * torch.exp(-height / 0.1)).view(*place.shape[:-1], 1)


def _shadow(worlds: WorldBatch, place: Tensor, to_lamp: Tensor) -> Tensor:
    """1 where a thing stands between the surface and the lamp, else 0; [B, S, 6, n, 1]."""
    points, rays = (values.flatten(1, 3).transpose(1, 2) for values in (place, to_lamp))
    blocked = [
        _meets(worlds, start, ray).float()
        for start, ray in zip(points.split(_RAYS_AT_ONCE, dim=-1), rays.split(_RAYS_AT_ONCE, dim=-1), strict=True)
    ]
    return torch.cat(blocked, dim=-1).view(*place.shape[:-1], 1)


def _meets(worlds: WorldBatch, points: Tensor, rays: Tensor) -> Tensor:
    """Whether a solid that stands still lies within one length of each ray; [B, N]. What moves casts no shadow."""
    found = distances(worlds.boxes, to_solids(worlds, points), turn_to_solids(worlds, rays))
    return found.masked_fill(~worlds.still, torch.inf).amin(dim=1) < 1


def _soften(shadow: Tensor) -> Tensor:
    """Blur each face [B, S, 6, n, 1] as a lamp of some size would."""
    side = round(shadow.shape[3] ** 0.5)
    planes = shadow.reshape(-1, 1, side, side)
    for _ in range(2):
        planes = functional.avg_pool2d(functional.pad(planes, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    return planes.reshape(shadow.shape)
