"""The one denoising loop, for generation and for previews while training.

It knows neither files nor prompts: what the network is told besides the latent (text, image and camera tokens) was
prepared once outside, and what a step does with a velocity is the solver's business. Nothing in the loop leaves the
device or waits for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from common.progress import progress as progress_bar
from sampling.solvers import Solver

TokensT = TypeVar("TokensT", contravariant=True)
T = TypeVar("T")


class Denoiser(Protocol[TokensT]):
    """The part of `wan.model.WanModel` that sampling needs."""

    def denoise(
        self, latents: Tensor, timestep: Tensor, tokens: TokensT, image_condition: Tensor | None = None
    ) -> Tensor:
        """Velocity [B,16,f,h,w] of `latents` [B,16,f,h,w] at `timestep` [B], 0..1000."""
        ...


@dataclass(frozen=True)
class CameraControl(Generic[T]):
    """How strongly and when the camera in the tokens acts, and the tokens of the same request without it."""

    cond: T
    """For the prompt, without a camera."""
    uncond: T | None
    """For the negative prompt, without a camera; None only where there is no guidance."""
    sigma_window: tuple[float, float] = (0.0, 1.0)
    """Noise levels at which the camera acts; camera motion is decided at high ones (AC3D, arXiv 2411.18673)."""
    guidance: float = 1.0
    """Camera guidance: adds (guidance - 1)·(cond - cond without camera), from one more forward; 1 skips it.

    With text guidance g in all: v + (g - 1)·(v - v without text) + (guidance - 1)·(v - v without camera), where v is
    told both (AC3D, arXiv 2411.18673: separate text and camera guidance).
    """

    def acts(self, sigma: float) -> bool:
        """Whether the camera acts at a noise level."""
        low, high = self.sigma_window
        return low <= sigma <= high


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
    camera: CameraControl | None = None,
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
        camera: when and how strongly the camera in `cond` and `uncond` acts; None: always, as it is.

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
            ask = partial(_ask, model, latent, timestep, image_condition)
            acting = camera is None or camera.acts(solver.timesteps[i] / 1000)
            told = velocity = ask(cond if acting or camera is None else camera.cond)
            other = uncond if acting or camera is None else camera.uncond
            if guided and other is not None:
                velocity = torch.lerp(ask(other), told, guidance_scale)
            if acting and camera is not None and camera.guidance != 1.0:
                velocity = velocity + (camera.guidance - 1) * (told - ask(camera.cond))
            latent = solver.step(velocity, i, latent)
            if callback is not None:
                callback(i, latent)
            bar.update()
    return latent


def _ask(
    model: Denoiser[TokensT], latent: Tensor, timestep: Tensor, image_condition: Tensor | None, tokens: TokensT
) -> Tensor:
    return model.denoise(latent, timestep, tokens, image_condition).to(latent.dtype)
