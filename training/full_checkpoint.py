"""A whole DiT with LoRAs in its weights, written tensor by tensor: `tools/merge_lora.py`, `--save_full_checkpoint`."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from common.files import require_room
from common.logs import get_logger
from common.precision import dtype_name
from common.streaming import stream_tensors
from common.tensor_headers import TensorEntry, read_header
from common.weights import total, write_streaming
from networks.lora_files import open_lora
from networks.merging import WeightChange, weight_changes
from networks.module_names import module_names
from wan.adapters.files import adapter_header, is_fork_file
from wan.config import DiTConfig
from wan.fp8 import FP8_DTYPES
from wan.keys import (
    ADAPTER_METADATA,
    ADAPTER_PREFIX,
    dit_to_diffusers,
    dit_to_official,
    set_adapter_aside,
    set_fork_camera_aside,
)
from wan.loading import open_dit
from wan.placing import find_weights

log = get_logger("weights")

MERGED_METADATA = "omnicam_merged"
"""Metadata entry of a merged file: [[name of a LoRA file, its multiplier], ...] in JSON."""


def write_full_checkpoint(
    path: str | Path,
    dit_file: str | Path,
    config: DiTConfig,
    loras: Sequence[tuple[str | Path, float]],
    *,
    dtype: torch.dtype | None = None,
    trained: Mapping[str, Tensor] | None = None,
    camera_adapter: str | Path | None = None,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write a DiT in official names with LoRAs added to its weights in float32; each weight is rounded once.

    Beside the file that is written, a few tensors are in memory. The fork's camera layers, where the DiT's file has
    them, are carried along as they are, so that the fork reads the file as one of its own.

    Args:
        path: the file to write, whole or not at all.
        dit_file: the DiT, in any form that `wan.loading.load_dit` reads.
        config: of its task.
        loras: files in any known spelling and the strength of each, 1 as trained.
        dtype: of every tensor; None keeps the types of the DiT's file.
        trained: {official name: weight} that take the place of the file's, before the LoRAs are added.
        camera_adapter: an adapter's file, to be carried along under `ADAPTER_PREFIX`.
        metadata: beside the DiT's own and what says which LoRAs are in it.

    Returns:
        How many weights the LoRAs changed.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: the DiT or a LoRA is of another model, in fp8 where no `dtype` is given, or not finite.
        OSError: the disk has no room.
    """
    opened = open_dit(dit_file, config)
    names = module_names(opened.module, dit_to_diffusers)
    changes = weight_changes([(open_lora(file, names), multiplier) for file, multiplier in loras], names)
    header = read_header(find_weights(dit_file, "dit"))
    camera = set_fork_camera_aside(dit_to_official(set_adapter_aside(header.entries)[0]))[1]
    carried, said = _carried(camera_adapter)
    entries = {**opened.entries, **camera}
    _refuse_fp8(dit_file, entries, dtype)
    layout = {name: (_type(entry, dtype), entry.shape) for name, entry in entries.items()}
    layout |= {name: (entry.dtype, entry.shape) for name, entry in carried.items()}
    require_room(Path(path).parent, sum(kind.itemsize * shape.numel() for kind, shape in layout.values()), str(path))
    stated = {
        **header.metadata,
        **(metadata or {}),
        MERGED_METADATA: json.dumps([[Path(file).name, multiplier] for file, multiplier in loras]),
        **said,
    }
    whole = _merged(dit_file, entries, changes, trained or {}, functools.partial(_rounded, dtype))
    write_streaming(path, layout, (item for part in (whole, stream_tensors(carried, "cpu")) for item in part), stated)
    return len(changes)


def check_full_checkpoint(dit_file: str | Path, entries: Mapping[str, TensorEntry], folder: str | Path) -> None:
    """Refuse `--save_full_checkpoint` where it could not be written, before the training.

    Args:
        dit_file: the DiT, for the message.
        entries: its tensors.
        folder: where it would go.

    Raises:
        ValueError: the DiT is in fp8.
        OSError: the disk has no room for one of them.
    """
    _refuse_fp8(dit_file, entries, None)
    require_room(folder, sum(entry.nbytes for entry in entries.values()), "--save_full_checkpoint")


def _type(entry: TensorEntry, dtype: torch.dtype | None) -> torch.dtype:
    return entry.dtype if dtype is None or not entry.dtype.is_floating_point else dtype


def _rounded(dtype: torch.dtype | None, entry: TensorEntry, tensor: Tensor) -> Tensor:
    return tensor.to(_type(entry, dtype))


def _merged(
    source: str | Path,
    entries: Mapping[str, TensorEntry],
    changes: Mapping[str, WeightChange],
    trained: Mapping[str, Tensor],
    rounded: "functools.partial[Tensor]",
) -> Iterator[tuple[str, Tensor]]:
    """Each weight as it goes to the file; it is written before the next one is read into the same memory."""
    assert trained.keys() <= entries.keys(), "a trained weight that the DiT has not"
    for name, tensor in stream_tensors(entries, "cpu", passing=lambda _: True):
        weight = trained[name].detach().cpu() if name in trained else tensor
        weight = rounded(entries[name], changes[name](weight) if name in changes else weight)
        if not bool(total(weight).isfinite()):
            raise ValueError(
                f"{source}: {name} holds NaN or infinity{' with its LoRAs' if name in changes else ''}, in "
                f"{dtype_name(weight.dtype)}; pass another file, a lower multiplier or a wider type"
            )
        yield name, weight


def _carried(camera_adapter: str | Path | None) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """Tensors and metadata of an adapter, under the names that they have in another network's file."""
    if camera_adapter is None:
        return {}, {}
    header = adapter_header(read_header(camera_adapter))
    if is_fork_file(header):
        raise ValueError(f"{camera_adapter} is the fork's whole DiT: pass it as the DiT, its camera layers stay in it")
    entries = {ADAPTER_PREFIX + name: entry for name, entry in header.entries.items()}
    return entries, {ADAPTER_METADATA: json.dumps(dict(header.metadata), sort_keys=True)}


def _refuse_fp8(path: str | Path, entries: Mapping[str, TensorEntry], dtype: torch.dtype | None) -> None:
    if dtype is None and any(entry.dtype in FP8_DTYPES for entry in entries.values()):
        raise ValueError(
            f"{path} is in fp8, where most of what a LoRA adds is lost in rounding: pass the bf16 or fp16 file, or "
            "choose a wider type for what is written (--dtype bf16 of tools/merge_lora.py)"
        )
