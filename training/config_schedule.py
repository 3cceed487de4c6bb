"""The flags of the course of the learning rate. Imports nothing heavy."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

from training.options import option

SCHEDULERS = (
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "cosine_with_min_lr",
    "warmup_stable_decay",
    "piecewise_constant",
    "adafactor",
    "rex",
)


def steps_or_ratio(text: str) -> int | float:
    """A number of steps ("100"), or a share of all steps ("0.05", "5%").

    Raises:
        argparse.ArgumentTypeError: neither of these.
    """
    try:
        value = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of steps (100) or a share (0.05, 5%)") from None
    return int(value) if value.is_integer() and not text.endswith("%") else value


@dataclass(frozen=True)
class ScheduleOptions:
    """The part of `training.config.TrainingConfig` that is about the learning rate's course."""

    lr_scheduler: str = option("constant", "course of the learning rate; see docs/training.md", choices=SCHEDULERS)
    lr_warmup_steps: int | float = option(
        0, "steps of rising learning rate; below 1 or with %% a share of all steps", type=steps_or_ratio
    )
    lr_decay_steps: int | float = option(
        0, "steps of falling learning rate at the end of warmup_stable_decay, likewise", type=steps_or_ratio
    )
    lr_scheduler_num_cycles: int = option(1, "restarts of cosine_with_restarts", type=int)
    lr_scheduler_power: float = option(1.0, "exponent of polynomial", type=float)
    lr_scheduler_timescale: int | None = option(
        None, "steps after which inverse_sqrt begins to fall; default: the warm-up, or 10000", type=int
    )
    lr_scheduler_min_lr_ratio: float | None = option(
        None, "share of the learning rate that cosine_with_min_lr, warmup_stable_decay and rex end at", type=float
    )
    lr_scheduler_type: str | None = option(
        None, "scheduler class of torch.optim.lr_scheduler or by dotted path, instead of --lr_scheduler", metavar="NAME"
    )
    lr_scheduler_args: Sequence[str] | None = option(
        None, "its arguments, e.g. T_max=100; of piecewise_constant: step_rules=...", nargs="*", metavar="KEY=VALUE"
    )

    def check_schedule(self) -> None:
        """Refuse numbers out of range.

        Raises:
            ValueError: names the flag.
        """
        for flag in ("lr_warmup_steps", "lr_decay_steps"):
            value = getattr(self, flag)
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"--{flag} {value}: must not be negative")
            if value > 1 and not float(value).is_integer():
                raise ValueError(f"--{flag} {value}: whole steps, or a share below 1")
        for flag in ("lr_scheduler_num_cycles", "lr_scheduler_timescale"):
            value = getattr(self, flag)
            if value is not None and value < 1:
                raise ValueError(f"--{flag} {value}: at least 1 is needed")
        if not (self.lr_scheduler_power > 0 and math.isfinite(self.lr_scheduler_power)):
            raise ValueError(f"--lr_scheduler_power {self.lr_scheduler_power}: a positive number is needed")
        if self.lr_scheduler_min_lr_ratio is not None and not 0.0 <= self.lr_scheduler_min_lr_ratio < 1.0:
            raise ValueError(f"--lr_scheduler_min_lr_ratio {self.lr_scheduler_min_lr_ratio}: a share below 1 is needed")
