"""Image and control conditions: the functions that caching, previews and generation share.

A condition is what a DiT reads beside the noisy latent, channel by channel; which one, the task says
(`wan.config.TaskConfig`): none (text-to-video), mask and image (image-to-video, first-and-last-frame), or control and
image (Fun-Control).
"""

from typing import Protocol

import torch
from torch import Tensor

from wan.config import MASK_CHANNELS, TEMPORAL_STRIDE, DiTConfig


class VideoEncoder(Protocol):
    """Anything that encodes as `wan.vae.WanVAE` does."""

    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, F, H, W] in [-1, 1] -> normalised latent [B, 16, f, h, w]."""
        ...


def image_condition(vae: VideoEncoder, first_frame: Tensor, frames: int, last_frame: Tensor | None = None) -> Tensor:
    """What an image-to-video or first-and-last-frame DiT is told of its images.

    The mask has a channel for each of the four video frames of a latent frame, one where the frame is given. The first
    latent frame stands for a single video frame, which its four channels repeat; the last frame is the fourth of its
    latent frame.

    Args:
        vae: the video autoencoder.
        first_frame: [B, 3, H, W] in [-1, 1].
        frames: video frames F, 4n + 1.
        last_frame: [B, 3, H, W] in [-1, 1] for a first-and-last-frame DiT; frames is then 5 or more.

    Returns:
        [B, 20, f, h, w] in the latent's dtype: the mask of 4 channels, then the 16-channel latent of one clip: the
        first frame, zeros (mid-grey), and the last frame if there is one.

    Raises:
        ValueError: an image is not [B, 3, H, W], they differ in shape, or the number of frames is not 4n + 1.

    Source: Wan-Video/Wan2.1 `wan/image2video.py` and `wan/first_last_frame2video.py`.
    """
    _check_image(first_frame)
    least = 1 if last_frame is None else 1 + TEMPORAL_STRIDE
    if frames < least or frames % TEMPORAL_STRIDE != 1:
        raise ValueError(f"{frames} frames: expected {TEMPORAL_STRIDE}n + 1, such as 33 or 81, and {least} or more")
    batch, channels, height, width = first_frame.shape
    video = first_frame.new_zeros(batch, channels, frames, height, width)
    video[:, :, 0] = first_frame
    if last_frame is not None:
        _check_same_shape(last_frame, first_frame, "last frame")
        video[:, :, -1] = last_frame
    latent = vae.encode(video)
    mask = latent.new_zeros(batch, MASK_CHANNELS, *latent.shape[2:])
    mask[:, :, 0] = 1.0
    if last_frame is not None:
        mask[:, -1, -1] = 1.0
    return torch.cat([mask, latent], dim=1)


def end_image_condition(vae: VideoEncoder, first_frame: Tensor, end_image: Tensor, frames: int) -> Tensor:
    """What an image-to-video DiT, which was trained with a first frame only, can be told of an end image too.

    The end image gets a latent frame of its own after the others, encoded as a video of one frame. It is musubi-tuner's
    way, and no part of the official model.

    Args:
        vae: the video autoencoder.
        first_frame: [B, 3, H, W] in [-1, 1].
        end_image: the same shape.
        frames: video frames F before the end image, 4n + 1.

    Returns:
        [B, 20, f + 1, h, w]: as `image_condition`, then a latent frame of mask 1 and the end image's latent. It is the
        condition of a video of F + 4 frames.

    Raises:
        ValueError: as `image_condition`.
    """
    _check_image(first_frame)
    _check_same_shape(end_image, first_frame, "end image")
    end = vae.encode(end_image[:, :, None])
    mask = end.new_ones(end.shape[0], MASK_CHANNELS, *end.shape[2:])
    return torch.cat([image_condition(vae, first_frame, frames), torch.cat([mask, end], dim=1)], dim=2)


def control_condition(vae: VideoEncoder, control: Tensor, first_frame: Tensor | None = None) -> Tensor:
    """What a Fun-Control DiT is told of its control video and, where there is one, of the first frame.

    Args:
        vae: the video autoencoder.
        control: [B, 3, F, H, W] in [-1, 1], F = 4n + 1.
        first_frame: [B, 3, H, W] in [-1, 1].

    Returns:
        [B, 32, f, h, w]: the control latent (16), then the image latent (16), zero (in latent space) but for the first
        frame, and everywhere without an image. There is no mask.

    Raises:
        ValueError: the control is no video, or the image has another size.

    Source: aigc-apps/VideoX-Fun `videox_fun/pipeline/pipeline_wan_fun_control.py`.
    """
    if control.ndim != 5 or control.shape[1] != 3:
        raise ValueError(f"control {list(control.shape)}: expected [B, 3, F, H, W]")
    if first_frame is not None:
        _check_same_shape(first_frame, control[:, :, 0], "first frame")
    latent = vae.encode(control)
    return control_channels(latent, None if first_frame is None else vae.encode(first_frame[:, :, None]))


def control_channels(control: Tensor, first_frame: Tensor | None = None) -> Tensor:
    """What a Fun-Control DiT reads beside the latent, from latents.

    Args:
        control: latent of the control video [B, 16, f, h, w].
        first_frame: latent of the first frame [B, 16, 1, h, w], if the DiT is told of it.

    Returns:
        [B, 32, f, h, w]: control, then zeros with the first frame at their beginning.
    """
    image = torch.zeros_like(control)
    if first_frame is not None:
        image[:, :, :1] = first_frame
    return torch.cat([control, image], dim=1)


def cached_condition(config: DiTConfig, latents_image: Tensor | None, control: Tensor | None) -> Tensor | None:
    """What a DiT reads beside the latent, from the tensors of caches: what the functions above make of pictures.

    Args:
        config: of the DiT.
        latents_image: `image_condition` [B, 20, f, h, w] of the clip's first frame, where the cache has it. A
            Fun-Control DiT is given the first latent frame of it alone, which the causal VAE makes of the first video
            frame alone.
        control: latent of the control video [B, 16, f, h, w], where the cache has it.

    Returns:
        [B, condition channels, f, h, w], or None for a DiT that reads none.

    Raises:
        ValueError: a Fun-Control DiT has no control.
    """
    if not config.reads_control:
        return latents_image
    if control is None:
        raise ValueError("this Fun-Control DiT needs the latent of a control video; got none")
    first = None if latents_image is None else latents_image[:, MASK_CHANNELS:, :1]
    return control_channels(control, first)


def absent_clip_features(config: DiTConfig, batch: int, device: torch.device) -> Tensor:
    """CLIP tokens of no image, for a DiT that looks at some: zeros [B, 1, image_dim].

    A single one, since attention over any number of equal tokens gives what it gives over one.

    Source: aigc-apps/VideoX-Fun `videox_fun/pipeline/pipeline_wan_fun_control.py`, which has 257 of them.
    """
    assert config.image_dim is not None, "this DiT looks at no image tokens"
    return torch.zeros(batch, 1, config.image_dim, device=device)


def _check_image(image: Tensor) -> None:
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"first frame {list(image.shape)}: expected [B, 3, H, W]")


def _check_same_shape(image: Tensor, other: Tensor, name: str) -> None:
    if image.shape != other.shape:
        raise ValueError(f"{name} {list(image.shape)}: expected the shape of the other pictures, {list(other.shape)}")
