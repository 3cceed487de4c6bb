"""The image condition of image-to-video: the one function that caching, previews and generation share."""

from typing import Protocol

import torch
from torch import Tensor

from wan.config import MASK_CHANNELS, TEMPORAL_STRIDE


class VideoEncoder(Protocol):
    """Anything that encodes as `wan.vae.WanVAE` does."""

    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, F, H, W] in [-1, 1] -> normalised latent [B, 16, f, h, w]."""
        ...


def image_condition(vae: VideoEncoder, first_frame: Tensor, frames: int) -> Tensor:
    """What an image-to-video DiT is told of the first frame, beside the noisy latent.

    Args:
        vae: the video autoencoder.
        first_frame: [B, 3, H, W] in [-1, 1].
        frames: video frames F, 4n + 1.

    Returns:
        [B, 20, f, h, w] in the latent's dtype: a mask of 4 channels, one on latent frame 0 and zero after it, then
        the 16-channel latent of the first frame followed by F - 1 frames of zeros (mid-grey).

    Raises:
        ValueError: the image is not [B, 3, H, W], or the number of frames is not 4n + 1.

    Source: Wan-Video/Wan2.1 `wan/image2video.py`.
    """
    if first_frame.ndim != 4 or first_frame.shape[1] != 3:
        raise ValueError(f"first frame {list(first_frame.shape)}: expected [B, 3, H, W]")
    if frames < 1 or frames % TEMPORAL_STRIDE != 1:
        raise ValueError(f"{frames} frames: expected {TEMPORAL_STRIDE}n + 1, such as 33 or 81")
    batch, channels, height, width = first_frame.shape
    video = first_frame.new_zeros(batch, channels, frames, height, width)
    video[:, :, 0] = first_frame
    latent = vae.encode(video)
    mask = latent.new_zeros(batch, MASK_CHANNELS, *latent.shape[2:])
    mask[:, :, 0] = 1.0
    return torch.cat([mask, latent], dim=1)
