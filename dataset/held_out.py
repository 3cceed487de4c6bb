"""Items that are kept out of training, to validate on."""

import hashlib
from dataclasses import replace

from dataset.training_set import TrainingSet

_MIRRORED = "~mirrored"


def hold_out(training_set: TrainingSet, share: float, seed: int) -> tuple[TrainingSet, TrainingSet]:
    """Split a training set into what is trained on and what is validated on.

    Whole items go one way: all clips of a medium, in every data set that has a medium of its name, and its mirrored
    twins, so that nothing that is validated on was seen in training. Which ones follows from their names and the seed,
    and not from what else is there: when items are added, none changes sides but for rounding.

    Args:
        training_set: of a dataset file.
        share: of the items, above 0 and below 1; at least one item goes each way.
        seed: chooses the items.

    Raises:
        ValueError: there are not two items.
    """
    stems = sorted({_medium(clip.name.stem) for clip in training_set.clips}, key=lambda stem: _draw(stem, seed))
    if len(stems) < 2:
        raise ValueError(f"--validation_split {share:g}: the data set has {len(stems)} item(s), and 2 are needed")
    held = set(stems[: min(max(1, round(share * len(stems))), len(stems) - 1)])
    parts = [[clip for clip in training_set.clips if (_medium(clip.name.stem) in held) is out] for out in (False, True)]
    training = TrainingSet(parts[0], training_set.tensors, training_set.ray_scale)
    return training, for_validation(TrainingSet(parts[1], training_set.tensors, training_set.ray_scale))


def for_validation(training_set: TrainingSet) -> TrainingSet:
    """The same clips, each once in an epoch and always with its caption."""
    clips = [
        replace(clip, entry=replace(clip.entry, num_repeats=1, caption_dropout_rate=0.0)) for clip in training_set.clips
    ]
    return TrainingSet(clips, training_set.tensors, training_set.ray_scale)


def _medium(stem: str) -> str:
    return stem.removesuffix(_MIRRORED)


def _draw(stem: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{stem}".encode(errors="surrogateescape"), digest_size=8).digest()
