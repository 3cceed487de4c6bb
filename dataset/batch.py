"""What a training batch holds, and how it is put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from jaxtyping import Float, Float32
from torch import Tensor


class Batch(TypedDict):
    """Clips of one data set and one shape. B clips; f, h, w latent frames, rows and columns."""

    latents: Float[Tensor, "B 16 f h w"]
    """Normalised VAE latents, in the dtype of the cache."""
    latents_image: Float[Tensor, "B 20 f h w"] | None
    """Image condition: mask (4 channels), then the latent of the first frame followed by grey (16)."""
    clip: Float[Tensor, "B tokens image_dim"] | None
    """CLIP features of the first frame."""
    control: Float[Tensor, "B 16 f h w"] | None
    """Normalised VAE latents of each clip's control video; for Fun-Control."""
    t5: list[Float[Tensor, "L text_dim"]]
    """Text features, one per clip, each of its own length."""
    camera: Float32[Tensor, "B f 24 h w"] | None
    """Plücker maps of each clip's own frames on its latent grid (`camera.plucker.group_frames`)."""
    item_keys: list[str]
    """Names of the clips: the stem of the medium, with _start-frames for a video."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One clip, loaded; the tensors of a `Batch` without the first axis."""

    key: str
    tensors: Mapping[str, Tensor]
    """latents, and of latents_image, clip and latents_control what is asked for."""
    t5: Tensor
    camera: Tensor | None


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one shape."""
    cameras = [sample.camera for sample in samples if sample.camera is not None]
    assert len(cameras) in {0, len(samples)}, "all samples of a batch have a camera, or none has"

    def stacked(name: str) -> Tensor | None:
        found = [sample.tensors[name] for sample in samples if name in sample.tensors]
        return _stack(found) if found else None

    return {
        "latents": _stack([sample.tensors["latents"] for sample in samples]),
        "latents_image": stacked("latents_image"),
        "clip": stacked("clip"),
        "control": stacked("latents_control"),
        "t5": [sample.t5 for sample in samples],
        "camera": _stack(cameras) if cameras else None,
        "item_keys": [sample.key for sample in samples],
    }


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """As torch.stack, but a single tensor, of up to 13 MB at full size, is not copied."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))
