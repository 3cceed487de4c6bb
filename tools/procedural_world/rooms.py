"""Rooms with a few boxes and spheres in them, laid out around the path of a camera.

The room's frame is x right, y down, z forward (as a camera that stands level), its origin is the subject's centre,
its unit is the planner's: the first camera stands START_DISTANCE from the subject, which is on its optical axis.
"""

import math
import random
from dataclasses import dataclass, field, replace

import numpy as np

from camera.trajectory import START_DISTANCE
from tools.procedural_world import materials
from tools.procedural_world.materials import Texture

Vector = tuple[float, float, float]
CLEARANCE = 0.3
"""The least distance of a camera from every wall."""
_TRIES = 60
_PICTURE_DEPTH = 0.03
_MOVING_SHARE = 0.25
"""Share of the rooms in which one thing moves."""
_MOTIONS = {
    "drifting to the left": (-1.0, 0.0, 0.0),
    "drifting to the right": (1.0, 0.0, 0.0),
    "rising": (0.0, -1.0, 0.0),
    "sinking": (0.0, 1.0, 0.0),
    "coming nearer": (0.0, 0.0, -1.0),
    "moving away": (0.0, 0.0, 1.0),
}
"""Where things move to, along the axes of a level camera at the first one's place."""


@dataclass(frozen=True)
class Solid:
    """A box, a sphere, or the room itself, which is a box seen from inside."""

    shape: str
    """"room", "box" or "sphere"."""
    name: str
    """The noun of the captions: "cube", "pillar", "ball", ..."""
    center: Vector
    half: Vector
    """Half extents along the solid's own axes; three times the radius for a sphere."""
    yaw_deg: float
    """Turn about the vertical."""
    textures: tuple[Texture, ...]
    """One for all faces, or one for each of -x, +x, -y, +y, -z, +z."""
    drift: Vector = (0.0, 0.0, 0.0)
    """How far it moves, at even speed, from the first frame of a clip to the last."""
    motion: str = ""
    """The words for that, as the first camera sees it: "drifting to the left"."""

    @property
    def footprint(self) -> float:
        """Radius of the upright cylinder that holds the solid."""
        return math.hypot(self.half[0], self.half[2]) if self.shape == "box" else self.half[0]


@dataclass(frozen=True)
class World:
    """One room, everything in it, its lamp, and where the first camera stands."""

    room: Solid
    solids: tuple[Solid, ...]
    """The subject first, its pedestal second if it has one."""
    lamp: Vector
    start: np.ndarray = field(repr=False)
    """[4, 4] camera to room of the first frame, OpenCV axes."""


def build_world(rng: random.Random, path: np.ndarray, hfov_deg: float) -> World:
    """Lay out a room that holds `path`, its mirror images, and 2 to 6 boxes and spheres that no camera touches.

    Args:
        rng: every choice is drawn from it.
        path: [F, 3] camera centres in the axes of the first camera, which looks along +z at the subject.
        hfov_deg: most things are put where the first camera sees them.

    Raises:
        ValueError: the path leads into the subject.
    """
    start = _start_pose(rng)
    mirrors = np.concatenate([path * np.array([x, y, 1.0]) for x in (1, -1) for y in (1, -1)])
    cameras = mirrors @ start[:3, :3].T + start[:3, 3]
    subject = _subject(rng)
    nearest = float(np.linalg.norm(cameras, axis=1).min())
    if nearest < math.hypot(*subject.half) + 0.1:
        raise ValueError(f"the path comes within {nearest:.2f} of the subject's centre, which is too near to render")
    room = _room(rng, cameras, subject)
    floor = room.center[1] + room.half[1]
    solids = [subject]
    if floor - subject.half[1] > 0.02:
        solids.append(_pedestal(rng, subject, floor))
    wanted = rng.randint(2, 6)
    for _ in range(_TRIES):
        if sum(solid.name != "pedestal" for solid in solids) == wanted:
            break
        thing = _thing(rng, room, start, hfov_deg, [solid.textures[0].colors[0] for solid in solids])
        if _fits(thing, solids, room, cameras):
            solids.append(thing)
    if rng.random() < _MOVING_SHARE:
        solids.extend(_moving(rng, room, start, hfov_deg, solids, cameras))
    for _ in range(rng.choice((0, 1, 1, 2))):
        picture = _picture(rng, room, start, hfov_deg)
        if not any(_overlap(picture, other) for other in solids):
            solids.append(picture)
    return World(room, tuple(solids), _lamp(rng, room, start), start)


