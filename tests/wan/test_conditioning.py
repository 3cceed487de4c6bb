from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.wan.test_vae import SMALL, random_vae
from wan.conditioning import (
    absent_clip_features,
    cached_condition,
    control_condition,
    end_image_condition,
    image_condition,
)
from wan.config import WAN_CONFIGS
from wan.initialise import initialise
from wan.keys_encoders import from_official, vae_table
from wan.model import WanModel

TINY_DIT = replace(
    WAN_CONFIGS["i2v-tiny"].dit, dim=32, ffn_dim=48, num_heads=2, num_layers=2, text_dim=16, freq_dim=16, image_dim=16
)


class FakeVAE:
    """Keeps the videos it was given; the latent says what each latent frame saw: the mean over its frames."""

    def __init__(self) -> None:
        self.videos: list[Tensor] = []

    def encode(self, video: Tensor) -> Tensor:
        self.videos.append(video)
        frames = video.mean(dim=(1, 3, 4))
        means = torch.cat([frames[:, :1], frames[:, 1:].unflatten(1, (-1, 4)).mean(2)], dim=1)
        _, _, _, height, width = video.shape
        return means[:, None, :, None, None].expand(-1, 16, -1, height // 8, width // 8).to(torch.bfloat16)


def picture(value: float, height: int = 16, width: int = 24, batch: int = 1) -> Tensor:
    return torch.full((batch, 3, height, width), value)


def test_mask_comes_first_and_marks_the_first_latent_frame():
    vae, image = FakeVAE(), torch.rand(2, 3, 16, 24) * 2 - 1
    condition = image_condition(vae, image, 9)
    assert condition.shape == (2, 20, 3, 2, 3) and condition.dtype == torch.bfloat16
    assert (condition[:, :4, 0] == 1).all() and not condition[:, :4, 1:].any()
    assert not condition[:, 4:, 1:].any()
    (video,) = vae.videos
    assert torch.equal(video[:, :, 0], image) and not video[:, :, 1:].any()
    assert video.shape == (2, 3, 9, 16, 24)


def test_a_last_frame_sets_the_last_mask_channel_of_the_last_latent_frame_alone():
    vae = FakeVAE()
    condition = image_condition(vae, picture(0.5), 9, picture(-1.0))
    mask = torch.zeros(4, 3)
    mask[:, 0] = 1
    mask[3, 2] = 1
    assert torch.equal(condition[0, :4, :, 0, 0].float(), mask)
    # one clip: the last latent frame saw three grey frames and the last one
    (video,) = vae.videos
    assert video[0, 0, :, 0, 0].tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0, -1.0]
    assert condition[0, 4, :, 0, 0].tolist() == [0.5, 0.0, -0.25]


def test_an_end_image_is_one_more_latent_frame_of_mask_one():
    vae = FakeVAE()
    condition = end_image_condition(vae, picture(0.5), picture(-1.0), 9)
    assert condition.shape == (1, 20, 4, 2, 3)
    assert condition[0, :4, :, 0, 0].tolist() == [[1, 0, 0, 1]] * 4
    assert condition[0, 4:, :, 0, 0].tolist() == [[0.5, 0.0, 0.0, -1.0]] * 16
    assert sorted(video.shape[2] for video in vae.videos) == [1, 9]


def test_control_comes_before_the_image_and_there_is_no_mask():
    vae = FakeVAE()
    control = torch.linspace(-1, 1, 9)[None, None, :, None, None].expand(1, 3, 9, 16, 24)
    condition = control_condition(vae, control, picture(0.5))
    assert condition.shape == (1, 32, 3, 2, 3)
    assert condition[0, :16, :, 0, 0].tolist() == [[-1.0, -0.375, 0.625]] * 16
    assert condition[0, 16:, :, 0, 0].tolist() == [[0.5, 0.0, 0.0]] * 16
    assert not control_condition(vae, control)[:, 16:].any()


