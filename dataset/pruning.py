"""What becomes of files in a cache folder that the data set does not ask for.

Deleted without being asked are only the caches that this program made from a medium of this data set and that are no
longer wanted, such as clips of another length. A file that does not say so, is of a medium that is not in the data set
(it may have the name of one that is), or has appeared or changed since the run began, is somebody else's: it is counted
and left.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from common.files import remove_leftovers
from common.logs import get_logger
from dataset.cache import read_header
from dataset.jobs import CacheKind, J, L, R
from dataset.names import EMPTY_TEXT_KEY
from dataset.sources import ItemGroup, shorten

logger = get_logger("dataset")

Pruning = Literal["none", "own", "foreign"]
"""What may be deleted: nothing, our own caches that are not wanted any more, or every cache of no item."""
Listing = Mapping[Path, tuple[int, int]]
"""Files of a kind with inode and time of change, by which a file is known to be the same."""


def list_files(kind: CacheKind[J, L, R], groups: Sequence[ItemGroup]) -> dict[Path, tuple[int, int]]:
    """The files of a kind in the cache folders of a data set, without folders and broken links of such names."""
    found: dict[Path, tuple[int, int]] = {}
    for group in groups:
        folder = group.entry.cache_directory
        if folder.is_dir():
            with os.scandir(folder) as entries:
                found |= {
                    folder / entry.name: _mark(entry.stat())
                    for entry in entries
                    if kind.owns(entry.name, group.entry) and entry.is_file()
                }
    return found


def _mark(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_ino, stat.st_mtime_ns


def clear_leftovers(groups: Sequence[ItemGroup]) -> None:
    """Remove the temporary files of killed runs from the cache folders."""
    for group in groups:
        removed = remove_leftovers(group.entry.cache_directory)
        if removed:
            logger.info(f"{group.entry.cache_directory}: removed {len(removed)} half-written files of killed runs")


def prune(
    kind: CacheKind[J, L, R], groups: Sequence[ItemGroup], expected: frozenset[Path], before: Listing, pruning: Pruning
) -> None:
    """Delete what may be deleted of the caches that belong to no item, and tell of the rest.

    Args:
        kind: whose files.
        groups: the data set.
        expected: caches that belong to it.
        before: `list_files` from before the run; what is not in it, or has changed since, is left alone.
        pruning: what may be deleted.
    """
    now = list_files(kind, groups)
    for group in groups:
        folder = group.entry.cache_directory
        unwanted = [
            path
            for path in sorted(before)
            if path.parent == folder and path not in expected and now.get(path) == before[path]
        ]
        media = _media_of(group) if unwanted else {}
        own = [path for path in unwanted if _is_made_of(kind, path, media)]
        foreign = [path for path in unwanted if path not in set(own)]
        doomed = {"none": [], "own": own, "foreign": unwanted}[pruning]
        for path in doomed:
            path.unlink(missing_ok=True)
        if doomed:
            logger.info(f"{folder}: deleted {len(doomed)} {kind.label} caches of no item: {_names(doomed)}")
        kept = [path for path in unwanted if path not in set(doomed)]
        if kept:
            hint = "" if pruning == "none" else "; --prune_foreign deletes them"
            whose = f", {len(foreign)} of them not made from this data set" if len(foreign) < len(kept) else ""
            logger.warning(f"{folder}: left {len(kept)} {kind.label} caches of no item{whose}: {_names(kept)}{hint}")


def _media_of(group: ItemGroup) -> dict[str, set[str | None]]:
    """The keys of the media of a data set, by their file names; None is that of a cache that does not say it."""
    found: dict[str, set[str | None]] = {EMPTY_TEXT_KEY: {None}}
    for item in group.items:
        found.setdefault(item.path.name, {None}).add(item.source_key)
    return found


def _is_made_of(kind: CacheKind[J, L, R], path: Path, media: Mapping[str, set[str | None]]) -> bool:
    try:
        header = read_header(path)
    except (ValueError, FileNotFoundError):
        return False
    return header.metadata.get("source_key") in media.get(kind.medium_of(header) or "", ())


def _names(paths: Sequence[Path]) -> str:
    return shorten([path.name for path in paths])
