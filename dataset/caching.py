"""The one caching loop: plan, skip what is there, read ahead, encode, write, prune. It serves all three kinds.

Several processes share the work without talking to each other: batches are formed from all jobs of the data set,
whatever is cached already, and batch i is the work of rank i mod n. A batch of which a file is missing is encoded whole
and the missing files are written, so that what a file holds depends neither on the number of processes nor on where an
earlier run was stopped.
"""

import logging
import os
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from common.logs import get_logger
from common.progress import progress
from common.ranks import Ranks
from dataset.ahead import WriterThread, loaded_batches
from dataset.jobs import CacheKind, J, L, R
from dataset.processes import CAN_SHARE, LoaderProcesses
from dataset.pruning import Listing, Pruning, clear_leftovers, list_files, prune
from dataset.room import refuse_full_folders
from dataset.sources import ItemGroup, MediaItem, shorten

logger = get_logger("dataset")

P = TypeVar("P")
_SHOWN_ERRORS = 5
_LONGEST_NAME = 255
"""Bytes of a file name on ext4, xfs, btrfs, zfs and NFS."""
PROCESS_BYTES = 4 << 30
"""From so much to load on, processes load faster than threads: starting them costs a few seconds."""


@dataclass(frozen=True)
class Batch(Generic[J]):
    """Jobs that are encoded together."""

    jobs: tuple[J, ...]
    missing: frozenset[Path]
    """Those of their files that are to be written; never empty."""


@dataclass(frozen=True)
class CachingPlan(Generic[J, L, R]):
    """All that a run will do, known before an encoder is loaded."""

    kind: CacheKind[J, L, R]
    groups: tuple[ItemGroup, ...]
    batches: tuple[Batch[J], ...]
    """The work of this process, in order."""
    expected: frozenset[Path]
    """Every cache of this kind that belongs to the data set."""
    lying: Listing = field(default_factory=dict)
    """The caches of this kind that lay in the folders at the start."""
    ranks: Ranks = field(default_factory=Ranks)
    """This process among those that share the work."""

    @property
    def todo(self) -> tuple[J, ...]:
        """The caches that this process makes."""
        return tuple(job for batch in self.batches for job in batch.jobs if job.target in batch.missing)


@dataclass(frozen=True)
class _ItemPlan(Generic[J]):
    jobs: list[J]
    missing: list[Path]
    error: str = ""


def plan_caching(
    groups: Sequence[ItemGroup],
    kind: CacheKind[J, L, R],
    *,
    skip_existing: bool,
    batch_size: int | None = None,
    num_workers: int | None = None,
    ranks: Ranks | None = None,
) -> CachingPlan[J, L, R]:
    """Find out which caches there must be and which of them are to be made here; no picture is decoded.

    Args:
        groups: from `dataset.sources.load_items`.
        kind: LatentCaching, TextCaching or CameraCaching.
        skip_existing: leave out caches that exist and are fresh; without it, all are made again.
        batch_size: can only shrink the batches of the TOML, as in musubi-tuner.
        num_workers: threads; None for this process's share of the cores.
        ranks: this process among those that share the work; None when it is alone.

    Raises:
        ValueError: media are unreadable (the first are named), every video is too short, or a camera is missing.
        OSError: a folder cannot be written to, or its disk is too full for what is missing.
    """
    ranks = ranks or Ranks()
    kind.check(groups)
    clear_leftovers(groups)
    before = list_files(kind, groups)
    items = [item for group in groups for item in (*group.items, *kind.extra_items(group))]
    lying = {group.entry: kind.survey(group.entry) if skip_existing else {} for group in groups}

    def plan_one(item: MediaItem) -> _ItemPlan[J]:
        try:
            jobs = kind.jobs(item, lying[item.entry].get(item.key, ()))
            _refuse_long_names(jobs)
            return _ItemPlan(jobs, [job.target for job in jobs if not (skip_existing and kind.is_fresh(job))])
        except (ValueError, OSError) as error:
            return _ItemPlan([], [], str(error))

    plans: list[_ItemPlan[J]] = []
    with (
        ThreadPoolExecutor(worker_count(num_workers, ranks)) as pool,
        progress(len(items), f"planning {kind.label} caches", "item", disable=ranks.local_rank > 0) as bar,
    ):
        for plan in pool.map(plan_one, items):
            plans.append(plan)
            bar.update()
    _refuse_unusable(items, plans)
    jobs = [job for plan in plans for job in plan.jobs]
    kind.review(jobs)
    missing = frozenset(path for plan in plans for path in plan.missing)
    batches = _share(form_batches(kind, jobs, batch_size), missing, ranks) if missing else ()
    expected = frozenset(job.target for job in jobs)
    refuse_full_folders(kind, [job for job in jobs if job.target in missing], before)
    logger.info(f"{kind.label} caches: {len(missing)} to make, {len(expected) - len(missing)} there and up to date")
    return CachingPlan(kind, tuple(groups), batches, expected, before, ranks)


