"""Whether the cache folders can take what a run would write, asked before an encoder is loaded and days are spent."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from common.files import nearest_folder, require_room, require_writable
from dataset.jobs import CacheKind, J, L, R
from dataset.pruning import Listing


def refuse_full_folders(kind: CacheKind[J, L, R], jobs: Iterable[J], lying: Listing) -> None:
    """Refuse folders that cannot be written to, and disks that are too full for what all ranks together will write.

    A file that is made again takes the room of the old one, but both are there for a moment.

    Args:
        kind: of the caches.
        jobs: the caches that are to be made.
        lying: the caches that are there.

    Raises:
        ValueError: a folder, or one it would lie in, is a file.
        PermissionError: a folder, or the nearest one above it that exists, may not be written to.
        OSError: a disk has less room than the caches need.
    """
    added: dict[Path, int] = defaultdict(int)
    largest: dict[Path, int] = defaultdict(int)
    for job in jobs:
        folder, size = job.target.parent, kind.write_bytes(job)
        added[folder] += size if job.target not in lying else 0
        largest[folder] = max(largest[folder], size)
    needed: dict[int, int] = defaultdict(int)
    for folder, size in added.items():
        require_writable(folder, "cache_directory")
        disk = nearest_folder(folder).stat().st_dev
        needed[disk] += size
        require_room(folder, needed[disk] + largest[folder], f"writing the {kind.label} caches")
