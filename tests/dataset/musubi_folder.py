"""A cache folder as musubi-tuner 0.3.4 writes it: names, keys and metadata spelled out by hand, nothing of ours."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

BF16 = torch.bfloat16


def picture(channels: int, frames: int, height: int, width: int, value: float = 0.0) -> Tensor:
    noise = torch.randn(channels, frames, height, width, generator=torch.Generator().manual_seed(0))
    return (0.01 * noise + value).to(BF16)


def write_clip(
    folder: Path,
    stem: str,
    start: int = 0,
    frames: int = 5,
    size: tuple[int, int] = (64, 48),
    value: float = 0.0,
    i2v: bool = False,
    control: bool = False,
    clip_width: int = 8,
) -> Path:
    """A clip of a video; `size` (width, height) is its bucket's."""
    shape = (frames - 1) // 4 + 1, size[1] // 8, size[0] // 8
    grid = "x".join(map(str, shape))
    tensors = {f"latents_{grid}_bfloat16": picture(16, *shape, value)}
    if i2v:
        tensors |= image_tensors(grid, shape, value, clip_width)
    if control:
        tensors[f"latents_control_{grid}_bfloat16"] = picture(16, *shape, value + 2)
    metadata = {
        "architecture": "wan",
        "width": str(size[0]),
        "height": str(size[1]),
        "format_version": "1.0.1",
        "frame_count": str(frames),
    }
    path = folder / f"{stem}_{start:05d}-{frames:03d}_{size[0]:04d}x{size[1]:04d}_wan.safetensors"
    return save(path, tensors, metadata)


def write_image(
    folder: Path, stem: str, original: tuple[int, int], size: tuple[int, int], value: float = 0.0, i2v: bool = False
) -> Path:
    """An image; the original size (width, height) is in its name, the bucket's only in its key."""
    shape = 1, size[1] // 8, size[0] // 8
    grid = "x".join(map(str, shape))
    tensors = {f"latents_{grid}_bfloat16": picture(16, *shape, value)}
    if i2v:
        tensors |= image_tensors(grid, shape, value, 8)
    metadata = {
        "architecture": "wan",
        "width": str(original[0]),
        "height": str(original[1]),
        "format_version": "1.0.1",
    }
    return save(folder / f"{stem}_{original[0]:04d}x{original[1]:04d}_wan.safetensors", tensors, metadata)


def image_tensors(grid: str, shape: tuple[int, int, int], value: float, clip_width: int) -> dict[str, Tensor]:
    """Mask and image latent, and CLIP features: float16, though their key says the latents' dtype."""
    mask = torch.zeros(4, *shape)
    mask[:, 0] = 1
    image = torch.cat([mask.to(BF16), picture(16, *shape, value + 1)])
    return {f"latents_image_{grid}_bfloat16": image, "clip_bfloat16": torch.full((5, clip_width), value).half()}


def write_text(
    folder: Path, stem: str, caption: str, width: int = 6, precisions: dict[str, float] | None = None
) -> Path:
    """A text cache; its value by dtype, since old caches were added to in another precision."""
    length = len(caption.split())
    tensors = {
        f"varlen_t5_{name}": torch.full((length, width), value, dtype=getattr(torch, name))
        for name, value in (precisions or {"bfloat16": 0.5}).items()
    }
    metadata = {"architecture": "wan", "caption1": caption, "format_version": "1.0.1"}
    return save(folder / f"{stem}_wan_te.safetensors", tensors, metadata)


def save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata)
    return path
