"""From a batch to a loss: where the DiT is called in training."""

import torch
from torch import Tensor

from dataset.batch import Batch
from training.config import TrainingConfig
from training.flow_matching import (
    draw_noise,
    noisy_latents,
    timesteps_of,
    velocity_loss,
    velocity_target,
)
from training.noise_levels import NoiseLaw, sample_sigmas, strata_of
from training.order import BatchPlace, derived_seed
from wan.conditioning import absent_clip_features, cached_condition
from wan.model import WanModel

_DROPOUT = 0


def noise_law(config: TrainingConfig) -> NoiseLaw:
    """The distribution of noise levels that the flags ask for."""
    return NoiseLaw(
        sampling=config.timestep_sampling,
        flow_shift=config.discrete_flow_shift,
        sigmoid_scale=config.sigmoid_scale,
        scheme=config.weighting_scheme,
        logit_mean=config.logit_mean,
        logit_std=config.logit_std,
        mode_scale=config.mode_scale,
        sigma_range=config.sigma_range,
        keep_shape=config.preserve_distribution_shape,
    )


def draw_sigmas_and_noise(config: TrainingConfig, batch: Batch, place: BatchPlace) -> tuple[Tensor, Tensor]:
    """Noise levels [B] and noise [B,16,f,h,w] of a batch, float32 on the CPU, from its place in the run alone."""
    generator = torch.Generator().manual_seed(place.seed)
    shape, parts = batch["latents"].shape, config.num_timestep_buckets
    strata = None
    if parts is not None and parts > 1:
        strata = strata_of(place.epoch_seed, place.position, place.batches, shape[0], parts)
    sigmas = sample_sigmas(noise_law(config), shape[0], generator, (shape[3], shape[4]), strata)
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
    weights: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the DiT's velocity.

    Args:
        dit: `wan.model.WanModel`, with its LoRA and adapter in place.
        batch: on the DiT's device.
        sigmas: noise levels [B], on the DiT's device.
        noise: [B,16,f,h,w], on the DiT's device.
        with_camera: give the DiT the batch's camera; it must have an adapter then.
        camera_gain: [B], of `draw_camera_gain`, on the DiT's device.
        weights: [B], of `noise_levels.loss_weights`, on the DiT's device.

    Returns:
        A float32 scalar.
    """
    velocity = predict_velocity(dit, batch, sigmas, noise, with_camera, camera_gain)
    return velocity_loss(velocity, velocity_target(batch["latents"], noise), weights)


def predict_velocity(
    dit: WanModel,
    batch: Batch,
    sigmas: Tensor,
    noise: Tensor,
    with_camera: bool,
    camera_gain: Tensor | None = None,
) -> Tensor:
    """The DiT's velocity [B,16,f,h,w] for a batch's latents at noise levels; arguments as `batch_loss`."""
    latents, clip = batch["latents"], batch["clip"]
    if clip is None and dit.config.reads_control:
        clip = absent_clip_features(dit.config, latents.shape[0], latents.device)
    return dit(
        noisy_latents(latents, noise, sigmas),
        timesteps_of(sigmas),
        batch["t5"],
        clip_features=clip,
        image_condition=cached_condition(dit.config, batch["latents_image"], batch["control"]),
        camera=batch["camera"] if with_camera else None,
        camera_gain=camera_gain,
    )
