"""The course of the learning rate, by transformers' and diffusers' names (`--lr_scheduler`), or any class."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers.optimization import get_adafactor_schedule, get_scheduler

from common.logs import get_logger
from training.config_schedule import ScheduleOptions
from training.optimizers import parse_arguments

log = get_logger("training")

_DEFAULT_DECAY = 0.1


def whole_steps(value: int | float, total_steps: int, flag: str) -> int:
    """Steps that a flag asks for; a value below 1 is a share of all steps.

    Raises:
        ValueError: they are longer than the run.
    """
    steps = int(value * total_steps) if value < 1 else int(value)
    if steps > total_steps:
        raise ValueError(f"--{flag} {value}: the whole run has only {total_steps} steps")
    return steps


def make_scheduler(options: ScheduleOptions, optimizer: torch.optim.Optimizer, total_steps: int) -> LRScheduler:
    """The scheduler, to be stepped once after each optimizer step of the whole run (not once per process).

    Args:
        options: `lr_scheduler` and the numbers that it reads.
        optimizer: its learning rates are where the course begins from.
        total_steps: of the whole run.

    Raises:
        ValueError: a number does not fit the run or the scheduler; names the flag.
    """
    arguments = parse_arguments(options.lr_scheduler_args, "lr_scheduler_args")
    if options.lr_scheduler_type:
        return _custom(options.lr_scheduler_type, optimizer, arguments)
    name, warmup = options.lr_scheduler, whole_steps(options.lr_warmup_steps, total_steps, "lr_warmup_steps")
    if name in ("constant", "adafactor", "piecewise_constant") and warmup:
        log.warning("--lr_warmup_steps %s has no effect with %s", options.lr_warmup_steps, name)
    if name == "constant" and warmup:
        log.warning("use --lr_scheduler constant_with_warmup")
    if name == "rex":
        ratio = options.lr_scheduler_min_lr_ratio or 0.0
        return LambdaLR(optimizer, rex(warmup, total_steps, ratio))
    if name == "piecewise_constant":
        return LambdaLR(optimizer, piecewise_constant(str(arguments.get("step_rules", ""))))
    if name == "adafactor":
        if not hasattr(optimizer, "_get_lr"):
            raise ValueError(
                "--lr_scheduler adafactor follows the rate that the optimizer sets itself; it needs --optimizer_type "
                "transformers.optimization.Adafactor"
            )
        return get_adafactor_schedule(optimizer, optimizer.param_groups[0]["lr"])
    keywords = {**_numbers(options, total_steps), **arguments}
    try:
        return get_scheduler(
            name,
            optimizer,
            num_warmup_steps=warmup,
            num_training_steps=total_steps,
            scheduler_specific_kwargs=keywords,
        )
    except TypeError as error:
        raise ValueError(f"--lr_scheduler {name} --lr_scheduler_args: {error}") from None


def rex(warmup: int, total_steps: int, min_ratio: float) -> Callable[[int], float]:
    """Share of the learning rate at each step of REX (Chen et al. 2021, arXiv 2107.04197, equation 1).

    (1 - z) / (1/2 + (1 - z) / 2) at the share z of the steps after the warm-up, between 1 and `min_ratio`.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        rest = 1.0 - min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return min_ratio + (1.0 - min_ratio) * rest / (0.5 + 0.5 * rest)

    return factor


def piecewise_constant(rules: str) -> Callable[[int], float]:
    """Share of the learning rate at each step by rules as diffusers writes them: "1:100,0.1:200,0.01".

    That is 1 before step 100, 0.1 before step 200, and 0.01 from there on.

    Raises:
        ValueError: no such rules.
    """
    try:
        *parts, last = rules.split(",")
        pairs = [(int(part.split(":")[1]), float(part.split(":")[0])) for part in parts]
        final = float(last)
    except (ValueError, IndexError):
        raise ValueError(
            f"--lr_scheduler piecewise_constant: rules {rules!r}; expected --lr_scheduler_args "
            "step_rules='1:100,0.1:200,0.01'"
        ) from None

    def factor(step: int) -> float:
        return next((value for end, value in sorted(pairs) if step < end), final)

    return factor


def _numbers(options: ScheduleOptions, total_steps: int) -> dict[str, Any]:
    """The further arguments of transformers' schedulers."""
    name, ratio = options.lr_scheduler, options.lr_scheduler_min_lr_ratio
    if name == "cosine_with_restarts":
        return {"num_cycles": options.lr_scheduler_num_cycles}
    if name == "polynomial":
        return {"power": options.lr_scheduler_power}
    if name == "inverse_sqrt" and options.lr_scheduler_timescale is not None:
        return {"timescale": options.lr_scheduler_timescale}
    if name == "cosine_with_min_lr":
        return {"num_cycles": options.lr_scheduler_num_cycles / 2, "min_lr_rate": ratio or 0.0}
    if name == "warmup_stable_decay":
        decay = whole_steps(options.lr_decay_steps or _DEFAULT_DECAY, total_steps, "lr_decay_steps")
        cycles = options.lr_scheduler_num_cycles / 2
        return {"num_decay_steps": decay, "num_cycles": cycles, "min_lr_ratio": ratio or 0.0}
    return {}


def _custom(path: str, optimizer: torch.optim.Optimizer, arguments: dict[str, Any]) -> LRScheduler:
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module or "torch.optim.lr_scheduler"), name)
        return kind(optimizer, **arguments)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"--lr_scheduler_type {path}: {error}; expected a scheduler's class, and its "
            "arguments in --lr_scheduler_args"
        ) from None
