from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wan.config import WAN_CONFIGS, VAEConfig
from wan.keys_encoders import from_official, to_official, vae_table
from wan.vae import WanVAE
from wan.vae_blocks import ChannelNorm, TemporalState
from wan.vae_initialise import initialise_vae

SMALL = VAEConfig(dim=8, z_dim=4, mean=(0.1, -0.2, 0.3, 0.0), std=(1.0, 2.0, 0.5, 1.5))
TINY = WAN_CONFIGS["i2v-tiny"].vae
PATCHED = replace(TINY, dim=4, z_dim=4, mean=SMALL.mean, std=SMALL.std)


def random_vae(config: VAEConfig = SMALL, seed: int = 0) -> WanVAE:
    """A VAE whose output depends on every weight: gains near 1, convolutions that keep the size of what enters."""
    generator = torch.Generator().manual_seed(seed)
    vae = WanVAE(config).eval()
    with torch.no_grad():
        for name, weight in vae.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith("gamma"):
                weight.copy_(1.0 + 0.1 * noise)
            else:
                weight.copy_(noise * (weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1))
    return vae


def random_video(frames: int = 13, height: int = 16, width: int = 24, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def error(ours: Tensor, other: Tensor) -> float:
    return float((ours - other).norm() / other.norm())


def test_official_names_shapes_and_size():
    with torch.device("meta"):
        state = WanVAE(VAEConfig()).state_dict()
    assert sum(value.numel() for value in state.values()) == 126_892_531
    expected = {
        "encoder.conv1.weight": (96, 3, 3, 3, 3),
        "encoder.downsamples.0.residual.0.gamma": (96, 1, 1, 1),
        "encoder.downsamples.2.resample.1.weight": (96, 96, 3, 3),
        "encoder.downsamples.3.shortcut.weight": (192, 96, 1, 1, 1),
        "encoder.downsamples.5.time_conv.weight": (192, 192, 3, 1, 1),
        "encoder.downsamples.10.residual.6.bias": (384,),
        "encoder.middle.1.norm.gamma": (384, 1, 1),
        "encoder.middle.1.to_qkv.weight": (1152, 384, 1, 1),
        "encoder.head.0.gamma": (384, 1, 1, 1),
        "encoder.head.2.weight": (32, 384, 3, 3, 3),
        "conv1.weight": (32, 32, 1, 1, 1),
        "conv2.weight": (16, 16, 1, 1, 1),
        "decoder.conv1.weight": (384, 16, 3, 3, 3),
        "decoder.middle.0.residual.2.weight": (384, 384, 3, 3, 3),
        "decoder.upsamples.3.time_conv.weight": (768, 384, 3, 1, 1),
        "decoder.upsamples.3.resample.1.weight": (192, 384, 3, 3),
        "decoder.upsamples.4.shortcut.weight": (384, 192, 1, 1, 1),
        "decoder.upsamples.14.residual.2.weight": (96, 96, 3, 3, 3),
        "decoder.head.2.weight": (3, 96, 3, 3, 3),
    }
    assert {key: tuple(state[key].shape) for key in expected} == expected
    assert (
        "encoder.downsamples.2.time_conv.weight" not in state and "decoder.upsamples.11.time_conv.weight" not in state
    )
    assert not {"mean", "std"} & set(state)


@pytest.mark.parametrize("blocks", [1, 2])
def test_same_numbers_as_diffusers(blocks: int):
    diffusers = pytest.importorskip("diffusers")
    config = replace(SMALL, num_res_blocks=blocks)
    ours = random_vae(config)
    other = diffusers.AutoencoderKLWan(base_dim=8, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=blocks).eval()
    other.load_state_dict(from_official(ours.state_dict(), vae_table(config)))
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (config.mean, config.std))
    video = random_video(frames=9, batch=2)
    with torch.no_grad():
        latent = ours.encode(video)
        assert error(latent, (other.encode(video).latent_dist.mean - mean) / std) <= 1e-5
        decoded = other.decode(latent * std + mean).sample
        assert decoded.abs().median() < 1  # not all of it is clamped
        assert error(ours.decode(latent), decoded) <= 1e-5