def _start_pose(rng: random.Random) -> np.ndarray:
    """Camera to room: turned against the walls, looking slightly down at the subject in the origin."""
    yaw, pitch = math.radians(rng.uniform(-40, 40)), math.radians(rng.uniform(2, 11))
    turn = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    # positive about x turns the optical axis up in OpenCV axes, so looking down is negative
    tilt = np.array([[1, 0, 0], [0, math.cos(-pitch), -math.sin(-pitch)], [0, math.sin(-pitch), math.cos(-pitch)]])
    pose = np.eye(4)
    pose[:3, :3] = turn @ tilt
    pose[:3, 3] = -START_DISTANCE * pose[:3, 2]
    return pose


def _subject(rng: random.Random) -> Solid:
    yaw = rng.uniform(0, 90)
    if rng.random() < 0.45:
        radius = rng.uniform(0.15, 0.2)
        texture = materials.thing_texture(rng, 2 * radius)
        return Solid("sphere", "ball", (0.0, 0.0, 0.0), (radius, radius, radius), yaw, (texture,))
    side = rng.uniform(0.12, 0.17)
    return Solid("box", "cube", (0.0, 0.0, 0.0), (side, side, side), yaw, (materials.thing_texture(rng, 2 * side),))


def _pedestal(rng: random.Random, subject: Solid, floor: float) -> Solid:
    top = subject.half[1]
    wide = subject.half[0] * rng.uniform(1.05, 1.3)
    half = (wide, (floor - top) / 2, wide)
    center = (0.0, (floor + top) / 2, 0.0)
    return Solid("box", "pedestal", center, half, subject.yaw_deg, (materials.pedestal_texture(rng, floor - top),))


def _room(rng: random.Random, cameras: np.ndarray, subject: Solid) -> Solid:
    """Walls, floor and ceiling around all cameras, with some space beyond."""
    low, high = cameras.min(axis=0) - CLEARANCE, cameras.max(axis=0) + CLEARANCE
    x_low, x_high = min(low[0], -rng.uniform(1.1, 1.8)), max(high[0], rng.uniform(1.1, 1.8))
    z_low, z_high = min(low[2], -rng.uniform(1.2, 1.6)), max(high[2], rng.uniform(1.1, 2.0))
    ceiling, floor = min(low[1], -rng.uniform(0.65, 1.0)), max(high[1], subject.half[1]) + rng.uniform(0.0, 0.2)
    center = ((x_low + x_high) / 2, (ceiling + floor) / 2, (z_low + z_high) / 2)
    half = ((x_high - x_low) / 2, (floor - ceiling) / 2, (z_high - z_low) / 2)
    wall = materials.wall_texture(rng)
    faces = (wall, wall, materials.ceiling_texture(rng), materials.floor_texture(rng), wall, wall)
    return Solid("room", "room", center, half, 0.0, faces)


def _thing(rng: random.Random, room: Solid, start: np.ndarray, hfov_deg: float, taken: list[str]) -> Solid:
    """A ball, a box or a pillar on the floor, mostly in sight of the first camera."""
    kind = rng.choice(("ball", "ball", "box", "cube", "pillar"))
    if kind == "ball":
        radius = rng.uniform(0.13, 0.3)
        shape, half = "sphere", (radius, radius, radius)
    elif kind == "pillar":
        shape, half = "box", (rng.uniform(0.09, 0.14), rng.uniform(0.4, 0.7), rng.uniform(0.09, 0.14))
    elif kind == "cube":
        side = rng.uniform(0.13, 0.26)
        shape, half = "box", (side, side, side)
    else:
        shape, half = "box", (rng.uniform(0.12, 0.3), rng.uniform(0.12, 0.35), rng.uniform(0.12, 0.3))
    distance = rng.uniform(1.2, 2 * room.half[2])
    aside = math.radians(rng.uniform(-0.6, 0.6) * hfov_deg if rng.random() < 0.8 else rng.uniform(-180, 180))
    spot = start[:3, :3] @ np.array([distance * math.sin(aside), 0, distance * math.cos(aside)]) + start[:3, 3]
    center = (float(spot[0]), room.center[1] + room.half[1] - half[1], float(spot[2]))
    texture = materials.thing_texture(rng, 2 * min(half), taken)
    return Solid(shape, kind, center, half, rng.uniform(0, 90), (texture,))


