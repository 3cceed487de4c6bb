"""Short identities of files and settings, by which a cache knows what it was made from."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

_ENDS_BYTES = 1 << 16
_DIGEST_BYTES = 12


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
    """Identity of a file as `file_fingerprint`, or of the names and contents of the files of a folder."""
    place = Path(path)
    if not place.is_dir():
        return file_fingerprint(place)
    files = sorted(file for file in place.iterdir() if file.is_file() and not file.name.startswith("."))
    return text_fingerprint(*(f"{file.name} {file_fingerprint(file)}" for file in files))


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
