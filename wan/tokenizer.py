"""Text to token numbers: the official clean-up, then a `tokenizer.json` from a local file or folder."""

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import ftfy
import tokenizers

from common.logs import get_logger

log = get_logger("tokenizer")

FILE_NAME = "tokenizer.json"


class TokenizerSource(NamedTuple):
    """Where the tokenizer of a text encoder comes from."""

    hub: str
    """Its repository on the Hugging Face hub."""
    places: tuple[str, ...]
    """Folders that may hold it, relative to that of the weights, the first choice first."""


UMT5 = TokenizerSource("google/umt5-xxl", (".", "google/umt5-xxl", "umt5-xxl", "tokenizer", "../tokenizer"))
"""The text encoder's; diffusers keeps it in `tokenizer/`."""

XLM_ROBERTA = TokenizerSource("FacebookAI/xlm-roberta-large", ("xlm-roberta-large", "."))
"""That of CLIP's text tower, where the official download has it."""


class TokenizerSizes(Protocol):
    """What a text encoder's configuration says of its tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Rows of the token embedding."""
        ...

    @property
    def text_len(self) -> int:
        """Longest text in tokens."""
        ...


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
            raise FileNotFoundError(f"tokenizer: {self.path} does not exist. Pass a {FILE_NAME} or its folder")
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
        encoded = self._encode(prompts)
        for prompt, item in zip(prompts, encoded, strict=True):
            if item.overflowing:
                log.warning("only the first %d tokens of a text are read: %.60s...", len(item.ids), prompt)
        return [item.ids for item in encoded]

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """Tokens of each prompt, as many as a call gives; nothing is said of those that are cut."""
        return [len(item.ids) for item in self._encode(prompts)]

    def _encode(self, prompts: Sequence[str]) -> list[tokenizers.Encoding]:
        return self._tokenizer.encode_batch([clean_prompt(prompt) for prompt in prompts])


def find_tokenizer(
    weights: str | Path,
    tokenizer: str | Path | None = None,
    allow_download: bool = False,
    source: TokenizerSource = UMT5,
) -> Path:
    """Where the tokenizer of a text encoder lies.

    Args:
        weights: the text encoder's file or folder; without `tokenizer`, the source's places are searched from there.
        tokenizer: a `tokenizer.json` or a folder that holds one.
        allow_download: whether the Hugging Face hub may be asked when nothing is found here.
        source: which tokenizer.

    Raises:
        FileNotFoundError: nowhere; says where to put it.
    """
    folder = Path(weights) if Path(weights).is_dir() else Path(weights).parent
    places = [folder / place / FILE_NAME for place in source.places]
    if tokenizer is not None:
        places = [_file_at(Path(tokenizer))]
    for place in places:
        if place.is_file():
            return place
    if allow_download:
        return _download(source.hub)
    inside = next(place for place in source.places if place != ".")
    raise FileNotFoundError(
        f"tokenizer: not found at {', '.join(map(str, places))}. Put {FILE_NAME} of {source.hub} beside the text "
        f"encoder's weights (weights/{inside}/{FILE_NAME}), or allow the download from the hub"
    )


def load_tokenizer(
    weights: str | Path,
    source: TokenizerSource,
    sizes: TokenizerSizes,
    tokenizer: str | Path | None = None,
    allow_download: bool = False,
) -> Tokenizer | None:
    """The tokenizer that `find_tokenizer` finds, or None where none was named and none is there.

    Raises:
        FileNotFoundError: `tokenizer` names none.
        ValueError: it is unreadable, or knows more tokens than the text encoder has rows for.
    """
    try:
        found = Tokenizer(find_tokenizer(weights, tokenizer, allow_download, source), sizes.text_len)
    except FileNotFoundError:
        if tokenizer is not None:
            raise
        return None
    if found.vocab_size > sizes.vocab_size:
        raise ValueError(
            f"{found.path} knows {found.vocab_size} tokens, the text encoder {sizes.vocab_size}: it is the tokenizer "
            f"of another model; pass that of {source.hub}"
        )
    return found


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


def _download(hub: str) -> Path:
    import huggingface_hub  # only here: everything else works offline

    return Path(huggingface_hub.hf_hub_download(hub, FILE_NAME))
