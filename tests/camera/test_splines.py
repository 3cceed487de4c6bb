import math

import pytest
import torch

from camera.splines import cubic, neighbours, smoothing_spline


def uneven(frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (0.02 + torch.rand(frames, generator=generator, dtype=torch.float64)).cumsum(0) / 8


def test_a_time_lies_between_its_neighbours():
    times = torch.tensor([1.0, 2, 4], dtype=torch.float64)
    before, after, fraction = neighbours(times, torch.tensor([0.0, 1, 1.25, 2, 3.5, 4, 6], dtype=torch.float64))
    assert before.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert after.tolist() == [1, 1, 1, 1, 2, 2, 2]
    assert fraction.tolist() == [-1, 0, 0.25, 1, 0.75, 1, 2]


@pytest.mark.parametrize("frames", [3, 4, 20])
def test_cubics_reproduce_parabolas_and_go_straight_on_outside(frames):
    times = uneven(frames)

    def parabola(t):
        return torch.stack((3 * t.square() - t + 2, 5 - 2 * t), dim=1)

    inside = times[0] + torch.linspace(0, 1, 57, dtype=torch.float64) * (times[-1] - times[0])
    before, _, fraction = neighbours(times, inside)
    torch.testing.assert_close(cubic(parabola(times), times, before, fraction), parabola(inside), rtol=0, atol=1e-12)
    outside = torch.stack((times[0] - 0.5, times[-1] + 0.5))
    before, _, fraction = neighbours(times, outside)
    velocity = torch.stack((6 * times[[0, -1]] - 1, torch.full((2,), -2.0, dtype=torch.float64)), dim=1)
    expected = parabola(times[[0, -1]]) + torch.tensor([[-0.5], [0.5]], dtype=torch.float64) * velocity
    torch.testing.assert_close(cubic(parabola(times), times, before, fraction), expected, rtol=0, atol=1e-11)


def test_a_cubic_has_no_corner_where_a_straight_path_has_one():
    times = torch.arange(5, dtype=torch.float64)
    values = torch.tensor([0.0, 0, 0, 1, 2], dtype=torch.float64)[:, None]

    def velocity(t, h=1e-5):
        before, _, fraction = neighbours(times, torch.tensor([t - h, t + h], dtype=torch.float64))
        return float(cubic(values, times, before, fraction).diff(dim=0)) / (2 * h)

    assert velocity(2 - 1e-4) == pytest.approx(velocity(2 + 1e-4), abs=1e-3)
    assert velocity(2) == pytest.approx(0.5, abs=1e-8)
    # and this is its price: the standing camera draws back by 4/27 of a step before it starts
    before, _, fraction = neighbours(times, torch.tensor([1 + 2 / 3], dtype=torch.float64))
    assert float(cubic(values, times, before, fraction)) == pytest.approx(-0.5 * 4 / 27)


def dense_smoothing_spline(values, times, seconds):
    """The same minimum from full matrices, its inner rows solved with both ends fixed."""
    frames, gaps = len(times), times.diff()
    second = torch.zeros(frames, frames - 2, dtype=torch.float64)
    gram = torch.zeros(frames - 2, frames - 2, dtype=torch.float64)
    for j in range(frames - 2):
        second[j, j], second[j + 2, j] = 1 / gaps[j], 1 / gaps[j + 1]
        second[j + 1, j] = -second[j, j] - second[j + 2, j]
        gram[j, j] = (gaps[j] + gaps[j + 1]) / 3
        if j + 3 < frames:
            gram[j, j + 1] = gram[j + 1, j] = gaps[j + 1] / 6
    roughness = seconds**4 * second @ torch.linalg.solve(gram, second.T)
    weight = torch.zeros(frames, dtype=torch.float64)
    weight[1:-1] = (gaps[:-1] + gaps[1:]) / 2
    smooth, inner = values.clone(), slice(1, -1)
    right = weight[inner, None] * values[inner] - roughness[inner][:, [0, -1]] @ values[[0, -1]]
    smooth[inner] = torch.linalg.solve((weight.diag() + roughness)[inner, inner], right)
    return smooth


@pytest.mark.parametrize("frames", [2, 3, 4, 5, 60])
@pytest.mark.parametrize("seconds", [0.02, 0.3])
def test_the_smoothing_spline_is_the_minimum(frames, seconds):
    times = uneven(frames, seed=frames)
    values = torch.randn(frames, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    smooth = smoothing_spline(values, times, seconds)
    torch.testing.assert_close(smooth, dense_smoothing_spline(values, times, seconds), rtol=0, atol=1e-9)
    assert torch.equal(smooth[[0, -1]], values[[0, -1]])


@pytest.mark.parametrize("fps", [16, 60])
def test_an_oscillation_is_damped_as_stated_whatever_the_frame_rate(fps):
    times = torch.arange(20 * fps + 1, dtype=torch.float64) / fps
    period, seconds = 1.0, 1 / (2 * math.pi)
    wave = (2 * math.pi * times / period).sin()[:, None]
    middle = slice(5 * fps, 15 * fps)
    # at w seconds = 1 it is halved
    factor = float((smoothing_spline(wave, times, seconds) * wave)[middle].sum() / wave[middle].square().sum())
    assert factor == pytest.approx(0.5, abs=5e-3)


def test_an_endless_strength_gives_the_straight_line():
    times = torch.arange(101, dtype=torch.float64) / 20
    values = torch.randn(101, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    line = torch.lerp(values[0], values[-1], (times / 5)[:, None])
    assert float((smoothing_spline(values, times, 50.0) - line).abs().max()) < 1e-3
