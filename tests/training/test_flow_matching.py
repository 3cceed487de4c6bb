"""Flow matching: the straight path, the loss."""

import pytest
import torch

from training.flow_matching import (
    clip_losses,
    noisy_latents,
    timesteps_of,
    velocity_loss,
    velocity_target,
)


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


def test_weights_count_clip_by_clip() -> None:
    predicted, target = torch.zeros(2, 16, 1, 2, 2), torch.ones(2, 16, 1, 2, 2)
    target[1] *= 3
    assert clip_losses(predicted, target).tolist() == [1.0, 9.0]
    assert velocity_loss(predicted, target).item() == 5.0
    assert velocity_loss(predicted, target, torch.ones(2)).item() == 5.0
    assert velocity_loss(predicted, target, torch.tensor([4.0, 0.0])).item() == 2.0
