"""LoRA files of every spelling: which modules of a DiT they change, and by what; and musubi-tuner's layout to write."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from common.files import require_file
from common.streaming import stream_tensors
from common.tensor_headers import Header, TensorEntry, read_header
from common.weights import total, write_tensors
from networks.deltas import changed_shape, kind_of, rank_of
from networks.module_names import ALPHA, CARRIED, DIFF, DIFF_BIAS, DIFF_MODULATION, DORA, ModuleNames, split_key

PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""The two files of a peft folder."""
DIFFUSERS_CONFIG = "lora_adapter_metadata"
"""Metadata entry in which diffusers keeps what peft keeps in its config, each key after the part's name and a dot."""

_SHOWN = 5
# where and how much the oldest hash of the web UIs reads
_LEGACY_START, _LEGACY_LENGTH = 0x100000, 0x10000


@dataclass(frozen=True)
class ModuleChange:
    """What a file does to one module; nothing but the alpha has been read."""

    path: str
    """The module in the DiT."""
    spelling: str
    """The module as the file spells it, for messages."""
    parts: Mapping[str, TensorEntry]
    """{part, see `networks.module_names`: tensor}, without the alpha."""
    alpha: float | None
    """None where the file states none: it counts as the rank."""

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Shapes of the parts."""
        return {name: entry.shape for name, entry in self.parts.items()}

    @property
    def kind(self) -> str | None:
        """lora, loha, lokr, diff, or None; see `networks.deltas.kind_of`."""
        return kind_of(self.shapes)

    @property
    def rank(self) -> int | None:
        """Inner dimension of its matrices; None where they have none."""
        return rank_of(self.shapes)

    def read(self, source: str | Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Its tensors, in the file's types.

        Raises:
            ValueError: one of them holds NaN or infinity; the module is named.
        """
        tensors = dict(stream_tensors(self.parts, device))
        if not all(bool(total(tensor).isfinite()) for tensor in tensors.values()):
            raise ValueError(
                f"{source}: {self.spelling} holds NaN or infinity; the training that wrote it had diverged"
            )
        return {name: tensors[name] for name in self.parts}


@dataclass(frozen=True)
class LoRAFile:
    """A LoRA file, known but not read; every change in it fits the DiT that it was opened for."""

    source: Path
    """The file, for messages."""
    changes: Sequence[ModuleChange]
    """In the order of the file."""
    metadata: Mapping[str, str]
    """Its metadata strings."""
    carried: Mapping[str, TensorEntry]
    """Tensors of a camera adapter that travels with it, under their names in the file."""


def open_lora(path: str | Path, names: ModuleNames) -> LoRAFile:
    """Look at a LoRA file in any known spelling; of its data, only the alphas are read.

    Args:
        path: musubi-tuner's, ComfyUI's, diffusers' or LyCORIS' file, or peft's folder.
        names: of the DiT that it is for.

    Raises:
        FileNotFoundError: no such file.
        ValueError: keys of another kind of file, modules or shapes that the DiT has not, half a pair, matrices that
            do not multiply, tensors of whole numbers, or an alpha that is no number; the key is named.
    """
    given = Path(path)
    folder = given / PEFT_CONFIG if given.is_dir() else None
    header = read_header(given / PEFT_WEIGHTS if folder is not None and folder.exists() else given)
    grouped: dict[str, dict[str, TensorEntry]] = {}
    carried = {key: entry for key, entry in header.entries.items() if key.startswith(CARRIED)}
    foreign = []
    for key, entry in header.entries.items():
        if key in carried:
            continue
        split = split_key(key)
        if split is None:
            foreign.append(key)
        elif split[1] in grouped.setdefault(split[0], {}):
            raise ValueError(f"{path}: {split[0]} has two tensors for {split[1]}, in two spellings; expected one")
        else:
            grouped[split[0]][split[1]] = entry
    if foreign:
        raise ValueError(
            f"{path}: {len(foreign)} keys are of no LoRA file that is known here: {some(foreign)}; expected "
            "NAME.lora_down.weight and NAME.lora_up.weight, or one of the other spellings in docs/lora.md"
        )
    if not grouped:
        raise ValueError(f"{path}: holds no tensors")
    changes = _changes(path, grouped, names, _Config.of(header, folder))
    return LoRAFile(given, changes, header.metadata, carried)


def _changes(
    path: str | Path, grouped: Mapping[str, dict[str, TensorEntry]], names: ModuleNames, config: "_Config | None"
) -> list[ModuleChange]:
    alphas = _alphas(path, {spelling: parts[ALPHA] for spelling, parts in grouped.items() if ALPHA in parts})
    changes, unmatched, seen = [], [], {}
    for spelling, parts in grouped.items():
        own = {name: entry for name, entry in parts.items() if name != ALPHA}
        found = names.find(spelling)
        if found is None or any(names.weight_of(found, part) is None for part in own):
            unmatched.append(spelling)
            continue
        if found in seen:
            raise ValueError(f"{path}: {seen[found]} and {spelling} are the same module; expected one of them")
        seen[found] = spelling
        alpha = alphas.get(spelling, None if config is None else config.alpha(spelling))
        changes.append(ModuleChange(found, spelling, own, alpha))
    if unmatched:
        raise ValueError(
            f"{path}: {len(unmatched)} of {len(grouped)} LoRA modules fit nothing in this DiT: {some(unmatched)}; "
            "the file was made for another network (see --task)"
        )
    for change in changes:
        _check(path, change, names)
    return changes


