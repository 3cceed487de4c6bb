"""The media of a data set: one item per image or video, with its caption and, if named, its camera file."""

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camera.formats import split_member
from common.logs import get_logger
from common.media import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from dataset.config import DatasetConfig, DatasetEntry
from dataset.paths import resolve

logger = get_logger("dataset")

_EXTENSIONS = {"image": IMAGE_EXTENSIONS, "video": VIDEO_EXTENSIONS}
_CAMERA_SUFFIXES = (".txt", ".json", ".npz", ".npy", ".tum", "")
"""Of STEM in a camera_directory where there is no STEM.safetensors; without a suffix it is a folder."""
_SHOWN = 10


@dataclass(frozen=True)
class MediaItem:
    """One image or video of a data set."""

    key: str
    """The stem of the file's name; names the caches, so it is unique within the data set."""
    path: Path
    """The medium."""
    caption: str
    """The whole caption, camera text included."""
    camera_file: Path | None
    """A trajectory of the whole video, of any format of `camera.formats` (a folder, or PATH#NAME, for some of them)."""
    entry: DatasetEntry
    """The data set it belongs to."""
    where: str
    """Where it is listed, for messages: a jsonl line, or the folder."""
    control: Path | None = None
    """The control video of a video, or the folder of images or the image in its place; of an image, an image."""
    fps: float | None = None
    """Frames per second that the file really has, whatever its container says; None believes the container."""
    mirrored: bool = False
    """A twin whose pictures, caption and camera have left and right exchanged (`horizontal_flip`)."""


@dataclass(frozen=True)
class ItemGroup:
    """The items of one [[datasets]] entry."""

    entry: DatasetEntry
    items: tuple[MediaItem, ...]


def load_items(config: DatasetConfig, *, check_media: bool = True) -> list[ItemGroup]:
    """The items of every data set, in the order of their files.

    Args:
        config: the dataset file.
        check_media: demand that every medium and camera file of a jsonl exists; training from caches does not.

    Raises:
        FileNotFoundError: a medium or camera file is missing; names the jsonl line.
        ValueError: a jsonl line or caption is wrong, a data set is empty, or two media have equal stems (their
            caches would overwrite each other).
    """
    return [ItemGroup(entry, _items_of(entry, check_media)) for entry in config.datasets]


def _items_of(entry: DatasetEntry, check_media: bool) -> tuple[MediaItem, ...]:
    found = _from_jsonl(entry, check_media) if entry.jsonl_file else _from_directory(entry)
    by_key: dict[str, MediaItem] = {}
    for item in found:
        twin = by_key.setdefault(item.key, item)
        if twin is not item:
            raise ValueError(
                f"{entry.where}: {twin.path} ({twin.where}) and {item.path} ({item.where}) have the same stem "
                f"{item.key!r}, so their caches would overwrite each other; rename one or give it an entry of its own"
            )
    if not by_key:
        place = entry.jsonl_file or entry.directory
        raise ValueError(f"{entry.where}: no {entry.media}s in {place} ({', '.join(_EXTENSIONS[entry.media])})")
    return tuple(by_key.values())


