"""What the caching loop must know of a kind of cache. The three kinds are in `dataset.kinds`."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from dataset.cache import CacheHeader
from dataset.config import DatasetEntry
from dataset.names import LatentName
from dataset.sources import ItemGroup, MediaItem


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
_BLOCK = 4096
"""Bytes that the smallest of files takes on most disks."""


class CacheKind(ABC, Generic[J, L, R]):
    """A kind of cache: what there is to do, when it is done, how it is written."""

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
        """What the encoder needs; called from threads or, where `load_bytes` is large, in other processes."""

    @abstractmethod
    def write(self, job: J, result: R) -> None:
        """Write the file, whole or not at all; called from one thread."""

    @abstractmethod
    def owns(self, name: str, entry: DatasetEntry) -> bool:
        """True for file names of this kind: only those may be pruned."""

    @abstractmethod
    def medium_of(self, header: CacheHeader) -> str | None:
        """File name of the medium that a cache of ours says it was made from; None when it does not say."""

    def check(self, groups: Sequence[ItemGroup]) -> None:
        """Refuse, before anything is read, what cannot be cached."""

    def survey(self, entry: DatasetEntry) -> Mapping[str, Sequence[LatentName]]:
        """What lies in the cache folder, by item, as far as `jobs` can use it."""
        return {}

    def extra_items(self, group: ItemGroup) -> list[MediaItem]:
        """What a data set needs cached beside its media."""
        return []

    def review(self, jobs: Sequence[J]) -> None:
        """Warn of what all jobs together show."""

    def arrange(self, jobs: Sequence[J]) -> list[J]:
        """All jobs of a data set in the order in which they fill batches; the same for the same jobs, always."""
        return list(jobs)

    def batch_limit(self, entry: DatasetEntry) -> int:
        """The most jobs of a batch."""
        return entry.batch_size

    def content(self, job: J) -> Hashable:
        """Jobs of one batch with equal content are encoded once and count as one."""
        return job.target

    def write_bytes(self, job: J) -> int:
        """How much room the file takes at least, in bytes."""
        return _BLOCK

    def load_bytes(self, job: J) -> int:
        """How much there is to load, about; 0 for what costs nothing."""
        return 0
