"""The denoising loop: guidance, callback, and that it ends where the flow ends."""

import pytest
import torch
from torch import Tensor

from sampling.denoise import CameraControl, sample
from sampling.solvers import SOLVER_NAMES, make_solver


class PointModel:
    """All data lies on one point, the tokens: the exact velocity is (x - point) / sigma."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self.conditions: list[Tensor | None] = []

    def denoise(
        self, latents: Tensor, timestep: Tensor, tokens: float, image_condition: Tensor | None = None
    ) -> Tensor:
        assert timestep.shape == (latents.shape[0],)
        self.calls.append(tokens)
        self.conditions.append(image_condition)
        sigma = (timestep / 1000.0).view(-1, 1, 1, 1, 1)
        return ((latents - tokens) / sigma).to(torch.bfloat16)


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(2, 16, 2, 3, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SOLVER_NAMES)
def test_lands_on_the_data(name: str, noise: Tensor) -> None:
    latent = sample(PointModel(), make_solver(name, 10, 3.0), noise, 2.0, None, 1.0, progress=False)
    assert latent.dtype == noise.dtype
    # the network speaks bf16 and is told whole timesteps: that is all the error there is
    assert (latent - 2.0).abs().max() < 0.02


def test_guidance_extrapolates(noise: Tensor) -> None:
    """With points c and u, every step's target is u + g(c - u)."""
    latent = sample(PointModel(), make_solver("vanilla", 10, 3.0), noise, 1.0, 0.5, 4.0, progress=False)
    assert latent.mean().item() == pytest.approx(0.5 + 4.0 * 0.5, abs=0.05)


def test_guidance_one_never_asks_for_the_negative_prompt(noise: Tensor) -> None:
    model = PointModel()
    sample(model, make_solver("unipc", 3, 3.0), noise, 1.0, -9.0, 1.0, progress=False)
    assert model.calls == [1.0] * 3


def test_both_halves_see_the_image_condition(noise: Tensor) -> None:
    model, condition = PointModel(), torch.zeros(2, 20, 2, 3, 4)
    sample(model, make_solver("unipc", 2, 3.0), noise, 1.0, 0.0, 3.0, condition, progress=False)
    assert model.calls == [1.0, 0.0, 1.0, 0.0]
    assert all(seen is condition for seen in model.conditions)


def test_callback_sees_every_latent(noise: Tensor) -> None:
    seen: list[tuple[int, Tensor]] = []
    solver = make_solver("dpm++", 4, 3.0)
    latent = sample(
        PointModel(), solver, noise, 1.0, None, 1.0, progress=False, callback=lambda i, x: seen.append((i, x))
    )
    assert [i for i, _ in seen] == [0, 1, 2, 3]
    assert torch.equal(seen[-1][1], latent)


def test_guidance_without_a_negative_prompt_is_a_mistake(noise: Tensor) -> None:
    with pytest.raises(ValueError, match="--guidance_scale"):
        sample(PointModel(), make_solver("unipc", 2, 3.0), noise, 1.0, None, 5.0, progress=False)


def test_camera_guidance_is_added_to_text_guidance(noise: Tensor) -> None:
    """Points c (text and camera), u (camera only), d (text only): the target is c + (g-1)(c - u) + (k-1)(c - d)."""
    control = CameraControl(0.6, 0.1, guidance=1.5)
    model = PointModel()
    latent = sample(model, make_solver("vanilla", 10, 3.0), noise, 1.0, 0.5, 4.0, progress=False, camera=control)
    assert latent.mean().item() == pytest.approx(1.0 + 3.0 * 0.5 + 0.5 * 0.4, abs=0.05)
    assert model.calls == [1.0, 0.5, 0.6] * 10


def test_camera_guidance_needs_no_negative_prompt_and_1_costs_nothing(noise: Tensor) -> None:
    for guidance, calls in ((2.0, [1.0, 0.6]), (1.0, [1.0])):
        model = PointModel()
        control = CameraControl(0.6, None, guidance=guidance)
        latent = sample(model, make_solver("vanilla", 6, 3.0), noise, 1.0, None, 1.0, progress=False, camera=control)
        assert model.calls == calls * 6
        assert latent.mean().item() == pytest.approx(1.0 + (guidance - 1) * 0.4, abs=0.05)


def test_outside_the_sigma_window_nothing_is_told_of_the_camera(noise: Tensor) -> None:
    model, solver = PointModel(), make_solver("unipc", 5, 5.0)
    assert solver.timesteps == [999, 952, 882, 768, 555]
    control = CameraControl(0.6, 0.1, sigma_window=(0.768, 0.96), guidance=2.0)
    sample(model, solver, noise, 1.0, 0.5, 4.0, progress=False, camera=control)
    off, on = [0.6, 0.1], [1.0, 0.5, 0.6]
    assert model.calls == [*off, *on, *on, *on, *off]