def _moving(
    rng: random.Random, room: Solid, start: np.ndarray, hfov_deg: float, others: list[Solid], cameras: np.ndarray
) -> list[Solid]:
    """One ball or cube that floats through free space in sight of the first camera; none where there is no room."""
    level = np.array([[start[2, 2], 0, start[0, 2]], [0, 1, 0], [-start[0, 2], 0, start[2, 2]]])
    level /= math.hypot(start[0, 2], start[2, 2])
    level[1, 1] = 1.0
    for _ in range(_TRIES):
        shape, name = rng.choice((("sphere", "ball"), ("box", "cube")))
        side = rng.uniform(0.09, 0.16)
        distance, aside = rng.uniform(1.2, 2.4), math.radians(rng.uniform(-0.4, 0.4) * hfov_deg)
        spot = start[:3, 3] + level @ (distance * np.array([math.sin(aside), 0, math.cos(aside)]))
        spot[1] = rng.uniform(-0.4, 0.2)
        motion = rng.choice(tuple(_MOTIONS))
        drift = rng.uniform(0.25, 0.7) * (level @ np.array(_MOTIONS[motion]))
        taken = [solid.textures[0].colors[0] for solid in others]
        texture = materials.thing_texture(rng, 2 * side, taken)
        turn = rng.uniform(0, 90)
        path = [
            Solid(shape, name, _vector(list(spot + share * drift)), (side, side, side), turn, (texture,))
            for share in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]
        floor = room.center[1] + room.half[1]
        if all(_fits(step, others, room, cameras) and step.center[1] + side < floor for step in path):
            return [replace(path[0], drift=_vector(list(drift)), motion=motion)]
    return []


def _fits(thing: Solid, others: list[Solid], room: Solid, cameras: np.ndarray) -> bool:
    """In the room, apart from the others, out of the cameras' way and never between a camera and the subject."""
    center = np.array(thing.center)
    for axis in (0, 2):
        if abs(center[axis] - room.center[axis]) + thing.footprint > room.half[axis] - 2 * _PICTURE_DEPTH:
            return False
    if thing.center[1] - thing.half[1] < room.center[1] - room.half[1] + 0.1:
        return False
    for other in others:
        apart = math.hypot(center[0] - other.center[0], center[2] - other.center[2])
        if apart < thing.footprint + other.footprint + 0.06:
            return False
    # seen from above: distance of the thing from every line between a camera and the subject
    ground, spot = cameras[:, [0, 2]], center[[0, 2]]
    along = np.clip((ground @ spot) / ((ground**2).sum(axis=1) + 1e-9), 0.0, 1.0)
    nearest = np.linalg.norm(ground * along[:, None] - spot, axis=1)
    return bool((nearest > thing.footprint + 0.12).all())


def _picture(rng: random.Random, room: Solid, start: np.ndarray, hfov_deg: float) -> Solid:
    """A flat box on a wall, where the first camera looks or close by."""
    aside = math.radians(rng.uniform(-0.5, 0.5) * hfov_deg)
    ahead = start[:3, :3] @ np.array([math.sin(aside), 0, math.cos(aside)])
    # the wall met first by the horizontal ray
    away = [(room.center[a] + math.copysign(room.half[a], ahead[a]) - start[a, 3]) / ahead[a] for a in (0, 2)]
    wall = 0 if away[0] < away[1] else 2
    spot = start[:3, 3] + min(away) * ahead
    half = [rng.uniform(0.16, 0.3), rng.uniform(0.13, 0.22), rng.uniform(0.16, 0.3)]
    center = [float(spot[0]), rng.uniform(-0.35, -0.1), float(spot[2])]
    center[1] = max(center[1], room.center[1] - room.half[1] + half[1] + 0.05)
    half[wall] = _PICTURE_DEPTH / 2
    center[wall] = room.center[wall] + math.copysign(room.half[wall] - half[wall], ahead[wall])
    along = 2 - wall
    limit = room.half[along] - half[along] - 2 * _PICTURE_DEPTH
    center[along] = float(np.clip(center[along], room.center[along] - limit, room.center[along] + limit))
    return Solid("box", "picture", _vector(center), _vector(half), 0.0, (materials.thing_texture(rng, 2 * half[1]),))


def _vector(values: list[float]) -> Vector:
    x, y, z = values
    return float(x), float(y), float(z)


def _overlap(one: Solid, other: Solid) -> bool:
    """True when two pictures, or a picture and a thing, come close; as boxes along the room's axes."""
    gaps = []
    for axis in range(3):
        reach = other.half[axis] if other.name == "picture" or axis == 1 else other.footprint
        gaps.append(abs(one.center[axis] - other.center[axis]) - one.half[axis] - reach)
    return max(gaps) < 0.02


def _lamp(rng: random.Random, room: Solid, start: np.ndarray) -> Vector:
    """Under the ceiling, to one side of the first camera, so that what it sees is lit and has a shadow side."""
    aside = rng.choice((-1, 1)) * rng.uniform(0.5, 0.9)
    spot = start[:3, 3] * rng.uniform(0.2, 0.8) + start[:3, 0] * aside
    limit = [0.85 * half for half in room.half]
    x, z = (
        float(np.clip(spot[axis], room.center[axis] - limit[axis], room.center[axis] + limit[axis])) for axis in (0, 2)
    )
    return x, room.center[1] - room.half[1] + 0.12, z
