"""Training sets without files: their batches say which clips they are made of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset.config import DatasetEntry
from dataset.inventory import TrainingClip
from dataset.names import LatentName
from dataset.training_set import TrainingSet

SHAPES = ((2, 4, 4), (2, 4, 6), (3, 4, 4))


class NamedSet(TrainingSet):
    """Its batches hold the numbers of their clips alone."""

    def __getitem__(self, indices: Sequence[int]) -> Any:
        return {"item_keys": [str(index) for index in indices]}


def make_entry(name: str, batch_size: int = 1, num_repeats: int = 1, dropout: float = 0.0) -> DatasetEntry:
    return DatasetEntry(
        name,
        "video",
        Path(name),
        batch_size=batch_size,
        num_repeats=num_repeats,
        caption_dropout_rate=dropout,
    )


def make_clips(entry: DatasetEntry, shapes: Sequence[int]) -> list[TrainingClip]:
    """One clip for each number of a shape."""
    folder = entry.cache_directory
    return [
        TrainingClip(entry, LatentName(f"v{i}", 32, 32, 0, 5), SHAPES[n], folder / f"v{i}", folder / f"t{i}", None)
        for i, n in enumerate(shapes)
    ]
