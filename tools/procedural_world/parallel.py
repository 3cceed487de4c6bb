"""Several clips at once on the cores of a CPU: one thread and one clip per core.

torch would rather split each small operation over all cores and wait for the slowest after every one, which costs
most on a machine that is also busy with something else.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_each(
    function: Callable[[Item], Result], items: Iterable[Item], device: torch.device | str = "cpu"
) -> Iterator[Result]:
    """Results of `function` for every item, as they get ready; one after the other on a GPU.

    The first error ends it; items not begun by then are dropped.
    """
    if torch.device(device).type != "cpu":
        yield from map(function, items)
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(usable_cores(), initializer=torch.set_num_threads, initargs=(1,))
    try:
        for done in as_completed([pool.submit(function, item) for item in items]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def usable_cores() -> int:
    """Cores this process may use, which a container or `taskset` limits."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
