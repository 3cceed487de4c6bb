"""Opening the weights of the three encoders: official names, or those of the library their layers come from."""

from pathlib import Path

import torch

from wan.clip import CLIPVision
from wan.config import CLIPConfig, T5Config, VAEConfig
from wan.fp8 import FP8_DTYPES
from wan.keys_encoders import clip_to_ours, t5_to_ours, vae_to_ours
from wan.placing import Opened, find_weights, fit, open_network, place
from wan.t5 import T5Encoder
from wan.tokenizer import UMT5, Tokenizer, load_tokenizer
from wan.vae import WanVAE


def load_vae(path: str | Path, config: VAEConfig, *, device: str | torch.device, dtype: torch.dtype) -> WanVAE:
    """Load the VAE, in official or diffusers' names.

    Args:
        path: the file (`Wan2.1_VAE.pth`, or a .safetensors file), or a folder: `vae/` of a diffusers pipeline, the
            whole pipeline, or an official download.
        config: of the task, e.g. `WAN_CONFIGS[task].vae`.
        device: where the weights go.
        dtype: what they are cast to and computed in.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is unreadable or holds another network; the message says which it looks like.
    """
    return place(open_vae(path, config), device, dtype).channels_last()


def open_vae(path: str | Path, config: VAEConfig) -> Opened[WanVAE]:
    """All that `load_vae` checks before it reads the weights.

    Raises:
        FileNotFoundError, ValueError: as `load_vae`.
    """
    with torch.device("meta"):
        vae = WanVAE(config)
    header, contents = open_network(path, "vae", vae)
    return fit(vae, vae_to_ours(header.entries, config), path, f"the VAE of this task, though it is {contents}")


def load_t5(
    path: str | Path,
    config: T5Config,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    tokenizer: str | Path | None = None,
    allow_download: bool = False,
    fp8: bool = False,
) -> T5Encoder:
    """Load the text encoder, in official, transformers' or Comfy's names, with its tokenizer.

    Args:
        path: the file (`models_t5_umt5-xxl-enc-bf16.pth`, or a .safetensors file), or a folder: `text_encoder/` of a
            diffusers pipeline, the whole pipeline, or an official download.
        config: of the task.
        device: where the weights go.
        dtype: what they are cast to and computed in.
        tokenizer: a `tokenizer.json` or its folder; None looks beside the weights. Where none is found the encoder
            still takes token numbers, and `encode` says what is missing.
        allow_download: whether the Hugging Face hub may be asked for the tokenizer.
        fp8: keep the linear layers that `wan.fp8.is_fp8_weight` names in E4M3, with a scale per row (`--fp8_t5`); a
            file in fp8 stays as it is.

    Raises:
        FileNotFoundError: there is no such file, or `tokenizer` names none.
        ValueError: the file is unreadable or holds another network, or the tokenizer does not fit the vocabulary.
    """
    found = load_tokenizer(find_weights(path, "t5"), UMT5, config, tokenizer, allow_download)
    opened = open_t5(path, config, found)
    # a file in fp8 has lost what scales would save
    in_fp8 = any(entry.dtype in FP8_DTYPES for entry in opened.entries.values())
    return place(opened, device, dtype, fp8="none" if not fp8 else "base" if in_fp8 else "scaled")


def open_t5(path: str | Path, config: T5Config, tokenizer: Tokenizer | None = None) -> Opened[T5Encoder]:
    """All that `load_t5` checks before it reads the weights, but the tokenizer.

    Raises:
        FileNotFoundError, ValueError: as `load_t5`.
    """
    with torch.device("meta"):
        t5 = T5Encoder(config, tokenizer)
    header, contents = open_network(path, "t5", t5)
    return fit(t5, t5_to_ours(header.entries, config), path, f"the text encoder of this task, though it is {contents}")


def load_clip(path: str | Path, config: CLIPConfig, *, device: str | torch.device, dtype: torch.dtype) -> CLIPVision:
    """Load the image encoder, in official or transformers' names; text tower and last block are not read.

    Args:
        path: the file (`models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth`, or a .safetensors file), or a folder:
            `image_encoder/` of a diffusers pipeline, the whole pipeline, or an official download.
        config: of the task.
        device: where the weights go.
        dtype: what they are cast to and computed in.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is unreadable or holds another network; the message says which it looks like.
    """
    return place(open_clip(path, config), device, dtype)


def open_clip(path: str | Path, config: CLIPConfig) -> Opened[CLIPVision]:
    """All that `load_clip` checks before it reads the weights.

    Raises:
        FileNotFoundError, ValueError: as `load_clip`.
    """
    with torch.device("meta"):
        clip = CLIPVision(config)
    header, contents = open_network(path, "clip", clip)
    what = f"the image encoder of this task, though it is {contents}"
    return fit(clip, clip_to_ours(header.entries, config), path, what)
