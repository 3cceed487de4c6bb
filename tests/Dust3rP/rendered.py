"""Small videos of rendered rooms with their true cameras, and the errors of a path found in them."""

import random
from collections.abc import Sequence
from functools import cache

import torch

from camera.intrinsics import default_intrinsics
from camera.language import Move
from camera.trajectory import compile
from Dust3rP.estimate import VideoFrames
from tools.procedural_world.clips import Clip, ClipPlan, render_clip
from tools.procedural_world.rooms import build_world

FPS = 6.0
HFOV_DEG = 66.0


@cache
def room(
    moves: Sequence[Move], frames: int = 13, height: int = 192, width: int = 320, name: str = "d3/orbit/0"
) -> Clip:
    """A clip in which nothing but the camera moves."""
    track = compile(moves, frames, FPS, default_intrinsics(width / height, HFOV_DEG))
    worlds = (build_world(random.Random(f"{name}/{n}"), track.c2w[:, :3, 3].numpy(), HFOV_DEG) for n in range(100))
    world = next(each for each in worlds if not any(any(solid.drift) for solid in each.solids))
    return render_clip(ClipPlan(tuple(moves), track, world), height, width)


def video_of(clip: Clip, name: str = "room.mp4") -> VideoFrames:
    """Its pictures as a backend is given them."""
    return VideoFrames(clip.frames.numpy(), clip.track.times, name)


def still_picture(height: int = 192, width: int = 320) -> torch.Tensor:
    """One textured picture [H, W, 3] uint8."""
    return room((Move(0, 2, 1.0, "right"),), 2, height, width).frames[0]
