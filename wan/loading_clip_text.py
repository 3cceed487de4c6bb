"""Opening CLIP's whole file, both towers, for image-text scores."""

from pathlib import Path

import torch

from common.files import require_file
from wan.clip_text import CLIPImageText
from wan.config import CLIPConfig, CLIPTextConfig
from wan.keys_clip_text import clip_image_text_table
from wan.keys_encoders import from_official
from wan.placing import open_network, place
from wan.tokenizer import FILE_NAME, Tokenizer

HUB_TOKENIZER = "FacebookAI/xlm-roberta-large"
"""Repository of the text tower's tokenizer on the Hugging Face hub."""


def load_clip_text(
    path: str | Path,
    config: CLIPConfig,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    tokenizer: str | Path | None = None,
    allow_download: bool = False,
) -> CLIPImageText:
    """Load the text tower and, for scores, the whole image encoder with its projection; official names.

    Args:
        path: the file (`models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth`, or a .safetensors file).
        config: of the task, e.g. `WAN_CONFIGS["i2v-14B"].clip`.
        device: where the weights go.
        dtype: what they are cast to and computed in.
        tokenizer: a `tokenizer.json` or its folder; None looks beside the weights, in `xlm-roberta-large/` first.
            Where none is found the tower still takes token numbers, and `encode_text` says what is missing.
        allow_download: whether the Hugging Face hub may be asked for the tokenizer.

    Raises:
        FileNotFoundError: there is no such file, or `tokenizer` names none.
        ValueError: the file is unreadable, holds another network or the image encoder alone, or the tokenizer does not
            fit the vocabulary; or the config has no text tower.
    """
    if config.text is None:
        raise ValueError("this task's CLIP has no text tower; use the config of another task, such as i2v-14B")
    found = _find_tokenizer(path, config.text, tokenizer, allow_download)
    with torch.device("meta"):
        clip = CLIPImageText(config, found)
    header, contents = open_network(path, "clip", clip)
    if "textual.token_embedding.weight" not in header.entries or "visual.head" not in header.entries:
        raise ValueError(
            f"{path} is {contents}, without CLIP's text tower under official names; pass "
            "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
        )
    entries = from_official(header.entries, clip_image_text_table(config, config.text))
    return place(clip, entries, device, dtype, path, "CLIP's two towers")


def _find_tokenizer(
    weights: str | Path, config: CLIPTextConfig, tokenizer: str | Path | None, allow_download: bool
) -> Tokenizer | None:
    if tokenizer is not None:
        require_file(tokenizer, "the tokenizer of CLIP's text tower", "Name xlm-roberta-large's tokenizer.json.")
    folder = Path(weights).parent
    places = [Path(tokenizer)] if tokenizer is not None else [folder / "xlm-roberta-large", folder / FILE_NAME]
    for candidate in places:
        if tokenizer is not None or (candidate / FILE_NAME if candidate.is_dir() else candidate).is_file():
            return _checked(Tokenizer(candidate, config.text_len), config)
    return _checked(Tokenizer(_download(), config.text_len), config) if allow_download else None


def _checked(tokenizer: Tokenizer, config: CLIPTextConfig) -> Tokenizer:
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"{tokenizer.path} knows {tokenizer.vocab_size} tokens, CLIP's text tower {config.vocab_size}: it is the "
            "tokenizer of another model; name xlm-roberta-large's"
        )
    return tokenizer


def _download() -> Path:
    import huggingface_hub  # only here: everything else works offline

    return Path(huggingface_hub.hf_hub_download(HUB_TOKENIZER, FILE_NAME))
