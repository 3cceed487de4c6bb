"""The one global order of a run: which batch comes when, for which process, with which random numbers.

The training set orders an epoch's batches by (seed, epoch) alone. Everything here is a function of (seed, epoch,
position in that order), never of how many processes share the work. So one
process with accumulation 2 sees exactly what two processes without it see, and a resumed run sees what it would have
seen; no state of a random generator has to be kept.
"""

from dataclasses import dataclass

import numpy as np

_BATCH, _STEP, _EPOCH = 0, 1, 2


def derived_seed(*parts: int) -> int:
    """One 64-bit seed from several non-negative numbers, well mixed (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def batch_seed(seed: int, epoch: int, position: int) -> int:
    """Seed of everything random about the batch at `position` of an epoch: sigma, noise, dropout."""
    return derived_seed(seed, _BATCH, epoch, position)


@dataclass(frozen=True)
class BatchPlace:
    """Where in a run a batch comes; all that is random about it follows from this."""

    run_seed: int
    """Seed of the run."""
    epoch: int
    """From 0 on."""
    position: int
    """In the epoch's order, over all processes."""
    batches: int
    """Of the epoch, over all processes."""

    @property
    def seed(self) -> int:
        """Seed of everything random about the batch."""
        return batch_seed(self.run_seed, self.epoch, self.position)

    @property
    def epoch_seed(self) -> int:
        """Seed of what is random about the whole epoch beside its order."""
        return derived_seed(self.run_seed, _EPOCH, self.epoch)


def step_seed(seed: int, step: int) -> int:
    """Seed of what is random in an optimizer's step, the same in every process."""
    return derived_seed(seed, _STEP, step)


@dataclass(frozen=True)
class Layout:
    """How the batches of an epoch fall to the processes: micro-batch a of rank r of a step is its a·W + r-th."""

    processes: int
    """Processes that share the work, W."""
    accumulation: int
    """Micro-batches per process and optimizer step, A."""
    rank: int = 0
    """This process, 0 ... W - 1."""

    @property
    def stride(self) -> int:
        """Batches in a complete optimizer step, over all processes."""
        return self.processes * self.accumulation

    def steps(self, batches: int) -> int:
        """Optimizer steps that `batches` make; the last may be incomplete."""
        return -(-batches // self.stride)

    def taken(self, start: int, batches: int) -> int:
        """How many batches the step that begins at position `start` really has."""
        return min(self.stride, batches - start)

    def positions(self, start: int, batches: int) -> list[int]:
        """The positions this rank takes in the step that begins at `start`, fewer at the end of an epoch."""
        return list(range(start + self.rank, min(start + self.stride, batches), self.processes))
