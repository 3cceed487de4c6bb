"""What runs beside the encoder: loading ahead of it, and writing behind it, both within bounds."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

J = TypeVar("J")
L = TypeVar("L")
P = TypeVar("P")
R = TypeVar("R")

_WAITING_BATCHES = 2


def loaded_batches(
    batches: Sequence[Sequence[J]], load: Callable[[J], L], prepare: Callable[[list[L]], P], threads: int
) -> Generator[tuple[Sequence[J], P], None, None]:
    """Batches of jobs with what was loaded for them, in order.

    At no time are more than `threads` jobs plus two batches loaded or being loaded, the one that was handed out last
    included.

    Args:
        batches: the jobs.
        load: called from `threads` threads.
        prepare: puts what was loaded for one batch together; called in one more thread, while the last one is used.
        threads: how many jobs are loaded at once.

    Raises:
        whatever `load` and `prepare` raise, when the batch is due.
    """
    waiting: deque[tuple[Sequence[J], Future[P]]] = deque()
    in_flight = 0
    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as preparing:

        def start(batch: Sequence[J]) -> None:
            futures = [pool.submit(load, job) for job in batch]
            waiting.append((batch, preparing.submit(_prepared, futures, prepare)))

        try:
            for batch in batches:
                start(batch)
                in_flight += len(batch)
                while waiting and in_flight - len(waiting[0][0]) >= threads:
                    jobs, future = waiting.popleft()
                    yield jobs, future.result()
                    in_flight -= len(jobs)
            while waiting:
                jobs, future = waiting.popleft()
                yield jobs, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            preparing.shutdown(wait=False, cancel_futures=True)


def _prepared(futures: list[Future[L]], prepare: Callable[[list[L]], P]) -> P:
    loaded = [future.result() for future in futures]
    # a future keeps its result as long as it is known
    futures.clear()
    return prepare(loaded)


class WriterThread(Generic[J, R]):
    """Writes results in a thread of its own, in order, and at most two batches behind.

    An error of `write` is raised by the next `put`, or by leaving the context; what was put before is written even
    when the context is left by an error or Ctrl-C.
    """

    def __init__(self, write: Callable[[J, R], None]) -> None:
        self._write = write
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[Future[int]] = deque()
        self.written = 0
        """Files that are whole on the disk."""

    def put(self, jobs: Sequence[J], results: Sequence[R]) -> int:
        """Hand over the results of a batch; returns how many files were finished since the last call."""
        finished = 0
        while len(self._pending) >= _WAITING_BATCHES:
            finished += self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._write_all, list(jobs), list(results)))
        return finished

    def _write_all(self, jobs: list[J], results: list[R]) -> int:
        for job, result in zip(jobs, results, strict=True):
            self._write(job, result)
            self.written += 1
        return len(jobs)

    def __enter__(self) -> "WriterThread[J, R]":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until all is written."""
        self._pool.shutdown(wait=True)
        if kind is None:
            for future in self._pending:
                future.result()
