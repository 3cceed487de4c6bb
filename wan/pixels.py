"""Between pictures as files hold them and pictures as the VAE and CLIP see them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def to_tensor(frames: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """uint8 RGB [..., F, H, W, 3] to float32 [..., 3, F, H, W] in [-1, 1]; a pinned tensor is not waited for."""
    return torch.as_tensor(frames).to(device, non_blocking=True).movedim(-1, -4).float() / 127.5 - 1


def stack_frames(clips: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """uint8 clips [F, H, W, 3] of one shape as one tensor [B, F, H, W, 3], in pinned memory where a GPU reads it."""
    stacked = torch.empty(len(clips), *clips[0].shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for row, frames in zip(stacked, clips, strict=True):
        row.copy_(torch.from_numpy(frames))
    return stacked


def to_frames(video: Tensor) -> np.ndarray:
    """[..., 3, F, H, W] in [-1, 1] to uint8 RGB [..., F, H, W, 3]; what lies outside is clipped."""
    levels = ((video.float() + 1) * 127.5).round().clamp(0, 255).byte()
    return levels.movedim(-4, -1).cpu().numpy()
