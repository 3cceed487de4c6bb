"""The tiny DiT before its first training step: it wants every frame to be the first one."""

import torch

from tools.tiny_model.dit_start import start_from_first_frame
from wan.config import WAN_CONFIGS
from wan.model import WanModel

SIGMA = 0.8


def velocity_of(first: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    config = WAN_CONFIGS["i2v-tiny"].dit
    dit = WanModel(config)
    start_from_first_frame(dit, seed=3)
    condition = torch.zeros(1, 20, *noise.shape[2:])
    condition[:, :4, 0] = 1.0
    condition[:, 4:, 0] = first
    noisy = (1 - SIGMA) * first[:, :, None] + SIGMA * noise
    with torch.no_grad():
        return dit(noisy, torch.tensor([1000 * SIGMA]), [torch.randn(5, 128)], torch.randn(1, 50, 128), condition)


def test_the_untrained_dit_sees_the_first_frame_behind_the_noise_of_every_frame():
    torch.manual_seed(0)
    colours = torch.nn.functional.interpolate(torch.randn(1, 3, 3, 4), size=(12, 20), mode="bilinear")
    first = torch.cat([1.5 * colours, torch.zeros(1, 13, 12, 20)], dim=1)
    noise = torch.randn(1, 16, 5, 12, 20)
    clean = (1 - SIGMA) * first[:, :, None] + SIGMA * noise - SIGMA * velocity_of(first, noise)
    for frame in range(1, 5):
        seen, shown = clean[0, :3, frame].flatten(), first[0, :3].flatten()
        assert torch.corrcoef(torch.stack([seen, shown]))[0, 1] > 0.9
        other = velocity_of(first.flip(-1), noise)[0, :3, frame].flatten()
        assert torch.corrcoef(torch.stack([noise[0, :3, frame].flatten() - other, shown]))[0, 1] < 0.5


def test_the_same_seed_gives_the_same_weights():
    models = [WanModel(WAN_CONFIGS["i2v-tiny"].dit) for _ in range(2)]
    for model in models:
        start_from_first_frame(model, seed=1)
    states = [model.state_dict() for model in models]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
