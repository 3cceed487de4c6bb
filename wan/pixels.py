"""Between pictures as files hold them and pictures as the VAE and CLIP see them."""

import numpy as np
import torch
from torch import Tensor


def to_tensor(frames: np.ndarray, device: torch.device) -> Tensor:
    """uint8 RGB [..., F, H, W, 3] to float32 [..., 3, F, H, W] in [-1, 1]."""
    return torch.from_numpy(frames).to(device).movedim(-1, -4).float() / 127.5 - 1


def to_frames(video: Tensor) -> np.ndarray:
    """[..., 3, F, H, W] in [-1, 1] to uint8 RGB [..., F, H, W, 3]; what lies outside is clipped."""
    levels = ((video.float() + 1) * 127.5).round().clamp(0, 255).byte()
    return levels.movedim(-4, -1).cpu().numpy()
