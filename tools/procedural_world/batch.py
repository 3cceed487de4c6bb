"""Worlds as tensors: the same number of boxes and spheres in every world of a batch, so that it renders at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tools.procedural_world.rooms import Solid, World


class Shapes(NamedTuple):
    """What of a `WorldBatch` a ray can meet, under the same names: tensors and a count, and nothing else."""

    to_local: Tensor
    shift: Tensor
    drift: Tensor
    start: Tensor
    boxes: int


@dataclass(frozen=True)
class WorldBatch:
    """B worlds of S solids: first the room, then boxes, then spheres; empty places hold specks outside the room.

    A point x of the room is at `to_local` @ x + `shift` in a solid's own frame, in which a box is [-1, 1]^3 and
    a sphere has radius 1; in a clip, when a share p of it is over, at `to_local` @ x + `shift` - p * `drift`.
    """

    to_local: Tensor
    """[B, S, 3, 3] turn, then division by the half extents."""
    shift: Tensor
    """[B, S, 3]"""
    half: Tensor
    """[B, S, 3] half extents in scene units."""
    drift: Tensor
    """[B, S, 3] way of each solid from the first frame to the last, in its own frame."""
    still: Tensor
    """[B, S, 1] False for solids that move."""
    start: Tensor
    """[B, 4, 4] first camera to room."""
    lamp: Tensor
    """[B, 3] position of the lamp."""
    boxes: int
    """Number of leading solids that are boxes, the room included."""
    surfaces: tuple[tuple[Solid, ...], ...]
    """What each place holds, for the textures; [B][S]."""
    places: tuple[tuple[int, ...], ...]
    """For each world, the place of each entry of `World.solids`."""

    @property
    def shapes(self) -> Shapes:
        """What rays meet."""
        return Shapes(self.to_local, self.shift, self.drift, self.start, self.boxes)


def pack(worlds: Sequence[World], device: torch.device | str = "cpu", boxes: int = 0, spheres: int = 0) -> WorldBatch:
    """Put worlds into tensors; `boxes` and `spheres` are the least numbers of places, for constant shapes."""
    counts = [sum(solid.shape == "box" for solid in world.solids) for world in worlds]
    boxes = max(boxes, *counts)
    spheres = max(spheres, *(len(world.solids) - count for world, count in zip(worlds, counts, strict=True)))
    rows, places = zip(*(_arrange(world, boxes, spheres) for world in worlds), strict=True)
    frames = np.array([[_local_frame(solid) for solid in row] for row in rows])
    half = np.array([[solid.half for solid in row] for row in rows])
    drift = np.array([[solid.drift for solid in row] for row in rows])

    def tensor(values: np.ndarray | list) -> Tensor:
        return torch.tensor(np.array(values), dtype=torch.float32, device=device)

    return WorldBatch(
        to_local=tensor(frames[..., :3]),
        shift=tensor(frames[..., 3]),
        half=tensor(half),
        drift=tensor(np.einsum("bsij,bsj->bsi", frames[..., :3], drift)),
        still=torch.tensor(~drift.any(axis=-1, keepdims=True), device=device),
        start=tensor([world.start for world in worlds]),
        lamp=tensor([world.lamp for world in worlds]),
        boxes=boxes + 1,
        surfaces=rows,
        places=places,
    )


def _arrange(world: World, boxes: int, spheres: int) -> tuple[tuple[Solid, ...], tuple[int, ...]]:
    """The solids of one world in their places, and the place of each."""
    first = {"box": 1, "sphere": 1 + boxes}
    row = [world.room] + [_speck(world, "box")] * boxes + [_speck(world, "sphere")] * spheres
    places = []
    for solid in world.solids:
        row[first[solid.shape]] = solid
        places.append(first[solid.shape])
        first[solid.shape] += 1
    return tuple(row), tuple(places)


def _speck(world: World, shape: str) -> Solid:
    """Something so small and so far outside that no ray which ends at the walls meets it."""
    room = world.room
    outside = (room.center[0], room.center[1], room.center[2] + 10 * room.half[2])
    return Solid(shape, "nothing", outside, (1e-3, 1e-3, 1e-3), 0.0, room.textures[:1])


def _local_frame(solid: Solid) -> np.ndarray:
    """[3, 4] from room to the solid's own frame."""
    yaw = np.radians(solid.yaw_deg)
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    scaled = turn / np.array(solid.half)[:, None]
    return np.concatenate([scaled, -(scaled @ np.array(solid.center))[:, None]], axis=1)
