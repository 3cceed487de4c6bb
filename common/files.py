"""Files that are whole or not there: atomic writing, and errors that say which file."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is fsynced and takes the place of `path`.

    The temporary file keeps the suffix (encoders look at it) and starts with a dot, so that no directory
    listing of ours takes it for data. On any error it is removed and `path` is left as it was. A link stays a link:
    the file that it leads to is the one that is written.

    Raises:
        ValueError: `path` is a folder, or a device or pipe, which a file must not take the place of.
    """
    target = Path(os.path.realpath(path)) if Path(path).is_symlink() else Path(path)
    if target.exists() and not target.is_file():
        kind = "a folder" if target.is_dir() else "a device or pipe"
        raise ValueError(f"{path} is {kind}, and a file is to be written: give the name of a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem[:80]}.", suffix=target.suffix)
    except OSError as error:
        error.filename = str(path)
        raise
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, name):
            _name_target(error, path)
        raise


def _name_target(error: OSError, path: str | Path) -> None:
    """Put the name that the user knows in place of none, or of that of the temporary file."""
    told = error.args and str(path) in str(error)
    if error.strerror is not None:
        error.filename = str(path)
    elif not told:  # numpy, of a full disk: "400000 requested and 15328 written"
        error.args = (f"{path}: cannot be written ({error}); is the disk full?",)


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


def require_seekable(path: str | Path, what: str) -> None:
    """Refuse a pipe or device, which readers that look at a file twice would find empty, or wait for forever.

    Raises:
        ValueError: it exists and is neither a file nor a folder.
    """
    found = Path(path)
    if found.exists() and not (found.is_file() or found.is_dir()):
        raise ValueError(f"{what}: {path} is a pipe or device; save what it gives as a file, and name that")


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
