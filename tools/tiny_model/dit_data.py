"""Clips as the tiny DiT trains on them: rendered, encoded, and kept in a ring on the device."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from camera.network_input import CameraInput, camera_input
from tools.procedural_world.live import LiveBatch, LiveClips
from wan.clip import CLIPVision
from wan.conditioning import image_condition
from wan.t5 import T5Encoder
from wan.vae import WanVAE

FOREIGN_CAMERA = 0.3
"""Share of texts that end in the camera tags of another clip: the text must not be what moves the camera."""


@dataclass(frozen=True)
class Encoders:
    """The frozen networks that a clip passes through."""

    vae: WanVAE
    t5: T5Encoder
    clip: CLIPVision


@dataclass(frozen=True)
class EncodedClips:
    """B clips as the DiT reads them, all on its device."""

    latents: Tensor
    """[B, 16, f, h, w]"""
    condition: Tensor
    """[B, 20, f, h, w] mask and image latent."""
    context: Tensor
    """[B, text_len, text_dim], zero-padded."""
    clip_features: Tensor
    """[B, tokens, image_dim]"""
    c2w: Tensor
    """[B, F, 4, 4] float32"""
    intrinsics: Tensor
    """[B, F, 4] float32"""

    def camera(self, ray_scale: int = 1) -> CameraInput:
        """What the adapter is given; each clip keeps its own camera."""
        height, width = self.latents.shape[-2:]
        return camera_input(self.c2w, self.intrinsics, height, width, ray_scale)


@torch.no_grad()
def encode_clips(encoders: Encoders, clips: LiveBatch, texts: Sequence[str]) -> EncodedClips:
    """Run the frozen networks over a rendered batch."""
    video = (clips.frames.movedim(-1, 1).float() / 127.5 - 1).to(next(encoders.vae.parameters()).dtype)
    first = video[:, :, 0]
    tokens = encoders.t5.encode(texts)
    length = encoders.t5.config.text_len
    return EncodedClips(
        latents=encoders.vae.encode(video),
        condition=image_condition(encoders.vae, first, video.shape[2]),
        context=torch.stack([F.pad(one, (0, 0, 0, length - len(one))) for one in tokens]),
        clip_features=encoders.clip.encode_image(first),
        c2w=clips.c2w,
        intrinsics=clips.intrinsics,
    )


def texts_of(clips: LiveBatch, rng: random.Random) -> list[str]:
    """The scene of each clip, some with the camera tags of another one."""
    foreign = list(clips.cameras)
    rng.shuffle(foreign)
    return [
        f"{scene} ; Camera: {camera}" if rng.random() < FOREIGN_CAMERA else scene
        for scene, camera in zip(clips.scenes, foreign, strict=True)
    ]


class ClipRing:
    """The last `capacity` clips of a stream, encoded, with what an adapter is given; old ones make room for new ones.

    Args:
        encoders: frozen networks on the device.
        clips: the stream.
        capacity: clips kept, a multiple of the stream's batch.
        ray_scale: the adapter's.
    """

    def __init__(self, encoders: Encoders, clips: LiveClips, capacity: int, ray_scale: int = 1) -> None:
        assert capacity % clips.batch == 0, (capacity, clips.batch)
        self.encoders, self.clips, self.capacity, self.ray_scale = encoders, clips, capacity, ray_scale
        self._store: dict[str, Tensor] = {}
        self.filled = 0
        self._position = 0

    def refill(self) -> None:
        """Add the next batch of the stream."""
        rendered = self.clips.take()
        rng = random.Random(f"text/{self.clips.seed}/{self.clips.next_clip}")
        encoded = encode_clips(self.encoders, rendered, texts_of(rendered, rng))
        # once here instead of at every step: float64 geometry is many small operations
        for name, tensor in {**vars(encoded), **encoded.camera(self.ray_scale)._asdict()}.items():
            if name not in self._store:
                self._store[name] = tensor.new_zeros(self.capacity, *tensor.shape[1:])
            self._store[name][self._position : self._position + len(tensor)] = tensor
        self._position = (self._position + self.clips.batch) % self.capacity
        self.filled = min(self.filled + self.clips.batch, self.capacity)

    def draw(self, count: int, generator: torch.Generator) -> tuple[EncodedClips, CameraInput]:
        """`count` different clips of the ring, and their cameras; the generator is on the CPU."""
        rows = torch.randperm(self.filled, generator=generator)[:count].to(self._store["latents"].device)
        drawn = {name: tensor[rows] for name, tensor in self._store.items()}
        camera = CameraInput(*(drawn.pop(name) for name in CameraInput._fields))
        return EncodedClips(**drawn), camera
