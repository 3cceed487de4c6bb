"""Archives of data sets: found, put together when they are split, and unpacked so that nothing can go wrong.

tar (plain, .gz, .bz2, .xz) and zip, whole or cut into NAME.tar.aa, NAME.tar.part.ab (`split`), NAME.zip.001 and the
like. Every member is written atomically; a member that is there with its size is kept, so that a stopped run goes on;
a marker in `.unpacked/` spares a finished archive being read again. Names that lead out of the folder are refused,
links and devices are left out. The archives stay as they are.
"""

import io
import json
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from common.files import atomic_path, require_room
from common.logs import get_logger
from common.progress import byte_progress

logger = get_logger("prepare")

_SUFFIX = r"(?P<kind>\.tar|\.tar\.gz|\.tgz|\.tar\.bz2|\.tar\.xz|\.zip)"
_WHOLE = re.compile(rf"(?P<base>.+){_SUFFIX}", re.IGNORECASE)
_PART = re.compile(rf"(?P<base>.+){_SUFFIX}[._-]?(?:part[._-]?)?(?P<part>[a-z]{{2}}|\d{{2,5}})", re.IGNORECASE)
_FOREIGN = {
    ".7z": "7z x {name}",
    ".rar": "unrar x {name}",
    ".zst": "tar --zstd -xf {name}",
    ".z01": "zip -s 0 {stem}.zip --out whole.zip",
}
"""Archives that Python cannot read, with what unpacks them or makes them readable."""
_MARKERS = ".unpacked"
_CHUNK = 1 << 20
_SHOWN_KINDS = 8
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


@dataclass(frozen=True)
class Archive:
    """One archive, of one file or of several parts."""

    name: str
    """Path below the folder that it was found in, without suffixes; names the folder that it is unpacked into."""
    parts: tuple[Path, ...]
    """Its file, or the parts in order."""
    is_zip: bool
    """zip or tar."""
    is_compressed: bool
    """Its members can be counted only by reading all of it."""

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.stat().st_size for part in self.parts)

    @property
    def identity(self) -> list[list[Any]]:
        """Tells it from another of the same name."""
        stats = [(part, part.stat()) for part in self.parts]
        return [[part.name, stat.st_size, stat.st_mtime_ns] for part, stat in stats]


@dataclass(frozen=True)
class Unpacked:
    """What became of an archive's members."""

    written: int
    kept: int
    """There already."""
    skipped: int
    """Links and devices."""


def find_archives(folder: Path) -> list[Archive]:
    """All archives below a folder, parts put together; hidden folders are not entered.

    Raises:
        ValueError: a part is missing, or an archive is of a kind that Python cannot read; tells the command that can.
    """
    found: dict[str, dict[str, Path]] = {}
    kinds: dict[str, str] = {}
    for path in visible_files(folder):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in _FOREIGN:
            command = _FOREIGN[path.suffix.lower()].format(name=path.name, stem=path.stem)
            raise ValueError(f"{path}: cannot be unpacked here; in its folder run: {command}")
        match = _WHOLE.fullmatch(name) or _PART.fullmatch(name)
        if match:
            key = match["base"] + match["kind"]
            found.setdefault(key, {})[match.groupdict().get("part") or ""] = path
            kinds[key] = match["kind"].lower()
    return [_archive(key, parts, kinds[key]) for key, parts in sorted(found.items())]