@pytest.mark.parametrize(
    ("shape", "frames"), [((3, 16, 16), 9), ((1, 1, 16, 16), 9), ((1, 3, 16, 16), 8), ((1, 3, 16, 16), 0)]
)
def test_wrong_images_and_lengths_are_refused(shape: tuple[int, ...], frames: int):
    with pytest.raises(ValueError, match="expected"):
        image_condition(FakeVAE(), torch.zeros(shape), frames)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: image_condition(FakeVAE(), picture(0), 1, picture(0)),
        lambda: image_condition(FakeVAE(), picture(0), 9, picture(0, 24, 16)),
        lambda: end_image_condition(FakeVAE(), picture(0), picture(0, 24, 16), 9),
        lambda: control_condition(FakeVAE(), picture(0)),
        lambda: control_condition(FakeVAE(), torch.zeros(1, 3, 5, 16, 24), picture(0, 24, 16)),
    ],
)
def test_pictures_that_do_not_fit_together_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        wrong()


def pipeline(vae_weights: dict[str, Tensor]) -> Any:
    """Diffusers' image-to-video pipeline with nothing but our VAE's weights."""
    import diffusers

    vae = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 2, 4, 4], latents_mean=list(SMALL.mean), latents_std=list(SMALL.std)
    ).eval()
    vae.load_state_dict(from_official(vae_weights, vae_table(SMALL)))
    none: Any = None
    scheduler: Any = diffusers.UniPCMultistepScheduler()
    return diffusers.WanImageToVideoPipeline(none, none, vae, scheduler)


@settings(max_examples=6, deadline=None)
@given(frames=st.sampled_from([5, 9, 13]), last=st.booleans())
def test_conditions_are_those_of_diffusers_pipeline(frames: int, last: bool):
    vae = random_vae()
    images = torch.rand(2, 1, 3, 16, 24, generator=torch.Generator().manual_seed(frames)) * 2 - 1
    end = images[1] if last else None
    with torch.no_grad():
        ours = image_condition(vae, images[0], frames, end)
        _, theirs = pipeline(vae.state_dict()).prepare_latents(
            images[0], 1, 4, 16, 24, frames, torch.float32, torch.device("cpu"), last_image=end
        )
    assert torch.equal(ours[:, :4], theirs[:, :4])
    assert (ours - theirs).norm() / theirs.norm() <= 1e-5


def test_the_first_frame_alone_is_the_first_latent_frame_of_the_clip():
    """So Fun-Control's image latent is the one that musubi-tuner cuts out of a clip of zeros."""
    vae, image = random_vae(), torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        clip = image_condition(vae, image, 9)[:, 4:]
        control = control_condition(vae, torch.zeros(1, 3, 9, 16, 24), image)
    assert torch.allclose(control[:, 4:, :1], clip[:, :, :1], atol=1e-5)


def test_cached_latents_make_the_conditions_that_pictures_make():
    """Training reads what caching wrote; the DiT must be told the same as in generation."""
    vae, generator = random_vae(), torch.Generator().manual_seed(2)
    control, image = (torch.rand(1, 3, *size, 16, 24, generator=generator) * 2 - 1 for size in ((9,), ()))
    # the VAE of these tests has four channels
    fun, plain = replace(TINY_DIT, in_dim=12, out_dim=4), replace(TINY_DIT, in_dim=36)
    with torch.no_grad():
        wanted, without = control_condition(vae, control, image), control_condition(vae, control)
        latents_image, latents_control = image_condition(vae, image, 9), vae.encode(control)
    told = cached_condition(fun, latents_image, latents_control)
    assert told is not None and torch.allclose(told, wanted, atol=1e-5)
    told = cached_condition(fun, None, latents_control)
    assert told is not None and torch.equal(told, without)
    assert cached_condition(plain, latents_image, latents_control) is latents_image
    with pytest.raises(ValueError, match="control video"):
        cached_condition(fun, latents_image, None)


def test_one_token_of_zeros_says_what_a_picture_full_of_them_says():
    config = replace(TINY_DIT, in_dim=48)
    dit = WanModel(config).eval()
    initialise(dit, 0, head_std=0.1)
    generator = torch.Generator().manual_seed(1)
    latents, condition = (torch.randn(1, channels, 2, 4, 4, generator=generator) for channels in (16, 32))
    context = [torch.randn(3, config.text_dim, generator=generator)]
    none = absent_clip_features(config, 1, torch.device("cpu"))
    with torch.no_grad():
        velocities = [
            dit(latents, torch.tensor([500.0]), context, clip_features=tokens, image_condition=condition)
            for tokens in (none, none.expand(1, 257, -1), torch.randn(1, 257, config.image_dim, generator=generator))
        ]
    assert torch.allclose(velocities[0], velocities[1], atol=1e-5)
    assert not torch.allclose(velocities[0], velocities[2], atol=1e-3)
