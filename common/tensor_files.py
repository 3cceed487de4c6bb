"""Which files hold the tensors of a path: one file, a set of shards, an index, or a folder."""

import json
import re
from pathlib import Path, PurePosixPath

from common.files import require_file

PICKLED = (".pth", ".pt", ".bin", ".ckpt")
"""Endings of the files that torch.save writes."""

_SHARD = re.compile(r"^(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.(?P<suffix>safetensors|bin)$")
# a folder may hold the same weights as safetensors and as pickle; the first kind found is read
_KINDS = ("safetensors", "bin", "pth")
_MOST_SHARDS = 1000
_LARGEST_INDEX = 64 << 20


def tensor_files(path: str | Path) -> list[Path]:
    """The files that together hold the tensors of `path`.

    `path` may be one file, any shard NAME-00001-of-00003.safetensors (or .bin), an index NAME.safetensors.index.json,
    or a folder that holds one index or exactly one file of weights (.safetensors before .bin and .pth).

    Raises:
        FileNotFoundError: a file or a shard is not there.
        ValueError: the folder's weights are not unique, or the index is none, or names files outside its folder.
    """
    found = require_file(path, "weights")
    if found.is_dir():
        return _files_of_folder(found)
    if found.name.endswith(".index.json"):
        return _files_of_index(found)
    shard = _SHARD.match(found.name)
    if shard is None:
        return [found]
    count = int(shard["count"])
    if not 0 < count <= _MOST_SHARDS:
        raise ValueError(f"{found}: its name tells of {count} shards; expected 1 to {_MOST_SHARDS}")
    names = [f"{shard['stem']}-{i:05d}-of-{count:05d}.{shard['suffix']}" for i in range(1, count + 1)]
    return [require_file(found.parent / name, "shard of the weights") for name in names]


def _files_of_folder(folder: Path) -> list[Path]:
    for kind in _KINDS:
        indices = sorted(folder.glob(f"*.{kind}.index.json"))
        if len(indices) == 1:
            return _files_of_index(indices[0])
        files = sorted(path for path in folder.glob(f"*.{kind}") if path.is_file())
        if len(files) == 1 and not indices:
            return files
        if files or indices:
            listed = ", ".join(path.name for path in (indices or files)[:5])
            raise ValueError(
                f"{folder}: expected one index or one .{kind} file, found {len(indices) or len(files)} ({listed}); "
                "name the file"
            )
    inside = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise ValueError(f"{folder}: expected a folder with a file of weights, found {inside}; name the file")


def _files_of_index(index: Path) -> list[Path]:
    if index.stat().st_size > _LARGEST_INDEX:
        raise ValueError(f"{index}: too large for an index of shards")
    try:
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(table.values()))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index}: not an index of shards ({type(error).__name__}: {error})") from None
    for name in names:
        if not isinstance(name, str) or PurePosixPath(name).name != name or "\\" in name or name in ("", ".", ".."):
            raise ValueError(
                f"{index}: names the shard {name!r}; shards lie beside their index, so a bare file name was expected"
            )
    if not names:
        raise ValueError(f"{index}: names no shards")
    return [require_file(index.parent / name, f"shard named in {index.name}") for name in names]
