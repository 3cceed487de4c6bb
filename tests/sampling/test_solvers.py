"""Solvers: the schedules of wan21.md, each step against diffusers, and the order of convergence."""

import importlib
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sampling.solvers import SOLVER_NAMES, apply_flow_shift, make_solver

MEASURED = {
    "unipc": ([999, 952, 882, 768, 555], [0.9998, 0.95215, 0.88209, 0.76893, 0.55525, 0.0]),
    "dpm++": ([1000, 952, 882, 769, 555], [1.0, 0.95238, 0.88235, 0.76923, 0.55556, 0.0]),
}


@pytest.mark.parametrize("name", MEASURED)
def test_schedule_is_the_official_one(name: str) -> None:
    timesteps, sigmas = MEASURED[name]
    solver = make_solver(name, 5, 5.0)
    assert solver.timesteps == timesteps
    assert solver.sigmas == pytest.approx(sigmas, abs=5e-6)


@pytest.mark.parametrize("name", SOLVER_NAMES)
@pytest.mark.parametrize(("steps", "shift"), [(1, 1.0), (2, 3.0), (50, 5.0)])
def test_schedule_falls_from_noise_to_zero(name: str, steps: int, shift: float) -> None:
    solver = make_solver(name, steps, shift)
    assert len(solver.sigmas) == steps + 1
    assert len(solver.timesteps) == steps
    assert solver.sigmas[-1] == 0.0
    assert all(a > b for a, b in zip(solver.sigmas, solver.sigmas[1:], strict=False))


def test_flow_shift_keeps_the_ends() -> None:
    assert apply_flow_shift(0.0, 7.0) == 0.0
    assert apply_flow_shift(1.0, 7.0) == 1.0
    assert apply_flow_shift(0.5, 3.0) == pytest.approx(0.75)


def field(latent: Tensor, sigma: float) -> Tensor:
    """A smooth velocity that depends on both arguments, so that every coefficient of a step matters."""
    return torch.sin(2.0 * latent + sigma) + 0.3 * latent.roll(1, -1) * (1.0 + sigma)


def run(name: str, steps: int, shift: float, latent: Tensor) -> Tensor:
    solver = make_solver(name, steps, shift)
    for i in range(steps):
        latent = solver.step(field(latent, solver.sigmas[i]), i, latent)
    return latent


def oracle(name: str, steps: int, shift: float, latent: Tensor) -> Tensor:
    """The same trajectory by diffusers, given our sigmas in double precision."""
    # by name: diffusers' own types reject plain tensors
    schedulers: Any = importlib.import_module("diffusers")
    sigmas = make_solver(name, steps, shift).sigmas
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 1.0}
    if name == "unipc":
        scheduler = schedulers.UniPCMultistepScheduler(solver_order=2, solver_type="bh2", **flow)
    elif name == "dpm++":
        scheduler = schedulers.DPMSolverMultistepScheduler(solver_order=2, algorithm_type="dpmsolver++", **flow)
    else:
        scheduler = schedulers.FlowMatchEulerDiscreteScheduler()
    if name == "vanilla":
        scheduler.set_timesteps(sigmas=sigmas[:-1])
    else:
        scheduler.set_timesteps(steps)
    # distinct whole numbers: only a name for the step inside diffusers
    scheduler.timesteps = torch.arange(steps, 0, -1).float()
    scheduler.sigmas = torch.tensor(sigmas, dtype=torch.float64)
    for i, timestep in enumerate(scheduler.timesteps):
        latent = scheduler.step(field(latent, sigmas[i]), timestep, latent, return_dict=False)[0]
    return latent


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SOLVER_NAMES)
@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_twenty_steps_agree_with_diffusers(name: str, shift: float, dtype: torch.dtype) -> None:
    noise = torch.randn(2, 16, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    ours, theirs = run(name, 20, shift, noise), oracle(name, 20, shift, noise)
    assert ours.dtype == dtype
    error = ((ours - theirs).norm() / theirs.norm()).item()
    # only diffusers' UniPC computes in float64 when asked to
    assert error <= (1e-12 if name == "unipc" and dtype == torch.float64 else 1e-6), error


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(SOLVER_NAMES), steps=st.integers(1, 60), shift=st.sampled_from([0.7, 1.0, 3.0, 5.0, 16.0]))
def test_any_number_of_steps_and_any_shift_agree_with_diffusers(name: str, steps: int, shift: float) -> None:
    noise = torch.randn(1, 16, 2, 3, 4, generator=torch.Generator().manual_seed(steps), dtype=torch.float64)
    ours, theirs = run(name, steps, shift, noise), oracle(name, steps, shift, noise)
    error = ((ours - theirs).norm() / theirs.norm()).item()
    assert error <= (1e-11 if name == "unipc" else 1e-6), error


@given(name=st.sampled_from(SOLVER_NAMES), steps=st.integers(1, 100), shift=st.floats(0.5, 20.0))
def test_sigmas_are_the_official_formula_for_any_steps_and_shift(name: str, steps: int, shift: float) -> None:
    """linspace from 0.999 (unipc) or 1 to 0 without its last, s·x / (1 + (s - 1)·x), then 0; timesteps truncated."""
    solver, top = make_solver(name, steps, shift), 0.999 if name == "unipc" else 1.0
    for i, sigma in enumerate(solver.sigmas[:-1]):
        x = top * (1 - i / steps)
        assert sigma == pytest.approx(shift * x / (1 + (shift - 1) * x), abs=1e-12)
        assert solver.timesteps[i] == math.floor(sigma * 1000)


def gaussian_velocity(x: Tensor, sigma: float) -> Tensor:
    """The exact velocity for data of mean 1 and variance 1/4; its flow takes noise n to 1 + n/2."""
    variance = (1 - sigma) ** 2 * 0.25 + sigma**2
    return -1.0 + (x - (1 - sigma)) * (sigma - (1 - sigma) * 0.25) / variance


def gaussian_error(name: str, steps: int) -> float:
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    solver = make_solver(name, steps, 1.0)
    # where the exact flow stands at the solver's own first sigma (unipc starts at 0.999)
    first = solver.sigmas[0]
    x = 1 - first + noise * ((1 - first) ** 2 * 0.25 + first**2) ** 0.5
    for i in range(steps):
        x = solver.step(gaussian_velocity(x, solver.sigmas[i]), i, x)
    return (x - (1.0 + 0.5 * noise)).abs().max().item()


def test_errors_shrink_and_second_order_beats_first() -> None:
    errors = {name: (gaussian_error(name, 20), gaussian_error(name, 40)) for name in SOLVER_NAMES}
    for name, (coarse, fine) in errors.items():
        assert fine < 0.6 * coarse, (name, errors)
    assert errors["dpm++"][1] < 0.2 * errors["vanilla"][1], errors
    assert errors["unipc"][1] < 0.2 * errors["vanilla"][1], errors


def test_a_solver_can_be_used_again() -> None:
    solver = make_solver("unipc", 4, 3.0)
    noise = torch.randn(8, generator=torch.Generator().manual_seed(0))
    results = []
    for _ in range(2):
        x = noise
        for i in range(4):
            x = solver.step(field(x, solver.sigmas[i]), i, x)
        results.append(x)
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("name", "steps", "shift", "flag"),
    [("heun", 5, 5.0, "--sample_solver"), ("unipc", 0, 5.0, "--infer_steps"), ("dpm++", 5, 0.0, "--flow_shift")],
)
def test_mistakes_name_the_flag(name: str, steps: int, shift: float, flag: str) -> None:
    with pytest.raises(ValueError, match=flag):
        make_solver(name, steps, shift)
