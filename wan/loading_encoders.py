"""Opening the weights of the three encoders: official names, or those of the library their layers come from."""

from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from common.weights import assign_tensors, read_tensors
from wan.clip import CLIPVision
from wan.config import CLIPConfig, T5Config, VAEConfig
from wan.keys import describe_keys
from wan.keys_encoders import CLIP_DROPPED, clip_table, from_official, t5_table, vae_table
from wan.t5 import T5Encoder
from wan.tokenizer import Tokenizer, find_tokenizer
from wan.vae import WanVAE

M = TypeVar("M", bound=nn.Module)


def load_vae(path: str | Path, config: VAEConfig, *, device: str | torch.device, dtype: torch.dtype) -> WanVAE:
    """Load the VAE, in official or diffusers' names.

    Args:
        path: the file (`Wan2.1_VAE.pth`, or a .safetensors file).
        config: of the task, e.g. `WAN_CONFIGS[task].vae`.
        device: where the weights go.
        dtype: what they are cast to and computed in.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is unreadable or holds another network; the message says which it looks like.
    """
    with torch.device("meta"):
        vae = WanVAE(config)
    tensors = read_tensors(path)
    table = vae_table(config)
    if any(key.startswith("encoder.down_blocks.") for key in tensors):
        back = {other: official for official, names in table.items() for other in names or ()}
        tensors = {back.get(key, key): tensor for key, tensor in tensors.items()}
    _expect("encoder.downsamples.0.residual.2.weight", tensors, "--vae", path)
    return _place(vae, tensors, device, dtype, "the VAE of this task", path).channels_last()


def load_t5(
    path: str | Path,
    config: T5Config,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    tokenizer: str | Path | None = None,
    allow_download: bool = False,
) -> T5Encoder:
    """Load the text encoder, in official or transformers' names, with its tokenizer.

    Args:
        path: the file (`models_t5_umt5-xxl-enc-bf16.pth`, or a .safetensors file).
        config: of the task.
        device: where the weights go.
        dtype: what they are cast to and computed in.
        tokenizer: a `tokenizer.json` or its folder; None looks beside the weights. Where none is found the encoder
            still takes token numbers, and `encode` says what is missing.
        allow_download: whether the Hugging Face hub may be asked for the tokenizer.

    Raises:
        FileNotFoundError: there is no such file, or `tokenizer` names none.
        ValueError: the file is unreadable or holds another network, or the tokenizer does not fit the vocabulary.
    """
    found = _find_tokenizer(path, config, tokenizer, allow_download)
    with torch.device("meta"):
        t5 = T5Encoder(config, found)
    tensors = from_official(read_tensors(path), t5_table(config))
    # transformers' files hold the embedding under this name too
    if "shared.weight" in tensors:
        tensors.setdefault("encoder.embed_tokens.weight", tensors.pop("shared.weight"))
    _expect("encoder.block.0.layer.0.SelfAttention.q.weight", tensors, "--t5", path)
    return _place(t5, tensors, device, dtype, "the text encoder of this task", path)


def load_clip(path: str | Path, config: CLIPConfig, *, device: str | torch.device, dtype: torch.dtype) -> CLIPVision:
    """Load the image encoder, in official names; the text tower and the last block in the file are not read.

    Args:
        path: the file (`models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth`, or a .safetensors file).
        config: of the task.
        device: where the weights go.
        dtype: what they are cast to and computed in.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is unreadable or holds another network; the message says which it looks like.
    """
    with torch.device("meta"):
        clip = CLIPVision(config)
    tensors = from_official(read_tensors(path), clip_table(config), CLIP_DROPPED)
    _expect("vision_model.embeddings.class_embedding", tensors, "--clip", path)
    return _place(clip, tensors, device, dtype, "the image encoder of this task", path)


def _find_tokenizer(
    path: str | Path, config: T5Config, tokenizer: str | Path | None, allow_download: bool
) -> Tokenizer | None:
    try:
        found = Tokenizer(find_tokenizer(path, tokenizer, allow_download), config.text_len)
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


def _expect(telling: str, tensors: dict[str, Tensor], flag: str, path: str | Path) -> None:
    """Refuse another network by name, before its keys are compared one by one."""
    if telling not in tensors:
        raise ValueError(f"{path} is {describe_keys(tensors)}; pass another file at {flag}")


def _place(
    module: M, tensors: dict[str, Tensor], device: str | torch.device, dtype: torch.dtype, what: str, path: str | Path
) -> M:
    # one at a time, so that file and copy are never whole in memory together
    placed = {key: tensors.pop(key).to(device, dtype) for key in list(tensors)}
    assign_tensors(module, placed, what, path)
    return module.to(device).requires_grad_(False).eval()
