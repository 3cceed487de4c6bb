"""Flow matching as pure functions: the noisy latent, the velocity to predict, the loss; levels: `noise_levels`.

Rectified flow (Lipman et al. 2022, arXiv 2210.02747; Liu et al. 2022, arXiv 2209.03003) as Wan2.1 is trained: a
straight path from the latent (sigma 0) to noise (sigma 1).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sampling.solvers import TRAIN_TIMESTEPS


def draw_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Standard normal noise, float32 on the CPU: the same numbers whatever device trains."""
    return torch.randn(tuple(shape), generator=generator)


def noisy_latents(
    latents: Float[Tensor, "B C f h w"], noise: Float[Tensor, "B C f h w"], sigmas: Float[Tensor, " B"]
) -> Float[Tensor, "B C f h w"]:
    """x = (1 - sigma)·latent + sigma·noise, in float32."""
    return torch.lerp(latents.float(), noise.float(), sigmas.float().view(-1, 1, 1, 1, 1))


def velocity_target(
    latents: Float[Tensor, "B C f h w"], noise: Float[Tensor, "B C f h w"]
) -> Float[Tensor, "B C f h w"]:
    """noise - latent, the velocity of the straight path, in float32."""
    return noise.float() - latents.float()


def timesteps_of(sigmas: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """What the DiT is told: 1000·sigma."""
    return sigmas * TRAIN_TIMESTEPS


def velocity_loss(
    predicted: Float[Tensor, "B C f h w"],
    target: Float[Tensor, "B C f h w"],
    weights: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error over all elements, in float32; with weights, each clip's mean times its weight."""
    if weights is None:
        return functional.mse_loss(predicted.float(), target.float())
    return (clip_losses(predicted, target) * weights).mean()


def clip_losses(predicted: Float[Tensor, "B C f h w"], target: Float[Tensor, "B C f h w"]) -> Float[Tensor, " B"]:
    """Mean squared error of each clip, in float32."""
    return (predicted.float() - target.float()).square().flatten(1).mean(1)
