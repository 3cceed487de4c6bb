"""The three kinds of cache, as `dataset.caching` sees them: what there is to do, when it is done, how it is written."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from camera.estimating import Estimators
from camera.intrinsics import after_resize_crop
from common.arguments import DEFAULT_FOV_DEG
from common.logs import get_logger
from common.media import VideoInfo
from dataset.buckets import Resolution
from dataset.cache import (
    ENCODING_VERSION,
    LATENT_CHANNELS,
    LATENT_STRIDE,
    CacheHeader,
    is_camera_cache,
    is_foreign,
    read_header,
    source_metadata,
    write_latents,
    write_text,
)
from dataset.cameras import camera_fingerprint, check_cameras, item_track
from dataset.clips import Clip, DecodedClip, decode, has_rate_of, is_cache_of, probe_item, spans_of, stated_fps
from dataset.config import DatasetEntry
from dataset.estimating import (
    CameraReport,
    Estimation,
    FoundCamera,
    ItemPictures,
    Needs,
    find_camera,
    origin_of,
    read_pictures,
)
from dataset.fingerprint import folder_fingerprint, text_fingerprint
from dataset.frames import TARGET_FPS
from dataset.jobs import CacheKind
from dataset.names import (
    EMPTY_TEXT_KEY,
    LatentName,
    camera_name,
    is_camera_name,
    is_text_name,
    latents_by_stem,
    parse_latent_name,
    text_name,
)
from dataset.soundness import fault_of, has_widths, odd_precisions
from dataset.sources import ItemGroup, MediaItem, shorten

logger = get_logger("dataset")

_RATE_TOLERANCE = 0.02
_TEXT_BATCH = 16
_SOURCES = {"file": "file", "clause": "file", "caption": "caption", "image": "caption", "estimated": "estimated"}
"""What a camera cache says of where its camera came from."""


@dataclass(frozen=True)
class LatentCaching(CacheKind[Clip, DecodedClip, Mapping[str, Tensor]]):
    """Latents of clips and images, with the image-to-video condition beside them. Encoded from `DecodedClip`s.

    The encode callback returns for each clip a table with exactly the `tensors`: latents [16, f, h, w],
    latents_image [20, f, h, w], clip [tokens, dim]; and of an item with control latents_control [16, f, h, w].
    """

    tensors: tuple[str, ...] = ("latents",)
    """What each cache must hold: latents, and for image-to-video latents_image and clip."""
    encoders: Mapping[str, str] = field(default_factory=dict)
    """Identity by name (vae, clip), from `dataset.fingerprint.encoder_identity`; goes into the metadata."""
    widths: Mapping[str, int] = field(default_factory=dict)
    """Width of the CLIP features, {"clip": ...}; not compared where it is not given."""
    label: ClassVar[str] = "latent"

    def survey(self, entry: DatasetEntry) -> dict[str, list[LatentName]]:
        """The caches that lie in the folder, by item."""
        return latents_by_stem(entry.cache_directory, entry.media)

    def jobs(self, item: MediaItem, lying: Sequence[LatentName]) -> list[Clip]:
        """The clips of an item; a cache of the same file that `lies` there saves opening the medium."""
        fingerprint = folder_fingerprint(item.path)
        info = self._remembered(item, lying, fingerprint) or probe_item(item)
        return [Clip(item, span, info, fingerprint) for span in spans_of(item, info)]

    def _remembered(self, item: MediaItem, lying: Sequence[LatentName], fingerprint: str) -> VideoInfo | None:
        header = _header_or_none(item.entry.cache_directory / lying[0].file_name()) if lying else None
        if header is None or header.metadata.get("source_fingerprint") != fingerprint:
            return None
        return header.source_info if has_rate_of(header, item) else None

    def is_fresh(self, job: Clip) -> bool:
        """True when the cache holds what this run would write; what musubi-tuner did not record is not compared."""
        header = _header_or_none(job.target)
        if header is None or is_foreign(header) or not has_widths(header, self.widths):
            return False
        tensors = self.tensors_of(job.item)
        return is_cache_of(header, job.item, job.span, job.info, tensors) and _agrees(header, self._made_from(job))

    def tensors_of(self, item: MediaItem) -> tuple[str, ...]:
        """What the caches of an item hold."""
        return self.tensors if item.control is None else (*self.tensors, "latents_control")

    def _made_from(self, job: Clip) -> dict[str, str]:
        """Strings of the metadata by which a cache is known to be what this run would write."""
        control, stated = job.item.control, stated_fps(job.item)
        return {
            "source_fingerprint": job.fingerprint,
            "crop": crop_text((job.info.width, job.info.height), job.span.size),
            "mirrored": str(job.item.mirrored).lower(),
            "encoding_version": ENCODING_VERSION,
            **({} if stated is None else {"stated_fps": repr(stated)}),
            **({} if control is None else {"control_fingerprint": folder_fingerprint(control)}),
            **self.encoders,
        }

    def review(self, jobs: Sequence[Clip]) -> None:
        """Warn of videos whose motion will be learnt at another speed than they have."""
        seen = {clip.item.path: clip for clip in jobs if clip.item.entry.media == "video"}
        off = [clip.item.path.name for clip in seen.values() if _is_off_rate(clip.item.entry, clip.info.fps)]
        if off:
            logger.warning(
                f"{len(off)} of {len(seen)} videos have another rate than the data set says (without source_fps: "
                f"{TARGET_FPS:g} frames per second), so they will be learnt faster or slower: {shorten(off)}"
            )

    def load(self, job: Clip) -> DecodedClip:
        """Decode the clip."""
        return decode(job)

    def load_bytes(self, job: Clip) -> int:
        """Three bytes a pixel of the clip and of its control."""
        width, height, frames = *job.span.size, len(job.span.indices)
        return 3 * width * height * frames * (1 if job.item.control is None else 2)

    def write_bytes(self, job: Clip) -> int:
        """Two bytes for each number of its latents."""
        width, height, frames = job.bucket
        cells = ((frames - 1) // 4 + 1) * (height // LATENT_STRIDE) * (width // LATENT_STRIDE)
        return 2 * cells * sum(LATENT_CHANNELS.get(name, 0) for name in self.tensors_of(job.item))

    def write(self, job: Clip, result: Mapping[str, Tensor]) -> None:
        """Write the clip's cache."""
        wanted = self.tensors_of(job.item)
        assert set(result) == set(wanted), (sorted(result), wanted)
        name = job.name
        on_cpu = {name: tensor.to("cpu") for name, tensor in result.items()}
        extra = {
            **source_metadata(job.item.path, job.fingerprint, job.info),
            "source_key": job.item.source_key,
            **self._made_from(job),
            "start_frame": str(job.span.start),
            "frame_times": str(list(job.frame_times)),
        }
        write_latents(job.target, on_cpu, width=name.width, height=name.height, frame_count=name.frames, extra=extra)

    def owns(self, name: str, entry: DatasetEntry) -> bool:
        """True for the file names this kind writes."""
        return parse_latent_name(name, entry.media) is not None

    def medium_of(self, header: CacheHeader) -> str | None:
        """The medium's file name, in a cache of ours."""
        return header.metadata.get("source")


