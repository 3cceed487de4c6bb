"""Which clips of a data set can be trained on: its items, matched with the caches that lie in its folders."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.logs import get_logger
from dataset.cache import CacheHeader
from dataset.config import DatasetConfig, DatasetEntry
from dataset.judging import holds_all, is_too_short, judge_camera, judge_text, latent_grid, read_headers, wanted_latents
from dataset.names import EMPTY_TEXT_KEY, LatentName, camera_name, latents_by_stem, text_name
from dataset.shortfalls import Demand, Kind, Reason, Shortfall, refuse_shortfalls
from dataset.sources import MediaItem, load_items, shorten

logger = get_logger("dataset")

_THREADS = 8


@dataclass(frozen=True)
class TrainingClip:
    """One clip with its caches."""

    entry: DatasetEntry
    name: LatentName
    shape: tuple[int, int, int]
    """(f, h, w) of the latents."""
    latents: Path
    text: Path
    camera: Path | None
    """Camera cache of the whole video; None when the set is loaded without cameras."""

    @property
    def empty_text(self) -> Path:
        """Text cache of the empty caption, which is there when the data set drops captions."""
        return self.entry.cache_directory / text_name(EMPTY_TEXT_KEY)


@dataclass(frozen=True)
class _Finding:
    """The clips of one item, and what it lacks."""

    clips: list[TrainingClip]
    lacks: list[Shortfall]


def find_clips(config: DatasetConfig, demand: Demand) -> list[TrainingClip]:
    """The clips of a data set, in the order of its items; each has all the caches that training needs.

    A cache counts only if it is what the dataset file now asks for: frames, extraction, size, caption. What lies in
    the folders besides is left alone. Caches of musubi-tuner count as far as their names can tell.

    Raises:
        ValueError: caches are missing, out of date or foreign; counts them, and says the commands that make them.
    """
    findings: list[_Finding] = []
    for group in load_items(config, check_media=False):
        lying = latents_by_stem(group.entry.cache_directory, group.entry.media)
        names = [lying.get(item.key, []) for item in group.items]
        with ThreadPoolExecutor(_THREADS) as pool:
            findings += pool.map(_find, group.items, names, [demand] * len(names))
    clips = _accept(findings, config, demand)
    if not clips:
        raise ValueError(f"{config.path}: nothing to train on: every video is shorter than its target_frames")
    return clips


def find_all_caches(config: DatasetConfig, demand: Demand) -> list[TrainingClip]:
    """Every latent cache of the cache directories that has a text cache beside it, as musubi-tuner trains.

    Neither media nor jsonl are consulted: clips of other settings and of media that left the data set come too.

    Raises:
        ValueError: a latent cache lacks a tensor or a camera, or there is nothing at all.
    """
    findings: list[_Finding] = []
    without_text: list[str] = []
    for entry in config.datasets:
        lying = latents_by_stem(entry.cache_directory, entry.media)
        keys = [key for key in lying if (entry.cache_directory / text_name(key)).is_file()]
        without_text += [name.file_name() for key in lying.keys() - keys for name in lying[key]]
        with ThreadPoolExecutor(_THREADS) as pool:
            findings += pool.map(partial(_find_lying, entry, demand), keys, [lying[key] for key in keys])
    if without_text:
        logger.warning(
            f"{len(without_text)} latent caches have no text cache and are left out: {shorten(sorted(without_text))}"
        )
    clips = _accept(findings, config, demand)
    if not clips:
        raise ValueError(f"{config.path}: --use_all_caches found no latent cache with a text cache beside it")
    return clips


def _accept(findings: Sequence[_Finding], config: DatasetConfig, demand: Demand) -> list[TrainingClip]:
    """The clips of all findings, if nothing is lacking."""
    lacks = [shortfall for finding in findings for shortfall in finding.lacks]
    for entry in config.datasets:
        path = entry.cache_directory / text_name(EMPTY_TEXT_KEY)
        if entry.caption_dropout_rate > 0 and (fault := judge_text(path, "", demand.widths)):
            lacks.append(Shortfall("text", fault, f"{path.name} for caption_dropout_rate"))
    refuse_shortfalls(lacks, len(findings), config.path, demand)
    return [clip for finding in findings for clip in finding.clips]


def _find(item: MediaItem, lying: Sequence[LatentName], demand: Demand) -> _Finding:
    """The clips of an item that the data set asks for."""
    headers, unusable = read_headers(item.entry.cache_directory, lying, demand.widths)
    chosen, fault = wanted_latents(item, headers, demand.tensors)
    if not chosen and not unusable and is_too_short(item):
        return _Finding([], [])
    asked = [name for name in demand.tensors if name == "latents_control"]
    if fault == "poor" and item.control is None and not holds_all(headers.values(), asked):
        fault = "uncontrolled"
    faults: dict[Kind, Reason | None] = {"latent": fault and (unusable or fault)}
    return _with_the_rest(item.entry, item.key, chosen, faults, item, demand)


def _find_lying(entry: DatasetEntry, demand: Demand, key: str, lying: Sequence[LatentName]) -> _Finding:
    """Every clip of an item that lies in the folder."""
    headers, unusable = read_headers(entry.cache_directory, lying, demand.widths)
    poor: Reason | None = None if holds_all(headers.values(), demand.tensors) else "poor"
    return _with_the_rest(entry, key, headers, {"latent": unusable or poor}, None, demand)


def _with_the_rest(
    entry: DatasetEntry,
    key: str,
    latents: Mapping[LatentName, CacheHeader],
    faults: dict[Kind, Reason | None],
    item: MediaItem | None,
    demand: Demand,
) -> _Finding:
    """The latent caches of an item with its text and camera, and all that is wrong with them."""
    text, camera = entry.cache_directory / text_name(key), entry.cache_directory / camera_name(key)
    faults["text"] = judge_text(text, None if item is None else item.caption, demand.widths)
    if demand.camera:
        faults["camera"] = judge_camera(camera, item, latents.values())
        if faults["camera"] == "parted":  # which of the two is the older one only the scripts can tell
            faults["latent"] = faults["latent"] or "parted"
    name = key if item is None else item.path.name
    clips = [
        TrainingClip(entry, latent, latent_grid(header), header.path, text, camera if demand.camera else None)
        for latent, header in latents.items()
    ]
    return _Finding(clips, [Shortfall(kind, fault, name) for kind, fault in faults.items() if fault])
