"""Loading in processes of their own: decoded pictures come back in shared memory, without a copy through a pipe.

A process writes the arrays of what it has loaded to memory that has no name (Linux: memfd_create) and passes the
descriptor on; the receiver maps it. Nothing of it stays behind, however the processes end, and the size of /dev/shm,
which containers keep at 64 MB, is no limit.
"""

import mmap
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from multiprocessing import get_context, reduction
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

import cv2
import numpy as np

from dataset.jobs import Job

J = TypeVar("J", bound=Job)
L = TypeVar("L")

CAN_SHARE = hasattr(os, "memfd_create")
"""Whether this system has nameless shared memory."""


@dataclass(frozen=True)
class _Place:
    """Where an array lies in the shared memory, and what it is."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    connection: Connection


class LoaderProcesses(Generic[J, L]):
    """Calls `load` in one of several processes; may be called from as many threads at once as there are processes.

    Args:
        load: takes a job; a function of a module, or a method of something that can be pickled. What it returns
            must be a dataclass whose arrays are its own fields; it may raise ValueError or OSError.
        count: processes; they start at once, and each imports the module of `load`.
    """

    def __init__(self, load: Callable[[J], L], count: int) -> None:
        assert CAN_SHARE and count > 0
        context = get_context("spawn")
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._workers: list[_Worker] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(load, theirs), daemon=True)
            process.start()
            theirs.close()
            worker = _Worker(process, cast(Connection, ours))
            self._workers.append(worker)
            self._idle.put(worker)

    def __call__(self, job: J) -> L:
        """What `load` returns for a job, its arrays in shared memory that is freed with them.

        Raises:
            ValueError, OSError: from `load`.
            ValueError: the process ended, by a damaged file or for want of memory.
        """
        worker = self._idle.get()
        try:
            worker.connection.send(job)
            answer, size = worker.connection.recv()
            memory = _receive(worker.connection, size) if size else None
        except (EOFError, ConnectionError):
            worker.process.join(1.0)
            raise ValueError(
                f"{job.item.path}: the process that loaded it ended with code {worker.process.exitcode}; is the file "
                "damaged, or the memory full (then try fewer --num_workers)?"
            ) from None
        finally:
            self._idle.put(worker)
        if isinstance(answer, ValueError | OSError):
            raise answer
        return answer if memory is None else _with_arrays(answer, memory)

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()


def _serve(load: Callable[[Any], Any], connection: Connection) -> None:
    """The life of a process: load what is asked for until the other end is closed."""
    # Ctrl-C reaches the whole group of processes; the one that asked decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    with suppress(EOFError, ConnectionError):
        while True:
            job = connection.recv()
            try:
                answer, arrays = _split(load(job))
                descriptor = _share(arrays) if arrays else None
            except ValueError as error:
                connection.send((ValueError(str(error)), 0))
            except OSError as error:
                connection.send((error, 0))
            else:
                _send(connection, answer, sum(array.nbytes for array in arrays), descriptor)


def _split(loaded: Any) -> tuple[Any, list[np.ndarray]]:
    """A loaded thing with places instead of its arrays, and the arrays."""
    if not is_dataclass(loaded) or isinstance(loaded, type):
        return loaded, []
    places: dict[str, _Place] = {}
    arrays: list[np.ndarray] = []
    offset = 0
    for field in fields(loaded):
        value = getattr(loaded, field.name)
        if isinstance(value, np.ndarray) and value.nbytes:
            places[field.name] = _Place(offset, value.shape, value.dtype.str)
            arrays.append(np.ascontiguousarray(value))
            offset += value.nbytes
    return replace(loaded, **places), arrays


def _share(arrays: list[np.ndarray]) -> int:
    """The descriptor of memory that holds the arrays, one after the other."""
    descriptor = os.memfd_create("omnicam")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            for array in arrays:
                file.write(array.data)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _send(connection: Connection, answer: Any, size: int, descriptor: int | None) -> None:
    connection.send((answer, size))
    if descriptor is not None:
        reduction.send_handle(connection, descriptor, os.getppid())
        os.close(descriptor)


def _receive(connection: Connection, size: int) -> mmap.mmap:
    descriptor = reduction.recv_handle(connection)
    try:
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def _with_arrays(answer: Any, memory: mmap.mmap) -> Any:
    """Put views of the memory where the places are."""
    found = {field.name: getattr(answer, field.name) for field in fields(answer)}
    arrays = {name: _view(memory, place) for name, place in found.items() if isinstance(place, _Place)}
    return replace(answer, **arrays)


def _view(memory: mmap.mmap, place: _Place) -> np.ndarray:
    count = int(np.prod(place.shape))
    return np.frombuffer(memory, place.dtype, count, place.offset).reshape(place.shape)
