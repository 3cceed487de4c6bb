"""Whether the caches of an item are what the dataset file asks for now, and if not, why not.

What a file does not say is not held against it, so the caches of musubi-tuner count as far as their names can tell.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from camera.language import has_camera
from common.media import VideoInfo
from dataset.buckets import bucket_of, bucket_resolutions
from dataset.cache import LATENT_STRIDE, CacheHeader, is_camera_cache, is_foreign, read_header
from dataset.cameras import camera_fingerprint
from dataset.clips import at_stated_rate, is_cache_of, latent_name, probe_item, spans_of
from dataset.config import DatasetEntry
from dataset.fingerprint import folder_fingerprint
from dataset.frames import clip_spans
from dataset.names import LatentName
from dataset.shortfalls import Reason
from dataset.soundness import fault_of, has_widths, odd_precisions
from dataset.sources import MediaItem

Headers = Mapping[LatentName, CacheHeader]


def read_headers(
    folder: Path, names: Sequence[LatentName], widths: Mapping[str, int] = MappingProxyType({})
) -> tuple[dict[LatentName, CacheHeader], Reason | None]:
    """The headers of those latent caches of an item that are ours to read, and why others are not.

    Args:
        folder: where they lie.
        names: the caches.
        widths: of the features that the network reads (`Demand.widths`).
    """
    headers: dict[LatentName, CacheHeader] = {}
    fault: Reason | None = None
    for name in names:
        found = _open(folder / name.file_name())
        if not isinstance(found, CacheHeader):
            fault = found
        elif "latents" not in found.keys or is_foreign(found) or odd_precisions(found):
            fault = "foreign"
        elif fault_of(found):
            fault = "unsound"
        elif not has_widths(found, widths):
            fault = "alien"
        else:
            headers[name] = found
    return headers, fault


def judge_text(path: Path, caption: str | None, widths: Mapping[str, int] = MappingProxyType({})) -> Reason | None:
    """Why a text cache cannot be used for `caption` (None: any) by a network that reads `widths`; None when it can."""
    header = _open(path)
    if not isinstance(header, CacheHeader):
        return header
    if "t5" not in header.keys or is_foreign(header) or odd_precisions(header):
        return "foreign"
    if fault_of(header):
        return "unsound"
    if not has_widths(header, widths):
        return "alien"
    return None if _is_caption(header.metadata.get("caption1"), caption) else "stale"


def judge_camera(
    path: Path, item: MediaItem | None, latents: Iterable[CacheHeader] = (), fingerprint: str | None = None
) -> Reason | None:
    """Why a camera cache cannot be used; None when it can.

    One made from a camera file counts while a file of that name holds what it held, or is not there any more:
    training needs the caches only.

    Args:
        path: the cache.
        item: whose camera it should be; None where nobody asks what it was made from.
        latents: of the same item; the medium of a camera is theirs, in content, rate and length, where both say it.
        fingerprint: of the medium as it lies there now; None where that is not asked.
    """
    header = _open(path)
    if not isinstance(header, CacheHeader):
        return header
    said = header.metadata
    if not is_camera_cache(header):
        return "foreign"
    if fault_of(header):
        return "unsound"
    media = {_medium_of(cache) for cache in latents if cache.source_info is not None}
    if media and header.source_info is not None and media != {_medium_of(header)}:
        return "parted"
    if fingerprint is not None and said.get("source_fingerprint", fingerprint) != fingerprint:
        return "stale"
    return None if item is None or _is_camera_of(said, item) else "stale"


def wanted_latents(
    item: MediaItem, headers: Headers, tensors: Sequence[str]
) -> tuple[dict[LatentName, CacheHeader], Reason | None]:
    """The caches that are what the data set asks for, in the order of the clips, and why that is not all of them."""
    lying, headers = headers, _without_others(item, headers)
    sources = {
        header.metadata.get("source_fingerprint", ""): header.source_info
        for header in headers.values()
        if header.source_info is not None
    }
    if not sources:
        plausible = {name: header for name, header in headers.items() if _is_plausible(item.entry, name, header)}
        if not plausible:
            return plausible, "stale" if lying else "missing"
        return plausible, None if holds_all(plausible.values(), tensors) else "poor"
    # caches of a medium that was replaced since may lie beside (--keep_cache): take the version that has most
    candidates = [_of_one_source(item, headers, tensors, *source) for source in sources.items()]
    return max(candidates, key=lambda candidate: (candidate[1] is None, len(candidate[0])))


def _without_others(item: MediaItem, headers: Headers) -> Headers:
    """The caches but those that were made from another medium of the same name, where the item's is there to tell."""
    doubtful = [name for name, header in headers.items() if _says_another_key(header, item)]
    if not doubtful or not item.path.exists():
        return headers
    # the same medium has another key where the jsonl file was put elsewhere
    fingerprint = folder_fingerprint(item.path)
    others = {name for name in doubtful if headers[name].metadata.get("source_fingerprint") != fingerprint}
    return {name: header for name, header in headers.items() if name not in others}


