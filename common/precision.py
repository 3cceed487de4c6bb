"""The only policy on dtypes and devices."""

import torch

_DTYPES = {
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp16": torch.float16,
    "float16": torch.float16,
    "half": torch.float16,
    "fp32": torch.float32,
    "float32": torch.float32,
    "float": torch.float32,
    "no": torch.float32,
}


def parse_dtype(name: str) -> torch.dtype:
    """Read a dtype as users type it ("bf16", "float16", "fp32", and accelerate's "no" for float32)."""
    try:
        return _DTYPES[name.lower().removeprefix("torch.")]
    except KeyError:
        raise ValueError(f"dtype {name!r} is not known; use one of {', '.join(_DTYPES)}") from None


def dtype_name(dtype: torch.dtype) -> str:
    """Torch's own name without its prefix, e.g. "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or CUDA where there is one, else the CPU.

    Raises:
        ValueError: the name is not a device, or is a CUDA device this machine does not have.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name!r} is not a device: {error}") from None
    if device.type not in ("cuda", "cpu") or (device.type == "cpu" and device.index):
        raise ValueError(f"--device {name}: only cuda, cuda:N and cpu are supported")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: this machine has no usable CUDA device; use --device cpu")
    return device


def compute_dtype(name: str | None, device: torch.device, on_gpu: torch.dtype) -> torch.dtype:
    """The dtype a frozen network computes in: the named one, else `on_gpu` on a GPU and float32 on a CPU.

    CPUs have no fast half precision, so half precision there would cost time and accuracy.
    """
    if name is not None:
        return parse_dtype(name)
    return torch.float32 if device.type == "cpu" else on_gpu
