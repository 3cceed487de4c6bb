"""Opening the weights of the three encoders: official names, or those of the library their layers come from."""

from pathlib import Path

import torch

from wan.clip import CLIPVision
from wan.config import CLIPConfig, T5Config, VAEConfig
from wan.fp8 import Fp8Mode
from wan.keys_encoders import clip_to_ours, t5_to_ours, vae_to_ours
from wan.placing import find_weights, open_network, place
from wan.t5 import T5Encoder
from wan.tokenizer import Tokenizer, find_tokenizer
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
    with torch.device("meta"):
        vae = WanVAE(config)
    header, contents = open_network(path, "vae", vae)
    entries = vae_to_ours(header.entries, config)
    return place(vae, entries, device, dtype, path, f"the VAE of this task, though it is {contents}").channels_last()


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
    found = _find_tokenizer(path, config, tokenizer, allow_download)
    with torch.device("meta"):
        t5 = T5Encoder(config, found)
    header, contents = open_network(path, "t5", t5)
    # a file in fp8 has lost what scales would save
    mode: Fp8Mode = "none" if not fp8 else "base" if contents.is_fp8 else "scaled"
    entries = t5_to_ours(header.entries, config)
    what = f"the text encoder of this task, though it is {contents}"
    return place(t5, entries, device, dtype, path, what, fp8=mode)


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
    with torch.device("meta"):
        clip = CLIPVision(config)
    header, contents = open_network(path, "clip", clip)
    entries = clip_to_ours(header.entries, config)
    return place(clip, entries, device, dtype, path, f"the image encoder of this task, though it is {contents}")


def _find_tokenizer(
    path: str | Path, config: T5Config, tokenizer: str | Path | None, allow_download: bool
) -> Tokenizer | None:
    try:
        found = Tokenizer(find_tokenizer(find_weights(path, "t5"), tokenizer, allow_download), config.text_len)
    except FileNotFoundError:
        if tokenizer is not None:
            raise
        return None
    if found.vocab_size > config.vocab_size:
        raise ValueError(
            f"{found.path} knows {found.vocab_size} tokens, the text encoder of this task {config.vocab_size}: it is "
            "the tokenizer of another one; pass --tokenizer"
        )
    return found
