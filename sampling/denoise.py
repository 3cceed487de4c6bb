"""The one denoising loop, for generation and for previews while training.

It knows neither files nor prompts: what the network is told besides the latent (text, image and camera tokens) was
prepared once outside, and what a step does with a velocity is the solver's business. Nothing in the loop leaves the
device or waits for it.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from common.progress import progress as progress_bar
from sampling.solvers import Solver

TokensT = TypeVar("TokensT", contravariant=True)


class Denoiser(Protocol[TokensT]):
    """The part of `wan.model.WanModel` that sampling needs."""

    def denoise(
        self, latents: Tensor, timestep: Tensor, tokens: TokensT, image_condition: Tensor | None = None
    ) -> Tensor:
        """Velocity [B,16,f,h,w] of `latents` [B,16,f,h,w] at `timestep` [B], 0..1000."""
        ...


@torch.no_grad()
def sample(
    model: Denoiser[TokensT],
    solver: Solver,
    noise: Tensor,
    cond: TokensT,
    uncond: TokensT | None,
    guidance_scale: float,
    image_condition: Tensor | None = None,
    progress: bool = True,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Turn noise into a clean latent.

    Args:
        model: the network, in any dtype; its inputs are the network's own business to cast.
        solver: a solver of `sampling.solvers.make_solver`; it carries the number of steps.
        noise: [B,16,f,h,w], standard normal; its dtype (float32) is the one the latent is integrated in.
        cond: tokens of `model.prepare` for the prompt.
        uncond: tokens for the negative prompt; None is allowed only at `guidance_scale` 1.
        guidance_scale: classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598),
            uncond + scale·(cond - uncond); at exactly 1 the unconditional half is not computed.
        image_condition: [B,20,f,h,w] of `wan.conditioning`, or None for text to video.
        progress: show a bar.
        callback: called after step i with (i, latent), e.g. for previews; what it returns is ignored.

    Returns:
        The normalised latent [B,16,f,h,w], in the dtype and on the device of `noise`.

    Raises:
        ValueError: guidance other than 1 without tokens for the negative prompt.
    """
    guided = guidance_scale != 1.0
    if guided and uncond is None:
        raise ValueError(f"--guidance_scale {guidance_scale} needs a negative prompt; give one, or use scale 1")
    latent = noise
    timesteps = torch.tensor(solver.timesteps, dtype=torch.float32, device=noise.device)
    with progress_bar(len(solver.timesteps), desc="denoising", unit="step", disable=not progress) as bar:
        for i in range(len(solver.timesteps)):
            timestep = timesteps[i].expand(noise.shape[0])
            velocity = model.denoise(latent, timestep, cond, image_condition).to(latent.dtype)
            if guided and uncond is not None:
                unguided = model.denoise(latent, timestep, uncond, image_condition).to(latent.dtype)
                velocity = torch.lerp(unguided, velocity, guidance_scale)
            latent = solver.step(velocity, i, latent)
            if callback is not None:
                callback(i, latent)
            bar.update()
    return latent
