"""The media of a data set: one item per image or video, with its caption and, if named, its camera file."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from camera.captions import split_trajectory
from camera.language import mirror_caption, split_caption
from common.logs import get_logger
from common.media import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, images_in
from dataset.companions import camera_of, controls_of, list_by_stem
from dataset.config import DatasetConfig, DatasetEntry
from dataset.jsonl import Record, read_records
from dataset.keys import MIRRORED, media_keys, source_key
from dataset.names import EMPTY_TEXT_KEY
from dataset.paths import Lookup, UnsetVariable, expand, is_there, kind_of, normalised

logger = get_logger("dataset")

_EXTENSIONS = {"image": IMAGE_EXTENSIONS, "video": VIDEO_EXTENSIONS}
_CONTROL_EXTENSIONS = {"image": IMAGE_EXTENSIONS, "video": (*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS)}
_SIDE = re.compile(r"\b(?:left|right)\b", re.IGNORECASE)
_SHOWN = 10


@dataclass(frozen=True)
class MediaItem:
    """One image or video of a data set."""

    key: str
    """Names the caches, so it is unique within the data set: the stem, mostly (`dataset.keys`)."""
    path: Path
    """The medium; for a video it may be a folder of images."""
    caption: str
    """The whole caption, camera text included, but for a clause `#trajectory {path}`."""
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
    by_clause: bool = False
    """Whether it was a clause `#trajectory {path}` of the caption that named the camera file."""

    @property
    def source_key(self) -> str:
        """Of the medium, also where it is listed beside others of its name; caches keep it in their metadata."""
        return source_key(self.path, self.entry.base)


@dataclass(frozen=True)
class ItemGroup:
    """The items of one [[datasets]] entry."""

    entry: DatasetEntry
    items: tuple[MediaItem, ...]


def load_items(config: DatasetConfig, *, check_media: bool = True) -> list[ItemGroup]:
    """The items of every data set, in the order of their files; a mirrored twin comes after its original.

    Args:
        config: the dataset file.
        check_media: demand that the media, controls and camera files of a jsonl exist; training from caches does not.

    Raises:
        FileNotFoundError: a medium, control or camera file is missing; names the jsonl line or caption file.
        ValueError: a jsonl line or caption is wrong, a data set is empty, one medium is listed twice with different
            captions, or some media have a control and others have none.
    """
    return [ItemGroup(entry, _items_of(entry, check_media)) for entry in config.datasets]


def _items_of(entry: DatasetEntry, check_media: bool) -> tuple[MediaItem, ...]:
    listed = list(_from_jsonl(entry, check_media) if entry.jsonl_file else _from_directory(entry, check_media))
    if not listed:
        place = entry.jsonl_file or entry.directory
        raise ValueError(f"{entry.where}: no {entry.media}s in {place} ({', '.join(_EXTENSIONS[entry.media])})")
    if entry.control_directory:
        controls = controls_of([item.path for item in listed], entry, list_by_stem(entry.control_directory))
        listed = [replace(item, control=control) for item, control in zip(listed, controls, strict=True)]
    _refuse_half_controlled(listed, entry)
    items = _with_keys(_without_repeats(listed, entry), entry)
    _refuse_key_of_empty_caption(items, entry)
    return tuple(_with_twins(items, entry) if entry.horizontal_flip else items)


def _refuse_key_of_empty_caption(items: Sequence[MediaItem], entry: DatasetEntry) -> None:
    """Two captions would share one text cache."""
    for item in items:
        if item.key == EMPTY_TEXT_KEY and entry.caption_dropout_rate > 0:
            raise ValueError(
                f"{item.where}: {item.path.name} has the name of the cache of the empty caption, which "
                "caption_dropout_rate needs; rename it"
            )


def _from_directory(entry: DatasetEntry, check_media: bool) -> Iterator[MediaItem]:
    assert entry.directory is not None
    lookup = Lookup(entry.directory)
    cameras = list_by_stem(entry.camera_directory) if entry.camera_directory else {}
    without_caption = []
    for path in sorted(entry.directory.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in _EXTENSIONS[entry.media] or not path.is_file():
            continue
        caption_file = path.with_name(f"{path.stem}{entry.caption_extension}")
        if caption_file.is_file():
            camera = camera_of(path, entry, cameras)
            item = MediaItem(path.stem, path, _read_caption(caption_file), camera, entry, str(entry.directory))
            yield _without_clause(item, str(caption_file), lookup, check_media)
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
        return path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the caption is not UTF-8 text ({error}); save it as UTF-8") from None


def _from_jsonl(entry: DatasetEntry, check_media: bool) -> Iterator[MediaItem]:
    cameras = list_by_stem(entry.camera_directory) if entry.camera_directory else {}
    media_key = f"{entry.media}_path"
    for record in read_records(entry):
        medium = _medium(record, media_key, _EXTENSIONS[entry.media], entry, check_media)
        assert medium is not None
        control = _medium(record, "control_path", _CONTROL_EXTENSIONS[entry.media], entry, check_media)
        camera = _named_camera(record, check_media) or (camera_of(medium, entry, cameras) if cameras else None)
        caption, fps = record.values["caption"], record.values.get("fps")
        item = MediaItem(medium.stem, medium, caption, camera, entry, record.where, control, fps)
        yield _without_clause(item, record.where, record.lookup, check_media)


def _medium(record: Record, key: str, extensions: tuple[str, ...], entry: DatasetEntry, check: bool) -> Path | None:
    """The file of such an ending that a key names; for a video data set it may be a folder of images."""
    path = record.path(key)
    if path is None:
        return None
    folders, known = entry.media == "video", path.suffix.lower() in extensions
    kind = kind_of(path) if check else "unknown"
    if kind == "nothing":
        raise record.missing(key)
    if kind == "pipe":
        _refuse_pipe(path, f"{record.where}: {key}")
    # where media need not be there, a name of no known ending may have been a folder
    fits_by_name = known or (folders and not check)
    if (folders and any(images_in(path))) if kind == "folder" else fits_by_name:
        return path
    allowed = ", ".join(extensions) + (", or a folder of images" if folders else "")
    raise ValueError(f"{record.where}: {key} {path} is not of the kind expected here ({allowed})")


def _refuse_pipe(path: Path, what: str) -> None:
    """Files are read more than once, and a pipe that nobody writes to would be waited for forever."""
    if kind_of(path) == "pipe":
        raise ValueError(f"{what} {path} is a pipe or device; expected a file that can be read twice")


def _named_camera(record: Record, check: bool) -> Path | None:
    """The camera file of a line."""
    text = record.values.get("camera_file")
    if text is None:
        return None
    file, path = _camera_place(text, record.lookup)
    if check and not is_there(file):
        raise record.missing("camera_file")
    if check:
        _refuse_pipe(file, f"{record.where}: camera_file")
    return path


def _camera_place(text: str, lookup: Lookup) -> tuple[Path, Path]:
    """The file or folder that a camera is in, and the same or PATH#NAME, for one of several trajectories of a file."""
    path = lookup.resolve(text)
    name, _, member = text.rpartition("#")
    if name and "/" not in member and not is_there(path):
        file = lookup.resolve(name)
        return file, Path(f"{file}#{member}")
    return path, path


