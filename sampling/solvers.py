"""Solvers of the flow's differential equation: numbers in, numbers out, no network inside.

The model predicts the velocity v = noise - latent at x = (1 - sigma)·latent + sigma·noise. A solver carries x from
sigma 1 to sigma 0 along its own list of sigmas. In the notation of the papers alpha = 1 - sigma and
lambda = log(alpha / sigma), half the log signal-to-noise ratio; both multistep solvers work on the prediction of the
clean latent, x0 = x - sigma·v.

All coefficients are Python floats in double precision computed from the sigma list, so a step costs tensor
arithmetic only and never waits for the device.
"""

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from torch import Tensor

TRAIN_TIMESTEPS = 1000

LevelT = TypeVar("LevelT", float, Tensor)


class Solver(Protocol):
    """What the denoising loop needs to know about a solver."""

    sigmas: list[float]
    timesteps: list[int]

    def step(self, velocity: Tensor, i: int, latent: Tensor) -> Tensor:
        """Carry `latent` from `sigmas[i]` to `sigmas[i + 1]`; steps are taken in order from i = 0."""
        ...


def apply_flow_shift(sigma: LevelT, flow_shift: float) -> LevelT:
    """Move a noise level (or a tensor of them) towards the noisy end: s·sigma / (1 + (s - 1)·sigma), 0 and 1 stay."""
    return flow_shift * sigma / (1.0 + (flow_shift - 1.0) * sigma)


def flow_sigmas(steps: int, flow_shift: float, highest: float) -> list[float]:
    """The `steps` + 1 noise levels from the shifted `highest` down to 0, evenly spaced before the shift."""
    spaced = np.linspace(highest, 0.0, steps + 1)[:-1]
    return [apply_flow_shift(float(sigma), flow_shift) for sigma in spaced] + [0.0]


class Euler:
    """Euler's method on the velocity (`vanilla`), first order, on the same sigmas as dpm++."""

    def __init__(self, sigmas: list[float]) -> None:
        self.sigmas = sigmas
        self.timesteps = _timesteps(sigmas)

    def step(self, velocity: Tensor, i: int, latent: Tensor) -> Tensor:
        """x + (sigma_next - sigma)·v; any shape, all in the dtype of `latent`."""
        return latent + (self.sigmas[i + 1] - self.sigmas[i]) * velocity.to(latent.dtype)


class DPMSolverPP2M:
    """DPM-Solver++ (2M): data prediction, multistep, second order (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

    The first and the last step are of first order: there is no history at the start, and lambda is infinite at
    sigma 0.
    """

    def __init__(self, sigmas: list[float]) -> None:
        self.sigmas = sigmas
        self.timesteps = _timesteps(sigmas)
        self._lambdas = [_half_log_snr(sigma) for sigma in sigmas]
        self._previous: Tensor | None = None

    def step(self, velocity: Tensor, i: int, latent: Tensor) -> Tensor:
        """One step; any shape, all in the dtype of `latent`. Step 0 starts a new history."""
        x0 = latent - self.sigmas[i] * velocity.to(latent.dtype)
        previous, self._previous = self._previous, x0
        lambdas = self._lambdas
        h = lambdas[i + 1] - lambdas[i]
        if i > 0 and i + 2 < len(self.sigmas):
            assert previous is not None, "steps are taken in order from 0"
            # r is infinite where the previous step began at sigma 1: its slope then counts for nothing
            r = (lambdas[i] - lambdas[i - 1]) / h
            x0 = x0 + (x0 - previous) * (0.5 / r)
        alpha = 1.0 - self.sigmas[i + 1]
        return (self.sigmas[i + 1] / self.sigmas[i]) * latent - (alpha * math.expm1(-h)) * x0


