"""From a seed and a number to a finished clip: moves, room, pictures, depth, exact camera and caption."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from camera.intrinsics import default_intrinsics
from camera.language import Move, format
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves
from tools.procedural_world.baking import bake
from tools.procedural_world.batch import WorldBatch, pack
from tools.procedural_world.captions import FLOOR, describe
from tools.procedural_world.moves import main_kind, sample_moves
from tools.procedural_world.raycaster import cast, render
from tools.procedural_world.rooms import World, build_world

WORLD_VERSION = "3"
"""Changes whenever the same seed gives another clip; part of every clip's fingerprint."""
HFOV_RANGE_DEG = (52.0, 76.0)
_SEEN_SHARE = 0.004
_LOOK_EVERY = 4


@dataclass(frozen=True)
class ClipPlan:
    """Everything that is decided before rendering."""

    moves: tuple[Move, ...]
    track: CameraTrack
    """The exact camera, relative to frame 0; float64, on the CPU."""
    world: World


@dataclass(frozen=True)
class Clip:
    """A rendered clip with its ground truth."""

    frames: Tensor
    """[F, H, W, 3] uint8, RGB."""
    depth: Tensor
    """[H, W] float32: z-depth of frame 0 (along the optical axis) through the pixel centres, in scene units."""
    track: CameraTrack
    caption: str
    """"Object: ... ; Camera: <starttime>..."."""


def plan_clip(seed: int, index: int, frames: int, fps: float, aspect: float) -> ClipPlan:
    """Draw the moves, the lens and the room of clip `index` of the set `seed`.

    Args:
        seed, index: the same numbers give the same plan, on every machine.
        frames: number of video frames.
        fps: frames per second.
        aspect: width / height of the pictures.
    """
    rng = random.Random(f"clip/{seed}/{index}")
    moves = sample_moves(rng, (frames - 1) / fps, main_kind(seed, index))
    hfov_deg = rng.uniform(*HFOV_RANGE_DEG)
    track = compile_moves(moves, frames, fps, default_intrinsics(aspect, hfov_deg))
    return ClipPlan(tuple(moves), track, build_world(rng, track.c2w[:, :3, 3].numpy(), hfov_deg))


def render_clip(plan: ClipPlan, height: int, width: int, device: torch.device | str = "cpu") -> Clip:
    """Render a plan with 2 x 2 rays per pixel; tensors of the result are on `device`."""
    worlds = pack([plan.world], device)
    c2w = plan.track.c2w[None].to(device, torch.float32)
    intrinsics = plan.track.intrinsics[None].to(device, torch.float32)
    frames = render(worlds, bake(worlds, width), c2w, intrinsics, height, width)[0]
    depth = cast(worlds, c2w[:, 0], intrinsics[:, 0], height, width).depth[0]
    caption = f"Object: {_scene(plan.world, worlds, c2w, intrinsics)} ; Camera: {format(plan.moves)}"
    return Clip(frames, depth, plan.track, caption)


def _scene(world: World, worlds: WorldBatch, c2w: Tensor, intrinsics: Tensor) -> str:
    """Describe what takes up a visible share of at least one frame."""
    share = torch.zeros(worlds.half.shape[1], 6, device=c2w.device)
    for frame in range(0, c2w.shape[1], _LOOK_EVERY):
        sight = cast(worlds, c2w[:, frame], intrinsics[:, frame], 48, 80, frame / max(1, c2w.shape[1] - 1))
        counts = torch.bincount((sight.solid * 6 + sight.face).flatten(), minlength=share.numel())
        share = torch.maximum(share, counts.view_as(share) / sight.solid.numel())
    solids = share.sum(dim=1)
    seen = {index for index, place in enumerate(worlds.places[0]) if solids[place] > _SEEN_SHARE}
    return describe(world, seen, floor_seen=bool(share[0, FLOOR] > _SEEN_SHARE))
