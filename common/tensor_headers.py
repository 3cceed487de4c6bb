"""What a file of tensors holds, without reading its data: names, types, shapes, places, metadata.

Formats: safetensors (github.com/huggingface/safetensors, "Format": 8 bytes length of the header in little endian, the
header in JSON, then the data without gaps) and torch.save (a zip archive of stored entries; the plain pickles and tar
archives of torch before 1.6 are refused). A safetensors header is believed only as far as it fits the file.
"""

import argparse
import itertools
import json
import math
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from common.logs import get_logger
from common.tensor_files import PICKLED, tensor_files

log = get_logger("weights")

UNREADABLE = (
    *(RuntimeError, pickle.UnpicklingError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError),
    *(AssertionError, ArithmeticError, struct.error, zipfile.BadZipFile),
)
"""What torch.load(weights_only=True) raises for files that are damaged, foreign, or hold more than tensors."""

# what torch.load(weights_only=True) says of the first thing that it does not let pass, amid advice to let it pass
_REFUSED = re.compile(r"GLOBAL ([\w.]+)")
_UNPICKLER = "WeightsUnpickler error: "

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "BOOL": torch.bool,
}
"""{type as a safetensors header names it: torch's}."""
# a hundred times that of the largest DiT; the safetensors library allows 100 MB, whose JSON would fill gigabytes
_LONGEST_HEADER = 16 << 20
_MOST_AXES, _LARGEST = 16, 2**62
_MOST_DIGITS = 40
_LONGEST_NAME = 200
_ZIP_START = b"PK\x03\x04"
# where training programs keep the tensors among other things
_TABLES = ("state_dict", "model")
# so many names are told
_SHOWN = 5


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file, known but not read."""

    file: Path
    """Where it lies."""
    dtype: torch.dtype
    """Its type in the file."""
    shape: torch.Size
    """Its shape."""
    start: int
    """First byte in the file (safetensors)."""
    mapped: Tensor | None = None
    """The tensor itself, where it comes from a pickled file: mapped, so still unread."""

    @property
    def nbytes(self) -> int:
        """Length of its data in bytes."""
        return self.shape.numel() * self.dtype.itemsize

    def chunk(self, parts: int) -> list["TensorEntry"]:
        """As `Tensor.chunk` on the first axis, whose length must be a multiple of `parts`."""
        shape = torch.Size((self.shape[0] // parts, *self.shape[1:]))
        mapped = [None] * parts if self.mapped is None else self.mapped.chunk(parts)
        step = self.nbytes // parts
        return [replace(self, shape=shape, start=self.start + i * step, mapped=part) for i, part in enumerate(mapped)]

    def reshape(self, shape: Iterable[int]) -> "TensorEntry":
        """As `Tensor.reshape`."""
        size = torch.Size(shape)
        return replace(self, shape=size, mapped=None if self.mapped is None else self.mapped.reshape(size))


@dataclass(frozen=True)
class Header:
    """Everything that the files of one path say of themselves."""

    path: Path
    """The path that was given."""
    files: tuple[Path, ...]
    """The files it stands for."""
    entries: Mapping[str, TensorEntry]
    """{name: tensor}, in the order of the files."""
    metadata: Mapping[str, str]
    """Metadata of the first file that has any (safetensors only)."""


def read_header(path: str | Path) -> Header:
    """Look into a .safetensors or .pth/.pt/.bin/.ckpt file, a sharded set, an index or a folder.

    Pickled files are opened by torch's restricted loader only, so a file that holds code is refused and nothing runs;
    before torch 2.6 that loader could be made to run code (CVE-2025-32434), and no pickled file is opened.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is cut short, damaged, or not what its suffix says; two shards hold the same tensor; a
            pickled file holds several tables of tensors, or torch is older than 2.6.
    """
    files = tensor_files(path)
    entries: dict[str, TensorEntry] = {}
    metadata: dict[str, str] = {}
    for file in files:
        found, said = _read_one(file)
        twice = sorted(entries.keys() & found.keys())
        if twice:
            raise ValueError(
                f"{file}: {short_name(twice[0])} is in another shard too; the set is mixed from several downloads"
            )
        entries |= found
        metadata = metadata or said
    return Header(Path(path), tuple(files), entries, metadata)


def why(error: Exception) -> str:
    """What is wrong, from an error of `UNREADABLE`; the unpickler's own confusion about foreign bytes says nothing.

    Where the restricted loader met more than tensors, that is named, without torch's advice to load it all the same.
    """
    text = str(error).strip()
    if refused := _REFUSED.search(text):
        return f"it holds code or objects other than tensors (GLOBAL {short_name(refused[1])}); nothing of it was run"
    lines = text.rpartition(_UNPICKLER)[2].strip().splitlines()
    if not lines or isinstance(error, LookupError) or "weights_only" in lines[0]:
        return "not what torch.save writes of tensors"
    return short_name(lines[0])


def short_name(name: str) -> str:
    """A name from a file for a message: on one line, cut where no network's own name is as long."""
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST_NAME else f"{line[:_LONGEST_NAME]}..."


