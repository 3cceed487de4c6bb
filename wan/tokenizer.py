"""Text to token numbers: the official clean-up, then a `tokenizer.json` from a local file or folder."""

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

import ftfy
import tokenizers

from common.logs import get_logger

log = get_logger("tokenizer")

HUB_TOKENIZER = "google/umt5-xxl"
"""Repository of the official tokenizer on the Hugging Face hub."""

FILE_NAME = "tokenizer.json"
_PLACES = (FILE_NAME, f"google/umt5-xxl/{FILE_NAME}", f"umt5-xxl/{FILE_NAME}", f"tokenizer/{FILE_NAME}")


def clean_prompt(text: str) -> str:
    """Repair broken encodings, resolve HTML entities twice, collapse white space (official `clean="whitespace"`)."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


class Tokenizer:
    """Prompts to token numbers, special tokens added, cut to a maximum length.

    Args:
        path: a `tokenizer.json`, or a folder that holds one.
        max_tokens: longest text, its end token included.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a tokenizer.
    """

    def __init__(self, path: str | Path, max_tokens: int) -> None:
        self.path = _file_at(Path(path))
        if not self.path.is_file():
            raise FileNotFoundError(f"tokenizer: {self.path} does not exist. {_hint()}")
        definition = _read_definition(self.path)
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:  # noqa: BLE001 - the library raises no narrower one
            raise ValueError(f"{self.path}: not a tokenizer.json ({error})") from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones and gaps included; every token number is below it."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    def __call__(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each prompt, after the clean-up, without padding."""
        encoded = self._tokenizer.encode_batch([clean_prompt(prompt) for prompt in prompts])
        for prompt, item in zip(prompts, encoded, strict=True):
            if item.overflowing:
                log.warning("only the first %d tokens of a text are read: %.60s...", len(item.ids), prompt)
        return [item.ids for item in encoded]


def find_tokenizer(weights: str | Path, tokenizer: str | Path | None = None, allow_download: bool = False) -> Path:
    """Where the tokenizer of a text encoder lies.

    Args:
        weights: the text encoder's file or folder; without `tokenizer`, that folder is searched, and `tokenizer/` in
            it or beside it, where diffusers keeps it.
        tokenizer: a `tokenizer.json` or a folder that holds one.
        allow_download: whether the Hugging Face hub may be asked when nothing is found here.

    Raises:
        FileNotFoundError: nowhere; says where to put it.
    """
    folder = Path(weights) if Path(weights).is_dir() else Path(weights).parent
    places = [folder / place for place in _PLACES] + [folder.parent / "tokenizer" / FILE_NAME]
    if tokenizer is not None:
        places = [_file_at(Path(tokenizer))]
    for place in places:
        if place.is_file():
            return place
    if allow_download:
        return _download()
    raise FileNotFoundError(f"tokenizer: not found at {', '.join(map(str, places))}. {_hint()}")


def _read_definition(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a tokenizer.json ({error})") from None
    if not isinstance(table, dict) or "model" not in table:
        raise ValueError(f"{path}: not a tokenizer.json (it has no entry 'model')")
    return text


def _file_at(path: Path) -> Path:
    return path / FILE_NAME if path.is_dir() or not path.suffix else path


def _hint() -> str:
    return (
        f"Copy the folder {HUB_TOKENIZER} of the Wan2.1 download beside the T5 weights "
        f"(weights/{HUB_TOKENIZER}/{FILE_NAME}), or allow the download from the hub"
    )


def _download() -> Path:
    import huggingface_hub  # only here: everything else works offline

    return Path(huggingface_hub.hf_hub_download(HUB_TOKENIZER, FILE_NAME))
