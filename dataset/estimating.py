"""Cameras of items that an estimator finds in their pictures: what is asked of it, and what became of each item.

The estimator is handed in (`camera.estimating.Estimators`); this room knows no network and no backend.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from camera.estimating import Estimators, FoundLens, in_subject_distances, known_intrinsics
from camera.language import has_camera
from camera.track import CameraTrack
from common.arguments import LensChoice
from common.logs import get_logger
from common.media import SampledVideo, VideoInfo, read_image, sample_video, shrink
from common.ranks import Ranks
from dataset.cameras import item_track, states_lens
from dataset.sources import ItemGroup, MediaItem, shorten

logger = get_logger("dataset")

LONG_SIDE = 512
"""Pixels of the longer side of the pictures that an estimator is given; DUSt3R's networks are made for it."""
ESTIMATE_VERSION = "1"
"""Grows when the same pictures would be given another camera, so that older estimates are made again."""

Needs = Literal["nothing", "lens", "track"]
"""What an estimator is to find for an item."""
_ORIGINS = {
    "file": "from camera files",
    "clause": "from #trajectory clauses",
    "caption": "from tags in captions",
    "image": "of images, which stand still",
    "estimated": "found in their videos",
}
"""Where cameras come from, in the order in which it is looked at, and what the summary says."""


@dataclass(frozen=True)
class Estimation:
    """What estimated cameras depend on, beside the pictures."""

    identity: str
    """Of the estimator: its name and its weights."""
    tracks: bool = False
    """Whether a video without a camera gets one."""
    lens: LensChoice = None
    """With "estimate", the lens of items whose camera states none is found as well. One that is stated is taken as
    known; where a trajectory is found and its lens is not known, that is found with it."""
    frames: int = 241
    """The most frames of a video that are looked at, 2 or more; the camera between them is interpolated."""

    def needs(self, item: MediaItem) -> Needs:
        """What is to be found for an item."""
        if item.entry.media == "video" and item.camera_file is None and not has_camera(item.caption):
            return "track" if self.tracks else "nothing"
        lacks_lens = item.camera_file is None or not states_lens(item.camera_file)
        return "lens" if self.lens == "estimate" and lacks_lens else "nothing"

    def fingerprint(self) -> tuple[str, ...]:
        """Texts by which an estimate is known to be what this run would make."""
        return ("estimated", ESTIMATE_VERSION, self.identity, repr(self.lens), str(self.frames))


@dataclass(frozen=True, eq=False)
class ItemPictures:
    """The medium of an item, and its pictures where something is to be found in them."""

    item: MediaItem
    needs: Needs
    info: VideoInfo | None
    """None where the medium could not be read."""
    pictures: SampledVideo | None = None
    fault: str = ""
    """Why there are no pictures though they are needed."""


@dataclass(frozen=True, eq=False)
class FoundCamera:
    """The camera of an item, and what its cache says of it."""

    track: CameraTrack
    info: VideoInfo
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_pictures(item: MediaItem, needs: Needs, probe: Callable[[MediaItem], VideoInfo], frames: int) -> ItemPictures:
    """Decode what an estimator is to see; a medium that is damaged is a fault of its item, not of the run.

    Args:
        item: the medium; of a mirrored one the pictures as they are.
        needs: what is to be found; not "nothing".
        probe: tells size, rate and length of a medium.
        frames: the most that are taken.
    """
    try:
        info = probe(item)
        if item.entry.media == "image":
            picture = shrink(read_image(item.path), LONG_SIDE)
            return ItemPictures(item, needs, info, SampledVideo(picture[None], (0.0,), str(item.path)))
        return ItemPictures(item, needs, info, sample_video(item.path, info, frames, LONG_SIDE))
    except (ValueError, OSError) as error:
        return ItemPictures(item, needs, None, fault=str(error))


