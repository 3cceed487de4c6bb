"""LoRA files in musubi-tuner's layout: NAME.lora_down.weight [r, in], NAME.lora_up.weight [out, r], NAME.alpha."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from common.weights import read_tensors, total, write_tensors

_DOWN, _UP, _ALPHA = ".lora_down.weight", ".lora_up.weight", ".alpha"
_SHOWN = 5
# where and how much the oldest hash of the web UIs reads
_LEGACY_START, _LEGACY_LENGTH = 0x100000, 0x10000


@dataclass(frozen=True)
class LoRAEntry:
    """The weights of one module: `down` [rank, in], `up` [out, rank], `alpha` (the rank where a file states none)."""

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        """Inner dimension."""
        return self.down.shape[0]


def read_lora(path: str | Path) -> dict[str, LoRAEntry]:
    """{module name: weights} of a LoRA file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: keys of another layout, half a pair, matrices that do not multiply, or NaN; the key is named.
    """
    tensors = read_tensors(path)
    foreign = [key for key in tensors if not key.endswith((_DOWN, _UP, _ALPHA))]
    if foreign:
        raise ValueError(
            f"{path}: {len(foreign)} keys are not of a LoRA file as musubi-tuner writes it: "
            f"{', '.join(foreign[:_SHOWN])}; expected NAME{_DOWN}, NAME{_UP}, NAME{_ALPHA}"
        )
    names = list(dict.fromkeys(key.removesuffix(_DOWN).removesuffix(_UP).removesuffix(_ALPHA) for key in tensors))
    if not names:
        raise ValueError(f"{path}: holds no tensors")
    return {name: _entry(path, name, tensors) for name in names}


def _entry(path: str | Path, name: str, tensors: Mapping[str, Tensor]) -> LoRAEntry:
    for suffix in (_DOWN, _UP):
        if name + suffix not in tensors:
            raise ValueError(f"{path}: {name} has no {suffix[1:]}; the file is not whole")
    down, up = tensors[name + _DOWN], tensors[name + _UP]
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1] or not down.shape[0]:
        raise ValueError(
            f"{path}: {name} has down {tuple(down.shape)} and up {tuple(up.shape)}; expected [r, in] and [out, r]"
        )
    if not (down.is_floating_point() and up.is_floating_point()):
        raise ValueError(f"{path}: {name} is in {down.dtype} and {up.dtype}; expected floating-point numbers")
    if not (total(down).isfinite() and total(up).isfinite()):
        raise ValueError(f"{path}: {name} holds NaN or infinity; the training that wrote it had diverged")
    alpha = tensors.get(name + _ALPHA)
    if alpha is not None and (alpha.numel() != 1 or not math.isfinite(alpha.item())):
        raise ValueError(f"{path}: {name}{_ALPHA} is {alpha.tolist()}; expected one finite number")
    return LoRAEntry(down, up, float(alpha) if alpha is not None else float(down.shape[0]))


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