def _refuse_long_names(jobs: Sequence[J]) -> None:
    """A name that no disk takes is told before anything is encoded."""
    for job in jobs:
        excess = len(os.fsencode(job.target.name)) - _LONGEST_NAME
        if excess > 0:
            raise ValueError(
                f"{job.item.where}: {job.item.path.name} makes the cache name {excess} bytes too long for a file "
                f"({_LONGEST_NAME} at most); give the medium a shorter name"
            )


def _share(batches: Sequence[Sequence[J]], missing: frozenset[Path], ranks: Ranks) -> tuple[Batch[J], ...]:
    """The batches of this rank in which a file is missing."""
    mine = (
        Batch(tuple(jobs), frozenset(job.target for job in jobs) & missing)
        for jobs in batches[ranks.rank :: ranks.world]
    )
    return tuple(batch for batch in mine if batch.missing)


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


def form_batches(kind: CacheKind[J, L, R], jobs: Sequence[J], batch_size: int | None) -> list[list[J]]:
    """Jobs of one data set and bucket together, in the kind's order; the last batch of a bucket may be smaller."""
    collecting: dict[Hashable, list[J]] = {}
    contents: dict[Hashable, set[Hashable]] = {}
    batches: list[list[J]] = []
    for job in kind.arrange(jobs):
        entry = job.item.entry
        limit, key, content = kind.batch_limit(entry), (entry, job.bucket), kind.content(job)
        known = contents.setdefault(key, set())
        if content not in known and len(known) >= min(limit, batch_size or limit):
            batches.append(collecting.pop(key))
            known.clear()
        known.add(content)
        collecting.setdefault(key, []).append(job)
    return [*batches, *collecting.values()]


def run_caching(
    plan: CachingPlan[J, L, R],
    encode: Callable[[P], Sequence[R | None]],
    prepare: Callable[[list[L]], P] | None = None,
    *,
    pruning: Pruning = "own",
    num_workers: int | None = None,
    processes: bool | None = None,
) -> int:
    """Make the caches of a plan, then (rank 0 only) prune what does not belong to the data set.

    Every file is whole or not there, so the run may be stopped at any time and goes on where it was with
    skip_existing. Nothing is deleted by a run that did not come to its end. No more than num_workers jobs and two
    batches are in memory, and two batches of results.

    Args:
        plan: from `plan_caching`.
        encode: takes what `prepare` made of a batch (same data set, same bucket); one result for each distinct content
            of its jobs (`CacheKind.content`), in their order, or None where there can be none: then no file is written
            and the run goes on. Results may lie on a GPU.
        prepare: puts the loaded things of a batch together, in a thread; None hands them on as a list.
        pruning: what may be deleted of the caches that belong to no item.
        num_workers: processes or threads that load ahead; None for this process's share of the cores.
        processes: load in processes; None when there is enough to load, for more than one worker and fewer than cores.

    Returns:
        the number of files written.

    Raises:
        ValueError: a medium is damaged or an encoder gave NaN; names the file. What was written stays.
    """
    workers, total = worker_count(num_workers, plan.ranks), len(plan.todo)
    begin = time.monotonic()
    writer: WriterThread[J, R] = WriterThread(plan.kind.write)
    several = _wants_processes(plan, workers) if processes is None else processes
    loader: LoaderProcesses[J, L] | None = None
    try:
        loader = LoaderProcesses(plan.kind.load, workers) if several and plan.batches else None
        with writer:
            for without in _encode_all(plan, encode, prepare or _as_is, writer, loader or plan.kind.load, workers):
                total -= without
    finally:
        if loader is not None:
            loader.close()
        _summarise(plan, writer.written, total, time.monotonic() - begin)
    if plan.ranks.rank == 0:
        prune(plan.kind, plan.groups, plan.expected, plan.lying, pruning)
    return writer.written


