"""Reading batches ahead in worker processes, in the order of `training.order`."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from camera.network_input import CameraInput
from dataset.batch import Batch
from training.interrupt import ignore_interrupts
from training.order import Layout


class TrainingSet(Protocol):
    """What the loop needs of `dataset.training_set.TrainingSet`."""

    def batch_order(self, seed: int, epoch: int) -> list[tuple[int, ...]]:
        """The batches of an epoch, each the numbers of its clips; as many in every epoch."""
        ...

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        """The batch of these clips, on the CPU."""
        ...


class _Batches(Dataset[Batch]):
    """A training set as torch's loader knows it."""

    def __init__(self, training_set: TrainingSet) -> None:
        self.training_set = training_set

    def __getitem__(self, index: Sequence[int]) -> Batch:
        return self.training_set[index]


class _RankSampler(Sampler[Sequence[int]]):
    """This rank's batches of one epoch; the loader asks it anew at the start of every epoch."""

    def __init__(self, training_set: TrainingSet, layout: Layout, seed: int) -> None:
        self.training_set, self.layout, self.seed = training_set, layout, seed
        self.epoch = self.start = 0

    def __iter__(self) -> Iterator[Sequence[int]]:
        order = self.training_set.batch_order(self.seed, self.epoch)
        for start in range(self.start, len(order), self.layout.stride):
            for position in self.layout.positions(start, len(order)):
                yield order[position]


class BatchLoader:
    """Gives each rank its batches, in order, read ahead by workers.

    Args:
        training_set: every batch of an epoch.
        layout: how batches fall to ranks.
        seed: of the run.
        workers: processes that read ahead, clipped to the number of cores; 0 reads in this process.
        persistent: keep the workers between epochs.
        pin_memory: into page-locked memory, for copies to a GPU that overlap.
    """

    def __init__(
        self, training_set: TrainingSet, layout: Layout, seed: int, workers: int, persistent: bool, pin_memory: bool
    ) -> None:
        count = min(workers, os.cpu_count() or 1)
        self._sampler = _RankSampler(training_set, layout, seed)
        self._loader = DataLoader(
            _Batches(training_set),
            batch_size=None,
            sampler=self._sampler,
            num_workers=count,
            collate_fn=_as_it_is,
            persistent_workers=persistent and count > 0,
            pin_memory=pin_memory,
            worker_init_fn=ignore_interrupts,
        )

    def epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        """This rank's batches of `epoch` from position `start` of all ranks on."""
        self._sampler.epoch, self._sampler.start = epoch, start
        return iter(self._loader)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch with its tensors on `device`; copies from page-locked memory do not wait."""
    return cast(Batch, {key: _move(value, device) for key, value in cast(Mapping[str, Any], batch).items()})


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, CameraInput):
        return CameraInput(*(_move(item, device) for item in value))
    if isinstance(value, list):
        return [_move(item, device) for item in value]
    return value


def _as_it_is(batch: Any) -> Any:
    return batch
