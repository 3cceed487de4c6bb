"""Arrays out of .npy and .npz files and folders of .npy files, read without trusting them.

The layout is that of numpy's documentation, numpy.lib.format: magic string, version, length and text of a header, then
the numbers. The header is matched, not evaluated; nothing is unpickled; and no more is read or allocated than a
trajectory can need, whatever a file claims. A "container" is a folder (name -> name.npy), an .npz (name -> member), or
one .npy file (name "").
"""

import lzma
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from common.files import atomic_path

MAX_BYTES = 2**27
"""Largest array that is read: a million poses of 4 x 4 doubles."""
_MAX_HEADER = 2**16
_MAX_MEMBERS = 1000
_MAGIC = b"\x93NUMPY"
_DESCR = re.compile(r"['\"]descr['\"]\s*:\s*(?:['\"]([<>|=]?)([a-zA-Z?])(\d{0,4})['\"]|(\[))")
_ORDER = re.compile(r"['\"]fortran_order['\"]\s*:\s*(True|False)")
_SHAPE = re.compile(r"['\"]shape['\"]\s*:\s*\(((?:\s*\d{1,18}L?\s*,?)*)\)")
_SIZES = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, OSError),
    *(RuntimeError, OverflowError),
)
"""What zipfile raises for damaged, encrypted or exotic archives, beside ValueError."""


@runtime_checkable
class ByteStream(Protocol):
    """What is read from: a file, a member of an archive, or bytes."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        ...

    def readline(self, limit: int, /) -> bytes:
        """Up to the next line's end, or `limit` bytes."""
        ...


@dataclass(frozen=True)
class Header:
    """What an array says of itself."""

    shape: tuple[int, ...]
    dtype: str
    """numpy's code such as "<f4"; "|O" for pickled objects, "record" for a structured array."""
    fortran_order: bool = False

    @property
    def is_pickled(self) -> bool:
        """True for an array of Python objects, which only a pickle can hold."""
        return self.dtype.endswith("O")


def array_names(container: Path) -> tuple[str, ...]:
    """Names of the arrays of a container.

    Raises:
        ValueError: the .npz is damaged.
    """
    if container.is_dir():
        return tuple(sorted(path.stem for path in container.glob("*.npy")))
    if container.suffix != ".npz":
        return ("",)
    with _archive(container) as archive:
        names = archive.namelist()
    if len(names) > _MAX_MEMBERS:
        raise ValueError(f"{container}: an archive of {len(names)} members; expected the few arrays of a trajectory")
    return tuple(name.removesuffix(".npy") for name in names if name.endswith(".npy"))


def read_header(container: Path, name: str) -> Header:
    """Shape and type of an array, without its numbers.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such member, or damaged; names file and member.
    """
    with _stream(container, name) as (stream, where):
        return _parse_header(stream, where)


def read_array(container: Path, name: str, *shapes: tuple[int | None, ...]) -> Float64[Tensor, "*shape"]:
    """An array of numbers as float64.

    Args:
        container: folder, .npz or .npy.
        name: of the array in it.
        shapes: what is accepted; None stands for any length.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, truncated, of another shape, too large, or of pickled objects, text or records.
    """
    with _stream(container, name) as (stream, where):
        header = _parse_header(stream, where)
        dtype = _number_type(header, where)
        if not any(_fits(header.shape, shape) for shape in shapes):
            wanted = " or ".join(_written(shape) for shape in shapes)
            raise ValueError(f"{where}: has shape {_written(header.shape)}, expected {wanted}")
        size = math.prod(header.shape) * dtype.itemsize
        if size > MAX_BYTES:
            raise ValueError(
                f"{where}: claims shape {_written(header.shape)}, {size:,} bytes; no trajectory is that long"
            )
        content = stream.read(size)
        if len(content) < size:
            raise ValueError(f"{where}: is cut off: {len(content)} of {size} bytes of numbers")
        if stream.read(1):
            raise ValueError(f"{where}: has more bytes than its shape {_written(header.shape)} says; it is damaged")
    array = np.frombuffer(content, dtype).reshape(header.shape, order="F" if header.fortran_order else "C")
    return torch.from_numpy(array.astype(np.float64))


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as an .npz that is whole or not there.

    Raises:
        ValueError: the name does not end in .npz.
    """
    if path.suffix != ".npz":
        raise ValueError(f"{path}: this format is an .npz file; end the name in .npz")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write one array as an .npy that is whole or not there.

    Raises:
        ValueError: the name does not end in .npy.
    """
    if path.suffix != ".npy":
        raise ValueError(f"{path}: this format is an .npy file; end the name in .npy")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


