"""The course of the learning rate, by transformers' names (`--lr_scheduler`)."""

import torch
from transformers.optimization import get_scheduler

from common.logs import get_logger

log = get_logger("training")


def warmup_steps(value: int | float, total_steps: int) -> int:
    """Steps of warm-up; a value below 1 is a share of all steps.

    Raises:
        ValueError: it is longer than the run.
    """
    steps = int(value * total_steps) if value < 1 else int(value)
    if steps > total_steps:
        raise ValueError(f"--lr_warmup_steps {value}: the whole run has only {total_steps} steps")
    return steps


def make_scheduler(
    name: str, optimizer: torch.optim.Optimizer, warmup: int | float, total_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The scheduler `name`, to be stepped once after each optimizer step of the whole run (not once per process)."""
    steps = warmup_steps(warmup, total_steps)
    if name == "constant" and steps:
        log.warning("--lr_warmup_steps %s has no effect with constant; use constant_with_warmup", warmup)
    return get_scheduler(name, optimizer, num_warmup_steps=steps, num_training_steps=total_steps)
