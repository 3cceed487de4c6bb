"""The training set: the clips of a dataset file, in batches whose order follows from seed and epoch alone.

Nothing here changes after construction, so worker processes, ranks and a resumed run all see the same.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from common.media import VideoInfo
from dataset.batch import Batch, Sample, collate
from dataset.cache import LATENT_STRIDE, CacheHeader, read_cache, read_camera
from dataset.cameras import clip_camera, clip_track
from dataset.config import DatasetConfig
from dataset.frames import TARGET_FPS, kept_frames
from dataset.inventory import TrainingClip, find_clips

BatchIndices = tuple[int, ...]
"""The clips of one batch, by number."""


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

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        items = Counter((clip.entry, clip.shape) for clip in self.clips)
        return sum(-(-count * entry.num_repeats // entry.batch_size) for (entry, _), count in items.items())

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        """Load the batch of these clips.

        Raises:
            FileNotFoundError: a cache has gone.
            ValueError: a cache is damaged or holds NaN; names file and tensor.
        """
        return collate([_load(self.clips[index], self.tensors, self.ray_scale) for index in indices])

    def batch_order(self, seed: int, epoch: int) -> list[BatchIndices]:
        """The batches of an epoch, each clip `num_repeats` times; the same for the same seed and epoch, everywhere.

        Clips are shuffled within their bucket (data set and shape), cut into batches, and the batches are shuffled.
        The last batch of a bucket may be smaller.
        """
        generator = random.Random(f"{seed}/{epoch}")
        buckets: dict[Any, list[int]] = defaultdict(list)
        for index, clip in enumerate(self.clips):
            buckets[clip.entry, clip.shape].extend([index] * clip.entry.num_repeats)
        batches: list[BatchIndices] = []
        for (entry, _), indices in buckets.items():
            generator.shuffle(indices)
            size = entry.batch_size
            batches += [tuple(indices[start : start + size]) for start in range(0, len(indices), size)]
        generator.shuffle(batches)
        return batches

    def describe(self) -> dict[str, Any]:
        """Counts and settings for the metadata of a checkpoint, made of what JSON knows."""
        clips = Counter(clip.entry for clip in self.clips)
        buckets = Counter((clip.entry, clip.shape) for clip in self.clips)
        datasets = [
            {
                "media": entry.media,
                "resolution": list(entry.resolution),
                "batch_size": entry.batch_size,
                "num_repeats": entry.num_repeats,
                "frame_extraction": entry.frame_extraction,
                "target_frames": list(entry.target_frames),
                "source_fps": entry.source_fps,
                "num_clips": count,
                "buckets": {
                    f"{w * LATENT_STRIDE}x{h * LATENT_STRIDE}x{4 * f - 3}": number
                    for (owner, (f, h, w)), number in buckets.items()
                    if owner == entry
                },
            }
            for entry, count in clips.items()
        ]
        items = sum(clip.entry.num_repeats for clip in self.clips)
        return {"num_train_items": items, "num_batches_per_epoch": len(self), "datasets": datasets}


def load_training_set(
    config: DatasetConfig, *, tensors: Sequence[str] = ("latents",), camera: bool = False, ray_scale: int = 1
) -> TrainingSet:
    """The training set of a dataset file, from the caches in its folders; media need not be there.

    Args:
        config: the dataset file.
        tensors: of the latent caches: latents, and for image-to-video latents_image and clip.
        camera: give every batch its camera.
        ray_scale: rays per latent position, along each side; the adapter's.

    Raises:
        ValueError: caches are missing or out of date; lists them, and the commands that make them.
    """
    return TrainingSet(find_clips(config, tensors, camera), tensors, ray_scale)


def _load(clip: TrainingClip, tensors: tuple[str, ...], ray_scale: int) -> Sample:
    header, found = read_cache(clip.latents, tensors)
    _, text = read_cache(clip.text, ("t5",))
    camera = None
    if clip.camera is not None:
        camera_header, track = read_camera(clip.camera)
        times, source = _times_and_source(clip, header, camera_header)
        height, width = clip.shape[1:]
        clip_size = height * LATENT_STRIDE, width * LATENT_STRIDE
        source_size = clip_size if source is None else (source.height, source.width)
        camera = clip_camera(clip_track(track, times, source_size, clip_size), height, width, ray_scale)
    return Sample(clip.name.clip_key(), found, text["t5"], camera)


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
    entry, start, frames = clip.entry, clip.name.start, clip.name.frames or 1
    rate = entry.source_fps
    if rate == "auto":
        rate = None if source is None else source.fps
    stated = rate or TARGET_FPS
    enough = int((start + frames) * max(1.0, stated / TARGET_FPS)) + 2
    indices = kept_frames(enough, rate)[start : start + frames]
    fps = stated if source is None else source.fps
    return [index / fps for index in indices], source
