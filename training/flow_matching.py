"""Flow matching as pure functions: noise levels, the noisy latent, the velocity to predict, the loss.

Rectified flow (Lipman et al. 2022, arXiv 2210.02747; Liu et al. 2022, arXiv 2209.03003) as Wan2.1 is trained: a
straight path from the latent (sigma 0) to noise (sigma 1).
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sampling.solvers import TRAIN_TIMESTEPS, apply_flow_shift


def _sigma(normal: Tensor, uniform: Tensor, flow_shift: float, sigmoid_scale: float) -> Tensor:
    """The 1000 levels 1/1000 ... 1 of the discrete schedule, all alike; the flow shift has no part in it."""
    return (torch.floor(uniform * TRAIN_TIMESTEPS) + 1.0) / TRAIN_TIMESTEPS


def _uniform(normal: Tensor, uniform: Tensor, flow_shift: float, sigmoid_scale: float) -> Tensor:
    return uniform


def _sigmoid(normal: Tensor, uniform: Tensor, flow_shift: float, sigmoid_scale: float) -> Tensor:
    return torch.sigmoid(sigmoid_scale * normal)


def _shift(normal: Tensor, uniform: Tensor, flow_shift: float, sigmoid_scale: float) -> Tensor:
    return apply_flow_shift(torch.sigmoid(sigmoid_scale * normal), flow_shift)


_SAMPLERS: dict[str, Callable[[Tensor, Tensor, float, float], Tensor]] = {
    "sigma": _sigma,
    "uniform": _uniform,
    "sigmoid": _sigmoid,
    "shift": _shift,
}


def sample_sigmas(
    sampling: str,
    count: int,
    generator: torch.Generator,
    flow_shift: float = 1.0,
    sigmoid_scale: float = 1.0,
    sigma_range: tuple[float, float] = (0.0, 1.0),
) -> Float[Tensor, " count"]:
    """Draw the noise levels of a batch.

    Args:
        sampling: `sigma` (1/1000 ... 1, all alike), `uniform`, `sigmoid` (of a normal number times `sigmoid_scale`)
            or `shift` (the same, then moved to the noisy end by `flow_shift`), as `--timestep_sampling`.
        count: how many.
        generator: a generator on the CPU; the same state gives the same levels on every device.
        flow_shift: s in s·sigma / (1 + (s - 1)·sigma).
        sigmoid_scale: width of the normal number.
        sigma_range: the distribution is squeezed into this range, lowest and highest level as the user reads them
            (in `sigma` mode too, where musubi-tuner counts from the noisy end).

    Returns:
        float32 on the CPU, within `sigma_range`.
    """
    assert sampling in _SAMPLERS, sampling
    # both are always drawn, so that the noise that follows does not depend on the mode
    normal = torch.randn(count, generator=generator)
    uniform = torch.rand(count, generator=generator)
    low, high = sigma_range
    return low + (high - low) * _SAMPLERS[sampling](normal, uniform, flow_shift, sigmoid_scale)


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


def velocity_loss(predicted: Float[Tensor, "B C f h w"], target: Float[Tensor, "B C f h w"]) -> Float[Tensor, ""]:
    """Mean squared error over all elements, in float32."""
    return functional.mse_loss(predicted.float(), target.float())