def _without_clause(item: MediaItem, where: str, lookup: Lookup, check: bool) -> MediaItem:
    """The item with its `#trajectory {path}` taken out of the caption: its camera file, unless it has another."""
    caption, text = split_trajectory(item.caption)
    if text is None:
        return item
    item = replace(item, caption=caption)
    if item.camera_file is not None:
        return item
    try:
        file, path = _camera_place(expand(text), lookup)
    except UnsetVariable as error:
        raise ValueError(f"{where}: #trajectory {{{text}}}: {error}") from None
    if check and not is_there(file):
        raise FileNotFoundError(
            f"{where}: the file of #trajectory {{{text}}} is not there (relative paths are looked up from {Path.cwd()} "
            f"and {lookup.base.resolve()}); correct it, or let tools/prepare_omnicam.py find files of other machines"
        )
    if check:
        _refuse_pipe(file, f"{where}: #trajectory")
    return replace(item, camera_file=path, by_clause=True)


def _refuse_half_controlled(items: Sequence[MediaItem], entry: DatasetEntry) -> None:
    """All items have a control, or, without control_directory, none has."""
    without = [item for item in items if item.control is None]
    if without and (entry.control_directory or len(without) < len(items)):
        place = f" in {entry.control_directory}" if entry.control_directory else ""
        names = shorten([f"{item.path.name} ({item.where})" for item in without])
        raise ValueError(
            f"{entry.where}: {len(without)} of {len(items)} {entry.media}s have no control{place}: {names}; give all "
            "of them one, or put those without into an entry of their own"
        )


def _without_repeats(listed: Sequence[MediaItem], entry: DatasetEntry) -> list[MediaItem]:
    """The different items, in the order of their first lines."""
    stems = Counter(item.key for item in listed)
    if len(stems) == len(listed):
        return list(listed)
    by_path: dict[Path, MediaItem] = {}
    repeated: list[MediaItem] = []
    for item in listed:
        first = by_path.setdefault(item.path if stems[item.key] == 1 else normalised(item.path), item)
        if first is item:
            continue
        if replace(item, where=first.where, path=first.path) != first:
            raise ValueError(
                f"{item.where}: {item.path.name} was listed before, with another caption, camera, control or fps "
                f"({first.where}); keep one, or put the other into an entry with a cache_directory of its own"
            )
        repeated.append(item)
    if repeated:
        names = shorten([f"{item.path.name} ({item.where})" for item in repeated])
        logger.warning(f"{entry.where}: {len(repeated)} lines repeat another and are left out: {names}")
    return list(by_path.values())


def _with_keys(items: Sequence[MediaItem], entry: DatasetEntry) -> list[MediaItem]:
    """The items, whose keys are their stems so far, with keys that are unique."""
    if len({item.key for item in items}) == len(items):
        return list(items)
    keys = media_keys([item.path for item in items], entry.base)
    return [item if item.key == key else replace(item, key=key) for item, key in zip(items, keys, strict=True)]


def _with_twins(items: Sequence[MediaItem], entry: DatasetEntry) -> list[MediaItem]:
    """Every item, followed by its mirrored twin."""
    sided = [item.path.name for item in items if _SIDE.search(split_caption(item.caption)[0])]
    if sided:
        logger.warning(
            f"{entry.where}: horizontal_flip turns the camera tags round, but not the words left and right in the "
            f"scenes of {len(sided)} captions: {shorten(sided)}"
        )
    keys = {item.key for item in items}
    found: list[MediaItem] = []
    for item in items:
        key = item.key + MIRRORED
        if key in keys:
            raise ValueError(
                f"{entry.where}: a medium is called {key}, which is the name of the mirrored twin of {item.path.name} "
                f"({item.where}) too; rename one"
            )
        found += [item, replace(item, key=key, caption=mirror_caption(item.caption), mirrored=True)]
    return found


def shorten(names: list[str]) -> str:
    """The first few of many names, for a message."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
