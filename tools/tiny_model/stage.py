"""What the stages of the tiny model's training share: clips, schedule and the story that weights carry."""

import argparse

import torch

from tools.procedural_world.clips import WORLD_VERSION
from tools.procedural_world.live import LiveClips
from tools.tiny_model.schedule import WARMUP_STEPS, Schedule
from wan.config import WAN_CONFIGS

TASK = WAN_CONFIGS["i2v-tiny"]
HELD_OUT_SEED = 1_000_003
"""Of clips that no training sees."""


def stream(
    args: argparse.Namespace, device: torch.device, seed: int, first: int = 0, rank: int = 0, world: int = 1
) -> LiveClips:
    """Fresh clips of a seed, planned by processes where they are for training; each rank takes every world-th batch."""
    workers = args.workers if seed == args.seed else 0
    begin = first + rank * args.render_batch
    kind = (TASK.frames, TASK.fps, TASK.size)
    return LiveClips(seed, args.render_batch, *kind, device, workers, begin, world, args.compile)


def schedule(args: argparse.Namespace, warmup: int = WARMUP_STEPS) -> Schedule:
    """The schedule that the options ask for."""
    return Schedule(args.learning_rate, args.minutes, args.steps, args.decay_share, warmup)


def story(args: argparse.Namespace, steps: int) -> dict[str, str]:
    """Metadata of trained weights."""
    return {
        "task": "i2v-tiny",
        "base_task": "i2v-tiny",
        "trained": "yes",
        "trained_steps": str(steps),
        "seed": str(args.seed),
        "data": f"procedural world {WORLD_VERSION}",
    }
