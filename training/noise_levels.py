"""How noise levels are drawn: the laws of `--timestep_sampling` and `--weighting_scheme`, as pure functions.

Each law turns a standard normal or uniform number into a noise level sigma. The laws are musubi-tuner's; those named
after other models are theirs with the resolution they depend on taken from the latent. One difference: musubi-tuner
tells the DiT 1000·sigma + 1 outside `sigma` mode, here it is 1000·sigma always.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sampling.solvers import TRAIN_TIMESTEPS, apply_flow_shift

_MOST_ROUNDS = 1000
_EDGE = 1e-7
_LATENT_PIXELS = 8


@dataclass(frozen=True)
class NoiseLaw:
    """What the flags say about the distribution of noise levels."""

    sampling: str = "sigma"
    """`--timestep_sampling`."""
    flow_shift: float = 1.0
    """s in s·sigma / (1 + (s - 1)·sigma), of `shift`."""
    sigmoid_scale: float = 1.0
    """Width of the normal number of `sigmoid`, `shift` and the shifts by resolution."""
    scheme: str = "none"
    """`--weighting_scheme`: logit_normal and mode change `sigma` mode."""
    logit_mean: float = 0.0
    """Mean of the normal number of logit_normal and logsnr."""
    logit_std: float = 1.0
    """Its standard deviation."""
    mode_scale: float = 1.29
    """Strength of the scheme `mode`."""
    sigma_range: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest level."""
    keep_shape: bool = False
    """Draw again until a level is in the range, instead of squeezing the distribution into it."""


@dataclass(frozen=True)
class Draw:
    """The random numbers behind n levels: three independent ones for each."""

    normal: Float[Tensor, " n"]
    """Standard normal."""
    uniform: Float[Tensor, " n"]
    """From 0 to below 1, a function of `normal` where levels are spread evenly."""
    choice: Float[Tensor, " n"]
    """From 0 to below 1, which part of a mixture."""


def linear_mu(tokens: float, low: tuple[float, float], high: tuple[float, float]) -> float:
    """The logarithm of a flow shift on the line through two points (tokens, mu), beyond them too."""
    return low[1] + (tokens - low[0]) * (high[1] - low[1]) / (high[0] - low[0])


# model: (points of the line, whether tokens are 2 x 2 latent positions)
_RESOLUTION_SHIFTS = {
    "flux_shift": ((256.0, 0.5), (4096.0, 1.15), 2),
    "flux2_shift": ((256.0, 0.5), (4096.0, 1.15), 1),
    "qwen_shift": ((256.0, 0.5), (8192.0, 0.9), 2),
    "krea2_shift": ((256.0, 0.5), (6400.0, 1.15), 2),
}