class UniPC:
    """UniPC with B2(h) = e^h - 1, order 2, data prediction (Zhao et al. 2023, arXiv 2302.04867).

    Each new velocity first corrects the step that led to it (UniC), then predicts the next one (UniP). As in
    Wan2.1's official default the order is 1 for the first prediction and its correction, and for the last
    prediction, which lands on sigma 0.
    """

    def __init__(self, sigmas: list[float]) -> None:
        self.sigmas = sigmas
        self.timesteps = _timesteps(sigmas)
        self._lambdas = [_half_log_snr(sigma) for sigma in sigmas]
        self._x0s: list[Tensor] = []
        self._start: Tensor | None = None

    def step(self, velocity: Tensor, i: int, latent: Tensor) -> Tensor:
        """One step; any shape, all in the dtype of `latent`. Step 0 starts a new history."""
        x0 = latent - self.sigmas[i] * velocity.to(latent.dtype)
        if i == 0:
            self._x0s = [x0]
        else:
            assert self._start is not None, "steps are taken in order from 0"
            latent = self._correct(i, self._start, x0)
            self._x0s = [*self._x0s[-1:], x0]
        self._start = latent
        return self._predict(i, latent)

    def _predict(self, i: int, latent: Tensor) -> Tensor:
        """UniP from sigma i to i + 1, of second order where there is a history and sigma does not end at 0."""
        result = self._first_order(i, latent, self._x0s[-1])
        if len(self._x0s) == 1 or self.sigmas[i + 1] == 0.0:
            return result
        h = self._lambdas[i + 1] - self._lambdas[i]
        r = (self._lambdas[i - 1] - self._lambdas[i]) / h
        slope = (self._x0s[-2] - self._x0s[-1]) / r
        return result - ((1.0 - self.sigmas[i + 1]) * math.expm1(-h) * 0.5) * slope

    def _correct(self, i: int, start: Tensor, x0: Tensor) -> Tensor:
        """UniC: the step from sigma i - 1 to i taken again, now with the clean latent predicted at its end."""
        h = self._lambdas[i] - self._lambdas[i - 1]
        scale = (1.0 - self.sigmas[i]) * math.expm1(-h)
        result = self._first_order(i - 1, start, self._x0s[-1])
        end_slope = x0 - self._x0s[-1]
        if len(self._x0s) == 1:
            return result - (scale * 0.5) * end_slope
        r = (self._lambdas[i - 2] - self._lambdas[i - 1]) / h
        slope = (self._x0s[-2] - self._x0s[-1]) / r
        weight, end_weight = _corrector_weights(r, -h)
        return result - scale * (weight * slope + end_weight * end_slope)

    def _first_order(self, i: int, latent: Tensor, x0: Tensor) -> Tensor:
        """The exact solution from sigma i to i + 1 if the clean latent were `x0` all the way (DDIM)."""
        h = self._lambdas[i + 1] - self._lambdas[i]
        alpha = 1.0 - self.sigmas[i + 1]
        return (self.sigmas[i + 1] / self.sigmas[i]) * latent - (alpha * math.expm1(-h)) * x0


def _corrector_weights(r: float, hh: float) -> tuple[float, float]:
    """Weights of the old and the new slope in UniC of order 2: [[1, 1], [r, 1]]·w = b (paper, equation 5).

    `hh` is minus the step in lambda; b_k = k!·phi_{k+1}(hh)·hh / (e^hh - 1), with phi the exponential integrators'
    functions phi_1(z) = (e^z - 1)/z, phi_{k+1}(z) = (phi_k(z) - 1/k!)/z.
    """
    phi_2 = math.expm1(hh) / hh - 1.0
    phi_3 = phi_2 / hh - 0.5
    b_1 = phi_2 / math.expm1(hh)
    b_2 = 2.0 * phi_3 / math.expm1(hh)
    weight = (b_1 - b_2) / (1.0 - r)
    return weight, b_1 - weight


def _half_log_snr(sigma: float) -> float:
    """log((1 - sigma) / sigma); minus infinity at 1 and plus infinity at 0."""
    if sigma == 0.0:
        return math.inf
    return math.log((1.0 - sigma) / sigma) if sigma < 1.0 else -math.inf


def _timesteps(sigmas: list[float]) -> list[int]:
    """What the DiT is told at each step: 1000·sigma, truncated as the official samplers do."""
    return [int(sigma * TRAIN_TIMESTEPS) for sigma in sigmas[:-1]]


# the highest sigma before the shift differs: Wan2.1's UniPC starts one training step below pure noise
_SOLVERS: dict[str, tuple[Callable[[list[float]], Solver], float]] = {
    "unipc": (UniPC, 1.0 - 1.0 / TRAIN_TIMESTEPS),
    "dpm++": (DPMSolverPP2M, 1.0),
    "vanilla": (Euler, 1.0),
}

SOLVER_NAMES = tuple(_SOLVERS)


def make_solver(name: str, steps: int, flow_shift: float) -> Solver:
    """A fresh solver for one video.

    Args:
        name: `unipc` (Wan2.1's default), `dpm++` or `vanilla` (Euler).
        steps: number of evaluations of the network, at least 1.
        flow_shift: how far the noise levels are moved to the noisy end; 1 leaves them evenly spaced, must be > 0.

    Raises:
        ValueError: an unknown name, or a number out of range, named by its flag.
    """
    if name not in _SOLVERS:
        raise ValueError(f"--sample_solver {name!r} is not known; use one of {', '.join(SOLVER_NAMES)}")
    if steps < 1:
        raise ValueError(f"--infer_steps {steps}: at least 1 step is needed")
    if not (flow_shift > 0 and math.isfinite(flow_shift)):
        raise ValueError(f"--flow_shift {flow_shift}: a positive number is needed")
    kind, highest = _SOLVERS[name]
    return kind(flow_sigmas(steps, flow_shift, highest))
