"""The dataset file (TOML or JSON), read into checked dataclasses. The keys are in `dataset.schema`."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.files import require_file
from common.logs import get_logger
from dataset.paths import is_there, kind_of, resolve, resolve_beside
from dataset.schema import KEYS, SOURCE_KEYS, nearest, read_table, refuse_unknown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

logger = get_logger("dataset")

Media = Literal["image", "video"]
_TABLES = ("general", "datasets")
BUCKET_STEP = 16
"""Sides of pictures are multiples of this: the VAE's stride 8 times the DiT's patch 2."""


@dataclass(frozen=True)
class DatasetEntry:
    """One [[datasets]] entry with the values of [general] and the defaults filled in, paths resolved."""

    where: str
    """File and table, for messages."""
    media: Media
    """What the data set holds."""
    cache_directory: Path
    """Folder of the three caches; no other entry has the same."""
    directory: Path | None = None
    """Folder of the media; exactly one of this and `jsonl_file` is given."""
    jsonl_file: Path | None = None
    """One JSON object per line; its keys are in `dataset.jsonl`."""
    camera_directory: Path | None = None
    """Folder with a trajectory STEM.safetensors, STEM of another suffix, or folder STEM, for items that name none."""
    resolution: tuple[int, int] = (960, 544)
    """(width, height): the area of the buckets; for images without bucketing the one size."""
    caption_extension: str | None = None
    """Appended to the stem of a medium to find its caption; needed with `directory`."""
    batch_size: int = 1
    """Items of one shape per batch, in caching and in training."""
    num_repeats: int = 1
    """How often each clip comes in an epoch."""
    enable_bucket: bool = False
    """Images: sort into aspect buckets. Videos are always sorted, as musubi-tuner does."""
    bucket_no_upscale: bool = False
    """Images, with bucketing: an image smaller than the area keeps its own size."""
    target_frames: tuple[int, ...] = (1,)
    """Lengths of the clips, each 4n + 1, increasing."""
    frame_extraction: str = "head"
    """How clips are cut from a video: head, chunk, slide, uniform or full."""
    frame_stride: int = 1
    """slide: frames from one start to the next."""
    frame_sample: int = 1
    """uniform: number of starts."""
    max_frames: int = 129
    """full: longest clip."""
    source_fps: float | Literal["auto"] | None = None
    """Rate of the videos, or "auto" for what each file says; given, frames are dropped to reach 16 per second."""
    control_directory: Path | None = None
    """Folder with the control video, image or folder of images of every medium, paired by stem."""
    horizontal_flip: bool = False
    """Every item has a twin with left and right exchanged."""
    caption_dropout_rate: float = 0.0
    """Share of the times that an item is trained on with the empty caption, 0 to 1."""

    @property
    def base(self) -> Path:
        """Folder of the media, or of the jsonl file that lists them: where their names start from (`dataset.keys`)."""
        if self.directory is not None:
            return self.directory
        assert self.jsonl_file is not None, "an entry has one of the two"
        return self.jsonl_file.parent


@dataclass(frozen=True)
class DatasetConfig:
    """A whole dataset file."""

    path: Path
    """The TOML or JSON file."""
    datasets: tuple[DatasetEntry, ...]
    """Its entries, in order."""


def load_config(path: str | Path) -> DatasetConfig:
    """Read and check a dataset file.

    Raises:
        FileNotFoundError: the file, a media directory or a jsonl file is not there.
        ValueError: it is not TOML/JSON, or a key or value is wrong; names file, table and key.
    """
    file = require_file(path, "dataset config")
    content = _parse(file)
    for name in content:
        if name not in _TABLES:
            place = "table [general] or an entry of [[datasets]]" if name in KEYS else nearest(name, _TABLES)
            raise ValueError(
                f"{file}: unknown top-level key {name!r}; expected [general] and [[datasets]]; did you mean {place}?"
            )
    general = content.get("general", {})
    entries = content.get("datasets")
    if not isinstance(general, dict):
        raise ValueError(f"{file}: 'general' must be one table, [general]")
    if isinstance(entries, dict):
        raise ValueError(f"{file}: [datasets] is one table; expected [[datasets]], in double brackets, for each entry")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{file}: expected at least one [[datasets]] entry")
    shared = read_table(general, f"{file}, [general]", media=None)
    datasets = tuple(_read_entry(file, number, entry, shared) for number, entry in enumerate(entries, start=1))
    _refuse_shared_caches(datasets)
    return DatasetConfig(file, datasets)


def _parse(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        content = json.loads(text) if file.suffix.lower() == ".json" else tomllib.loads(text)
    except IsADirectoryError:
        raise ValueError(f"{file}: is a folder; expected a TOML or JSON file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 text ({error}); save it as UTF-8") from None
    except ValueError as error:  # of tomllib or json, or a number of too many digits
        raise ValueError(f"{file}: cannot be parsed: {error}") from None
    except RecursionError:
        raise ValueError(f"{file}: cannot be parsed: brackets nested too deep") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected a table with 'general' and 'datasets'")
    return content


def _read_entry(file: Path, number: int, table: Mapping[str, Any], shared: Mapping[str, Any]) -> DatasetEntry:
    where = f"{file}, [[datasets]] number {number}"
    source_key = _source_key(table, where)
    media: Media = "image" if source_key.startswith("image") else "video"
    values = {**shared, **read_table(table, where, media)}
    source_text = values.pop(source_key)
    source = _existing(source_key, source_text, where, file.parent)
    if source_key.endswith("_directory"):
        values["directory"] = source
        if "caption_extension" not in values:
            raise ValueError(f'{where}: {source_key} needs caption_extension, for instance ".txt"')
    else:
        values["jsonl_file"] = source
        if "cache_directory" not in values:
            raise ValueError(f"{where}: {source_key} needs cache_directory, the folder for the caches")
        if values.pop("control_directory", None):
            logger.warning(f"{where}: control_directory has no effect: the lines of a jsonl file name a control_path")
    caches = values.get("cache_directory")
    values["cache_directory"] = resolve_beside(caches, file.parent, source_text) if caches else source
    if kind_of(values["cache_directory"]) in {"file", "pipe"}:
        raise ValueError(f"{where}: cache_directory = {caches!r} is a file; expected a folder or a free name")
    if values["cache_directory"].is_symlink() and not is_there(values["cache_directory"]):
        raise ValueError(f"{where}: cache_directory = {caches!r} is a link that leads nowhere; expected a folder")
    for key in ("camera_directory", "control_directory"):
        if key in values:
            values[key] = _existing(key, values[key], where, file.parent)
    _warn_of_no_effect(values, media, where)
    if "target_frames" in values:
        values["target_frames"] = _rounded_frames(values["target_frames"], where)
    entry = DatasetEntry(where, media, **values)
    _check_sizes(entry)
    _check_control(entry)
    return entry


def _source_key(table: Mapping[str, Any], where: str) -> str:
    """The one key that says where the media are; it also says what they are."""
    found = [key for key in SOURCE_KEYS if key in table]
    if not found:
        refuse_unknown(table, where)
    if len(found) != 1:
        names = " and ".join(found) or "none"
        raise ValueError(f"{where}: needs exactly one of {', '.join(SOURCE_KEYS)}; found {names}")
    return found[0]


def _existing(key: str, text: str, where: str, base: Path) -> Path:
    """The folder or file that a key names."""
    path, wanted = resolve(text, base), "folder" if key.endswith("_directory") else "file"
    kind = kind_of(path)
    if kind == "nothing":
        raise FileNotFoundError(
            f"{key} of {where}: {path} does not exist. Relative paths are looked up from {Path.cwd()} and from "
            f"{base.resolve()}."
        )
    if kind != wanted:
        raise ValueError(f"{where}: {key} = {text!r} is not a {wanted}")
    return path


def _rounded_frames(counts: tuple[int, ...], where: str) -> tuple[int, ...]:
    """Each count down to 4n + 1, unique and increasing, as musubi-tuner does."""
    rounded = tuple(sorted({(count - 1) // 4 * 4 + 1 for count in counts}))
    if rounded != tuple(sorted(set(counts))):
        logger.warning(f"{where}: target_frames {list(counts)} becomes {list(rounded)}; the VAE takes 4n + 1 frames")
    return rounded


def _check_sizes(entry: DatasetEntry) -> None:
    unrounded = any(side % BUCKET_STEP for side in entry.resolution)
    if entry.media == "image" and not entry.enable_bucket and unrounded:
        raise ValueError(
            f"{entry.where}: resolution {list(entry.resolution)} with enable_bucket = false; "
            f"both sides must be multiples of {BUCKET_STEP}"
        )


def _check_control(entry: DatasetEntry) -> None:
    if entry.control_directory and entry.directory and entry.control_directory.samefile(entry.directory):
        raise ValueError(
            f"{entry.where}: control_directory is the folder of the media themselves ({entry.directory}); "
            "every medium would be its own control"
        )


def _warn_of_no_effect(values: Mapping[str, Any], media: Media, where: str) -> None:
    extraction = values.get("frame_extraction")
    if extraction == "uniform" and values.get("frame_sample", 1) == 1:
        logger.warning(f"{where}: frame_extraction 'uniform' with frame_sample 1 takes the same clip as 'head'")
    for key, only in (("frame_stride", "slide"), ("frame_sample", "uniform"), ("max_frames", "full")):
        if key in values and (extraction or "head") != only:
            logger.warning(f"{where}: {key} has no effect: only frame_extraction {only!r} looks at it")
    if extraction == "full" and "target_frames" in values:
        logger.warning(f"{where}: frame_extraction 'full' does not look at target_frames, only at max_frames")
    if values.get("bucket_no_upscale") and (media == "video" or not values.get("enable_bucket")):
        reason = "videos are always sorted into buckets" if media == "video" else "enable_bucket is false"
        logger.warning(f"{where}: bucket_no_upscale has no effect, because {reason}")


def _refuse_shared_caches(datasets: tuple[DatasetEntry, ...]) -> None:
    owners: dict[Path, DatasetEntry] = {}
    for entry in datasets:
        folder = entry.cache_directory.resolve()
        if folder in owners:
            raise ValueError(
                f"{entry.where}: has the same cache_directory as {owners[folder].where} ({folder}); "
                "each entry needs its own (without one, caches go to the media directory)"
            )
        owners[folder] = entry
