"""Trains in children of one process that are killed with SIGKILL at random moments, and goes on from what they left.

Run as `python kill_run.py FOLDER KILLS SEED`; prints the step at which each child was killed, and "finished".
"""

import dataclasses
import os
import random
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from dataset.batch import Batch
from tests.training.tiny_run import RandomSet, make_config, run
from training.config import TrainingConfig
from training.resume import newest_state, with_resume
from training.state import read_counters

CLIPS = 5
EPOCHS = 6


class TellingSet(RandomSet):
    """Says in a pipe that a batch was read."""

    pipe = -1

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        if self.pipe >= 0:
            os.write(self.pipe, b".")
        return super().__getitem__(indices)


def config_of(folder: Path) -> TrainingConfig:
    """Momentum, schedule, dropout, accumulation: all that a state has to hold."""
    return dataclasses.replace(
        make_config(folder, network_dropout=0.2, lr_scheduler="cosine", lr_warmup_steps=3),
        max_train_epochs=EPOCHS,
        gradient_accumulation_steps=2,
        save_state=True,
        save_every_n_steps=1,
        save_last_n_steps=2,
        resume="latest",
    )


def train_child(folder: Path, pipe: int) -> None:
    training_set = TellingSet(CLIPS)
    training_set.pipe = pipe
    run(with_resume(config_of(folder)), training_set)


def killed_child(folder: Path, batches: int, seconds: float) -> bool:
    """Start a child and kill it when it has read so many batches and some time has passed; whether it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            train_child(folder, writer)
            code = 0
        finally:
            # the child must not come back into the parent's loop; pytest shows what it wrote
            if code:
                traceback.print_exc()
            os._exit(code)
    os.close(writer)
    read = 0
    while read < batches and (got := os.read(reader, 1)):
        read += len(got)
    # one step takes some 20 ms, a good part of it writing
    select.select([], [], [], seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    os.close(reader)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


def main() -> int:
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    chance = random.Random(seed)
    done = 0
    for _ in range(kills):
        killed = killed_child(folder, chance.randrange(1, 6), chance.uniform(0.0, 0.04))
        newest = newest_state(config_of(folder))
        done = 0 if newest is None else read_counters(newest).step
        sys.stdout.write(f"{'killed' if killed else 'ended'} {done}\n")
    run(with_resume(config_of(folder)), RandomSet(CLIPS))
    sys.stdout.write("finished\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