def visible_files(folder: Path) -> list[Path]:
    """All files below a folder in the order of their names, but those that are, or lie in what is, hidden."""
    hidden = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in hidden if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def summary_of(folders: Iterable[Path]) -> str:
    """What lies below folders, for a message: how many files of which ending, the most first, with a path of each."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        for path in visible_files(folder):
            found.setdefault(path.suffix.lower() or "without ending", []).append(path.relative_to(folder).as_posix())
    most = sorted(found.items(), key=lambda item: -len(item[1]))[:_SHOWN_KINDS]
    return ", ".join(f"{len(paths)} {ending} ({paths[0]})" for ending, paths in most) or "nothing"


def _archive(key: str, parts: dict[str, Path], kind: str) -> Archive:
    labels = sorted(parts)
    if labels != [""]:
        expected = _labels(labels[0], len(labels))
        if labels != expected:
            missing = [label for label in expected if label not in parts] or ["the first"]
            raise ValueError(f"{parts[labels[0]].parent / key}: of its parts {', '.join(missing)} is missing")
    name = key[: -len(kind)]
    return Archive(name, tuple(parts[label] for label in labels), kind == ".zip", kind not in (".zip", ".tar"))


def _labels(first: str, count: int) -> list[str]:
    """The labels of `count` parts: aa, ab ... or numbers from 0 or 1 on, as `split` and 7-Zip write them."""
    if first.isdigit():
        start = min(int(first), 1)
        return [str(start + index).zfill(len(first)) for index in range(count)]
    return [chr(ord("a") + index // 26) + chr(ord("a") + index % 26) for index in range(count)]


def check_space(archives: Sequence[Archive], folder: Path) -> None:
    """Refuse to start what cannot be finished.

    Raises:
        OSError: there is less room than the members need that are still to come (for a compressed tar, whose members
            cannot be counted quickly, at least its own size is taken).
    """
    needed = sum(_missing_bytes(archive, folder / archive.name) for archive in archives)
    require_room(folder, needed, "unpacking")


def _missing_bytes(archive: Archive, folder: Path) -> int:
    if is_unpacked(archive, folder):
        return 0
    if archive.is_compressed:
        return archive.size
    with _opened(archive) as members:
        return sum(each.size for each in members if each.regular and not _is_there(folder, each))


def is_unpacked(archive: Archive, folder: Path) -> bool:
    """True when this very archive was unpacked to its end into `folder`."""
    try:
        return json.loads(_marker(archive, folder).read_text(encoding="utf-8")) == archive.identity
    except (OSError, ValueError):
        return False


def unpack(archive: Archive, folder: Path) -> Unpacked:
    """Unpack an archive; what is there already is kept.

    Args:
        archive: of `find_archives`.
        folder: where its members go.

    Raises:
        ValueError: it is damaged or incomplete, or a member's name leads out of the folder.
        OSError: the disk is full.
    """
    if is_unpacked(archive, folder):
        return Unpacked(0, 0, 0)
    counts = {"written": 0, "kept": 0, "skipped": 0}
    with _opened(archive) as members, byte_progress(None, f"unpacking {Path(archive.name).name}") as bar:
        for member in members:
            target = safe_target(folder, member.name, archive.parts[0])
            if not member.regular:
                counts["skipped"] += 1
            elif _is_there(folder, member):
                counts["kept"] += 1
            else:
                with atomic_path(target) as temporary, temporary.open("wb") as file, member.open() as content:
                    while chunk := content.read(_CHUNK):
                        file.write(chunk)
                        bar.update(len(chunk))
                counts["written"] += 1
    if counts["skipped"]:
        logger.warning(f"{archive.parts[0]}: {counts['skipped']} links and devices in it were not unpacked")
    with atomic_path(_marker(archive, folder)) as temporary:
        temporary.write_text(json.dumps(archive.identity), encoding="utf-8")
    return Unpacked(**counts)


def unpack_all(source: Path, folder: Path, dry_run: bool) -> list[Path]:
    """Unpack every archive below `source`, each into a folder of its own name below `folder`.

    Args:
        source: is searched.
        folder: gets the folders.
        dry_run: only tell which archives would be unpacked.

    Returns:
        the folders.

    Raises:
        ValueError, OSError: as `find_archives`, `check_space`, `unpack`.
    """
    archives = find_archives(source)
    if dry_run:
        for archive in archives:
            state = "is unpacked" if is_unpacked(archive, folder / archive.name) else "would be unpacked"
            logger.info(f"{archive.name} ({len(archive.parts)} parts, {archive.size / 1e9:.2f} GB) {state}")
    else:
        check_space(archives, folder)
        for archive in archives:
            unpack(archive, folder / archive.name)
    return [folder / archive.name for archive in archives if (folder / archive.name).is_dir()]


def safe_target(folder: Path, name: str, source: Path) -> Path:
    """Where a member goes.

    Raises:
        ValueError: its name, or a link that lies there, leads out of the folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    target = folder / path
    outside = path.is_absolute() or ".." in path.parts or "\0" in name or re.match("[A-Za-z]:", name)
    if outside or not target.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{source}: its member {name[:80]!r} leads out of the folder; nothing more of it is unpacked")
    return target


@dataclass(frozen=True)
class _Member:
    """A file of an archive."""

    name: str
    size: int
    regular: bool
    """No link, no device."""
    container: tarfile.TarFile | zipfile.ZipFile
    info: Any

    def open(self) -> IO[bytes]:
        """Its content."""
        if isinstance(self.container, zipfile.ZipFile):
            return self.container.open(self.info)
        content = self.container.extractfile(self.info)
        assert content is not None, "a regular file"
        return content


def _is_there(folder: Path, member: _Member) -> bool:
    path = folder / PurePosixPath(member.name.replace("\\", "/"))
    return path.is_file() and path.stat().st_size == member.size


def _marker(archive: Archive, folder: Path) -> Path:
    return folder / _MARKERS / f"{Path(archive.name).name}.json"


@contextmanager
def _opened(archive: Archive) -> Iterator[Iterator[_Member]]:
    """The members of an archive but its folders; damage, also in the midst of it, is told as ValueError."""
    try:
        with io.BufferedReader(_Joined(archive.parts), _CHUNK) as stream:
            if archive.is_zip:
                with zipfile.ZipFile(stream) as opened:
                    yield _zip_members(opened)
            else:
                with tarfile.open(fileobj=stream, mode="r:*") as opened:
                    yield _tar_members(opened)
    except _DAMAGE as error:
        raise ValueError(
            f"{archive.parts[0]} (parts: {len(archive.parts)}): damaged, incomplete or encrypted ({error})"
        ) from None


def _zip_members(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        if not info.is_dir():
            link = (info.external_attr >> 16) & 0o170000 == 0o120000
            yield _Member(info.filename, info.file_size, not link, opened, info)


def _tar_members(opened: tarfile.TarFile) -> Iterator[_Member]:
    for info in opened:
        if not info.isdir():
            yield _Member(info.name, info.size, info.isreg(), opened, info)


class _Joined(io.RawIOBase):
    """Files one after the other, read as if they were one."""

    def __init__(self, parts: Sequence[Path]) -> None:
        super().__init__()
        self._files = [part.open("rb", buffering=0) for part in parts]
        self._sizes = [part.stat().st_size for part in parts]
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte, as files do."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: sum(self._sizes)}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the part that the position lies in."""
        start = 0
        for file, size in zip(self._files, self._sizes, strict=True):
            if self._at < start + size:
                file.seek(self._at - start)
                count = file.readinto(memoryview(buffer)[: start + size - self._at]) or 0
                self._at += count
                return count
            start += size
        return 0

    def close(self) -> None:
        """Close all parts."""
        for file in self._files:
            file.close()
        super().close()
