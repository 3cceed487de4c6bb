"""What a path in a TOML or jsonl file points to.

`${NAME}` stands for the environment variable NAME and `~` at the start for the home directory. A relative path is as
seen from the current directory if that exists (musubi-tuner's reading), else as seen from the folder of the file that
names it. So a data set can be moved as a folder, and old files still work.
"""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_NAME = re.compile(r"[A-Za-z_]\w*")


class UnsetVariable(ValueError):
    """A path names an environment variable that is not there; the message says which, and what to do."""


def expand(text: str) -> str:
    """The text with `${NAME}` and a leading `~` filled in; `$${` stands for the characters `${`.

    A `$` without a brace is a character like any other, as it is to musubi-tuner.

    Raises:
        UnsetVariable: NAME is not set, is empty, or is no name.
    """
    if "${" in text:
        text = _VARIABLE.sub(_value, text)
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:  # no such user: "~a.mp4" is also the name of a file
        return text


def _value(match: re.Match[str]) -> str:
    if match[1] is None:
        return "${"
    if _NAME.fullmatch(match[1]) is None or not match[0].endswith("}"):
        raise UnsetVariable(f"{match[0]!r} is no variable; expected ${{NAME}}, or $${{ for these very characters")
    value = os.environ.get(match[1], "")
    if not value:
        raise UnsetVariable(
            f"{match[0]} is not set or empty; set it (export {match[1]}=...), or write ${match[0]} for these very "
            "characters"
        )
    return value


def kind_of(path: Path) -> Literal["file", "folder", "pipe", "nothing"]:
    """What lies there, links followed; a device is a pipe, too, and a text that is too long for a name is nothing."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return "nothing"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "pipe"


def is_there(path: Path) -> bool:
    """True for a file or folder."""
    return kind_of(path) != "nothing"


def resolve(text: str, base: Path) -> Path:
    """The path that an expanded text, found in a file of folder `base`, means; it need not exist."""
    path = Path(text)
    return path if path.is_absolute() or is_there(path) else base / path


@dataclass(frozen=True)
class Lookup:
    """`resolve` for the many paths of one file: a folder that is not below the current one is asked for once."""

    base: Path
    """Folder of the file."""
    absent: set[str] = field(default_factory=set)
    """Folders, as written, that are not there as seen from the current directory."""

    def resolve(self, text: str) -> Path:
        """The path that an expanded text means; it need not exist."""
        folder = text.rpartition("/")[0]
        if folder in self.absent:
            return self.base / text
        path = resolve(text, self.base)
        if folder and not is_there(Path(folder)):
            self.absent.add(folder)
        return path


def resolve_beside(text: str, base: Path, media_text: str) -> Path:
    """Like `resolve`, for a folder that may not exist yet: it goes where the media of the same entry were found.

    Args:
        text: the folder, expanded.
        base: folder of the TOML file.
        media_text: the entry's media directory or jsonl, expanded; when it is relative, its side is taken.
    """
    path, media = Path(text), Path(media_text)
    if media.is_absolute():
        return resolve(text, base)
    return path if path.is_absolute() or is_there(media) else base / path


def normalised(path: Path) -> Path:
    """The whole path, without "." and ".."; links are not followed."""
    return Path(os.path.normpath(path.absolute()))