@cache
def crop_text(source: Resolution, target: Resolution) -> str:
    """The part of the source picture that a clip shows: JSON [left, top, width, height], divided by its sides.

    Args:
        source: (width, height) of the medium.
        target: (width, height) of the clip.
    """
    whole = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    fx, fy, cx, cy = after_resize_crop(whole, (source[1], source[0]), (target[1], target[0])).tolist()
    return str([round(number, 6) + 0.0 for number in (-cx / fx, -cy / fy, 1 / fx, 1 / fy)])


@dataclass(frozen=True)
class ItemJob:
    """A cache that belongs to a whole medium: its text or its camera."""

    item: MediaItem
    target: Path
    fingerprint: str
    """Of all that the cache is made from."""
    length: int = 0
    """Of the caption, as `TextCaching.count_tokens` counts; 0 for a camera."""
    needs: Needs = "nothing"
    """What of its camera is to be found in its pictures; nothing for a text."""

    @property
    def bucket(self) -> int:
        """Texts of one length are encoded together: padded to a longer one, T5 gives slightly other numbers."""
        return self.length


@dataclass(frozen=True)
class TextCaching(CacheKind[ItemJob, ItemJob, Tensor]):
    """Text features of captions. Encoded from `ItemJob`s (`job.item.caption`) to one [L, dim] tensor each."""

    encoders: Mapping[str, str] = field(default_factory=dict)
    """Identity of the text encoder, {"t5": ...}."""
    count_tokens: Callable[[Sequence[str]], Sequence[int]] = lambda captions: [len(caption) for caption in captions]
    """Lengths by which captions are put together; called once, and only when there is something to encode."""
    widths: Mapping[str, int] = field(default_factory=dict)
    """Width of the features, {"t5": ...}; not compared where it is not given."""
    label: ClassVar[str] = "text"

    def extra_items(self, group: ItemGroup) -> list[MediaItem]:
        """The empty caption, where the data set drops captions in training."""
        if group.entry.caption_dropout_rate == 0:
            return []
        empty = MediaItem(EMPTY_TEXT_KEY, Path(EMPTY_TEXT_KEY), "", None, group.entry, group.entry.where)
        return [empty]

    def jobs(self, item: MediaItem, lying: Sequence[LatentName]) -> list[ItemJob]:
        """One cache per item."""
        return [ItemJob(item, item.entry.cache_directory / text_name(item.key), text_fingerprint(item.caption))]

    def is_fresh(self, job: ItemJob) -> bool:
        """True when the cache was made from this caption by this encoder."""
        header = _header_or_none(job.target)
        if header is None or is_foreign(header) or "t5" not in header.keys or not has_widths(header, self.widths):
            return False
        return _agrees(header, {"caption1": job.item.caption, **self.encoders})

    def arrange(self, jobs: Sequence[ItemJob]) -> list[ItemJob]:
        """The longest captions first, equal ones beside each other."""
        captions = sorted({job.item.caption for job in jobs})
        lengths = dict(zip(captions, self.count_tokens(captions), strict=True))
        counted = [replace(job, length=lengths[job.item.caption]) for job in jobs]
        return sorted(counted, key=lambda job: (-job.length, job.item.caption, job.target.name))

    def batch_limit(self, entry: DatasetEntry) -> int:
        """A batch of texts takes little memory, so it need not be as small as one of clips."""
        return max(entry.batch_size, _TEXT_BATCH)

    def content(self, job: ItemJob) -> Hashable:
        """Equal captions are encoded once."""
        return job.item.caption

    def load(self, job: ItemJob) -> ItemJob:
        """The caption is there already."""
        return job

    def write(self, job: ItemJob, result: Tensor) -> None:
        """Write the item's cache."""
        # the empty caption is of no medium
        owner = {} if job.item.key == EMPTY_TEXT_KEY else {"source_key": job.item.source_key}
        extra = {"source": job.item.path.name, **owner, "encoding_version": ENCODING_VERSION, **self.encoders}
        write_text(job.target, result.to("cpu"), job.item.caption, extra)

    def owns(self, name: str, entry: DatasetEntry) -> bool:
        """True for the file names this kind writes."""
        return is_text_name(name)

    def medium_of(self, header: CacheHeader) -> str | None:
        """The medium's file name, in a cache of ours."""
        return header.metadata.get("source")


