"""The global order of batches: every batch once, whoever takes it, and the same random numbers for it."""

import pytest

from tests.training.tiny_run import RandomSet
from training.loader import BatchLoader
from training.order import Layout, batch_seed, derived_seed, step_seed


@pytest.mark.parametrize("batches", [1, 4, 5, 11, 12])
@pytest.mark.parametrize(("processes", "accumulation"), [(1, 1), (1, 2), (2, 1), (2, 3), (4, 1)])
def test_every_batch_is_taken_once_in_the_step_of_its_place(batches: int, processes: int, accumulation: int) -> None:
    layouts = [Layout(processes, accumulation, rank) for rank in range(processes)]
    stride = layouts[0].stride
    start = steps = 0
    while start < batches:
        taken = sorted(position for layout in layouts for position in layout.positions(start, batches))
        assert taken == list(range(start, min(start + stride, batches)))
        assert layouts[0].taken(start, batches) == len(taken)
        start, steps = start + len(taken), steps + 1
    assert steps == layouts[0].steps(batches)


def test_micro_batch_a_of_rank_r_is_a_times_w_plus_r() -> None:
    assert Layout(2, 3, 1).positions(6, 100) == [7, 9, 11]


def test_seeds_differ_and_are_stable() -> None:
    seeds = {batch_seed(s, e, p) for s in (0, 1) for e in range(3) for p in range(50)}
    seeds |= {step_seed(s, n) for s in (0, 1) for n in range(50)}
    assert len(seeds) == 2 * 3 * 50 + 2 * 50
    # a state from another version of the program must resume with the same noise
    assert derived_seed(0, 42, 3, 7) == 16535914865861761646


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_gives_each_rank_its_share_in_order(workers: int) -> None:
    data = RandomSet(7)
    order = data.batch_order(5, 1)
    for rank in (0, 1):
        layout = Layout(2, 2, rank)
        loader = BatchLoader(data, layout, 5, workers, persistent=workers > 0, pin_memory=False)
        for start in (0, 4):
            expected = [order[p] for s in range(start, 7, 4) for p in layout.positions(s, 7)]
            keys = [batch["item_keys"] for batch in loader.epoch(1, start)]
            assert keys == [[f"clip{number}" for number in numbers] for numbers in expected]
