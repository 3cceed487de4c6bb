"""The held-out clips: scenes that training never draws, along trajectories chosen by design.

A pair of clips makes one motion at high and at low speed in the same room with the same lens; the rest of the set are
programs of two moves, for the times at which motion starts and stops, and cameras that are told to stand still.
"""

import random
from dataclasses import dataclass

import numpy as np

from camera.intrinsics import default_intrinsics
from camera.language import SPEEDS, Move
from camera.language import format as format_moves
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves
from tools.procedural_world.captions import describe
from tools.procedural_world.clips import HFOV_RANGE_DEG
from tools.procedural_world.moves import KINDS
from tools.procedural_world.rooms import World, build_world

SPEED_WORDS = ("high", "low")
TURN_SECONDS = 1.5
"""Longest turn: after 30 degrees too little of frame 0 is in sight for even a perfect video to be measured."""

_MOTIONS = {
    "dolly": {"forward": ("forward", "stay"), "backward": ("backward", "stay")},
    "orbit": {"orbit left": ("left", "stay"), "orbit right": ("right", "stay")},
    "elevation": {"up": ("up", "stay"), "down": ("down", "stay")},
    "pan": {"pan left": ("stay", "left"), "pan right": ("stay", "right")},
    "tilt": {"tilt up": ("stay", "up"), "tilt down": ("stay", "down")},
    "roll": {"roll clockwise": ("stay", "clockwise"), "roll counterclockwise": ("stay", "counterclockwise")},
    "truck": {"truck left": ("truckleft", "stay"), "truck right": ("truckright", "stay")},
    "pedestal": {"pedestal up": ("pedestalup", "stay"), "pedestal down": ("pedestaldown", "stay")},
    "diagonal": {
        f"{side} {height} {angle}": (f"{side}{height}{angle}", "stay")
        for side, height, angle in (
            ("left", "up", 30),
            ("right", "up", 45),
            ("left", "down", 45),
            ("right", "down", 60),
        )
    },
}
MOTIONS = {kind: motions for kind, motions in _MOTIONS.items() if kind in KINDS}
"""For each class of motion that the world trains, its motions by name: direction and rotate of the language.

Zooms are not among them: the tracker is given the focal length.
"""

_PROGRAM_SHARE, _HOLD_SHARE = 0.16, 0.04


@dataclass(frozen=True)
class HeldOutClip:
    """One clip before rendering."""

    number: int
    """From 0, in the set."""
    scene: int
    """Clips with the same number share room and lens, and so their first frame."""
    kind: str
    """A class of MOTIONS, "program" or "hold"."""
    motion: str
    """Its name within the class."""
    speed: str
    """"high", "low", or "" for programs and holds."""
    moves: tuple[Move, ...]
    track: CameraTrack
    """The commanded camera, relative to frame 0."""
    world: World
    text: str
    """What is there; the camera is not in it."""

    @property
    def camera_text(self) -> str:
        """The moves in the trajectory language."""
        return format_moves(self.moves)


@dataclass(frozen=True)
class _Wish:
    """What is wanted of the clips of one scene."""

    kind: str
    motion: str
    alternatives: tuple[tuple[str, tuple[Move, ...]], ...]
    """Speed and moves of each clip."""


def plan_held_out(clips: int, seed: int, frames: int, fps: float, aspect: float) -> list[HeldOutClip]:
    """Plan a set: about 80 % pairs (high, low) over all motions in turn, 16 % programs, 4 % holds.

    Args:
        clips: their number, 2 or more.
        seed: of the scenes; the motions follow from `clips` alone.
        frames, fps: of every clip.
        aspect: width / height of the pictures.
    """
    planned: list[HeldOutClip] = []
    for scene, wish in enumerate(_wishes(clips, seed, (frames - 1) / fps)):
        rng = random.Random(f"held out/{seed}/{scene}")
        lens = default_intrinsics(aspect, hfov_deg := rng.uniform(*HFOV_RANGE_DEG))
        tracks = [compile_moves(moves, frames, fps, lens) for _, moves in wish.alternatives]
        # the room holds all of these paths, and their mirror images
        world = build_world(rng, np.concatenate([track.c2w[:, :3, 3].numpy() for track in tracks]), hfov_deg)
        text = f"Object: {describe(world, range(len(world.solids)))}"
        for (speed, moves), track in zip(wish.alternatives, tracks, strict=True):
            planned.append(HeldOutClip(len(planned), scene, wish.kind, wish.motion, speed, moves, track, world, text))
    return planned


def _wishes(clips: int, seed: int, seconds: float) -> list[_Wish]:
    names = [(kind, motion) for kind, motions in MOTIONS.items() for motion in motions]
    programs, holds = round(clips * _PROGRAM_SHARE), round(clips * _HOLD_SHARE)
    pairs = (clips - programs - holds) // 2
    programs = clips - 2 * pairs - holds
    wishes = [_pair(*names[index % len(names)], seconds) for index in range(pairs)]
    wishes += [_program(random.Random(f"program/{seed}/{index}"), names, index, seconds) for index in range(programs)]
    return wishes + [_Wish("hold", "hold", (("", (Move(0.0, seconds, 1.0, "stay"),)),))] * holds


def _pair(kind: str, motion: str, seconds: float) -> _Wish:
    direction, rotate = MOTIONS[kind][motion]
    end = seconds if rotate == "stay" else min(seconds, TURN_SECONDS)
    return _Wish(
        kind,
        motion,
        tuple((word, (Move(0.0, end, SPEEDS[word], direction, rotate),)) for word in SPEED_WORDS),
    )


def _program(rng: random.Random, names: list[tuple[str, str]], index: int, seconds: float) -> _Wish:
    """Two different motions, each for about a third of the time, with gaps in which the camera stands."""
    first, second = names[index % len(names)], rng.choice(names)
    while second[0] == first[0]:
        second = rng.choice(names)
    times = [round(seconds * (share + rng.uniform(-0.04, 0.04)), 2) for share in (0.14, 0.46, 0.6, 0.9)]
    moves = tuple(
        Move(start, end, SPEEDS["high"], *MOTIONS[kind][motion])
        for start, end, (kind, motion) in zip(times[::2], times[1::2], (first, second), strict=True)
    )
    return _Wish("program", f"{first[1]}, then {second[1]}", (("", moves),))
