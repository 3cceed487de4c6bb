"""The keys of items, by which their caches are named: unique within a data set, and the same on every machine."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dataset.paths import normalised

MIRRORED = "~mirrored"
"""Ends the key of an item's mirrored twin."""

_HASH_BYTES = (4, 16)
"""Of the hash in a key; the longer one where the shorter is that of another medium too."""


def media_keys(paths: Sequence[Path], base: Path) -> list[str]:
    """The keys of different media: the stem, as musubi-tuner has it, while no other medium has the same.

    Each of several media of one stem gets `STEM~XXXXXXXX`, 8 hexadecimal digits of the hash of its `path_within`
    the base: so the key depends neither on the order of the media nor on where the data set lies.

    Args:
        paths: of the media of one data set.
        base: folder of the media, or of the jsonl file that lists them.
    """
    keys = [path.stem for path in paths]
    for size in _HASH_BYTES:
        counts = Counter(keys)
        keys = [
            key if counts[key] == 1 else f"{path.stem}~{_hash(path_within(path, base), size)}"
            for key, path in zip(keys, paths, strict=True)
        ]
    return keys


def path_within(path: Path, base: Path) -> str:
    """The path as seen from the base, if it lies within, else the whole; with forward slashes, links not followed."""
    whole, folder = normalised(path), normalised(base)
    return (whole.relative_to(folder) if whole.is_relative_to(folder) else whole).as_posix()


def source_key(path: Path, base: Path) -> str:
    """What tells a medium from others of the same name: the hash of its path within the base, as in `media_keys`."""
    return _hash(path_within(path, base), _HASH_BYTES[-1])


def _hash(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=size).hexdigest()
