"""Files that are whole or not there: atomic writing, and errors that say which file."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is fsynced and takes the place of `path`.

    The temporary file keeps the suffix (encoders look at it) and starts with a dot, so that no directory
    listing of ours takes it for data. On any error it is removed and `path` is left as it was.
    """
    with atomic_paths([path]) as (temporary,):
        yield temporary


@contextmanager
def atomic_paths(paths: Iterable[str | Path]) -> Iterator[tuple[Path, ...]]:
    """As `atomic_path`, for files that belong together: none takes its place before all are whole on the disk."""
    targets = [Path(path) for path in paths]
    temporaries: list[Path] = []
    try:
        for target in targets:
            temporaries.append(_temporary_beside(target))
        yield tuple(temporaries)
        for temporary in temporaries:
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o666 & ~_umask())
        for temporary, target in zip(temporaries, targets, strict=True):
            temporary.replace(target)
    except BaseException:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
        raise


def _temporary_beside(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem[:80]}.", suffix=target.suffix)
    os.close(handle)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def require_file(path: str | Path | None, what: str, hint: str = "") -> Path:
    """Return `path` as a Path, or raise FileNotFoundError that names the thing, the place and what to do."""
    if path is None:
        raise FileNotFoundError(f"{what}: no path given. {hint}".rstrip())
    found = Path(path)
    if not found.exists():
        raise FileNotFoundError(f"{what}: {found} does not exist. {hint}".rstrip())
    return found


def require_writable(folder: str | Path, flag: str) -> None:
    """Refuse a folder that could not be made or written to, before the work whose results would go there.

    Raises:
        ValueError: it, or a folder it would lie in, is a file.
        PermissionError: it, or the nearest folder above it that exists, may not be written to.
    """
    path = Path(folder).absolute()
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if not nearest.is_dir():
        raise ValueError(f"{flag} {folder}: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"{flag} {folder}: {nearest} may not be written to")
