"""Where a relative path of a TOML or jsonl file points to.

The rule, for every relative path: as seen from the current directory if that exists (musubi-tuner's reading), else
as seen from the folder of the file that names it. So a data set can be moved as a folder, and old files still work.
"""

from pathlib import Path


def resolve(text: str, base: Path) -> Path:
    """The path that `text`, found in a file of folder `base`, means; it need not exist."""
    path = Path(text).expanduser()
    if path.is_absolute() or path.exists():
        return path
    return base / path


def resolve_beside(text: str, base: Path, media_text: str) -> Path:
    """Like `resolve`, for a folder that may not exist yet: it goes where the media of the same entry were found.

    Args:
        text: the folder as written.
        base: folder of the TOML file.
        media_text: the entry's media directory or jsonl as written; when it is relative, its side is taken.
    """
    path, media = Path(text).expanduser(), Path(media_text).expanduser()
    if path.is_absolute():
        return path
    if media.is_absolute():
        return resolve(text, base)
    return path if media.exists() else base / path