@pytest.mark.parametrize("length", [1.0, 1e-7, 1e-10])
def test_the_norm_is_the_official_one_down_to_the_shortest_vectors(length: float):
    """Official `RMS_norm`: the unit vector over channels, whose length is clamped at 1e-12, times sqrt(C) and gamma."""
    norm = ChannelNorm(6).double()
    with torch.no_grad():
        norm.gamma.copy_(torch.arange(1.0, 7.0).view(6, 1, 1, 1))
        x = torch.randn(2, 6, 3, 4, 5, generator=torch.Generator().manual_seed(0)).double() * length
        expected = torch.nn.functional.normalize(x, dim=1, eps=1e-12) * 6**0.5 * norm.gamma
        assert error(norm(x), expected) <= 1e-3
        assert not norm(torch.zeros_like(x)).any()


def test_the_latents_are_normalised_with_diffusers_numbers():
    """Every one of the 32 numbers in its place."""
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        theirs = diffusers.AutoencoderKLWan().config
    assert VAEConfig().mean == tuple(theirs.latents_mean)
    assert VAEConfig().std == tuple(theirs.latents_std)
    assert (VAEConfig().dim, VAEConfig().z_dim, VAEConfig().dim_mult) == (theirs.base_dim, theirs.z_dim, (1, 2, 4, 4))


def test_names_go_to_diffusers_and_back():
    vae = random_vae()
    table = vae_table(SMALL)
    back = to_official(from_official(vae.state_dict(), table), table)
    assert {key: value for key, value in back.items() if not torch.equal(value, vae.state_dict()[key])} == {}
    assert back.keys() == vae.state_dict().keys()


@pytest.mark.parametrize("config", [SMALL, PATCHED], ids=["official layout", "patched"])
def test_any_grouping_gives_the_same_numbers(config: VAEConfig):
    vae = random_vae(config).double()
    video = random_video(frames=13).double()
    with torch.no_grad():
        latent = vae.encode(video)
        decoded = vae.decode(latent)
        assert latent.shape == (1, 4, 4, 2, 3) and decoded.shape == video.shape
        for group in (1, 2, 3, 100):
            assert torch.allclose(vae.encode(video, group=group), latent, rtol=0, atol=1e-12)
            assert torch.allclose(vae.decode(latent, group=group), decoded, rtol=0, atol=1e-12)
        assert torch.equal(vae.encode(video, group=2, halo_device="cpu"), vae.encode(video, group=2))


def test_large_videos_are_grouped_by_themselves(monkeypatch: pytest.MonkeyPatch):
    vae = random_vae()
    monkeypatch.setattr("wan.vae.GROUP_PIXELS", 2 * 4 * 16 * 24)
    sizes = []
    original = vae.encode_group
    monkeypatch.setattr(vae, "encode_group", lambda x, state: sizes.append(x.shape[2]) or original(x, state))
    vae.encode(random_video(frames=13))
    assert sizes == [5, 8]


def test_frames_can_come_one_group_at_a_time():
    vae, video = random_vae(), random_video(frames=9)
    state = TemporalState()
    with torch.no_grad():
        parts = [vae.encode_group(part, state) for part in video.split([1, 4, 4], dim=2)]
        mean, _ = vae.encode_moments(video)
    assert torch.allclose(torch.cat(parts, dim=2)[:, :4], mean, atol=1e-5)


def test_a_latent_frame_knows_only_its_past():
    vae, video = random_vae(), random_video(frames=13)
    changed = video.clone()
    changed[:, :, 9:] = 0.0
    with torch.no_grad():
        before, after = vae.encode(video), vae.encode(changed)
        assert torch.equal(before[:, :, :3], after[:, :, :3]) and not torch.equal(before[:, :, 3], after[:, :, 3])
        first, second = vae.decode(before), vae.decode(torch.cat([before[:, :, :3], after[:, :, 3:]], dim=2))
    assert torch.equal(first[:, :, :9], second[:, :, :9]) and not torch.equal(first[:, :, 9:], second[:, :, 9:])


