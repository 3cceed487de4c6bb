"""Short identities of files and settings, by which a cache knows what it was made from."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from common.media import images_in

_ENDS_BYTES = 1 << 16
_DIGEST_BYTES = 12
_SAMPLES = 4


def file_fingerprint(path: str | Path) -> str:
    """Identity of a file's content: its size and its first and last 64 KiB, hashed.

    It does not depend on name, place or dates, so a copied data set keeps its caches, and it costs the same for
    large files. Containers keep their tables at an end, so a re-encoded video differs.
    """
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_ENDS_BYTES)
        file.seek(max(len(head), size - _ENDS_BYTES))
        return text_fingerprint(str(size), head, file.read())


def folder_fingerprint(path: str | Path) -> str:
    """Identity of a file as `file_fingerprint`; of a folder, that of the images in it.

    These are known by their names and sizes, and four of them, the first and the last among these, by their content
    too: a folder may hold 100,000, and of a video not every byte is looked at either.
    """
    place = Path(path)
    if not place.is_dir():
        return file_fingerprint(place)
    sizes = {entry.name: entry.stat().st_size for entry in images_in(place)}
    names = sorted(sizes)
    sampled = dict.fromkeys(names[(len(names) - 1) * number // (_SAMPLES - 1)] for number in range(_SAMPLES) if names)
    listed = [f"{name} {sizes[name]}" for name in names]
    return text_fingerprint(*listed, *(file_fingerprint(place / name) for name in sampled))


def text_fingerprint(*parts: str | bytes) -> str:
    """Identity of a sequence of texts; the borders between the parts count."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def encoder_identity(files: Sequence[Path], dtype: str) -> str:
    """What a cache says of the encoder that made it: fingerprint of its weights and dtype.

    Args:
        files: the file of the weights, or all shards of them.
        dtype: computed in, or kept in where that is less.
    """
    parts = [file_fingerprint(file) for file in files]
    return f"{parts[0] if len(parts) == 1 else text_fingerprint(*parts)} {dtype}"
