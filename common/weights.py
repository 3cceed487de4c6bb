"""Files of tensors: read from every container we accept, loaded strictly, written atomically."""

import errno
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from common.files import atomic_path
from common.precision import dtype_name
from common.streaming import stream_tensors
from common.tensor_headers import DTYPES, TensorEntry, read_header, short_name

_SHOWN = 5
# tensors are summed in pieces of so many numbers; those of a CPU are widened first, and larger ones would stay in its
# memory as holes between the weights
_PIECE = {"cpu": 1 << 18}
_LARGE_PIECE = 1 << 26
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read_tensors(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """All tensors of a .safetensors or .pth/.pt/.bin file, of a sharded set, or of a folder.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is truncated, is not what its suffix says, or holds something other than tensors.
    """
    header = read_header(path)
    tensors = dict(stream_tensors(header.entries, device))
    return {name: tensors[name] for name in header.entries}


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata strings of a .safetensors file; empty for any other kind of file."""
    return dict(read_header(path).metadata)


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a .safetensors file that is whole or not there; the same tensors and metadata give the same bytes.

    Raises:
        OSError: the disk is full, or the place cannot be written to.
    """
    ready = {key: value.detach().contiguous().cpu() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(ready, temporary, metadata=dict(metadata or {}))
            _sort_metadata(temporary)
        except SafetensorError as error:
            raise OSError(errno.EIO, f"cannot be written ({error}); is the disk full?", str(path)) from None


def _sort_metadata(file: Path) -> None:
    """Put the metadata in order: safetensors 0.8 writes them in another one in every process."""
    with file.open("r+b") as opened:
        length = int.from_bytes(opened.read(8), "little")
        table = json.loads(opened.read(length))
        if "__metadata__" in table:
            table["__metadata__"] = dict(sorted(table["__metadata__"].items()))
        text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "the same table is not longer in another order"
        opened.seek(8)
        opened.write(text.ljust(length))


class _Shaped(Protocol):
    @property
    def shape(self) -> torch.Size: ...


@dataclass(frozen=True)
class Misfit:
    """How the tensors of a file differ from those of a network; false where they do not."""

    missing: list[str]
    """Names that the network has and the file lacks."""
    unexpected: list[str]
    """Names that the file has and the network lacks."""
    misshapen: list[str]
    """Names in both whose shapes differ, with both shapes."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        kinds = (("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", self.misshapen))
        return "Keys " + "; ".join(
            f"{len(keys)} {kind}: {', '.join(map(short_name, keys[:_SHOWN]))}{', ...' if len(keys) > _SHOWN else ''}"
            for kind, keys in kinds
            if keys
        )


def compare_tensors(wanted: Mapping[str, _Shaped], given: Mapping[str, _Shaped]) -> Misfit:
    """Compare names and shapes of a network's tensors with those of a file."""
    return Misfit(
        missing=[key for key in wanted if key not in given],
        unexpected=[key for key in given if key not in wanted],
        misshapen=[
            f"{key} {tuple(given[key].shape)} instead of {tuple(wanted[key].shape)}"
            for key in wanted
            if key in given and given[key].shape != wanted[key].shape
        ],
    )


def check_fit(module: nn.Module, entries: Mapping[str, TensorEntry | Tensor], what: str, source: str | Path) -> None:
    """Compare what a file's header tells with a network, before anything is read.

    Args:
        module: any module, usually on the meta device.
        entries: the file's tensors under the module's names.
        what: the network's name for the error message.
        source: the file, for the error message.

    Raises:
        ValueError: names or shapes differ, or a weight is in no floating-point type, as programs that quantise write.
    """
    wanted = module.state_dict()
    misfit = compare_tensors(wanted, entries)
    if misfit:
        raise ValueError(f"{source} does not fit {what}. {misfit}. Download it again, or pass another file")
    weights = (name for name, tensor in wanted.items() if tensor.is_floating_point())
    other = [name for name in weights if not entries[name].dtype.is_floating_point]
    if other:
        raise ValueError(
            f"{source}: {len(other)} weights are not in a floating-point type, the first is {other[0]} in "
            f"{dtype_name(entries[other[0]].dtype)}; pass a file in bf16, fp16, fp32 or fp8_e4m3fn"
        )


def total(tensor: Tensor) -> Tensor:
    """The sum in float32, on the tensor's device: not finite where any of its numbers is not.

    It is made in pieces, for the CPU widens a whole tensor before it sums it up.
    """
    pieces = tensor.flatten().split(_PIECE.get(tensor.device.type, _LARGE_PIECE))
    # fp8 cannot be summed, and float16 holds all its numbers
    wide = (piece.half() if tensor.dtype.itemsize == 1 else piece for piece in pieces)
    return torch.stack([piece.sum(dtype=torch.float32) for piece in wide]).sum()


def check_finite(names: Sequence[str], totals: Tensor, source: str | Path) -> None:
    """Refuse weights with numbers that are not finite: they would show as noise, or not at all, hours later.

    Args:
        names: of the tensors.
        totals: what `total` gave for each, in one tensor, whose device is waited for once.
        source: the file, for the error message.

    Raises:
        ValueError: names the file, the first such tensors, and their number.
    """
    bad = [name for name, good in zip(names, totals.isfinite().tolist(), strict=True) if not good]
    if bad:
        raise ValueError(
            f"{source}: {len(bad)} of {len(names)} tensors hold NaN or infinity: {', '.join(bad[:_SHOWN])}"
            f"{', ...' if len(bad) > _SHOWN else ''}; the file is damaged or its training had diverged. Pass another"
        )


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
    misfit = compare_tensors(module.state_dict(), tensors)
    if misfit:
        raise ValueError(f"{source} does not fit {what}. {misfit}")
    module.load_state_dict(dict(tensors), strict=True, assign=True)


def write_streaming(
    path: str | Path,
    layout: Mapping[str, tuple[torch.dtype, torch.Size]],
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a .safetensors file tensor by tensor, whole or not there, with no more of it in memory than one of them.

    Args:
        path: the file.
        layout: {name: type and shape}, of everything that will come, in the order of the file.
        tensors: each of them once, in any order, in its type and shape.
        metadata: strings.

    Raises:
        OSError: the disk is full, or the place cannot be written to.
    """
    table: dict[str, object] = {"__metadata__": dict(sorted((metadata or {}).items()))} if metadata else {}
    starts, end = {}, 0
    for name, (dtype, shape) in layout.items():
        starts[name], end = end, end + shape.numel() * dtype.itemsize
        table[name] = {"dtype": _DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [starts[name], end]}
    header = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    # the format wants the data to begin at a multiple of 8
    header = header.ljust(-(-len(header) // 8) * 8)
    left = dict(layout)
    with atomic_path(path) as temporary, temporary.open("wb") as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        # the last tensor may be of no length, or not the last to come
        opened.truncate(8 + len(header) + end)
        for name, tensor in tensors:
            assert left.pop(name) == (tensor.dtype, tensor.shape), f"{name} is not as it was announced"
            opened.seek(8 + len(header) + starts[name])
            opened.write(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        assert not left, f"{len(left)} tensors did not come"