def _read_one(file: Path) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    if not file.is_file():
        raise ValueError(f"{file}: not a file of weights")
    if not os.access(file, os.R_OK):
        raise PermissionError(f"{file}: may not be read; change its permissions")
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    if file.suffix not in PICKLED:
        raise ValueError(f"{file}: unknown kind of weights; expected .safetensors, {', '.join(PICKLED)}")
    return _read_pickled(file), {}


def _read_safetensors(file: Path) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise ValueError(
                f"{file}: not a safetensors file, or cut within its header (it tells of a header of {length} bytes, "
                f"the file has {size}); download or write it again"
            )
        text = opened.read(length)
    try:
        table = json.loads(text.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_int=_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not a whole safetensors file, its header is unreadable ({error})") from None
    metadata = table.pop("__metadata__", {}) if isinstance(table, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{file}: not a whole safetensors file, its header is no table of tensors and strings")
    entries = {name: _entry(file, name, stated, 8 + length) for name, stated in table.items()}
    _check_layout(file, entries, 8 + length, size)
    return entries, metadata


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the name {short_name(twice)!r} is there twice")
    return table


def _number(digits: str) -> int:
    """Python takes quadratic time for long numbers, and refuses to print them."""
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _is_sane(shape: Sequence[int]) -> bool:
    """Whether a shape stays within what torch can count, axes of length 0 set aside."""
    return len(shape) <= _MOST_AXES and max(shape, default=0) < _LARGEST and math.prod(filter(None, shape)) < _LARGEST


def _entry(file: Path, name: str, stated: Any, data: int) -> TensorEntry:
    wrong = f"{file}: not a whole safetensors file, the entry of {short_name(name)!r} in its header"
    if not isinstance(stated, dict) or not {"dtype", "shape", "data_offsets"} <= stated.keys():
        raise ValueError(f"{wrong} lacks dtype, shape or data_offsets")
    shape, offsets = stated["shape"], stated["data_offsets"]
    if not all(isinstance(part, list) and all(type(n) is int and n >= 0 for n in part) for part in (shape, offsets)):
        raise ValueError(f"{wrong} has a shape or offsets that are no numbers from 0 up")
    dtype = DTYPES.get(stated["dtype"]) if isinstance(stated["dtype"], str) else None
    if dtype is None:
        raise ValueError(f"{wrong} has the type {short_name(str(stated['dtype']))!r}, which this program cannot read")
    if len(offsets) != 2:
        raise ValueError(f"{wrong} has {len(offsets)} offsets instead of 2")
    if not _is_sane(shape) or max(offsets) >= _LARGEST:
        raise ValueError(f"{wrong} has an absurd size")
    length = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != length:
        raise ValueError(f"{wrong} has offsets {offsets} for {length} bytes of data")
    return TensorEntry(file, dtype, torch.Size(shape), data + offsets[0])


def _check_layout(file: Path, entries: Mapping[str, TensorEntry], data: int, size: int) -> None:
    """The format wants the tensors one after another, without gap or overlap, up to the file's end."""
    end = data
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].nbytes)):
        if entry.start != end:
            relation = "overlaps another tensor" if entry.start < end else "follows a gap"
            raise ValueError(f"{file}: not a whole safetensors file, {short_name(name)!r} {relation}")
        end += entry.nbytes
    if end != size:
        state = "cut short" if end > size else "too long"
        raise ValueError(
            f"{file}: not a whole safetensors file, {state}: its header tells of {end} bytes, the file has {size}; "
            "download or write it again"
        )


