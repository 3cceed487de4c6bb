"""What runs beside the encoder: processes that load, the thread that prepares, the thread that writes."""

import dataclasses
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dataset.ahead import WriterThread, loaded_batches
from dataset.kinds import LatentCaching
from dataset.processes import LoaderProcesses
from tests.dataset.helpers import I2V, encode_latents


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    number: int
    frames: np.ndarray
    control: np.ndarray | None = None
    empty: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))


def job(number):
    return SimpleNamespace(number=number, item=SimpleNamespace(path=Path(f"clip{number}.mp4")))


def load(job):
    number = job.number
    if number == 13:
        raise ValueError("clip13 is damaged")
    if number == 14:
        raise FileNotFoundError(2, "No such file", "clip14.mp4")
    if number == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    frames = np.full((3, 50, 70, 3), number, np.uint8)
    control = np.arange(number * 5, dtype=np.float32).reshape(number, 5) if number % 2 else None
    return Loaded(number, frames[:, ::-1], control)


@pytest.fixture(scope="module")
def processes():
    made = LoaderProcesses(load, 2)
    yield made
    made.close()


def test_arrays_come_back_whole_and_may_be_written_to(processes):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in (1, 2, 3, 12):
        found, wanted = processes(job(number)), load(job(number))
        np.testing.assert_array_equal(found.frames, wanted.frames)
        assert (found.control is None) == (wanted.control is None)
        if wanted.control is not None:
            np.testing.assert_array_equal(found.control, wanted.control)
        assert found.empty.shape == (0, 3) and found.number == number
        found.frames[:] = 0
    del found
    assert len(list(Path("/proc/self/fd").iterdir())) == before, "a descriptor was left open"


def test_errors_come_back_as_they_are(processes):
    with pytest.raises(ValueError, match="clip13 is damaged"):
        processes(job(13))
    with pytest.raises(FileNotFoundError, match=r"clip14\.mp4"):
        processes(job(14))
    assert processes(job(4)).number == 4


def test_a_process_that_dies_is_named_with_its_file():
    made = LoaderProcesses(load, 1)
    try:
        with pytest.raises(ValueError, match=r"clip15\.mp4: the process.*code -9.*--num_workers"):
            made(job(15))
    finally:
        made.close()


def test_processes_and_threads_write_the_same_caches(project):
    project.videos(["x"] * 3, extra="batch_size = 2")
    assert project.cache_latents(processes=True, kind=LatentCaching(I2V)) == 3
    first = {path.name: path.read_bytes() for path in (project.root / "cache").iterdir()}
    assert project.cache_latents(processes=False, kind=LatentCaching(I2V)) == 3
    assert {path.name: path.read_bytes() for path in (project.root / "cache").iterdir()} == first


@pytest.mark.parametrize(("threads", "batch"), [(1, 1), (3, 2), (2, 5)])
def test_no_more_is_loaded_than_the_bound(threads, batch):
    lock, state = threading.Lock(), {"held": 0, "most": 0}

    def count(number):
        with lock:
            state["held"] += 1
            state["most"] = max(state["most"], state["held"])
        return number

    jobs = list(range(40))
    batches = [jobs[i : i + batch] for i in range(0, 40, batch)]
    seen = []
    for numbers, loaded in loaded_batches(batches, count, sum, threads):
        assert loaded == sum(numbers)
        seen += numbers
        with lock:
            state["held"] -= len(numbers)
    assert seen == jobs
    assert state["most"] <= threads + 2 * batch


def test_what_was_handed_over_is_written_even_after_an_error():
    written = []
    with pytest.raises(KeyboardInterrupt), WriterThread(lambda job, result: written.append((job, result))) as writer:
        for number in range(5):
            writer.put([number], [number * 2])
        raise KeyboardInterrupt
    assert written == [(number, number * 2) for number in range(5)] and writer.written == 5


def test_an_error_of_the_writer_surfaces_and_later_results_are_still_written():
    written = []

    def write(job, result):
        if job == 1:
            raise OSError("disk full")
        written.append(job)

    with pytest.raises(OSError, match="disk full"), WriterThread(write) as writer:
        for number in range(10):
            writer.put([number], [None])
    assert 0 in written and 1 not in written
    with pytest.raises(OSError, match="disk full"), WriterThread(write) as writer:
        writer.put([1], [None])


def test_nan_at_the_last_batch_is_not_lost_in_the_thread(project):
    project.videos(["x"] * 3)
    values = iter([1.0, 2.0, float("nan")])
    with pytest.raises(ValueError, match=r"v2_.*'latents'"):
        project.cache_latents(lambda clips: encode_latents(clips, next(values)))
    assert len(project.caches()) == 2