@dataclass
class CameraReport:
    """What became of the items of a run; told at its end."""

    min_confidence: float = 0.0
    """Below it, 0 to 1, an estimate is said to be unsure."""
    failed: list[tuple[MediaItem, str]] = field(default_factory=list)
    """Items without a camera, and why."""
    unsure: list[str] = field(default_factory=list)
    """Names of items with an estimate below the limit, and its confidence."""
    backends: Counter[str] = field(default_factory=Counter)
    """How many trajectories each backend found in this run."""

    def fail(self, item: MediaItem, why: str) -> None:
        """Note, and say, that an item has no camera."""
        self.failed.append((item, why))
        logger.warning(f"{item.where}: {item.path.name}: no camera was found: {why}")

    def judge(self, item: MediaItem, what: str, confidence: float, remarks: Sequence[str]) -> None:
        """Say what a user should know of an estimate."""
        for remark in remarks:
            logger.info(f"{item.path.name}: {remark}")
        if confidence < self.min_confidence:
            self.unsure.append(f"{item.path.name} ({what}, {confidence:.2f})")
            logger.warning(
                f"{item.where}: {item.path.name}: {what} found with a confidence of {confidence:.2f}, below "
                f"{self.min_confidence:g}; look at it before training on it"
            )

    def verdict(self) -> str:
        """The failures in a sentence, with what can be done."""
        names = shorten([item.path.name for item, _ in self.failed])
        return (
            f"{len(self.failed)} items have no camera cache ({names}; the reasons are above), the others have theirs. "
            "Give these a camera_file or tags, try another --pose_backend, or leave them out; training lists them as "
            "missing"
        )

    def tell(self, groups: Sequence[ItemGroup], ranks: Ranks) -> None:
        """Say where all cameras of the data set come from and, in every process, what went wrong in it."""
        summary = get_logger("dataset.summary")
        summary.setLevel(logging.INFO)
        place = f"rank {ranks.rank} of {ranks.world}: " if ranks.world > 1 else ""
        if ranks.rank == 0:
            origins = Counter(origin_of(item) for group in groups for item in group.items)
            counted = [f"{origins[origin]} {words}" for origin, words in _ORIGINS.items() if origins[origin]]
            summary.info(f"cameras of {origins.total()} items: {', '.join(counted)}")
        if self.backends:
            found = ", ".join(f"{count} by {name}" for name, count in sorted(self.backends.items()))
            summary.info(f"{place}trajectories found in this run: {found}")
        if self.unsure:
            summary.warning(f"{place}{len(self.unsure)} below --min_confidence: {shorten(self.unsure)}")
        if self.failed:
            lines = "\n".join(f"  {item.path.name} ({item.where}): {why}" for item, why in self.failed)
            summary.warning(f"{place}{len(self.failed)} items have no camera cache:\n{lines}")


def origin_of(item: MediaItem) -> str:
    """Where the camera of an item comes from; one of the keys of the summary."""
    if item.camera_file is not None:
        return "clause" if item.by_clause else "file"
    if item.entry.media == "image":
        return "image"
    return "caption" if has_camera(item.caption) else "estimated"


def find_camera(
    loaded: ItemPictures, estimation: Estimation, estimators: Estimators, report: CameraReport
) -> FoundCamera | None:
    """The camera of an item that needs an estimator; None, noted in the report, where it cannot be found.

    Of a mirrored item it is the camera of its original, since the pictures are the original's.
    """
    item, pictures = loaded.item, loaded.pictures
    if pictures is None or loaded.info is None:
        report.fail(item, loaded.fault)
        return None
    try:
        if loaded.needs == "lens":
            return _with_lens(item, loaded.info, estimators.lens(pictures), report)
        return _with_track(item, loaded.info, pictures, estimation.lens, estimators, report)
    except ValueError as error:
        report.fail(item, str(error))
        return None


def _with_lens(item: MediaItem, info: VideoInfo, lens: FoundLens, report: CameraReport) -> FoundCamera:
    report.judge(item, "lens", lens.confidence, lens.remarks)
    metadata = {"lens": "estimated", "lens_confidence": f"{lens.confidence:.4f}"}
    return FoundCamera(item_track(item, info, lens.intrinsics.tolist()), info, metadata)


def _with_track(
    item: MediaItem,
    info: VideoInfo,
    pictures: SampledVideo,
    lens: LensChoice,
    estimators: Estimators,
    report: CameraReport,
) -> FoundCamera:
    if len(pictures.frames) < 2:
        raise ValueError("the video has one frame, and a trajectory two or more")
    known = None if lens in (None, "estimate") else known_intrinsics(lens, info.width / info.height).tolist()
    found = estimators.track(pictures, known)
    if found.confidence <= 0:
        raise ValueError(" ".join(["what was found is not to be used (confidence 0).", *found.remarks]))
    report.judge(item, f"trajectory by {found.backend}", found.confidence, found.remarks)
    report.backends[found.backend] += 1
    track, unit = in_subject_distances(found.track.rebased(), found.points)
    metadata = {
        "backend": found.backend,
        "confidence": f"{found.confidence:.4f}",
        "unit": unit,
        "remarks": json.dumps(list(found.remarks)),
    }
    return FoundCamera(track, info, metadata)
