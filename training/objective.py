"""From a batch to a loss: where the DiT is called in training."""

import torch
from torch import Tensor

from dataset.batch import Batch
from training.config import TrainingConfig
from training.flow_matching import (
    draw_noise,
    noisy_latents,
    sample_sigmas,
    timesteps_of,
    velocity_loss,
    velocity_target,
)
from training.order import derived_seed
from wan.conditioning import absent_clip_features, cached_condition
from wan.model import WanModel

_DROPOUT = 0


def draw_sigmas_and_noise(config: TrainingConfig, batch: Batch, seed: int) -> tuple[Tensor, Tensor]:
    """Noise levels [B] and noise [B,16,f,h,w] of a batch, float32 on the CPU, from `seed` alone."""
    generator = torch.Generator().manual_seed(seed)
    shape = batch["latents"].shape
    sigmas = sample_sigmas(
        config.timestep_sampling,
        shape[0],
        generator,
        config.discrete_flow_shift,
        config.sigmoid_scale,
        config.sigma_range,
    )
    return sigmas, draw_noise(shape, generator)


def draw_camera_gain(chance: float, clips: int, seed: int) -> Tensor | None:
    """1 for each clip whose camera is kept and 0 for each whose camera is dropped, [B], from `seed` alone.

    Each is dropped by itself, so that the model without a camera stays part of what is trained (classifier-free
    guidance, arXiv 2207.12598, for the camera). None where the chance is 0: all are kept.
    """
    if chance == 0:
        return None
    # apart from the noise levels and the noise, which are the same whatever the chance
    generator = torch.Generator().manual_seed(derived_seed(seed, _DROPOUT))
    return (torch.rand(clips, generator=generator) >= chance).float()


def batch_loss(
    dit: WanModel,
    batch: Batch,
    sigmas: Tensor,
    noise: Tensor,
    with_camera: bool,
    camera_gain: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the DiT's velocity.

    Args:
        dit: `wan.model.WanModel`, with its LoRA and adapter in place.
        batch: on the DiT's device.
        sigmas: noise levels [B], on the DiT's device.
        noise: [B,16,f,h,w], on the DiT's device.
        with_camera: give the DiT the batch's camera; it must have an adapter then.
        camera_gain: [B], of `draw_camera_gain`, on the DiT's device.

    Returns:
        A float32 scalar.
    """
    latents, clip = batch["latents"], batch["clip"]
    if clip is None and dit.config.reads_control:
        clip = absent_clip_features(dit.config, latents.shape[0], latents.device)
    velocity = dit(
        noisy_latents(latents, noise, sigmas),
        timesteps_of(sigmas),
        batch["t5"],
        clip_features=clip,
        image_condition=cached_condition(dit.config, batch["latents_image"], batch["control"]),
        camera=batch["camera"] if with_camera else None,
        camera_gain=camera_gain,
    )
    return velocity_loss(velocity, velocity_target(latents, noise))