def _says_another_key(header: CacheHeader, item: MediaItem) -> bool:
    said = header.metadata.get("source_key")
    return said is not None and said != item.source_key


def holds_all(headers: Iterable[CacheHeader], tensors: Sequence[str]) -> bool:
    """Whether every one of the caches holds all of `tensors`."""
    return all(name in header.keys for header in headers for name in tensors)


def _of_one_source(
    item: MediaItem, headers: Headers, tensors: Sequence[str], fingerprint: str, info: VideoInfo
) -> tuple[dict[LatentName, CacheHeader], Reason | None]:
    """The wanted caches that were made from one version of the medium, and why that is not all of them."""
    info = at_stated_rate(item, info)
    found: dict[LatentName, CacheHeader] = {}
    reason: Reason | None = None
    for span in spans_of(item, info):
        name = latent_name(item, span, info)
        header = headers.get(name)
        if header is None:
            # others of the item lie there: those of another setting, or the first ones of an interrupted run
            reason = reason or "missing"
        elif header.metadata.get("source_fingerprint") != fingerprint or not is_cache_of(header, item, span, info, ()):
            reason = "stale"
        elif not holds_all([header], tensors):
            reason = "poor"
        else:
            found[name] = header
    if not found and reason == "missing":
        reason = "stale"
    return found, reason


def _is_plausible(entry: DatasetEntry, name: LatentName, header: CacheHeader) -> bool:
    """For a cache that does not say what it was made from: could the data set ask for it, as far as names tell?"""
    shape = latent_grid(header)
    size = shape[2] * LATENT_STRIDE, shape[1] * LATENT_STRIDE
    if name.frames is None:
        return size == bucket_of(entry, (name.width, name.height))
    spans = clip_spans(entry, name.start + name.frames)
    starts = {start for start, frames in spans if frames == name.frames}
    can_start = name.start in starts or (entry.frame_extraction == "uniform" and name.frames in entry.target_frames)
    return can_start and size in bucket_resolutions(entry.resolution) and shape[0] == (name.frames - 1) // 4 + 1


def is_too_short(item: MediaItem) -> bool:
    """True for a video that yields no clip at all; one that is not there or cannot be read counts as long enough."""
    try:
        return item.path.exists() and not spans_of(item, probe_item(item))
    except ValueError:
        return False


def latent_grid(header: CacheHeader) -> tuple[int, int, int]:
    """(f, h, w) of a latent cache."""
    frames, height, width = header.shapes["latents"][1:]
    return frames, height, width


def _medium_of(header: CacheHeader) -> tuple[str | None, VideoInfo | None]:
    """The file that a cache was made from, and its size, length and times as they were taken."""
    return header.metadata.get("source_fingerprint"), header.source_info


def _is_camera_of(said: Mapping[str, str], item: MediaItem) -> bool:
    """Whether the metadata of a camera cache name the camera file that the item has now, or its caption.

    A file that does not say what it was made from counts as right.
    """
    if "source" not in said:
        return True
    if said.get("source") == "caption":
        return item.camera_file is None and _is_caption(said.get("caption"), item.caption)
    if said.get("source") == "estimated" and item.camera_file is not None:
        return False
    if item.camera_file is None:
        # its folder may have been emptied since; but a camera in the caption would be taken now
        return not has_camera(item.caption)
    if said.get("camera_file", item.camera_file.name) != item.camera_file.name:
        return False
    held = said.get("camera_fingerprint")
    try:
        return held is None or held == camera_fingerprint(item.camera_file)
    except FileNotFoundError:  # the caches are all that training needs
        return True


def _open(path: Path) -> CacheHeader | Reason:
    """The header of a cache, or why there is none."""
    if not path.is_file():
        return "missing"
    try:
        return read_header(path)
    except ValueError:
        return "damaged"


def _is_caption(text: str | None, caption: str | None) -> bool:
    """A file that does not say its caption counts as right."""
    return text is None or caption is None or text.strip() == caption.strip()
