"""LoRA files from one spelling into another; tensors stay bit by bit as they are, unless alphas are folded into them.

musubi      lora_unet_PATH.lora_down.weight, .lora_up.weight, .alpha     musubi-tuner; ComfyUI and diffusers read it
comfy       diffusion_model.PATH.lora_A.weight, .lora_B.weight, .alpha   ComfyUI's own; diffusers reads it
diffusers   transformer.PATH with diffusers' names, .lora_A.weight, .lora_B.weight; alphas in the metadata
peft        base_model.model.PATH.lora_A.weight, .lora_B.weight in a folder with adapter_config.json

Every PATH is that of a module that is there in the DiT (`networks.module_names`).
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.files import atomic_path
from common.logs import get_logger
from common.streaming import stream_tensors
from networks.lora_files import (
    DIFFUSERS_CONFIG,
    PEFT_CONFIG,
    PEFT_WEIGHTS,
    LoRAFile,
    ModuleChange,
    some,
    write_lora,
)
from networks.module_names import ALPHA, DOWN, UP, ModuleNames, flat

log = get_logger("lora")

STYLES = ("musubi", "comfy", "diffusers", "peft")
"""What a file can be converted to."""

_PEFT_PARTS = {DOWN: "lora_A.weight", UP: "lora_B.weight"}
_PLAIN = ("diffusers", "peft")


@dataclass(frozen=True)
class Converted:
    """A LoRA in another spelling, in memory."""

    tensors: Mapping[str, Tensor]
    """Under the names of the new spelling."""
    metadata: Mapping[str, str]
    """The file's own, with what the new spelling wants to be told."""
    config: Mapping[str, Any] | None
    """What peft wants in adapter_config.json; None for other spellings."""


def convert_lora(file: LoRAFile, names: ModuleNames, style: str, fold_alpha: bool = False) -> Converted:
    """A LoRA file under the names of another spelling.

    Args:
        file: opened for the DiT of `names`.
        names: of the DiT, made with diffusers' table.
        style: one of `STYLES`.
        fold_alpha: multiply each of down and up by sqrt(alpha / rank), and state no alpha, for loaders that read none;
            this rounds. musubi-tuner's own converter does so.

    Raises:
        ValueError: the spelling has no names for what is in the file, or a negative alpha was to be folded.
    """
    if style in _PLAIN:
        _refuse_what_peft_has_not(file, style)
    tensors: dict[str, Tensor] = {}
    alphas: dict[str, tuple[int, float]] = {}
    for change in file.changes:
        path = names.in_diffusers[change.path] if style == "diffusers" else change.path
        parts = change.read(file.source)
        if change.rank is not None:
            rank, alpha = change.rank, float(change.rank) if change.alpha is None else change.alpha
            if fold_alpha:
                parts, alpha = _folded(file.source, change, parts), float(rank)
            alphas[path] = rank, alpha
            if style not in _PLAIN and not fold_alpha:
                parts[ALPHA] = _alpha_tensor(alpha, parts)
        tensors |= {_key(style, path, part): tensor for part, tensor in parts.items()}
    tensors |= dict(stream_tensors(file.carried, "cpu"))
    metadata = {key: text for key, text in file.metadata.items() if key != DIFFUSERS_CONFIG}
    config = _peft_config(alphas) if style in _PLAIN else None
    if style == "diffusers" and any(rank != alpha for rank, alpha in alphas.values()):
        log.warning("alphas other than the rank stand in the metadata, which older diffusers do not read: --fold_alpha")
        metadata[DIFFUSERS_CONFIG] = json.dumps({f"transformer.{key}": value for key, value in (config or {}).items()})
    return Converted(tensors, metadata, config if style == "peft" else None)


def write_converted(path: str | Path, converted: Converted) -> list[Path]:
    """Write a converted LoRA: a file, or for peft a folder of two; each whole or not at all. Gives the files."""
    if converted.config is None:
        write_lora(path, converted.tensors, converted.metadata)
        return [Path(path)]
    weights, config = Path(path) / PEFT_WEIGHTS, Path(path) / PEFT_CONFIG
    write_lora(weights, converted.tensors, converted.metadata)
    with atomic_path(config) as temporary:
        temporary.write_text(json.dumps(converted.config, indent=2) + "\n", encoding="utf-8")
    return [weights, config]


def _refuse_what_peft_has_not(file: LoRAFile, style: str) -> None:
    other = [change.spelling for change in file.changes if set(change.parts) != {DOWN, UP}]
    if other:
        raise ValueError(
            f"{file.source}: {len(other)} modules have more than down and up ({', '.join(_kinds(file.changes))}), for "
            f"which {style} has no names: {some(other)}; convert to comfy, or merge the file by tools/merge_lora.py"
        )


def _kinds(changes: Iterable[ModuleChange]) -> Sequence[str]:
    return sorted({part for change in changes for part in change.parts} - {DOWN, UP})


def _key(style: str, path: str, part: str) -> str:
    if style == "musubi":
        return f"{flat(path)}.{part}"
    prefix = {"comfy": "diffusion_model.", "diffusers": "transformer.", "peft": "base_model.model."}[style]
    return f"{prefix}{path}.{_PEFT_PARTS.get(part, part)}"


def _alpha_tensor(alpha: float, parts: Mapping[str, Tensor]) -> Tensor:
    """In the type of the matrices where that holds it exactly, as trainers write it."""
    narrow = torch.tensor(alpha, dtype=next(iter(parts.values())).dtype)
    return narrow if float(narrow) == alpha else torch.tensor(alpha)


def _folded(source: Path, change: ModuleChange, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if change.kind != "lora":
        raise ValueError(f"{source}: {change.spelling} is a {change.kind}; alphas are folded into LoRAs alone")
    rank, alpha = len(parts[DOWN]), change.alpha
    scale = 1.0 if alpha is None else alpha / rank
    if scale < 0:
        raise ValueError(f"{source}: {change.spelling} has a negative alpha, {alpha:g}, which cannot be folded")
    factor = math.sqrt(scale)
    return {
        name: (tensor.float() * factor).to(tensor.dtype) if name in (DOWN, UP) else tensor
        for name, tensor in parts.items()
    }


def _peft_config(alphas: Mapping[str, tuple[int, float]]) -> dict[str, Any]:
    """peft's `LoraConfig`: the most frequent rank and alpha, and patterns for the modules that have others."""
    pairs = list(alphas.values())
    rank, alpha = max(pairs, key=pairs.count)
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": _whole(alpha),
        "rank_pattern": {path: own for path, (own, _) in alphas.items() if own != rank},
        "alpha_pattern": {path: _whole(own) for path, (_, own) in alphas.items() if own != alpha},
        "target_modules": sorted(alphas),
        "lora_dropout": 0.0,
        "bias": "none",
    }


def _whole(alpha: float) -> int | float:
    return int(alpha) if alpha.is_integer() else alpha
