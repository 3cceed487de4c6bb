"""Which clips of a data set can be trained on: its items, matched with the caches that lie in its folders."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from common.media import VideoInfo
from dataset.buckets import bucket_of, bucket_resolutions
from dataset.cache import LATENT_STRIDE, CacheHeader, read_header
from dataset.clips import is_cache_of, latent_name, probe_item, spans_of
from dataset.config import DatasetConfig, DatasetEntry
from dataset.frames import clip_spans
from dataset.names import LatentName, camera_name, latents_by_stem, text_name
from dataset.sources import MediaItem, load_items, shorten

_THREADS = 8
_SCRIPTS = {
    "latent": "wan_cache_latents.py",
    "text": "wan_cache_text_encoder_outputs.py",
    "camera": "wan_cache_camera_encoder_outputs.py",
}


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


@dataclass(frozen=True)
class _Demand:
    """What training wants of the caches."""

    tensors: tuple[str, ...]
    camera: bool


@dataclass(frozen=True)
class _Finding:
    """The clips of one item, and the kinds of cache it lacks."""

    item: MediaItem
    clips: list[TrainingClip]
    lacks: list[str]


def find_clips(config: DatasetConfig, tensors: Sequence[str], camera: bool) -> list[TrainingClip]:
    """The clips of a data set, in the order of its items; each has all the caches that training needs.

    A cache counts only if it is what the dataset file now asks for: frames, extraction, size, caption. What lies in
    the folders besides is left alone. Caches of musubi-tuner count as far as their names can tell.

    Args:
        config: the dataset file.
        tensors: what the latent caches must hold, for instance latents, latents_image, clip.
        camera: demand a camera cache for every item.

    Raises:
        ValueError: caches are missing or out of date; lists them, and the commands that make them.
    """
    demand = _Demand(tuple(tensors), camera)
    findings: list[_Finding] = []
    for group in load_items(config, check_media=False):
        lying = latents_by_stem(group.entry.cache_directory, group.entry.media)
        names = [lying.get(item.key, []) for item in group.items]
        with ThreadPoolExecutor(_THREADS) as pool:
            findings += pool.map(_find, group.items, names, [demand] * len(names))
    _refuse_missing(findings, config.path, demand)
    clips = [clip for finding in findings for clip in finding.clips]
    if not clips:
        raise ValueError(f"{config.path}: nothing to train on: every video is shorter than its target_frames")
    return clips


def _find(item: MediaItem, lying: Sequence[LatentName], demand: _Demand) -> _Finding:
    folder = item.entry.cache_directory
    headers = {name: read_header(folder / name.file_name()) for name in lying}
    chosen, complete = _wanted_latents(item, headers, demand.tensors)
    if not chosen and _is_too_short(item):
        return _Finding(item, [], [])
    text, camera = folder / text_name(item.key), folder / camera_name(item.key)
    lacks = []
    if not chosen or not complete:
        lacks.append("latent")
    if not _has_text(text, item):
        lacks.append("text")
    if demand.camera and not _has_camera(camera, item):
        lacks.append("camera")
    clips = [
        TrainingClip(item.entry, name, _grid(header), header.path, text, camera if demand.camera else None)
        for name, header in chosen.items()
    ]
    return _Finding(item, clips, lacks)


def _has_text(path: Path, item: MediaItem) -> bool:
    """True when there is a text cache, made from this caption."""
    if not path.is_file():
        return False
    header = read_header(path)
    return "t5" in header.keys and _is_caption(header.metadata.get("caption1"), item)


def _has_camera(path: Path, item: MediaItem) -> bool:
    """True when there is a camera cache of ours; one made from a caption must be of this caption.

    One made from a camera file counts whatever that file holds by now: training needs the caches only.
    """
    if not path.is_file():
        return False
    header = read_header(path)
    if header.metadata.get("source") != "caption":
        return "c2w" in header.keys
    return item.camera_file is None and _is_caption(header.metadata.get("caption"), item)


def _is_caption(text: str | None, item: MediaItem) -> bool:
    """A file that does not say its caption counts as right."""
    return text is None or text.strip() == item.caption.strip()


def _wanted_latents(
    item: MediaItem, headers: Mapping[LatentName, CacheHeader], tensors: tuple[str, ...]
) -> tuple[dict[LatentName, CacheHeader], bool]:
    """The caches that are what the data set asks for, in the order of the clips, and whether none is lacking."""
    sources = {
        header.metadata.get("source_fingerprint", ""): header.source_info
        for header in headers.values()
        if header.source_info is not None
    }
    if not sources:
        plausible = {name: header for name, header in headers.items() if _is_plausible(item.entry, name, header)}
        return plausible, all(key in header.keys for header in plausible.values() for key in tensors)
    # caches of a medium that was replaced since may lie beside (--keep_cache): take the version that has most
    candidates = [_of_one_source(item, headers, tensors, *source) for source in sources.items()]
    return max(candidates, key=lambda candidate: (candidate[1], len(candidate[0])))


def _of_one_source(
    item: MediaItem,
    headers: Mapping[LatentName, CacheHeader],
    tensors: tuple[str, ...],
    fingerprint: str,
    info: VideoInfo,
) -> tuple[dict[LatentName, CacheHeader], bool]:
    """The wanted caches that were made from one version of the medium, and whether none is lacking."""
    spans = spans_of(item, info)
    found: dict[LatentName, CacheHeader] = {}
    for span in spans:
        name = latent_name(item, span, info)
        header = headers.get(name)
        if header is None or header.metadata.get("source_fingerprint") != fingerprint:
            continue
        if is_cache_of(header, span, info, tensors):
            found[name] = header
    return found, len(found) == len(spans)


def _is_plausible(entry: DatasetEntry, name: LatentName, header: CacheHeader) -> bool:
    """For a cache that does not say what it was made from: could the data set ask for it, as far as names tell?"""
    shape = _grid(header)
    size = shape[2] * LATENT_STRIDE, shape[1] * LATENT_STRIDE
    if name.frames is None:
        return size == bucket_of(entry, (name.width, name.height))
    spans = clip_spans(entry, name.start + name.frames)
    starts = {start for start, frames in spans if frames == name.frames}
    can_start = name.start in starts or (entry.frame_extraction == "uniform" and name.frames in entry.target_frames)
    return can_start and size in bucket_resolutions(entry.resolution) and shape[0] == (name.frames - 1) // 4 + 1


def _grid(header: CacheHeader) -> tuple[int, int, int]:
    frames, height, width = header.shapes["latents"][1:]
    return frames, height, width


def _is_too_short(item: MediaItem) -> bool:
    """True for a video that yields no clip at all; one that is not there any more counts as long enough."""
    return item.path.is_file() and not spans_of(item, probe_item(item))


def _refuse_missing(findings: Sequence[_Finding], config: Path, demand: _Demand) -> None:
    lacking: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        for kind in finding.lacks:
            lacking[kind].append(finding.item.path.name)
    if not lacking:
        return
    lines = [f"{config}: caches are missing or out of date; make them with"]
    for kind, names in lacking.items():
        lines.append(f"  python {_SCRIPTS[kind]} --dataset_config {config} --skip_existing")
        held = f", holding {', '.join(demand.tensors)}" if kind == "latent" else ""
        lines.append(f"    ({kind} caches of {len(names)} of {len(findings)} items{held}: {shorten(names)})")
    raise ValueError("\n".join(lines))
