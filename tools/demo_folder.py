"""The folder of a demo data set: its dataset.toml, to which several tools each add their own entry, and its jsonl."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.files import atomic_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

DATASET_FILE = "dataset.toml"
_HEAD = """\
# Written by the tools that made this folder; each keeps its own [[datasets]] entry up to date.
# Relative paths are looked up from the current directory first, then from this file's folder.

[general]
enable_bucket = true
"""


def output_folder(path: str | Path) -> Path:
    """Make the folder a tool writes into, or say why that cannot be (ValueError)."""
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output_dir {folder}: is a file; give a folder, or a name that does not exist yet")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, the whole file or nothing."""
    with atomic_path(path) as temporary:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        temporary.write_text("".join(lines), encoding="utf-8")


def set_dataset(folder: Path, jsonl_name: str, size: tuple[int, int], frames: int) -> Path:
    """Add or replace the video data set of `jsonl_name` in the folder's dataset.toml; others stay as they are.

    Args:
        folder: holds dataset.toml, the jsonl file and later the caches.
        jsonl_name: name of the jsonl file, which also names the cache folder.
        size: (height, width) of the clips.
        frames: length of the clips.

    Returns:
        Path of dataset.toml.

    Raises:
        ValueError: there is a dataset.toml that is not one of these.
    """
    path = folder / DATASET_FILE
    entries = {entry["video_jsonl_file"]: entry for entry in _read_entries(path)}
    entries[jsonl_name] = {
        "video_jsonl_file": jsonl_name,
        "cache_directory": f"cache/{Path(jsonl_name).stem}",
        "resolution": [size[1], size[0]],
        "target_frames": [frames],
        "frame_extraction": "head",
        "batch_size": 1,
    }
    text = "\n".join([_HEAD, *(block(entry) for entry in entries.values())])
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _read_entries(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("datasets", [])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be parsed ({error}); remove it, it is written anew") from None
    if not all(isinstance(entry, dict) and "video_jsonl_file" in entry for entry in entries):
        raise ValueError(f"{path}: holds an entry without video_jsonl_file; move your own data set to another file")
    return entries


def block(entry: Mapping[str, Any]) -> str:
    """A [[datasets]] table; JSON writes strings, numbers, booleans and lists of them as TOML does."""
    return "[[datasets]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items())
