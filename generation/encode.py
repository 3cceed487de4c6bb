"""Prompts and pictures to what the DiT reads. Each encoder is freed before the next one is loaded."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.precision import compute_dtype
from generation.pictures import Pictures
from wan.conditioning import (
    VideoEncoder,
    absent_clip_features,
    control_condition,
    end_image_condition,
    image_condition,
)
from wan.config import TEMPORAL_STRIDE, T5Config, TaskConfig
from wan.loading import load_clip, load_t5
from wan.pixels import to_tensor


def encode_prompts(
    prompts: list[str],
    config: T5Config,
    path: str | Path,
    tokenizer: str | Path,
    device: torch.device,
    fp8: bool = False,
) -> list[Tensor]:
    """Text tokens [L_i, text_dim] of each prompt.

    Args:
        prompts: usually the prompt and the negative prompt.
        config: of the text encoder.
        path: its weights.
        tokenizer: its tokenizer.json, or the folder of it.
        device: where it runs; on a GPU in bfloat16.
        fp8: keep its linear layers in fp8.
    """
    dtype = compute_dtype(None, device, torch.bfloat16)
    return load_t5(path, config, device=device, dtype=dtype, tokenizer=tokenizer, fp8=fp8).encode(prompts)


def needs_clip(task: TaskConfig, pictures: Pictures) -> bool:
    """Whether the image encoder has anything to look at."""
    return task.clip is not None and pictures.first is not None


def encode_images(task: TaskConfig, pictures: Pictures, path: str | Path, device: torch.device) -> Tensor | None:
    """CLIP tokens of the frames that the task shows to its DiT.

    Args:
        task: whose DiT it is.
        pictures: what was read.
        path: the image encoder's weights; not opened where there is nothing to look at (`needs_clip`).
        device: where it runs; on a GPU in float16.

    Returns:
        [1, tokens, dim] of the first frame; [2, tokens, dim] of first and last frame for a first-and-last-frame DiT;
        one of zeros where a Fun-Control DiT has no first frame; None without image cross-attention. An end image that
        the model was not trained for is not shown to it.
    """
    if task.clip is None:
        return None
    if pictures.first is None:
        return absent_clip_features(task.dit, 1, device)
    images = [pictures.first]
    if task.needs_last_frame and pictures.last is not None:
        images.append(pictures.last)
    clip = load_clip(path, task.clip, device=device, dtype=compute_dtype(None, device, torch.float16))
    return clip.encode_image(torch.cat([_image(image, device) for image in images]))


@torch.no_grad()
def encode_condition(vae: VideoEncoder, task: TaskConfig, pictures: Pictures, device: torch.device) -> Tensor:
    """The condition that the DiT reads beside the latent, of a task that has one.

    Returns:
        [1, condition channels, f, h, w] for `pictures.frames` video frames; see `wan.conditioning`.
    """
    first = None if pictures.first is None else _image(pictures.first, device)
    last = None if pictures.last is None else _image(pictures.last, device)
    if task.needs_control:
        assert pictures.control is not None, "checked when the pictures were read"
        return control_condition(vae, to_tensor(pictures.control[None], device), first)
    assert first is not None, "checked when the pictures were read"
    if last is None or task.needs_last_frame:
        return image_condition(vae, first, pictures.frames, last)
    return end_image_condition(vae, first, last, pictures.frames - TEMPORAL_STRIDE)


def _image(image: np.ndarray, device: torch.device) -> Tensor:
    """[H, W, 3] uint8 -> [1, 3, H, W] in [-1, 1]."""
    return to_tensor(image[None], device)[:, 0][None]
