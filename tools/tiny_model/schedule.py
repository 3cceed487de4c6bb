"""How long a training of the tiny model lasts, in minutes or in steps, and its learning rate on the way."""

import math
import time
from dataclasses import dataclass, field

WARMUP_STEPS = 300


@dataclass
class Schedule:
    """Warm-up over the first steps of the run, then constant, then a cosine to 0 over the last share of the run."""

    highest: float
    """Learning rate between warm-up and decay."""
    minutes: float | None
    """Length of the run; or"""
    steps: int | None
    """its number of optimizer steps. Exactly one of the two is given."""
    decay_share: float
    """Share of the run in which the learning rate falls; 0 for a run that is to be continued."""
    warmup: int = WARMUP_STEPS
    taken: int = 0
    """Steps of this run."""
    begun: float = field(default_factory=time.monotonic)

    def restart_clock(self) -> None:
        """Begin to count the minutes, after steps that went into compiling."""
        self.begun = time.monotonic()

    @property
    def over(self) -> float:
        """Share of the run that is over; 1 and more when it is to end."""
        if self.steps is not None:
            return self.taken / max(1, self.steps)
        assert self.minutes is not None
        return (time.monotonic() - self.begun) / (60.0 * self.minutes) if self.minutes else 1.0

    def learning_rate(self) -> float:
        """For the next step."""
        warm = min(1.0, (self.taken + 1) / self.warmup)
        left = (1.0 - self.over) / self.decay_share if self.decay_share else 1.0
        return self.highest * warm * 0.5 * (1.0 - math.cos(math.pi * min(1.0, max(0.0, left))))