def _as_is(loaded: Any) -> Any:
    return loaded


def _encode_all(
    plan: CachingPlan[J, L, R],
    encode: Callable[[P], Sequence[R | None]],
    prepare: Callable[[list[L]], P],
    writer: WriterThread[J, R],
    load: Callable[[J], L],
    workers: int,
) -> Iterator[int]:
    """Encode and hand to the writer; yields, for each batch that is done, how many files there can be none of."""
    distinct = [_distinct(plan.kind, batch.jobs) for batch in plan.batches]
    silent = plan.ranks.local_rank > 0 or not plan.batches
    with (
        closing(loaded_batches(distinct, load, prepare, workers)) as loaded,
        progress(len(plan.todo), f"{plan.kind.label} caches", "file", disable=silent) as bar,
    ):
        for batch, (jobs, prepared) in zip(plan.batches, loaded, strict=True):
            results = dict(zip(map(plan.kind.content, jobs), encode(prepared), strict=True))
            missing = [job for job in batch.jobs if job.target in batch.missing]
            made = [(job, result) for job in missing if (result := results[plan.kind.content(job)]) is not None]
            writer.put([job for job, _ in made], [result for _, result in made])
            bar.update(len(missing))
            yield len(missing) - len(made)


def _distinct(kind: CacheKind[J, L, R], jobs: Sequence[J]) -> list[J]:
    """The first job of each content."""
    first: dict[Hashable, J] = {}
    for job in jobs:
        first.setdefault(kind.content(job), job)
    return list(first.values())


def _summarise(plan: CachingPlan[J, L, R], written: int, total: int, seconds: float) -> None:
    """Tell, in every process, what it has made."""
    if written < total:
        logger.warning(f"stopped after {written} of {total} files; --skip_existing goes on from there")
    elif plan.ranks.world > 1:
        # setup_logging lets only the first process tell what happens; this line is wanted from each
        summary = get_logger("dataset.summary")
        summary.setLevel(logging.INFO)
        place = f"rank {plan.ranks.rank} of {plan.ranks.world}"
        summary.info(f"{plan.kind.label} caches, {place}: {written} files in {seconds:.1f} s")


def _wants_processes(plan: CachingPlan[J, L, R], workers: int) -> bool:
    """True when there is so much to load that processes are worth their start, and a core for each of them."""
    # on two busy cores, threads loaded clips of 81 frames in half to two thirds of the time that processes took
    has_cores = 1 < workers < (os.cpu_count() or 1)
    return CAN_SHARE and has_cores and sum(_sizes(plan)) >= PROCESS_BYTES


def _sizes(plan: CachingPlan[J, L, R]) -> Iterator[int]:
    return (plan.kind.load_bytes(job) for batch in plan.batches for job in batch.jobs)


def worker_count(num_workers: int | None, ranks: Ranks) -> int:
    """How many workers load ahead: the given number, or this process's share of the cores but one."""
    if num_workers is not None:
        return max(1, num_workers)
    return max(1, ((os.cpu_count() or 2) - 1) // ranks.local_world)