def _check(path: str | Path, change: ModuleChange, names: ModuleNames) -> None:
    """Refuse what does not fit a module's weights."""
    shapes = change.shapes
    wrong = [entry.dtype for entry in change.parts.values() if not entry.dtype.is_floating_point]
    if wrong:
        raise ValueError(f"{path}: {change.spelling} is in {wrong[0]}; expected floating-point numbers")
    try:
        kind = kind_of(shapes)
        changed = {part: tuple(shapes[part]) for part in (DIFF_BIAS, DIFF_MODULATION) if part in shapes}
        if kind is not None:
            changed[DIFF] = changed_shape(shapes, kind)
    except ValueError as error:
        raise ValueError(f"{path}: {change.spelling} {error}") from None
    for part, shape in changed.items():
        name = names.weight_of(change.path, part)
        assert name is not None, "looked at before"
        whole = names.weights[name]
        wanted = tuple(whole) if kind == "diff" or part != DIFF else (whole[0], whole[1:].numel())
        if shape != wanted:
            raise ValueError(
                f"{path}: {change.spelling} changes a weight of {shape}, the DiT's is {wanted}; "
                f"the file was made for a DiT of another size (see --task)"
            )
    if DORA in shapes and (kind is None or shapes[DORA].numel() not in changed[DIFF]):
        raise ValueError(f"{path}: {change.spelling} has a dora_scale of {tuple(shapes[DORA])}, one a row was expected")


def _alphas(path: str | Path, entries: Mapping[str, TensorEntry]) -> dict[str, float]:
    alphas = {}
    for spelling, value in stream_tensors(entries, "cpu"):
        if value.numel() != 1 or not math.isfinite(value.item()):
            raise ValueError(f"{path}: {spelling}.{ALPHA} is {value.tolist()}; expected one finite number")
        alphas[spelling] = float(value)
    return alphas


@dataclass(frozen=True)
class _Config:
    """What peft, or diffusers after it, says of a LoRA beside its tensors."""

    source: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, header: Header, file: Path | None) -> "_Config | None":
        """From the config in a peft folder, or from diffusers' metadata; None where there is neither."""
        if file is not None:
            source, text = str(file), require_file(file, "the LoRA's config").read_text(encoding="utf-8")
        elif DIFFUSERS_CONFIG in header.metadata:
            source, text = f"{header.path}: metadata {DIFFUSERS_CONFIG}", header.metadata[DIFFUSERS_CONFIG]
        else:
            return None
        try:
            values = {key.removeprefix("transformer."): value for key, value in json.loads(text).items()}
        except (ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"{source} is no JSON table ({error}); expected what peft writes") from None
        if values.get("use_rslora"):
            raise ValueError(f"{source}: use_rslora scales by alpha / sqrt(rank), which is not supported")
        return cls(source, values)

    def alpha(self, spelling: str) -> float | None:
        """peft's rule: the pattern that is the module's name or its end, else `lora_alpha`."""
        patterns = self.values.get("alpha_pattern") or {}
        for key, value in patterns.items():
            if spelling == key or spelling.endswith(f".{key.lstrip('^')}"):
                return float(value)
        stated = self.values.get("lora_alpha")
        return None if stated is None else float(stated)


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)})" if len(names) > _SHOWN else "")


def write_lora(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a LoRA file, whole or not at all; `sshs_*` hashes over its tensors are added to the metadata."""
    ready = {key: value.detach().contiguous().cpu() for key, value in tensors.items()}
    stated = dict(metadata or {})
    write_tensors(path, ready, {**stated, **_hashes(ready, stated)})


def _hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The two hashes by which web UIs recognise a LoRA whatever its metadata says later.

    `sshs_model_hash` is the SHA-256 of the file after its header; `sshs_legacy_hash` are eight digits of the SHA-256
    of 64 KiB from 1 MiB on, in a file that carries the ss_ keys only. Facts of kohya-ss/musubi-tuner's files.
    """
    content = safetensors_bytes(dict(tensors), {key: text for key, text in metadata.items() if key.startswith("ss_")})
    header = 8 + int.from_bytes(content[:8], "little")
    legacy = content[_LEGACY_START : _LEGACY_START + _LEGACY_LENGTH]
    return {
        "sshs_model_hash": hashlib.sha256(memoryview(content)[header:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(legacy).hexdigest()[:8],
    }
