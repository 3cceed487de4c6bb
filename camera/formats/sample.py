"""A first look at a file or folder, taken once for all recognisers. Nothing here unpickles or executes anything."""

import json
import zipfile
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError, safe_open

_HEAD = 2**16
_JSON_LIMIT = 2**28


@dataclass(frozen=True)
class Sample:
    """What can be seen of a path without knowing its format."""

    path: Path

    @cached_property
    def is_folder(self) -> bool:
        """True for a folder of files."""
        return self.path.is_dir()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """File names in a folder; member names of an .npz without ".npy"; keys of a .safetensors; else empty."""
        if self.is_folder:
            return tuple(sorted(entry.name for entry in self.path.iterdir()))
        if self.path.suffix == ".npz" and zipfile.is_zipfile(self.path):
            try:
                with zipfile.ZipFile(self.path) as archive:
                    return tuple(name.removesuffix(".npy") for name in archive.namelist())
            except (zipfile.BadZipFile, NotImplementedError, ValueError):
                return ()
        if self.path.suffix == ".safetensors":
            try:
                with safe_open(self.path, framework="pt") as opened:
                    return tuple(sorted(opened.keys()))
            except SafetensorError:
                return ()
        return ()

    @cached_property
    def head(self) -> bytes:
        """The first 64 KiB of a file; empty for a folder."""
        if self.is_folder:
            return b""
        with self.path.open("rb") as file:
            return file.read(_HEAD)

    @cached_property
    def text(self) -> str | None:
        """The first 64 KiB, cut at a line's end, as text; None for a folder or a file that is no UTF-8 text."""
        head = self.head
        if self.is_folder or b"\0" in head:
            return None
        if len(head) == _HEAD:
            head = head[: head.rfind(b"\n") + 1]
        try:
            return head.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None

    @cached_property
    def rows(self) -> tuple[tuple[float, ...], ...]:
        """The lines of `text` that hold numbers only, of the most common length; empty unless most lines are so.

        Comments (#), a header and a few damaged lines do not hide what a file is; its reader names the damage.
        """
        lines = [line.split() for line in (self.text or "").splitlines() if line.strip()]
        content = [words for words in lines if not words[0].startswith("#")]
        found = [row for words in content if (row := _numbers(words)) is not None]
        if not found or 2 * len(found) + 1 < len(content):
            return ()
        width, _ = Counter(map(len, found)).most_common(1)[0]
        return tuple(row for row in found if len(row) == width)

    @cached_property
    def json(self) -> object | None:
        """The document, when the file is one of JSON; else None."""
        # not by `text`: a document may be one line longer than the head
        start = self.head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if start not in (b"{", b"[") or self.path.stat().st_size > _JSON_LIMIT:
            return None
        try:
            return json.loads(self.path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError):
            return None


def _numbers(words: list[str]) -> tuple[float, ...] | None:
    try:
        return tuple(map(float, words))
    except ValueError:
        return None