def _read_pickled(file: Path) -> dict[str, TensorEntry]:
    _check_torch(file)
    try:
        _check_archive(file)
        # the namespace of training arguments that DUSt3R's file carries is data, not code
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except UNREADABLE as error:
        raise ValueError(f"{file}: refused or unreadable as a file of plain tensors ({why(error)})") from None
    table = _table(file, content)
    return {key: TensorEntry(file, value.dtype, value.shape, 0, value.detach()) for key, value in table.items()}


def _check_torch(file: Path) -> None:
    """Refuse pickled files where this torch could be made to run what is in them, or warn of its known holes.

    Sources: CVE-2025-32434 (torch.load with weights_only=True runs code, fixed in 2.6.0) and CVE-2026-24747 (it
    corrupts memory, fixed in 2.10.0).

    Raises:
        ValueError: torch is older than 2.6.
    """
    if torch.__version__ < "2.6":
        raise ValueError(
            f"{file}: torch {torch.__version__} can be made to run code from such a file (CVE-2025-32434); pass the "
            "weights as .safetensors, or install torch 2.6 or newer"
        )
    if torch.__version__ < "2.10":
        _warn_of_torch()


@cache
def _warn_of_torch() -> None:
    log.warning(
        "torch %s has a hole in its reader of .pth files (CVE-2026-24747): open such files from people you trust only, "
        "use .safetensors, or install torch 2.10 or newer",
        torch.__version__,
    )


def _table(file: Path, content: object) -> Mapping[str, Tensor]:
    """The one table of tensors in what was unpickled; what else is there is told in the log.

    Raises:
        ValueError: there is none, or several, of which only the user can know which is meant.
    """
    if _is_table(content):
        return content
    tables = {key: value for key, value in content.items() if _is_table(value)} if isinstance(content, dict) else {}
    if len(tables) > 1:
        names = ", ".join(short_name(str(key)) for key in tables)
        raise ValueError(
            f"{file}: holds several tables of tensors ({names}); save the one you mean to a file of its own"
        )
    key, table = next(iter(tables.items()), (None, {}))
    if not isinstance(content, dict) or key not in _TABLES:
        raise ValueError(
            f"{file}: holds something other than a table of tensors; expected a state dict of whole tensors"
        )
    left = [short_name(str(other)) for other in content if other != key]
    if left:
        log.info("%s: its %s is read; left aside: %s", file, key, ", ".join(left[:_SHOWN]))
    return table


def _is_table(content: object) -> TypeGuard[Mapping[str, Tensor]]:
    """Whether this is a state dict; an empty one is none."""
    return isinstance(content, dict) and bool(content) and all(_is_plain(*item) for item in content.items())


def _is_plain(key: object, value: object) -> bool:
    """Whether this is a named tensor whose data is all there: an expanded one could tell of any size."""
    return (
        isinstance(key, str)
        and isinstance(value, Tensor)
        and value.layout is torch.strided
        and not value.is_quantized
        and value.device.type == "cpu"
        and _is_sane(value.shape)
        and value.numel() * value.itemsize <= value.untyped_storage().nbytes()
    )


def _check_archive(file: Path) -> None:
    """Let through only what torch.save writes since 1.6: a zip archive, from its first byte, of stored entries.

    One that is compressed could unfold into any size, and torch's readers of older formats are not as restricted.
    """
    with file.open("rb") as opened:
        if opened.read(4) != _ZIP_START or not zipfile.is_zipfile(file):
            raise ValueError("it is no zip archive as torch.save writes since 1.6; save it again, or download it again")
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ValueError(f"its entry {packed[0]!r} is compressed, which torch.save never does")
    if sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise ValueError("its entries are together larger than the file")
    places = sorted((entry.header_offset, entry.file_size) for entry in entries)
    if any(start + length > after for (start, length), (after, _) in itertools.pairwise(places)):
        raise ValueError("its entries overlap")