@contextmanager
def open_member(container: Path, name: str) -> Iterator[tuple[ByteStream, str, Header]]:
    """The bytes behind an array's header, for content that is no plain array.

    Yields:
        the stream, the place for messages, and the header.
    """
    with _stream(container, name) as (stream, where):
        yield stream, where, _parse_header(stream, where)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except (*_DAMAGE, ValueError) as error:
            raise ValueError(f"{path}: not a whole .npz archive ({error}); copy or write it again") from None
        with archive:
            yield archive


@contextmanager
def _stream(container: Path, name: str) -> Iterator[tuple[ByteStream, str]]:
    """An array's bytes, and the place for messages; what zipfile raises on the way becomes a ValueError."""
    if container.is_dir() or container.suffix != ".npz":
        path = container / f"{name}.npy" if container.is_dir() else container
        with path.open("rb") as file:
            yield file, str(path)
        return
    where = f"{container}, member {name}"
    with _archive(container) as archive:
        try:
            info = archive.getinfo(f"{name}.npy")
        except KeyError:
            found = ", ".join(archive.namelist()[:8]) or "none"
            raise ValueError(f"{container}: has no member {name} (members: {found})") from None
        try:
            with archive.open(info) as opened:
                yield opened, where
        except _DAMAGE as error:
            raise ValueError(f"{where}: is damaged ({error}); copy or write it again") from None


def _parse_header(stream: ByteStream, where: str) -> Header:
    start = stream.read(8)
    if len(start) < 8 or start[:6] != _MAGIC:
        raise ValueError(f"{where}: does not begin as an array of numpy does (\\x93NUMPY)")
    digits = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(digits), "little")
    if start[6] not in (1, 2, 3) or not 0 < length <= _MAX_HEADER:
        raise ValueError(f"{where}: has a header of version {start[6]} and {length} bytes; expected 1 to 3, 64 KiB")
    raw = stream.read(length)
    text = raw.decode("latin-1")
    descr, order, shape = (pattern.search(text) for pattern in (_DESCR, _ORDER, _SHAPE))
    if len(raw) < length or descr is None or order is None or shape is None:
        raise ValueError(f"{where}: its header is damaged (byte {8 + digits}); expected descr, fortran_order and shape")
    sides = tuple(int(side.strip().rstrip("L")) for side in shape[1].split(",") if side.strip())
    dtype = "record" if descr[4] else f"{descr[1] or '='}{descr[2]}{descr[3]}"
    return Header(sides, dtype, order[1] == "True")


def _number_type(header: Header, where: str) -> np.dtype:
    if header.is_pickled:
        raise ValueError(
            f"{where}: holds pickled Python objects (dtype object), not numbers; they can run code when they are "
            "loaded, so they are not. Save the poses as an array of float32 or float64"
        )
    kind, size = header.dtype[1:2], header.dtype[2:]
    if header.dtype == "record" or not size.isdigit() or int(size) not in _SIZES.get(kind, ()):
        raise ValueError(f"{where}: has dtype {header.dtype}; expected real numbers (float or integer)")
    return np.dtype(header.dtype)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(b is None or a == b for a, b in zip(shape, wanted, strict=True))


def _written(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('N' if side is None else str(side) for side in shape)}]"