def _from_directory(entry: DatasetEntry) -> Iterator[MediaItem]:
    assert entry.directory is not None
    without_caption = []
    for path in sorted(entry.directory.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in _EXTENSIONS[entry.media] or not path.is_file():
            continue
        caption_file = path.with_name(f"{path.stem}{entry.caption_extension}")
        if caption_file.is_file():
            caption = _read_caption(caption_file)
            yield MediaItem(path.stem, path, caption, _camera_of(entry, path), entry, str(entry.directory))
        elif entry.media == "video":
            raise FileNotFoundError(f"{entry.where}: the video {path} has no caption; expected {caption_file}")
        else:
            without_caption.append(path.name)
    if without_caption:
        logger.warning(
            f"{entry.where}: {len(without_caption)} images have no caption file STEM{entry.caption_extension} and are "
            f"left out: {shorten(without_caption)}"
        )


def _read_caption(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the caption is not UTF-8 text ({error})") from None


def _camera_of(entry: DatasetEntry, medium: Path) -> Path | None:
    """The trajectory of a medium in camera_directory; ValueError when there are several."""
    if entry.camera_directory is None:
        return None
    own = entry.camera_directory / f"{medium.stem}.safetensors"
    if own.is_file():
        return own
    paths = {suffix: entry.camera_directory / f"{medium.stem}{suffix}" for suffix in _CAMERA_SUFFIXES}
    found = [path for suffix, path in paths.items() if (path.is_file() if suffix else path.is_dir())]
    if entry.caption_extension is not None:
        caption = medium.with_name(f"{medium.stem}{entry.caption_extension}").resolve()
        found = [path for path in found if path.resolve() != caption]
    if len(found) > 1:
        names = shorten([path.name for path in found])
        raise ValueError(
            f"{entry.where}: {entry.camera_directory} has several cameras for {medium.name}: {names}; keep one"
        )
    return found[0] if found else None


def _from_jsonl(entry: DatasetEntry, check_media: bool) -> Iterator[MediaItem]:
    assert entry.jsonl_file is not None
    ignored: set[str] = set()
    try:
        lines = entry.jsonl_file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{entry.jsonl_file}: not UTF-8 text ({error})") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{entry.jsonl_file} line {number}"
        record = _parse_line(line, where)
        ignored |= _check_keys(record, entry, where)
        yield _item_of(record, entry, where, check_media)
    if ignored:
        logger.warning(f"{entry.jsonl_file}: these keys mean nothing here: {', '.join(sorted(ignored))}")


class _DoubleKey(ValueError):
    """A JSON object says one key twice; its name is the argument."""


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        raise _DoubleKey(next(name for name in names if names.count(name) > 1))
    return table


def _parse_line(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error.msg}, column {error.colno})") from None
    except _DoubleKey as error:
        raise ValueError(f"{where}: the key {error.args[0]!r} stands there more than once; keep one") from None
    except RecursionError:
        raise ValueError(f"{where}: not a JSON object with {{...}}, but brackets nested too deep") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected an object with {{...}}, found {type(record).__name__}")
    return record


def _check_keys(record: dict[str, Any], entry: DatasetEntry, where: str) -> set[str]:
    """Refuse keys that mean something we cannot do, and near misses; the harmless rest is returned."""
    known = {f"{entry.media}_path", "caption", "camera_file"}
    ignored = set(record) - known
    for key in sorted(ignored):
        if key.startswith(("control_path", "image_path_")):
            raise ValueError(f"{where}: the key {key!r} of musubi-tuner is not supported yet; remove it")
        nearest = difflib.get_close_matches(key, known - set(record), n=1, cutoff=0.75)
        if nearest:
            raise ValueError(f"{where}: unknown key {key!r}; did you mean {nearest[0]!r}?")
    return ignored


def _item_of(record: dict[str, Any], entry: DatasetEntry, where: str, check_media: bool) -> MediaItem:
    media_key = f"{entry.media}_path"
    for key in (media_key, "caption"):
        if not isinstance(record.get(key), str):
            raise ValueError(f"{where}: expected {key!r} with a text, found {record.get(key)!r}")
    path = _resolve_in(record[media_key], entry, media_key, where, check_media)
    if path.suffix.lower() not in _EXTENSIONS[entry.media]:
        raise ValueError(f"{where}: {media_key} {path} is no {entry.media} ({', '.join(_EXTENSIONS[entry.media])})")
    try:
        record["caption"].encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: the caption holds half a character ({error}); write it again") from None
    camera = record.get("camera_file")
    if camera is not None and (not isinstance(camera, str) or not camera):
        raise ValueError(f"{where}: expected 'camera_file' with a path, found {camera!r}")
    camera_file = _resolve_camera(camera, entry, where, check_media) if camera else _camera_of(entry, path)
    return MediaItem(path.stem, path, record["caption"], camera_file, entry, where)


def _resolve_in(text: str, entry: DatasetEntry, key: str, where: str, check: bool) -> Path:
    assert entry.jsonl_file is not None
    path = resolve(text, entry.jsonl_file.parent)
    if check and not path.is_file():
        raise _not_found(text, entry, key, where)
    return path


def _resolve_camera(text: str, entry: DatasetEntry, where: str, check: bool) -> Path:
    """A file or folder, or PATH#NAME for one of several trajectories of a file."""
    assert entry.jsonl_file is not None
    path = resolve(text, entry.jsonl_file.parent)
    name, mark, member = text.rpartition("#")
    if not path.exists() and name:
        path = Path(f"{resolve(name, entry.jsonl_file.parent)}{mark}{member}")
    try:
        if check:
            split_member(path)
    except FileNotFoundError:
        raise _not_found(text, entry, "camera_file", where) from None
    return path


def _not_found(text: str, entry: DatasetEntry, key: str, where: str) -> FileNotFoundError:
    assert entry.jsonl_file is not None
    folders = f"{Path.cwd()} and {entry.jsonl_file.parent.resolve()}"
    return FileNotFoundError(f"{where}: {key} {text!r} is not there (relative paths are looked up from {folders})")


def shorten(names: list[str]) -> str:
    """The first few of many names, for a message."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
