"""The training set: the clips of a dataset file, in batches whose order follows from seed and epoch alone.

Nothing here changes after construction, so worker processes, ranks and a resumed run all see the same: there is no
state that a worker's copy could miss, which is how musubi-tuner's batches came twice or never (its issue 283).
See docs/training-data.md.
"""

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from camera.track import CameraTrack
from common.media import VideoInfo
from dataset.batch import Batch, Sample, collate
from dataset.cache import LATENT_STRIDE, CacheHeader, read_cache, read_camera
from dataset.cameras import clip_camera, clip_track
from dataset.config import DatasetConfig, DatasetEntry
from dataset.frames import TARGET_FPS, kept_at_times, kept_frames
from dataset.inventory import TrainingClip, find_all_caches, find_clips
from dataset.shortfalls import Demand

MOST_REPEATED = 5_000_000
"""Clips of an epoch where clips are repeated; to shuffle a million takes seconds and 90 MB."""
BatchIndices = tuple[int, ...]
"""The clips of one batch, by number; n clips have the numbers from 0, and from n on once more, without caption."""


class TrainingSet(Dataset[Batch]):
    """Clips with their caches. `training_set[indices]` is the batch of those clips, which are of one shape.

    Made for `DataLoader(training_set, sampler=training_set.batch_order(seed, epoch), batch_size=None)`: the sampler
    may be cut for a rank or a resumed run, and worker processes may outlive an epoch.
    """

    def __init__(
        self, clips: Sequence[TrainingClip], tensors: Sequence[str] = ("latents",), ray_scale: int = 1
    ) -> None:
        """See `load_training_set`."""
        self.clips = tuple(clips)
        self.tensors = tuple(tensors)
        self.ray_scale = ray_scale
        self._buckets = _buckets_of(self.clips)

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        counts = [(entry, len(indices)) for entry, _, indices in self._buckets]
        return sum(-(-count * entry.num_repeats // entry.batch_size) for entry, count in counts)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        """Load the batch of these clips.

        Raises:
            FileNotFoundError: a cache has gone.
            ValueError: a cache is damaged or holds NaN; names file and tensor.
        """
        samples = []
        for index in indices:
            without_caption, number = divmod(index, len(self.clips))
            samples.append(_load(self.clips[number], self.tensors, bool(without_caption), self.ray_scale))
        return collate(samples)

    def batch_order(self, seed: int, epoch: int) -> list[BatchIndices]:
        """The batches of an epoch, each clip `num_repeats` times; the same for the same seed and epoch, everywhere.

        Clips are shuffled within their bucket (data set and shape), cut into batches, and the batches of all buckets
        are shuffled. The last batch of a bucket may be smaller; nothing is left out or taken twice to fill it.
        """
        generator = random.Random(f"{seed}/{epoch}")
        batches: list[BatchIndices] = []
        for entry, _, indices in self._buckets:
            drawn = [
                index + len(self.clips) * _drops_caption(self.clips[index], f"{seed}/{epoch}/{repeat}")
                for repeat in range(entry.num_repeats)
                for index in indices
            ]
            generator.shuffle(drawn)
            batches += [
                tuple(drawn[start : start + entry.batch_size]) for start in range(0, len(drawn), entry.batch_size)
            ]
        generator.shuffle(batches)
        return batches

    def describe(self) -> dict[str, Any]:
        """Counts and settings for the metadata of a checkpoint, made of what JSON knows."""
        clips = Counter(clip.entry for clip in self.clips)
        datasets = [
            {
                "media": entry.media,
                "resolution": list(entry.resolution),
                "batch_size": entry.batch_size,
                "num_repeats": entry.num_repeats,
                "frame_extraction": entry.frame_extraction,
                "target_frames": list(entry.target_frames),
                "source_fps": entry.source_fps,
                "caption_dropout_rate": entry.caption_dropout_rate,
                "num_clips": count,
                "buckets": {
                    f"{w * LATENT_STRIDE}x{h * LATENT_STRIDE}x{4 * f - 3}": len(indices)
                    for owner, (f, h, w), indices in self._buckets
                    if owner == entry
                },
            }
            for entry, count in clips.items()
        ]
        items = sum(clip.entry.num_repeats for clip in self.clips)
        return {"num_train_items": items, "num_batches_per_epoch": len(self), "datasets": datasets}


def load_training_set(
    config: DatasetConfig,
    *,
    tensors: Sequence[str] = ("latents",),
    camera: bool = False,
    ray_scale: int = 1,
    task: str | None = None,
    use_all_caches: bool = False,
    widths: Mapping[str, int] | None = None,
) -> TrainingSet:
    """The training set of a dataset file, from the caches in its folders; media need not be there.

    Args:
        config: the dataset file.
        tensors: of the latent caches: latents, for image-to-video latents_image and clip, for control latents_control.
        camera: give every batch its camera.
        ray_scale: rays per latent position, along each side; the adapter's.
        task: `--task`, for the commands of the message.
        widths: of the features that the network reads, by name (t5, clip); None lets them have any.
        use_all_caches: take every cache that lies in the folders, as musubi-tuner does, whatever the file asks for.

    Raises:
        ValueError: caches are missing or out of date; lists them, and the commands that make them. Or clips are
            repeated beyond `MOST_REPEATED` in an epoch.
    """
    demand = Demand(tuple(tensors), camera, task, widths or {})
    clips = (find_all_caches if use_all_caches else find_clips)(config, demand)
    _refuse_endless_epoch(clips)
    return TrainingSet(clips, tensors, ray_scale)


def _refuse_endless_epoch(clips: Sequence[TrainingClip]) -> None:
    """The order of an epoch is shuffled in memory; so many clips come only of a slip in num_repeats."""
    total = sum(clip.entry.num_repeats for clip in clips)
    if total > max(MOST_REPEATED, len(clips)):
        most = max((clip.entry for clip in clips), key=lambda entry: entry.num_repeats)
        raise ValueError(
            f"{most.where}: num_repeats = {most.num_repeats} makes an epoch of {total:,} clips out of {len(clips):,}; "
            f"expected {MOST_REPEATED:,} at most. Repeat less, and train more epochs"
        )


def _buckets_of(clips: Sequence[TrainingClip]) -> list[tuple[DatasetEntry, tuple[int, int, int], list[int]]]:
    """Data set, shape and numbers of the clips that can be batched together."""
    buckets: dict[tuple[DatasetEntry, tuple[int, int, int]], list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        buckets[clip.entry, clip.shape].append(index)
    return [(entry, shape, indices) for (entry, shape), indices in buckets.items()]


def _drops_caption(clip: TrainingClip, draw: str) -> bool:
    """Whether a clip comes without its caption this time; a matter of its name, so other clips have no part in it."""
    if clip.entry.caption_dropout_rate == 0:
        return False
    name = f"{draw}/{clip.latents.parent.name}/{clip.name.clip_key()}"
    chance = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") / 2**64
    return chance < clip.entry.caption_dropout_rate


def _load(clip: TrainingClip, tensors: tuple[str, ...], without_caption: bool, ray_scale: int) -> Sample:
    header, found = read_cache(clip.latents, tensors)
    _, text = read_cache(clip.empty_text if without_caption else clip.text, ("t5",))
    camera = None
    if clip.camera is not None:
        camera = clip_camera(track_of_clip(clip, header, clip.camera), *clip.shape[1:], ray_scale)
    return Sample(clip.name.clip_key(), found, text["t5"], camera)


def track_of_clip(clip: TrainingClip, latents: CacheHeader, camera: Path) -> CameraTrack:
    """The camera with which a clip is trained: the poses of its own frames, with its own crop.

    Args:
        clip: with its data set, which says how musubi-tuner counted the frames of a cache that does not say it.
        latents: header of its latent cache.
        camera: camera cache of the whole video.

    Raises:
        FileNotFoundError, ValueError: the camera cache is not there, damaged or too short; names it.
    """
    header, track = read_camera(camera)
    times, source = _times_and_source(clip, latents, header)
    height, width = clip.shape[1:]
    clip_size = height * LATENT_STRIDE, width * LATENT_STRIDE
    source_size = clip_size if source is None else (source.height, source.width)
    return clip_track(track, times, source_size, clip_size)


def _times_and_source(
    clip: TrainingClip, latents: CacheHeader, camera: CacheHeader
) -> tuple[Sequence[float], VideoInfo | None]:
    """Frame times (s of the video) of a clip, and its medium.

    Our latent caches state both. For one of musubi-tuner the medium is what the camera cache was made for, and the
    frames are counted out again by `source_fps`; a medium that nobody knows runs at source_fps, or at 16.
    """
    source = latents.source_info or camera.source_info
    if latents.frame_times is not None:
        return latents.frame_times, source
    rate, start, frames = clip.entry.source_fps, clip.name.start, clip.name.frames or 1
    stated = rate if isinstance(rate, float) else TARGET_FPS
    info = source or VideoInfo(0, 0, stated, 0)
    # as many frames as the clip may reach over, whatever is left out between them
    enough = int((start + frames) * max(1.0, stated / TARGET_FPS, info.fps / TARGET_FPS)) + 2
    count = enough if info.times is None else info.frames
    kept = kept_at_times(map(info.time_of, range(count))) if rate == "auto" else kept_frames(count, rate)
    indices = kept[start : start + frames]
    if len(indices) < frames:
        raise ValueError(
            f"{clip.latents}: reaches beyond the {info.frames} frames of the video that {clip.camera} was made for; "
            "cache cameras and latents of the same file"
        )
    return [info.time_of(index) for index in indices], source