def resolution_shift(model: str, latent_size: tuple[int, int]) -> float:
    """The flow shift exp(mu) that a model's rule gives a latent of (rows, columns); the number of frames has no part.

    Rules of FLUX.1, FLUX.2, Qwen-Image and Krea 2 as musubi-tuner has them: mu is linear in the number of tokens.
    """
    low, high, side = _RESOLUTION_SHIFTS[model]
    rows, columns = latent_size
    return math.exp(linear_mu((rows // side) * (columns // side), low, high))


def _sigma(law: NoiseLaw, draw: Draw, latent_size: tuple[int, int]) -> Tensor:
    """The 1000 levels 1/1000 ... 1 of the discrete schedule; the flow shift has no part in it.

    Densities of the schemes: Esser et al. 2024, arXiv 2403.03206, section 3.1, which count u from the noisy end.
    """
    u = draw.uniform
    if law.scheme == "logit_normal":
        u = torch.sigmoid(law.logit_mean + law.logit_std * draw.normal)
    elif law.scheme == "mode":
        u = 1.0 - u - law.mode_scale * (torch.cos(math.pi * u / 2.0) ** 2 - 1.0 + u)
    index = torch.floor(u * TRAIN_TIMESTEPS).clamp(0, TRAIN_TIMESTEPS - 1)
    return (TRAIN_TIMESTEPS - index) / TRAIN_TIMESTEPS


def _uniform(law: NoiseLaw, draw: Draw, latent_size: tuple[int, int]) -> Tensor:
    return draw.uniform


def _sigmoid(law: NoiseLaw, draw: Draw, latent_size: tuple[int, int]) -> Tensor:
    return torch.sigmoid(law.sigmoid_scale * draw.normal)


def _shift(law: NoiseLaw, draw: Draw, latent_size: tuple[int, int]) -> Tensor:
    return apply_flow_shift(_sigmoid(law, draw, latent_size), law.flow_shift)


def _by_resolution(law: NoiseLaw, draw: Draw, latent_size: tuple[int, int]) -> Tensor:
    return apply_flow_shift(_sigmoid(law, draw, latent_size), resolution_shift(law.sampling, latent_size))


def _ideogram4(law: NoiseLaw, draw: Draw, latent_size: tuple[int, int]) -> Tensor:
    """A logit of width 1.5 whose mean is half the logarithm of the pixels, in units of 512 x 512."""
    pixels = latent_size[0] * latent_size[1] * _LATENT_PIXELS**2
    return torch.sigmoid(0.5 * math.log(pixels / 512**2) + 1.5 * draw.normal)


def _logsnr_of(normal: Tensor, mean: float, std: float) -> Tensor:
    """The level whose logarithm of the signal-to-noise power ratio, 2·ln((1 - sigma) / sigma), is normal."""
    return torch.sigmoid(-(mean + std * normal) / 2.0)


def _logsnr(law: NoiseLaw, draw: Draw, latent_size: tuple[int, int]) -> Tensor:
    return _logsnr_of(draw.normal, law.logit_mean, law.logit_std)


def _clean_end(draw: Draw) -> Tensor:
    """The share of nearly clean levels that the qinglong mixtures have, around sigma 0.06."""
    return _logsnr_of(draw.normal, 5.36, 1.0)


def _qinglong_flux(law: NoiseLaw, draw: Draw, latent_size: tuple[int, int]) -> Tensor:
    """79 % flux_shift, 11 % logsnr, 10 % nearly clean."""
    shifted = apply_flow_shift(_sigmoid(law, draw, latent_size), resolution_shift("flux_shift", latent_size))
    rest = torch.where(draw.choice < 0.9, _logsnr(law, draw, latent_size), _clean_end(draw))
    return torch.where(draw.choice < 0.79, shifted, rest)


def _qinglong_qwen(law: NoiseLaw, draw: Draw, latent_size: tuple[int, int]) -> Tensor:
    """95 % qwen_shift, 5 % nearly clean."""
    shifted = apply_flow_shift(_sigmoid(law, draw, latent_size), resolution_shift("qwen_shift", latent_size))
    return torch.where(draw.choice < 0.95, shifted, _clean_end(draw))


_LAWS: dict[str, Callable[[NoiseLaw, Draw, tuple[int, int]], Tensor]] = {
    "sigma": _sigma,
    "uniform": _uniform,
    "sigmoid": _sigmoid,
    "shift": _shift,
    "flux_shift": _by_resolution,
    "flux2_shift": _by_resolution,
    "qwen_shift": _by_resolution,
    "krea2_shift": _by_resolution,
    "ideogram4_shift": _ideogram4,
    "logsnr": _logsnr,
    "qinglong_flux": _qinglong_flux,
    "qinglong_qwen": _qinglong_qwen,
}


def sample_sigmas(
    law: NoiseLaw,
    count: int,
    generator: torch.Generator,
    latent_size: tuple[int, int] = (64, 64),
    strata: tuple[Int[Tensor, " count"], int] | None = None,
) -> Float[Tensor, " count"]:
    """Draw the noise levels of a batch.

    Args:
        law: the distribution.
        count: how many.
        generator: a generator on the CPU; the same state gives the same levels on every device, and is the same
            afterwards whatever the law.
        latent_size: rows and columns of the latent, for the laws that depend on the resolution.
        strata: for each level the number of its part, and how many equally likely parts there are; None draws freely.

    Returns:
        float32 on the CPU, within the range (in `sigma` mode too as the user reads it; musubi-tuner counts from the
        noisy end there).

    Raises:
        ValueError: with `keep_shape`, all but nothing of the distribution lies in the range.
    """
    assert law.sampling in _LAWS, law.sampling
    draw = _draw(count, generator)
    if strata is not None:
        draw = _stratified(draw, *strata)
    sigmas = _LAWS[law.sampling](law, draw, latent_size)
    low, high = law.sigma_range
    if not law.keep_shape:
        return low + (high - low) * sigmas
    return _drawn_again(law, sigmas, generator, latent_size)


def strata_of(seed_epoch: int, position: int, batches: int, count: int, parts: int) -> tuple[Tensor, int]:
    """The parts of the levels of one batch, so that in an epoch of equal batches each comes equally often.

    Args:
        seed_epoch: seed of the epoch's order of parts.
        position: of the batch in the epoch.
        batches: of the epoch.
        count: clips of the batch.
        parts: how many.

    Returns:
        Numbers of parts [count], and `parts`.
    """
    place = _places(seed_epoch, batches)[position]
    return (torch.arange(count) + place * count) % parts, parts


def loss_weights(scheme: str, sigmas: Float[Tensor, " B"]) -> Float[Tensor, " B"] | None:
    """How much each clip's loss counts by `--weighting_scheme`; None where all count alike.

    sigma_sqrt: sigma^-2, at most that of the lowest level of the schedule. cosmap: 2 / (pi·(1 - 2·sigma + 2·sigma²)).
    Both of Esser et al. 2024, arXiv 2403.03206.
    """
    if scheme == "sigma_sqrt":
        return sigmas.clamp(min=1.0 / TRAIN_TIMESTEPS) ** -2
    if scheme == "cosmap":
        return 2.0 / (math.pi * (1.0 - 2.0 * sigmas + 2.0 * sigmas**2))
    return None


def _draw(count: int, generator: torch.Generator) -> Draw:
    """All three are always drawn, so that the noise that follows does not depend on the law."""
    normal, uniform = torch.randn(count, generator=generator), torch.rand(count, generator=generator)
    return Draw(normal, uniform, torch.rand(count, generator=generator))


def _stratified(draw: Draw, parts_of: Tensor, parts: int) -> Draw:
    """The same with each uniform number in its part, and the normal one at the same quantile."""
    uniform = (parts_of + draw.uniform) / parts
    return Draw(torch.special.ndtri(uniform.double().clamp(_EDGE, 1.0 - _EDGE)).float(), uniform, draw.choice)


def _drawn_again(
    law: NoiseLaw, sigmas: Tensor, generator: torch.Generator, latent_size: tuple[int, int]
) -> Float[Tensor, " n"]:
    """Replace levels outside the range by further draws, which come from a generator of their own."""
    low, high = law.sigma_range
    ahead = torch.Generator()
    ahead.set_state(generator.get_state())
    more = torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=ahead)))
    for _ in range(_MOST_ROUNDS):
        outside = (sigmas < low) | (sigmas > high)
        if not outside.any():
            return sigmas
        again = _LAWS[law.sampling](law, _draw(len(sigmas), more), latent_size)
        sigmas = torch.where(outside, again, sigmas)
    raise ValueError(
        f"--preserve_distribution_shape: next to none of --timestep_sampling {law.sampling} lies between timestep "
        f"{1000 * low:g} and {1000 * high:g}; widen the range, or leave the flag out"
    )


@lru_cache(maxsize=1)
def _places(seed: int, batches: int) -> list[int]:
    """A shuffled order of the places of an epoch's batches."""
    return torch.randperm(batches, generator=torch.Generator().manual_seed(seed)).tolist()