@dataclass(frozen=True)
class CameraCaching(CacheKind[ItemJob, ItemPictures, FoundCamera]):
    """Camera tracks of whole videos. Encoded by `tracks`; pictures are decoded only to find something in them."""

    lens: float | Sequence[float] = DEFAULT_FOV_DEG
    """Where nobody states it: horizontal field of view (degrees), or normalised fx, fy, cx, cy of the source."""
    estimation: Estimation | None = None
    """What is found in the pictures, None for nothing."""
    label: ClassVar[str] = "camera"

    def check(self, groups: Sequence[ItemGroup]) -> None:
        """Every video has a camera, and it can be read; raises ValueError naming those that do not."""
        check_cameras(groups, self.estimation is not None and self.estimation.tracks)

    def jobs(self, item: MediaItem, lying: Sequence[LatentName]) -> list[ItemJob]:
        """One cache per item."""
        needs = "nothing" if self.estimation is None else self.estimation.needs(item)
        camera = item.caption if item.camera_file is None else camera_fingerprint(item.camera_file)
        # a found trajectory does not depend on what the caption says of the scene
        parts = [folder_fingerprint(item.path), *([] if needs == "track" else [camera, repr(self.lens)])]
        parts += ["mirrored"] if item.mirrored else []
        stated = stated_fps(item)
        parts += [] if stated is None else [f"fps {stated!r}"]
        if self.estimation is not None and needs != "nothing":
            parts += self.estimation.fingerprint()
        return [
            ItemJob(item, item.entry.cache_directory / camera_name(item.key), text_fingerprint(*parts), needs=needs)
        ]

    def is_fresh(self, job: ItemJob) -> bool:
        """True when the cache was made from this medium, camera and lens, or by this estimator."""
        header = _header_or_none(job.target)
        if header is None or not is_camera_cache(header):
            return False
        return header.metadata.get("fingerprint") == job.fingerprint

    def batch_limit(self, entry: DatasetEntry) -> int:
        """Videos whose pictures are held come one by one."""
        return entry.batch_size if self.estimation is None else 1

    def content(self, job: ItemJob) -> Hashable:
        """What is found in a medium is found once, for a mirrored twin too."""
        return job.target if job.needs == "nothing" else (job.item.path, job.item.fps)

    def load(self, job: ItemJob) -> ItemPictures:
        """Size, rate and length of the medium, and its pictures where something is to be found in them."""
        if self.estimation is None or job.needs == "nothing":
            return ItemPictures(job.item, "nothing", probe_item(job.item))
        return read_pictures(job.item, job.needs, probe_item, self.estimation.frames)

    def tracks(
        self, loaded: Sequence[ItemPictures], estimators: Estimators | None = None, report: CameraReport | None = None
    ) -> list[FoundCamera | None]:
        """The encode callback.

        Args:
            loaded: a batch.
            estimators: find what is not known; None where nothing is to be found.
            report: gets notes of the items without a camera, for which None is returned.
        """
        report = CameraReport() if report is None else report
        found: list[FoundCamera | None] = []
        for each in loaded:
            if each.needs != "nothing":
                assert self.estimation is not None and estimators is not None
                found.append(find_camera(each, self.estimation, estimators, report))
            else:
                assert each.info is not None
                found.append(FoundCamera(item_track(each.item, each.info, self.lens), each.info))
        return found

    def write(self, job: ItemJob, result: FoundCamera) -> None:
        """Write the item's cache."""
        item, track = job.item, result.track
        if item.mirrored and job.needs != "nothing":
            track = track.mirrored()
        extra = source_metadata(item.path, folder_fingerprint(item.path), result.info)
        extra["source"] = _SOURCES[origin_of(item)]
        extra |= {"medium": item.path.name, "caption": item.caption, "fingerprint": job.fingerprint, **result.metadata}
        extra["source_key"] = item.source_key
        if item.camera_file is not None:
            extra["camera_file"] = item.camera_file.name
            extra["camera_fingerprint"] = camera_fingerprint(item.camera_file)
        track.save(job.target, extra)

    def owns(self, name: str, entry: DatasetEntry) -> bool:
        """True for the file names this kind writes."""
        return is_camera_name(name)

    def medium_of(self, header: CacheHeader) -> str | None:
        """The medium's file name."""
        return header.metadata.get("medium")


def _header_or_none(path: Path) -> CacheHeader | None:
    """The header of a cache, or None when there is none, or none that can be read: then it is made again."""
    if not path.is_file():
        return None
    try:
        header = read_header(path)
    except ValueError as error:
        logger.warning(f"{error}; it is made again")
        return None
    fault = fault_of(header)
    if fault:
        logger.warning(f"{fault}, which is done now")
    return None if fault or odd_precisions(header) else header


def _is_off_rate(entry: DatasetEntry, fps: float) -> bool:
    stated = fps if entry.source_fps == "auto" else entry.source_fps or TARGET_FPS
    return abs(fps / stated - 1) > _RATE_TOLERANCE


def _agrees(header: CacheHeader, wanted: Mapping[str, str]) -> bool:
    return all(header.metadata.get(name, value).strip() == value.strip() for name, value in wanted.items())
