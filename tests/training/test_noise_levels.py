"""The laws of noise levels against closed forms, their ranges, even spreading, and the weights of the loss."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.config import TrainingConfig
from training.config_timesteps import TIMESTEP_SAMPLINGS
from training.flow_matching import draw_noise
from training.noise_levels import NoiseLaw, loss_weights, resolution_shift, sample_sigmas, strata_of
from training.show_timesteps import console_lines, draw_levels, draw_picture

COUNT = 100_000
SIZE = (60, 104)
"""A latent of 480 x 832 pixels."""


def draw(law: NoiseLaw, seed: int = 0, count: int = COUNT, **options: object) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return sample_sigmas(law, count, generator, SIZE, **options)  # pyright: ignore[reportArgumentType]


def normal_cdf(z: Tensor) -> Tensor:
    return torch.special.ndtr(z.double())


def assert_distribution(sigmas: Tensor, cdf: Tensor, at: Tensor) -> None:
    """Kolmogorov and Smirnov: at 100,000 draws a distance of 0.008 comes less than once in 100,000 times."""
    found = (sigmas[None] <= at[:, None]).double().mean(1)
    assert (found - cdf).abs().max() < 0.008


AT = torch.linspace(0.02, 0.98, 49).double()
LOGIT = AT.logit()


def logit_normal(mean: float, std: float) -> Tensor:
    return normal_cdf((LOGIT - mean) / std)


def logsnr(mean: float, std: float) -> Tensor:
    """sigma <= x if the log signal-to-noise ratio z is at least -2 logit(x)."""
    return 1 - normal_cdf((-2 * LOGIT - mean) / std)


FLUX = math.log(resolution_shift("flux_shift", SIZE))
QWEN = math.log(resolution_shift("qwen_shift", SIZE))
CLOSED = {
    "uniform": (NoiseLaw("uniform"), AT),
    "sigmoid": (NoiseLaw("sigmoid", sigmoid_scale=0.7), logit_normal(0, 0.7)),
    "shift": (NoiseLaw("shift", flow_shift=3.0), logit_normal(math.log(3), 1)),
    "flux_shift": (NoiseLaw("flux_shift"), logit_normal(FLUX, 1)),
    "flux2_shift": (NoiseLaw("flux2_shift"), logit_normal(0.5 + 0.65 * (60 * 104 - 256) / 3840, 1)),
    "qwen_shift": (NoiseLaw("qwen_shift", sigmoid_scale=2.0), logit_normal(QWEN, 2)),
    "krea2_shift": (NoiseLaw("krea2_shift"), logit_normal(0.5 + 0.65 * (30 * 52 - 256) / 6144, 1)),
    "ideogram4_shift": (NoiseLaw("ideogram4_shift"), logit_normal(0.5 * math.log(480 * 832 / 512**2), 1.5)),
    "logsnr": (NoiseLaw("logsnr", logit_mean=0.8, logit_std=1.5), logsnr(0.8, 1.5)),
    "qinglong_flux": (
        NoiseLaw("qinglong_flux"), 0.79 * logit_normal(FLUX, 1) + 0.11 * logsnr(0, 1) + 0.1 * logsnr(5.36, 1),
    ),
    "qinglong_qwen": (NoiseLaw("qinglong_qwen"), 0.95 * logit_normal(QWEN, 1) + 0.05 * logsnr(5.36, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_distributions_are_the_closed_forms(name: str) -> None:
    law, cdf = CLOSED[name]
    sigmas = draw(law)
    assert sigmas.min() >= 0 and sigmas.max() <= 1
    assert_distribution(sigmas, cdf, AT)


def test_every_sampling_is_tested() -> None:
    assert set(CLOSED) | {"sigma"} == set(TIMESTEP_SAMPLINGS)


def test_shifts_at_the_ends_of_their_lines() -> None:
    assert resolution_shift("flux_shift", (32, 32)) == pytest.approx(math.exp(0.5))
    assert resolution_shift("flux_shift", (128, 128)) == pytest.approx(math.exp(1.15))
    assert resolution_shift("flux2_shift", (64, 64)) == pytest.approx(math.exp(1.15))
    assert resolution_shift("qwen_shift", (128, 256)) == pytest.approx(math.exp(0.9))
    assert resolution_shift("krea2_shift", (160, 160)) == pytest.approx(math.exp(1.15))


def test_sigma_takes_the_thousand_levels_alike() -> None:
    levels, counts = (draw(NoiseLaw(), count=200_000) * 1000).round().unique(return_counts=True)
    assert torch.equal(levels, torch.arange(1.0, 1001.0))
    assert counts.min() > 100 and counts.max() < 320
    assert torch.equal(draw(NoiseLaw(flow_shift=5.0)), draw(NoiseLaw()))


def test_sigma_with_logit_normal_counts_from_the_noisy_end() -> None:
    sigmas = draw(NoiseLaw(scheme="logit_normal", logit_mean=1.0, logit_std=0.5))
    assert_distribution(sigmas, logit_normal(-1.0, 0.5), AT + 0.0005)


def test_sigma_with_mode_has_its_density() -> None:
    """f(u) = 1 - u - m (cos^2(pi u / 2) - 1 + u) falls from 1 to 0, so P(1 - index <= x) follows from its inverse."""
    scale = 1.0
    sigmas = draw(NoiseLaw(scheme="mode", mode_scale=scale))
    u = torch.linspace(0, 1, 2001).double()
    f = 1 - u - scale * (torch.cos(math.pi * u / 2) ** 2 - 1 + u)
    assert (f.diff() < 0).all()
    # sigma = 1 - f(u) <= x where u is at most the inverse at 1 - x
    cdf = torch.stack([(1 - f <= x).double().mean() for x in AT])
    assert_distribution(sigmas, cdf, AT + 0.0005)


RANGED = settings(max_examples=40, deadline=None)


@RANGED
@given(
    sampling=st.sampled_from(TIMESTEP_SAMPLINGS),
    low=st.floats(0.0, 0.8),
    width=st.floats(0.05, 0.2),
    seed=st.integers(0, 2**31),
)
def test_a_range_squeezes_every_law(sampling: str, low: float, width: float, seed: int) -> None:
    squeezed = draw(NoiseLaw(sampling, sigma_range=(low, low + width)), seed, 50)
    assert squeezed.min() >= low - 1e-6 and squeezed.max() <= low + width + 1e-6
    torch.testing.assert_close(squeezed, low + width * draw(NoiseLaw(sampling), seed, 50))


@RANGED
@given(sampling=st.sampled_from(TIMESTEP_SAMPLINGS), low=st.floats(0.1, 0.6), seed=st.integers(0, 2**31))
def test_the_noise_that_follows_depends_on_no_flag(sampling: str, low: float, seed: int) -> None:
    noises = []
    for law in (NoiseLaw(), NoiseLaw(sampling, sigma_range=(low, 0.9), keep_shape=True, scheme="mode")):
        generator = torch.Generator().manual_seed(seed)
        sample_sigmas(law, 3, generator, SIZE)
        noises.append(draw_noise((3, 16, 2, 4, 4), generator))
    assert torch.equal(*noises)


def test_a_range_that_keeps_the_shape_cuts_the_distribution() -> None:
    law = NoiseLaw("shift", flow_shift=3.0, sigma_range=(0.3, 0.7), keep_shape=True)
    sigmas = draw(law)
    assert sigmas.min() >= 0.3 and sigmas.max() <= 0.7
    at = torch.linspace(0.32, 0.68, 19).double()
    whole = {x: normal_cdf(torch.tensor(x).double().logit() - math.log(3)) for x in (0.3, 0.7)}
    cdf = (normal_cdf(at.logit() - math.log(3)) - whole[0.3]) / (whole[0.7] - whole[0.3])
    assert_distribution(sigmas, cdf, at)


def test_a_range_that_nothing_lies_in_is_refused() -> None:
    law = NoiseLaw("logsnr", logit_mean=20.0, logit_std=0.1, sigma_range=(0.9, 1.0), keep_shape=True)
    with pytest.raises(ValueError, match=r"timestep 900 and 1000; widen"):
        draw(law, count=4)


def test_ranges_as_the_user_reads_them_and_as_musubi_does() -> None:
    low_noise = {"min_timestep": 0, "max_timestep": 500}
    assert TrainingConfig(**low_noise).sigma_range == (0.0, 0.5)
    assert TrainingConfig(**low_noise, timestep_reading="musubi").sigma_range == (0.5, 1.0)
    shifted = TrainingConfig(**low_noise, timestep_reading="musubi", timestep_sampling="shift")
    assert shifted.sigma_range == (0.0, 0.5)
    assert any("timestep_reading" in sentence for sentence in shifted.unused_flags())


@settings(max_examples=20, deadline=None)
@given(batches=st.integers(1, 40), count=st.integers(1, 4), parts=st.integers(2, 12), seed=st.integers(0, 2**31))
def test_the_parts_come_equally_often_in_an_epoch(batches: int, count: int, parts: int, seed: int) -> None:
    drawn = torch.cat([strata_of(seed, place, batches, count, parts)[0] for place in range(batches)])
    counts = torch.bincount(drawn, minlength=parts)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("sampling", ["uniform", "shift"])
def test_buckets_spread_the_levels_evenly(sampling: str) -> None:
    """Of 8 parts each holds exactly an eighth of an epoch's levels, by the law's own quantiles."""
    law, parts, batches = NoiseLaw(sampling, flow_shift=3.0), 8, 64
    sigmas = torch.cat([draw(law, place, 2, strata=strata_of(5, place, batches, 2, parts)) for place in range(batches)])
    quantiles = torch.linspace(0, 1, parts + 1).double()[1:-1]
    edges = quantiles if sampling == "uniform" else torch.sigmoid(torch.special.ndtri(quantiles) + math.log(3))
    counts = torch.bincount(torch.bucketize(sigmas.double(), edges), minlength=parts)
    assert counts.tolist() == [batches * 2 // parts] * parts


def test_weights_are_the_formulas() -> None:
    sigmas = torch.tensor([0.0, 0.25, 0.5, 1.0])
    assert loss_weights("none", sigmas) is None and loss_weights("mode", sigmas) is None
    assert loss_weights("sigma_sqrt", sigmas).tolist() == pytest.approx([1e6, 16.0, 4.0, 1.0])
    cosmap = loss_weights("cosmap", torch.linspace(0, 1, 10001))
    # a density over the levels: it is the distribution that it stands for
    assert torch.trapezoid(cosmap, dx=1e-4).item() == pytest.approx(1.0, abs=1e-4)
    assert cosmap[5000].item() == pytest.approx(4 / math.pi)


def test_showing(tmp_path) -> None:
    levels = draw_levels(TrainingConfig(timestep_sampling="shift", discrete_flow_shift=3.0, seed=1), SIZE)
    lines = console_lines(*levels)
    assert len(lines) == 21 and lines[-1].startswith(" 950 - 1000")
    shares = [float(line.split()[3]) for line in lines[1:]]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert max(range(20), key=shares.__getitem__) > 12, "a shift of 3 prefers the noisy end"
    draw_picture(tmp_path / "x.png", *levels, title="shift")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
