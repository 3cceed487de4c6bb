"""Flow matching: distributions of the noise level, the straight path, the loss."""

import math

import pytest
import torch

from training.flow_matching import (
    draw_noise,
    noisy_latents,
    sample_sigmas,
    timesteps_of,
    velocity_loss,
    velocity_target,
)

COUNT = 200_000


def draw(sampling: str, seed: int = 0, **settings: object) -> torch.Tensor:
    return sample_sigmas(sampling, COUNT, torch.Generator().manual_seed(seed), **settings)  # pyright: ignore[reportArgumentType]


def quantiles(values: torch.Tensor) -> list[float]:
    return values.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()


def test_uniform() -> None:
    sigmas = draw("uniform")
    assert quantiles(sigmas) == pytest.approx([0.1, 0.5, 0.9], abs=0.01)
    assert sigmas.min() >= 0 and sigmas.max() <= 1


def test_sigma_takes_the_thousand_levels_alike() -> None:
    levels, counts = (draw("sigma") * 1000).round().unique(return_counts=True)
    assert torch.equal(levels, torch.arange(1.0, 1001.0))
    assert counts.min() > 100 and counts.max() < 320
    assert torch.equal(draw("sigma", flow_shift=5.0), draw("sigma"))


def test_sigmoid_is_logit_normal() -> None:
    # quantiles of the normal: -1.2816, 0, 1.2816
    expected = torch.sigmoid(torch.tensor([-1.2816, 0.0, 1.2816]) * 0.7).tolist()
    assert quantiles(draw("sigmoid", sigmoid_scale=0.7)) == pytest.approx(expected, abs=0.01)


def test_shift_is_the_shifted_sigmoid() -> None:
    plain = draw("sigmoid")
    assert torch.equal(draw("shift", flow_shift=1.0), plain)
    shifted = draw("shift", flow_shift=3.0)
    torch.testing.assert_close(shifted, 3 * plain / (1 + 2 * plain))
    assert shifted.median().item() == pytest.approx(0.75, abs=0.005)


@pytest.mark.parametrize(("flow_shift", "share"), [(1.0, 0.083), (4.0, 0.5), (5.0, 0.588)])
def test_shift_is_a_logit_normal_biased_to_high_noise(flow_shift: float, share: float) -> None:
    """A flow shift adds its logarithm to the logit: 4 puts half of the draws above sigma 0.8 = logistic(ln 4)."""
    sigmas = sample_sigmas("shift", 20000, torch.Generator().manual_seed(0), flow_shift)
    assert sigmas.logit().mean().item() == pytest.approx(math.log(flow_shift), abs=0.03)
    assert sigmas.logit().std().item() == pytest.approx(1.0, abs=0.03)
    assert (sigmas >= 0.8).float().mean().item() == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("sampling", ["sigma", "uniform", "sigmoid", "shift"])
def test_range_is_as_the_user_reads_it(sampling: str) -> None:
    sigmas = draw(sampling, sigma_range=(0.2, 0.5))
    assert sigmas.min() >= 0.2 and sigmas.max() <= 0.5
    assert sigmas.max() - sigmas.min() > 0.27
    torch.testing.assert_close(sigmas, 0.2 + 0.3 * draw(sampling))


@pytest.mark.parametrize("sampling", ["uniform", "shift"])
def test_the_noise_that_follows_does_not_depend_on_the_mode(sampling: str) -> None:
    noises = []
    for mode in (sampling, "sigma"):
        generator = torch.Generator().manual_seed(4)
        sample_sigmas(mode, 3, generator)
        noises.append(draw_noise((3, 16, 2, 4, 4), generator))
    assert torch.equal(*noises)


def test_path_runs_from_latent_to_noise_at_the_velocity() -> None:
    latents, noise = torch.randn(3, 16, 2, 4, 4).double().bfloat16(), torch.randn(3, 16, 2, 4, 4)
    assert torch.equal(noisy_latents(latents, noise, torch.zeros(3)), latents.float())
    assert torch.equal(noisy_latents(latents, noise, torch.ones(3)), noise)
    sigmas = torch.tensor([0.2, 0.5, 0.9])
    x = noisy_latents(latents, noise, sigmas)
    assert x.dtype == torch.float32
    velocity = velocity_target(latents, noise)
    # going back along the velocity by sigma lands on the clean latent
    torch.testing.assert_close(x - sigmas.view(3, 1, 1, 1, 1) * velocity, latents.float(), atol=1e-5, rtol=1e-5)
    assert timesteps_of(sigmas).tolist() == pytest.approx([200, 500, 900])


def test_loss_is_the_mean_square_in_float32() -> None:
    predicted, target = torch.full((2, 16, 1, 2, 2), 300.0).half(), torch.zeros(2, 16, 1, 2, 2)
    loss = velocity_loss(predicted, target)
    # 300² would overflow in half precision
    assert loss.dtype == torch.float32 and loss.item() == 90000.0
