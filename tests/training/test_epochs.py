"""Epochs through the loader, with workers and ranks: every clip once, in one order, from any place on.

In musubi-tuner (issue 283) the shuffle happened in the data set's copy of each worker process, when that worker saw a
new epoch, and batches came twice or never.
"""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from tests.dataset.named_set import NamedSet, make_clips, make_entry
from training.loader import BatchLoader
from training.order import Layout

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def make_set(kind: type[NamedSet] = NamedSet) -> NamedSet:
    clips = make_clips(make_entry("a", batch_size=2), [0, 1] * 10 + [2])
    return kind(clips + make_clips(make_entry("b", batch_size=3, num_repeats=2, dropout=0.3), [0] * 7))


class ShuffledInWorkers(NamedSet):
    """musubi-tuner's mistake: what a number means changes with the epoch, in whichever copy hears of it."""

    def __init__(self, clips: Any) -> None:
        super().__init__(clips)
        self.shuffled = list(range(2 * len(clips)))
        self.reads = 0

    def __getitem__(self, indices: Sequence[int]) -> Any:
        self.reads += 1
        if self.reads == 5:
            random.Random(1).shuffle(self.shuffled)
        return super().__getitem__([self.shuffled[index] for index in indices])


def read(
    data: NamedSet, ranks: int, workers: int, epochs: Sequence[tuple[int, int]], persistent: bool = True
) -> list[list[list[list[str]]]]:
    """The batches of each rank in each (epoch, start), by the names of their clips."""
    loaders = [
        BatchLoader(data, Layout(ranks, 1, rank), 5, workers, persistent=persistent and workers > 0, pin_memory=False)
        for rank in range(ranks)
    ]
    return [
        [[batch["item_keys"] for batch in loader.epoch(epoch, start)] for epoch, start in epochs] for loader in loaders
    ]


def names(order: Sequence[Sequence[int]]) -> list[list[str]]:
    return [[str(index) for index in batch] for batch in order]


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_epoch_is_the_one_order_whatever_ranks_and_workers(ranks: int, workers: int) -> None:
    data = make_set()
    read_by_rank = read(data, ranks, workers, [(0, 0), (1, 0), (2, 0)])
    for epoch in range(3):
        order = names(data.batch_order(5, epoch))
        for rank in range(ranks):
            assert read_by_rank[rank][epoch] == order[rank::ranks]


@pytest.mark.parametrize(("ranks", "workers"), [(1, 4), (2, 0), (3, 1)])
def test_an_epoch_goes_on_where_it_stopped_with_other_ranks_and_workers(ranks: int, workers: int) -> None:
    """Two ranks with one worker each did the first six batches."""
    data = make_set()
    order = names(data.batch_order(5, 1))
    first = read(data, 2, 1, [(1, 0)])
    assert [batches[0][:3] for batches in first] == [order[0:6:2], order[1:6:2]]
    rest = read(data, ranks, workers, [(1, 6), (2, 0)])
    for rank in range(ranks):
        assert rest[rank][0] == order[6:][rank::ranks]
        assert rest[rank][1] == names(data.batch_order(5, 2))[rank::ranks]


def test_this_would_notice_a_shuffle_in_the_workers() -> None:
    broken = make_set(ShuffledInWorkers)
    (epochs,) = read(broken, 1, 2, [(0, 0)])
    seen = [key for batch in epochs[0] for key in batch]
    assert sorted(seen) != sorted(key for batch in names(make_set().batch_order(5, 0)) for key in batch)
