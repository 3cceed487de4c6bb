"""Files of tensors: read from every container we accept, loaded strictly, written atomically."""

import errno
import json
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from common.files import atomic_path, require_file

_SHARD = re.compile(r"^(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.safetensors$")
_SHOWN = 5

UNREADABLE = (RuntimeError, pickle.UnpicklingError, EOFError, OSError, LookupError, ValueError, TypeError)
"""What torch.load(weights_only=True) raises for files that are damaged, foreign, or hold more than tensors."""


def why(error: Exception) -> str:
    """The first line of an error of `UNREADABLE`; the unpickler's own confusion about foreign bytes says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines and not isinstance(error, LookupError) else "not what torch.save writes"


def tensor_files(path: str | Path) -> list[Path]:
    """The files that together hold the tensors of `path`.

    `path` may be one file, any shard NAME-00001-of-00003.safetensors, an index NAME.safetensors.index.json, or a
    folder that holds one index or exactly one .safetensors file.
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
    names = [f"{shard['stem']}-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    return [require_file(found.parent / name, "shard of the weights") for name in names]


def _files_of_folder(folder: Path) -> list[Path]:
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if len(indices) == 1:
        return _files_of_index(indices[0])
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise ValueError(f"{folder}: expected one index or one .safetensors file, found {len(files)}; name the file")
    return files


def _files_of_index(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, AttributeError) as error:
        raise ValueError(f"{index}: not an index of safetensors shards ({error})") from None
    return [require_file(index.parent / name, f"shard named in {index.name}") for name in names]


def read_tensors(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """All tensors of a .safetensors or .pth/.pt/.bin file, of a sharded set, or of a folder.

    Pickled files are read by torch's restricted loader only, so a file that holds code is refused unread.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is truncated, is not what its suffix says, or holds something other than tensors.
    """
    tensors: dict[str, Tensor] = {}
    for file in tensor_files(path):
        tensors.update(_read_one(file, str(device)))
    return tensors


def _read_one(file: Path, device: str) -> dict[str, Tensor]:
    if not os.access(file, os.R_OK):
        raise PermissionError(f"{file}: may not be read; change its permissions")
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="pt", device=device) as opened:
                return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{file}: not a whole safetensors file ({error}); download or write it again") from None
    if file.suffix not in {".pth", ".pt", ".bin", ".ckpt"}:
        raise ValueError(f"{file}: unknown kind of weights; expected .safetensors, .pth, .pt, .bin or .ckpt")
    try:
        # files of torch before 1.6 are no zip archives and cannot be mapped
        mmap = device == "cpu" and zipfile.is_zipfile(file)
        content = torch.load(file, map_location=device, weights_only=True, mmap=mmap)
    except UNREADABLE as error:
        raise ValueError(f"{file}: refused or unreadable as a file of plain tensors ({why(error)})") from None
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{file}: holds something other than a table of tensors; expected a state dict")
    return content


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata strings of a .safetensors file; empty for any other kind of file."""
    file = tensor_files(path)[0]
    if file.suffix != ".safetensors":
        return {}
    try:
        with safe_open(file, framework="pt") as opened:
            return dict(opened.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{file}: not a whole safetensors file ({error})") from None


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a .safetensors file that is whole or not there.

    Raises:
        OSError: the disk is full, or the place cannot be written to.
    """
    ready = {key: value.detach().contiguous().cpu() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(ready, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:
            raise OSError(errno.EIO, f"cannot be written ({error}); is the disk full?", str(path)) from None


def assign_tensors(module: nn.Module, tensors: Mapping[str, Tensor], what: str, source: str | Path) -> None:
    """Put `tensors` in the place of the module's own (which may be on the meta device), strictly.

    Args:
        module: any module; its parameters are replaced, not copied into, so dtype and device follow the tensors.
        tensors: exactly the keys of `module.state_dict()`, in the same shapes.
        what: the network's name for the error message.
        source: the file the tensors came from, for the error message.

    Raises:
        ValueError: keys are missing, unexpected or misshapen; the first few of each and their counts are named.
    """
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in tensors]
    unexpected = [key for key in tensors if key not in wanted]
    misshapen = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in tensors and tensors[key].shape != wanted[key].shape
    ]
    parts = [
        f"{len(keys)} {name}: {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
        for name, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if keys
    ]
    if parts:
        raise ValueError(f"{source} does not fit {what}. Keys " + "; ".join(parts))
    module.load_state_dict(dict(tensors), strict=True, assign=True)
