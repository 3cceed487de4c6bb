"""The one caching loop: plan, skip what is there, read ahead, encode, write, prune. It serves all three kinds."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from common.logs import get_logger
from common.progress import progress
from dataset.config import DatasetEntry
from dataset.names import LatentName, list_names
from dataset.sources import ItemGroup, MediaItem, shorten

logger = get_logger("dataset")

_SHOWN_ERRORS = 5


class Job(Protocol):
    """One cache file to be made."""

    @property
    def item(self) -> MediaItem:
        """The medium it belongs to."""
        ...

    @property
    def target(self) -> Path:
        """The file."""
        ...

    @property
    def bucket(self) -> Hashable:
        """Jobs of one data set and one bucket may share a batch."""
        ...


J = TypeVar("J", bound=Job)
L = TypeVar("L")
R = TypeVar("R")


class CacheKind(ABC, Generic[J, L, R]):
    """What the loop must know of a kind of cache; the three kinds are in `dataset.kinds`."""

    label: ClassVar[str]
    """Name of the kind, for messages."""

    @abstractmethod
    def jobs(self, item: MediaItem, lying: Sequence[LatentName]) -> list[J]:
        """The caches of an item, given the caches of it that `survey` found; called from threads."""

    @abstractmethod
    def is_fresh(self, job: J) -> bool:
        """True when the file exists and is what this run would write; called from threads."""

    @abstractmethod
    def load(self, job: J) -> L:
        """What the encoder needs; called from threads."""

    @abstractmethod
    def write(self, job: J, result: R) -> None:
        """Write the file, whole or not at all."""

    @abstractmethod
    def owns(self, name: str, entry: DatasetEntry) -> bool:
        """True for file names of this kind: only those may be pruned."""

    def check(self, groups: Sequence[ItemGroup]) -> None:
        """Refuse, before anything is read, what cannot be cached."""

    def survey(self, entry: DatasetEntry) -> Mapping[str, Sequence[LatentName]]:
        """What lies in the cache folder, by item, as far as `jobs` can use it."""
        return {}

    def review(self, jobs: Sequence[J]) -> None:
        """Warn of what all jobs together show."""


@dataclass(frozen=True)
class CachingPlan(Generic[J, L, R]):
    """All that a run will do, known before an encoder is loaded."""

    kind: CacheKind[J, L, R]
    groups: tuple[ItemGroup, ...]
    todo: tuple[J, ...]
    """Caches to be made, in the order of the data set."""
    expected: frozenset[Path]
    """Every cache of this kind that belongs to the data set."""


@dataclass(frozen=True)
class _ItemPlan(Generic[J]):
    jobs: list[J]
    todo: list[J]
    error: str = ""


def plan_caching(
    groups: Sequence[ItemGroup], kind: CacheKind[J, L, R], *, skip_existing: bool, num_workers: int | None = None
) -> CachingPlan[J, L, R]:
    """Find out which caches there must be and which of them are to be made; no picture is decoded.

    Args:
        groups: from `dataset.sources.load_items`.
        kind: LatentCaching, TextCaching or CameraCaching.
        skip_existing: leave out caches that exist and are fresh; without it, all are made again.
        num_workers: threads; None for the number of cores - 1.

    Raises:
        ValueError: media are unreadable (the first are named), every video is too short, or a camera is missing.
    """
    kind.check(groups)
    items = [item for group in groups for item in group.items]
    lying = {group.entry: kind.survey(group.entry) if skip_existing else {} for group in groups}

    def plan_one(item: MediaItem) -> _ItemPlan[J]:
        try:
            jobs = kind.jobs(item, lying[item.entry].get(item.key, ()))
            return _ItemPlan(jobs, [job for job in jobs if not (skip_existing and kind.is_fresh(job))])
        except (ValueError, OSError) as error:
            return _ItemPlan([], [], str(error))

    plans: list[_ItemPlan[J]] = []
    with (
        ThreadPoolExecutor(_threads(num_workers)) as pool,
        progress(len(items), f"planning {kind.label} caches", "item") as bar,
    ):
        for plan in pool.map(plan_one, items):
            plans.append(plan)
            bar.update()
    _refuse_unusable(items, plans)
    kind.review([job for plan in plans for job in plan.jobs])
    todo = tuple(job for plan in plans for job in plan.todo)
    expected = frozenset(job.target for plan in plans for job in plan.jobs)
    logger.info(f"{kind.label} caches: {len(todo)} to make, {len(expected) - len(todo)} there and up to date")
    return CachingPlan(kind, tuple(groups), todo, expected)


def _refuse_unusable(items: Sequence[MediaItem], plans: Sequence[_ItemPlan[J]]) -> None:
    errors = [plan.error for plan in plans if plan.error]
    if errors:
        shown = "\n".join(errors[:_SHOWN_ERRORS])
        raise ValueError(f"{len(errors)} of {len(items)} items cannot be cached:\n{shown}" if errors[1:] else shown)
    too_short = [item.path.name for item, plan in zip(items, plans, strict=True) if not plan.jobs]
    if len(too_short) == len(items):
        raise ValueError(f"nothing to cache: every video is shorter than its target_frames: {shorten(too_short)}")
    if too_short:
        logger.warning(f"{len(too_short)} videos are shorter than every clip length, left out: {shorten(too_short)}")


def run_caching(
    plan: CachingPlan[J, L, R],
    encode: Callable[[list[L]], Sequence[R]],
    *,
    batch_size: int | None = None,
    keep_cache: bool = False,
    num_workers: int | None = None,
) -> int:
    """Make the caches of a plan, then delete those of its kind that do not belong to the data set.

    Every file is whole or not there, so the run may be stopped at any time and goes on where it was with
    skip_existing. Nothing is deleted by a run that did not come to its end.

    Args:
        plan: from `plan_caching`.
        encode: takes the loaded jobs of one batch (same data set, same bucket), returns one result for each.
        batch_size: can only shrink the batches of the TOML, as in musubi-tuner.
        keep_cache: delete nothing.
        num_workers: threads that load ahead; None for the number of cores - 1.

    Returns:
        the number of files written.

    Raises:
        ValueError: a medium is damaged or an encoder gave NaN; names the file. What was written stays.
    """
    written = 0
    try:
        with (
            closing(loaded_batches(plan, batch_size, num_workers)) as batches,
            progress(len(plan.todo), f"{plan.kind.label} caches", "file", disable=not plan.todo) as bar,
        ):
            for jobs, loaded in batches:
                results = encode(loaded)
                for job, result in zip(jobs, results, strict=True):
                    plan.kind.write(job, result)
                    written += 1
                    bar.update()
    finally:
        if written < len(plan.todo):
            logger.warning(f"stopped after {written} of {len(plan.todo)} files; --skip_existing goes on from there")
    _prune(plan, keep_cache)
    return written


def loaded_batches(
    plan: CachingPlan[J, L, R], batch_size: int | None = None, num_workers: int | None = None
) -> Generator[tuple[list[J], list[L]], None, None]:
    """The jobs of a plan in batches, loaded by threads that stay one batch and `num_workers` jobs ahead."""
    threads = _threads(num_workers)
    waiting: deque[tuple[list[J], list[Future[L]]]] = deque()
    in_flight = 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            for batch in _batches(plan.todo, batch_size):
                waiting.append((batch, [pool.submit(plan.kind.load, job) for job in batch]))
                in_flight += len(batch)
                while waiting and in_flight - len(waiting[0][0]) >= threads:
                    jobs, futures = waiting.popleft()
                    yield jobs, [future.result() for future in futures]
                    in_flight -= len(jobs)
            while waiting:
                jobs, futures = waiting.popleft()
                yield jobs, [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _batches(todo: Sequence[J], batch_size: int | None) -> Iterator[list[J]]:
    """Jobs of one data set and bucket together, in order; the last batch of a bucket may be smaller."""
    collecting: dict[Hashable, list[J]] = {}
    for job in todo:
        entry = job.item.entry
        batch = collecting.setdefault((entry, job.bucket), [])
        batch.append(job)
        if len(batch) >= min(entry.batch_size, batch_size or entry.batch_size):
            yield collecting.pop((entry, job.bucket))
    yield from collecting.values()


def _prune(plan: CachingPlan[J, L, R], keep: bool) -> None:
    """Delete, or with `keep` only count, the caches of this kind that belong to no item."""
    for group in plan.groups:
        folder = group.entry.cache_directory
        foreign = [
            folder / name
            for name in list_names(folder)
            if plan.kind.owns(name, group.entry) and folder / name not in plan.expected
        ]
        if not foreign:
            continue
        names = shorten([path.name for path in foreign])
        if keep:
            logger.info(f"{folder}: kept {len(foreign)} {plan.kind.label} caches of no item of the data set: {names}")
            continue
        for path in foreign:
            path.unlink(missing_ok=True)
        logger.info(f"{folder}: deleted {len(foreign)} {plan.kind.label} caches of no item of the data set: {names}")


def _threads(num_workers: int | None) -> int:
    return max(1, (cpu_count() or 2) - 1 if num_workers is None else num_workers)