def test_normalisation_follows_the_buffers():
    vae, video = random_vae(), random_video(frames=5)
    with torch.no_grad():
        mean, _ = vae.encode_moments(video)
        expected = (mean - torch.tensor(SMALL.mean).view(-1, 1, 1, 1)) / torch.tensor(SMALL.std).view(-1, 1, 1, 1)
        assert torch.allclose(vae.encode(video), expected)
        decoded = vae.decode(vae.encode(video))
        vae.mean.zero_()
        vae.std.fill_(1.0)
        assert torch.allclose(vae.encode(video), mean)
        assert torch.allclose(vae.decode(mean), decoded, atol=1e-5)


def test_mode_layout_and_dtype_do_not_change_the_numbers():
    vae, video = random_vae(), random_video(frames=5)
    with torch.no_grad():
        expected = vae.encode(video)
        assert torch.equal(vae.train().encode(video), expected)
        assert torch.allclose(vae.channels_last().encode(video), expected, atol=1e-5)
        low = vae.bfloat16().encode(video)
    assert low.dtype == torch.bfloat16 and error(low.float(), expected) < 0.05


def test_decoding_is_clamped_unless_training():
    vae = random_vae()
    latent = 20 * torch.randn(1, 4, 2, 2, 3, generator=torch.Generator().manual_seed(0))
    vae.decoder.head[2].weight.data *= 10
    free = vae.decode(latent, clamp=False)
    assert free.abs().max() > 1 and torch.equal(vae.decode(latent), free.clamp(-1, 1))
    mean, log_variance = vae.encode_moments(random_video(frames=5))
    (vae.decode(mean, clamp=False).square().mean() + log_variance.square().mean()).backward()
    assert [name for name, weight in vae.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        ((1, 3, 4, 16, 16), "use 1 or 5 frames"),
        ((1, 3, 82, 16, 16), "use 81 or 85 frames"),
        ((1, 3, 0, 16, 16), "0 frames"),
        ((1, 3, 5, 20, 16), "20x16"),
        ((1, 4, 5, 16, 16), r"\[B, 3, F, H, W\]"),
        ((3, 5, 16, 16), r"\[B, 3, F, H, W\]"),
    ],
)
def test_wrong_videos_are_refused(shape: tuple[int, ...], word: str):
    with pytest.raises(ValueError, match=word):
        random_vae().encode(torch.zeros(shape))


def test_wrong_latents_and_groups_are_refused():
    vae = random_vae()
    with pytest.raises(ValueError, match=r"\[B, 4, f, h, w\]"):
        vae.decode(torch.zeros(1, 16, 2, 2, 2))
    for call in (vae.encode, vae.decode):
        given = random_video(frames=5) if call == vae.encode else torch.zeros(1, 4, 2, 2, 2)
        with pytest.raises(ValueError, match="group of 0"):
            call(given, group=0)


def moving_picture(frames: int = 9) -> Tensor:
    """[1, 3, F, 48, 64]: smooth colours that slide."""
    wide = torch.rand(1, 3, 3, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wide = torch.nn.functional.interpolate(wide, size=(48, 80), mode="bicubic").clamp(-1, 1)
    return torch.stack([wide[..., i : i + 64] for i in range(frames)], dim=2)


def test_fresh_weights_of_the_tiny_vae_show_a_blurred_picture():
    vae = WanVAE(TINY)
    initialise_vae(vae, 0)
    video = moving_picture()
    with torch.no_grad():
        latent = vae.encode(video)
        worst = (vae.decode(latent) - video).square().mean((0, 1, 3, 4)).max()
    assert latent.shape == (1, 16, 3, 6, 8)
    assert 10 * torch.log10(4 / worst) > 18  # measured 19.5 dB; torch's own initial weights give 10
    assert latent.std() > 0.3


def test_fresh_weights_follow_the_seed():
    one, same, other = WanVAE(TINY), WanVAE(TINY), WanVAE(TINY)
    for vae, seed in ((one, 3), (same, 3), (other, 4)):
        initialise_vae(vae, seed)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.encoder.conv1.weight, other.encoder.conv1.weight)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (SMALL, "patch 2"),
        (replace(TINY, dim=4), "below"),
        (replace(TINY, dim_mult=(5, 10, 11)), "half"),
    ],
)
def test_the_transform_needs_its_layout(config: VAEConfig, word: str):
    with pytest.raises(ValueError, match=word):
        initialise_vae(WanVAE(config), 0)
