import json

import numpy as np
import torch

from common.media import write_image, write_video
from dataset.caching import plan_caching, run_caching
from dataset.config import load_config
from dataset.kinds import CameraCaching, LatentCaching, TextCaching
from dataset.sources import load_items
from dataset.training_set import load_training_set

I2V = ("latents", "latents_image", "clip")


def camera_caption(direction="forward", scene="a room", end=2):
    return (
        f"Object: {scene} ; Camera: <starttime>0</starttime> <endtime>{end}</endtime> <speed>high</speed> "
        f"<direction>{direction}</direction> <rotate>stay</rotate> <sep>"
    )


def make_video(path, frames=9, width=64, height=48, fps=16, seed=0):
    """Frame i has the grey level 40 + 5·i, with a little noise, so that decoded frames can be told apart."""
    noise = np.random.default_rng(seed).integers(0, 3, (height, width, 3))
    levels = 40 + 5 * np.arange(frames).reshape(-1, 1, 1, 1)
    write_video(path, (levels + noise).astype(np.uint8), fps)
    return path


def make_image(path, width=64, height=48):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((height, width, 3), 90, np.uint8))
    return path


def encode_latents(clips, value=None):
    """Stands in for VAE and CLIP: latents hold the mean grey of each latent frame's last video frame."""
    results = []
    for decoded in clips:
        frames = torch.from_numpy(decoded.frames)
        last = frames[::4].float().mean((1, 2, 3)) if value is None else torch.full((len(frames[::4]),), value)
        height, width = frames.shape[1] // 8, frames.shape[2] // 8
        latents = last.reshape(1, -1, 1, 1).expand(16, -1, height, width).bfloat16()
        results.append(
            {
                "latents": latents,
                "latents_image": latents[:1].expand(20, -1, -1, -1),
                "clip": torch.ones(5, 8, dtype=torch.float16),
            }
        )
    return results


def encode_text(jobs):
    # T5 ends every text with a token, the empty one too
    return [torch.full((max(1, len(job.item.caption.split())), 6), 0.5, dtype=torch.bfloat16) for job in jobs]


def _allowed(options):
    """`keep_cache` in the words of `run_caching`."""
    keep = options.pop("keep_cache", False)
    return {**({"pruning": "none"} if keep else {}), **options}


class Project:
    """A folder with a dataset file, media and caches."""

    def __init__(self, root):
        self.root = root
        self.toml = root / "data.toml"

    def write(self, toml, *records, jsonl="meta.jsonl"):
        self.toml.write_text(toml, encoding="utf-8")
        if records:
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (self.root / jsonl).write_text(lines, encoding="utf-8")
        return self

    def videos(self, captions, extra="", entry="", **video):
        """A jsonl data set of one video per caption, called v0, v1, ..."""
        records = []
        for number, caption in enumerate(captions):
            make_video(self.root / "videos" / f"v{number}.mp4", seed=number, **video)
            records.append({"video_path": f"videos/v{number}.mp4", "caption": caption})
        toml = (
            f"[general]\nresolution = [64, 48]\n{extra}\n[[datasets]]\nvideo_jsonl_file = 'meta.jsonl'\n"
            f"cache_directory = 'cache'\n{entry or 'target_frames = [5]'}\n"
        )
        return self.write(toml, *records)

    @property
    def config(self):
        return load_config(self.toml)

    @property
    def groups(self):
        return load_items(self.config)

    def caches(self, pattern="*"):
        return sorted(path.name for path in (self.root / "cache").glob(pattern))

    def cache_latents(self, encode=encode_latents, skip_existing=False, kind=None, batch_size=None, **options):
        plan = plan_caching(
            self.groups, kind or LatentCaching(I2V), skip_existing=skip_existing, batch_size=batch_size, num_workers=2
        )
        return run_caching(plan, encode, num_workers=2, **_allowed(options))

    def cache_text(self, encode=encode_text, skip_existing=False, **options):
        plan = plan_caching(self.groups, TextCaching({"t5": "t5 bf16"}), skip_existing=skip_existing)
        return run_caching(plan, encode, **_allowed(options))

    def cache_cameras(self, skip_existing=False, lens=60.0, **options):
        kind = CameraCaching(lens)
        return run_caching(
            plan_caching(self.groups, kind, skip_existing=skip_existing), kind.tracks, **_allowed(options)
        )

    def cache_all(self):
        self.cache_latents()
        self.cache_text()
        self.cache_cameras()
        return self

    def training_set(self, tensors=I2V, camera=True, **options):
        return load_training_set(self.config, tensors=tensors, camera=camera, **options)
