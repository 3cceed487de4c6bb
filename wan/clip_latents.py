"""What a latent cache holds of clips: the latents of the pictures and of their conditions, in one call of the VAE.

The condition of image-to-video is a video of its own, the first frame followed by grey, and costs as much as the clip.
Its grey tail cannot be kept from clip to clip: the encoder looks back over 112 frames, so the tail depends on the first
frame for 29 latent frames, and a clip of 81 frames has 21 (docs/cache-format.md).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from wan.clip import CLIPVision
from wan.conditioning import image_condition
from wan.pixels import to_tensor

Encode = Callable[[Tensor], Tensor]
"""As `wan.vae.WanVAE.encode`: [B, 3, F, H, W] in [-1, 1] -> normalised latent [B, 16, f, h, w]."""


class _Joint:
    """Encodes other videos beside the one that it is asked for, and keeps their latents."""

    def __init__(self, encode: Encode, videos: list[Tensor]) -> None:
        self._encode, self._videos = encode, videos
        self.latents: tuple[Tensor, ...] = ()

    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, F, H, W] in [-1, 1] -> normalised latent [B, 16, f, h, w]."""
        videos = [*self._videos, video]
        parts = self._encode(torch.cat(videos)).split([len(part) for part in videos])
        self.latents = parts[:-1]
        return parts[-1]


def encode_clips(encode: Encode, video: Tensor, *, image: bool, control: Tensor | None = None) -> dict[str, Tensor]:
    """Latents of clips of one shape, and of their conditions.

    Args:
        encode: the video autoencoder's.
        video: [B, 3, F, H, W] in [-1, 1]; F = 4n + 1.
        image: whether the condition of image-to-video is wanted.
        control: control videos of the same shape, where there are any.

    Returns:
        latents [B, 16, f, h, w]; with `image` latents_image [B, 20, f, h, w] (`wan.conditioning.image_condition` of
        the first frames); with `control` latents_control [B, 16, f, h, w].
    """
    videos = [video] if control is None else [video, control]
    found: dict[str, Tensor] = {}
    if image:
        joint = _Joint(encode, videos)
        found["latents_image"] = image_condition(joint, video[:, :, 0], video.shape[2])
        latents = joint.latents
    else:
        latents = encode(torch.cat(videos)).split([len(part) for part in videos])
    names = ("latents", "latents_control")[: len(videos)]
    return {**dict(zip(names, latents, strict=True)), **found}


@torch.no_grad()
def encode_pictures(
    pictures: tuple[Tensor, Tensor | None],
    encode: Encode,
    clip: CLIPVision | None,
    device: torch.device,
    *,
    image: bool,
) -> list[dict[str, Tensor]]:
    """What the latent cache of each clip of a batch holds, still on the device.

    Args:
        pictures: uint8 [B, F, H, W, 3] (`wan.pixels.stack_frames`), and the same of the controls or None.
        encode: the video autoencoder's.
        clip: the image encoder, where its features are wanted.
        device: where the encoders are.
        image: whether the condition of image-to-video is wanted.

    Returns:
        for each clip the bf16 latents of `encode_clips` without the batch axis, and with `clip` the tokens of its first
        frame, clip [tokens, dim] in float16.
    """
    frames, controls = pictures
    video = to_tensor(frames, device)
    tensors = encode_clips(
        encode, video, image=image, control=None if controls is None else to_tensor(controls, device)
    )
    kept = {name: latent.bfloat16() for name, latent in tensors.items()}
    if clip is not None:
        kept["clip"] = clip.encode_image(video[:, :, 0]).half()
    return [{name: tensor[i] for name, tensor in kept.items()} for i in range(len(video))]
