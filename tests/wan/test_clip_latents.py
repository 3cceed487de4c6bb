from dataclasses import replace

import pytest
import torch

from wan.clip_latents import encode_clips
from wan.conditioning import image_condition
from wan.config import WAN_CONFIGS
from wan.vae import WanVAE


@pytest.fixture(params=["i2v-tiny", "i2v-14B"])
def vae(request):
    """Random weights in the tiny architecture, and in the real one with fewer channels."""
    config = WAN_CONFIGS[request.param].vae
    if request.param == "i2v-14B":
        config = replace(config, dim=16)
    torch.manual_seed(0)
    made = WanVAE(config).eval().requires_grad_(False)
    for name, parameter in made.named_parameters():
        if parameter.ndim > 1 and "gamma" not in name:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return made


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("with_control", [False, True])
def test_one_call_gives_the_numbers_of_separate_ones(vae, batch, with_control):
    video, control = torch.rand(2, batch, 3, 9, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    calls = []

    def encode(videos):
        calls.append(len(videos))
        return vae.encode(videos)

    found = encode_clips(encode, video, image=True, control=control if with_control else None)
    assert calls == [batch * (3 if with_control else 2)]
    wanted = {"latents": vae.encode(video), "latents_image": image_condition(vae, video[:, :, 0], 9)}
    if with_control:
        wanted["latents_control"] = vae.encode(control)
    assert set(found) == set(wanted)
    for name, latent in wanted.items():
        # the convolutions of torch for the CPU add up in another order for another batch
        torch.testing.assert_close(found[name], latent, rtol=1e-5, atol=1e-5)
    assert found["latents_image"].shape == (batch, 20, 3, 4, 6)


def test_without_the_image_there_is_no_condition(vae):
    video = torch.zeros(1, 3, 5, 32, 32)
    found = encode_clips(vae.encode, video, image=False)
    assert set(found) == {"latents"} and torch.equal(found["latents"], vae.encode(video))


def test_the_grey_tail_depends_on_the_first_frame_beyond_81_frames():
    """Why it cannot be kept per size of picture: only from latent frame 29 on is it the same for every first frame."""
    config = replace(WAN_CONFIGS["i2v-14B"].vae, dim=16)
    torch.manual_seed(0)
    vae = WanVAE(config).eval().requires_grad_(False)
    for name, parameter in vae.named_parameters():
        if parameter.ndim > 1 and "gamma" not in name:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    video = torch.zeros(2, 3, 125, 16, 16)
    video[:, :, 0] = torch.rand(2, 3, 16, 16) * 2 - 1
    latents = vae.encode(video, group=1)
    differs = (latents[0] != latents[1]).any(0).flatten(1).any(1)
    assert differs[20], "latent frame 20 is the last one of 81 frames"
    assert not differs[29:].any()
