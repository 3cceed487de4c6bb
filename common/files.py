"""Files that are whole or not there: atomic writing, and errors that say which file."""

import hashlib
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_TEMPORARY = re.compile(r"\..*\.(?P<pid>\d+)-(?P<host>[0-9a-f]{8})\.[a-z0-9_]{8}(\.\w+)?", re.DOTALL)
_STEM_BYTES = 80
_OLD_SECONDS = 24 * 3600.0


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is fsynced and takes the place of `path`.

    The temporary file keeps the suffix (encoders look at it) and starts with a dot, so that no directory
    listing of ours takes it for data; it names this process, for `remove_leftovers`. On any error it is removed and
    `path` is left as it was. A link stays a link: the file that it leads to is the one that is written.

    Raises:
        ValueError: `path` is a folder, or a device or pipe, which a file must not take the place of.
    """
    with atomic_paths([path]) as (temporary,):
        yield temporary


@contextmanager
def atomic_paths(paths: Iterable[str | Path]) -> Iterator[tuple[Path, ...]]:
    """As `atomic_path`, for files that belong together: none takes its place before all are whole on the disk."""
    named = list(paths)
    targets = [_target(path) for path in named]
    temporaries: list[Path] = []
    try:
        for path, target in zip(named, targets, strict=True):
            temporaries.append(_temporary_beside(target, path))
        yield tuple(temporaries)
        for temporary in temporaries:
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o666 & ~_umask())
        for temporary, target in zip(temporaries, targets, strict=True):
            temporary.replace(target)
    except BaseException as error:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and temporaries:
            _name_target(error, dict(zip(map(str, temporaries), named[: len(temporaries)], strict=True)))
        raise


def _target(path: str | Path) -> Path:
    """The file to be written, behind any link."""
    target = Path(os.path.realpath(path)) if Path(path).is_symlink() else Path(path)
    if target.exists() and not target.is_file():
        kind = "a folder" if target.is_dir() else "a device or pipe"
        raise ValueError(f"{path} is {kind}, and a file is to be written: give the name of a file")
    return target


def _temporary_beside(target: Path, path: str | Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = target.stem.encode(errors="surrogateescape")[:_STEM_BYTES].decode(errors="ignore")
    prefix = f".{stem}.{os.getpid()}-{_host()}."
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=target.suffix)
    except OSError as error:
        error.filename = str(path)
        raise
    os.close(handle)
    return Path(name)


@cache
def _host() -> str:
    """Where a process number of this process means something: this machine since its start, and this container."""
    parts = [socket.gethostname()]
    for source in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        place = Path(source)
        if place.exists():
            parts.append(str(place.stat().st_ino) if place.is_symlink() else place.read_text(encoding="ascii"))
    return hashlib.blake2b(" ".join(parts).encode(), digest_size=4).hexdigest()


def remove_leftovers(folder: str | Path) -> list[str]:
    """Remove the temporary files that killed processes left in a folder.

    Those of a process of this machine go when it is gone; those of other machines, whose processes cannot be asked,
    when they are a day old.

    Returns:
        the names of the removed files; empty when there is no such folder.
    """
    place = Path(folder)
    removed = []
    for path in sorted(place.iterdir()) if place.is_dir() else []:
        match = _TEMPORARY.fullmatch(path.name)
        if match is not None and _is_abandoned(path, int(match["pid"]), match["host"]):
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def _is_abandoned(temporary: Path, pid: int, host: str) -> bool:
    if host == _host() and sys.platform != "win32" and not is_running(pid):
        return True
    try:
        return time.time() - temporary.stat().st_mtime > _OLD_SECONDS
    except FileNotFoundError:  # its process has just finished it
        return False


def is_running(pid: int) -> bool:
    """Whether a process of this number exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _name_target(error: OSError, named: Mapping[str, str | Path]) -> None:
    """Put the name that the user knows, by that of its temporary file, in place of that or of none."""
    if error.filename is not None and error.filename not in named:
        return
    path = next(iter(named.values())) if error.filename is None else named[error.filename]
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


def nearest_folder(folder: str | Path) -> Path:
    """The folder itself, or the nearest one above it that exists (or the file that is in its way)."""
    path = Path(folder).absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def require_room(folder: str | Path, needed: int, purpose: str) -> None:
    """Refuse work whose results the disk cannot hold, before it is begun.

    Args:
        folder: where they would go; it need not exist yet.
        needed: bytes.
        purpose: what needs them, for the message.

    Raises:
        OSError: fewer are free.
    """
    free = shutil.disk_usage(nearest_folder(folder)).free
    if needed > free:
        raise OSError(
            f"{folder}: {human_size(free)} are free, and {purpose} needs {human_size(needed)} or more; make room on "
            "the disk"
        )


def human_size(count: int) -> str:
    """A number of bytes for a message."""
    return f"{count / 1e9:.2f} GB" if count >= 10**7 else f"{count / 1e3:.1f} kB"


def require_writable(folder: str | Path, flag: str) -> None:
    """Refuse a folder that could not be made or written to, before the work whose results would go there.

    Raises:
        ValueError: it, or a folder it would lie in, is a file.
        PermissionError: it, or the nearest folder above it that exists, may not be written to.
    """
    nearest = nearest_folder(folder)
    if not nearest.is_dir():
        raise ValueError(f"{flag} {folder}: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"{flag} {folder}: {nearest} may not be written to")
