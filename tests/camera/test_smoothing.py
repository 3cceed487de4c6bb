import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camera.poses import assemble, exp_se3, relative_to, rotation_angle, rotation_vector, turn
from camera.smoothing import METHODS, smooth_poses

FPS = 16
TIMES = torch.arange(81, dtype=torch.float64) / FPS
EVEN = torch.stack((TIMES * 0.3, -TIMES, 2 * TIMES), dim=1)
seeds = st.integers(0, 2**32 - 1)


def walk(seed, step=0.1):
    """A path that trembles."""
    generator = torch.Generator().manual_seed(seed)
    steps = step * torch.randn(81, 6, generator=generator, dtype=torch.float64)
    return assemble(turn(steps[:, 3:].cumsum(0)), steps[:, :3].cumsum(0))


def close(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("method", METHODS)
@given(seeds, seeds)
def test_the_ends_stay_the_rest_is_smoother_and_the_world_does_not_matter(method, seed, other):
    path = walk(seed)
    smooth = smooth_poses(path, TIMES, 0.2, method)
    assert torch.equal(smooth[[0, -1]], path[[0, -1]])
    rotation = smooth[:, :3, :3]
    close(rotation.mT @ rotation, torch.eye(3, dtype=torch.float64).expand(81, 3, 3), 1e-12)
    bend, bend_before = (p[:, :3, 3].diff(n=2, dim=0).norm(dim=1).mean() for p in (smooth, path))
    assert bend < 0.5 * bend_before
    world = exp_se3(torch.randn(6, generator=torch.Generator().manual_seed(other), dtype=torch.float64))
    close(smooth_poses(world @ path, TIMES, 0.2, method), world @ smooth, 1e-11)
    backward = smooth_poses(path.flip(0), TIMES, 0.2, method).flip(0)
    close(backward, smooth, 1e-11)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("degrees_per_s", [0, 20, 300])
def test_even_motion_is_left_as_it_is(method, degrees_per_s):
    axis = torch.tensor([0.48, -0.6, 0.64], dtype=torch.float64)
    path = assemble(turn(TIMES[:, None] * math.radians(degrees_per_s) * axis), EVEN)
    close(smooth_poses(path, TIMES, 0.4, method), path, 1e-11)


def test_a_trembling_rotation_is_calmed_by_the_gaussian_alone():
    path = walk(3, step=0.03)
    gaussian, spline = (smooth_poses(path, TIMES, 0.25, method) for method in METHODS)
    assert torch.equal(spline[:, :3, :3], path[:, :3, :3])
    turning, turning_before = (rotation_vector(relative_to(p[1:], p[0])[:, :3, :3]) for p in (gaussian, path))
    assert turning.diff(n=2, dim=0).norm(dim=1).mean() < 0.1 * turning_before.diff(n=2, dim=0).norm(dim=1).mean()
    away = rotation_angle(gaussian[:, :3, :3].mT @ path[:, :3, :3]).rad2deg()
    assert 0 < float(away.max()) < 8


@pytest.mark.parametrize("method", METHODS)
def test_both_methods_halve_the_same_oscillation(method):
    times = torch.arange(20 * FPS + 1, dtype=torch.float64) / FPS
    seconds = 0.3
    wave = (2 * math.pi * times / (2 * math.pi * seconds / math.sqrt(2 * math.log(2)))).sin()
    path = assemble(turn(torch.zeros(len(times), 3, dtype=torch.float64)), wave[:, None] * EVEN.new_tensor([1, 0, 0]))
    middle = slice(5 * FPS, 15 * FPS)
    smooth = smooth_poses(path, times, seconds, method)[:, 0, 3]
    assert float((smooth * wave)[middle].sum() / wave[middle].square().sum()) == pytest.approx(0.5, abs=5e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_start_is_spread_about_its_old_time(method):
    # the camera stands for 2.5 s, then goes ahead at one unit a second
    centres = (TIMES - 2.5).clamp(min=0)[:, None] * EVEN.new_tensor([0, 0, 1])
    path = assemble(turn(torch.zeros(81, 3, dtype=torch.float64)), centres)
    seconds = 0.2
    speed = smooth_poses(path, TIMES, seconds, method)[:, 2, 3].diff() * FPS
    at = (TIMES[1:] + TIMES[:-1]) / 2
    assert float((speed[39] + speed[40]) / 2) == pytest.approx(0.5, abs=1e-6)
    if method == "gaussian":
        still, going = speed[at < 2.5 - 4 * seconds], speed[at > 2.5 + 4 * seconds]
        assert float(still.abs().max()) < 1e-12 and float((going - 1).abs().max()) < 1e-12
        assert (speed.diff() > -1e-12).all()
    else:
        assert -0.1 < float(speed.min()) < -0.01 and 1.01 < float(speed.max()) < 1.1


def test_long_tracks_are_smoothed_in_pieces_without_seams():
    times = torch.arange(700, dtype=torch.float64) / FPS
    generator = torch.Generator().manual_seed(4)
    path = assemble(turn(0.2 * torch.randn(700, 3, generator=generator, dtype=torch.float64)),
                    torch.randn(700, 3, generator=generator, dtype=torch.float64))  # fmt: skip
    whole = smooth_poses(path, times, 0.3)
    part = smooth_poses(path[200:400], times[200:400], 0.3)
    close(whole[230:370], part[30:170], 1e-12)


def test_uneven_times_are_weighted_by_the_time_they_stand_for():
    # the same slow path, once with a dense stretch in it: density is no weight
    times = torch.cat((TIMES[:40], torch.linspace(2.5, 2.6, 30, dtype=torch.float64), TIMES[42:]))
    centres, even = (torch.stack((t.sin(), t.cos(), t), dim=1) for t in (times, TIMES))
    still = turn(torch.zeros(1, 3, dtype=torch.float64))
    uneven = smooth_poses(assemble(still.expand(len(times), 3, 3), centres), times, 0.3)
    evenly = smooth_poses(assemble(still.expand(81, 3, 3), even), TIMES, 0.3)
    close(uneven[:40], evenly[:40], 3e-3)


def test_what_cannot_be_smoothed_is_refused():
    path = walk(0)
    with pytest.raises(ValueError, match="smoothing method 'median': expected one of gaussian, spline"):
        smooth_poses(path, TIMES, 0.2, "median")
    for seconds in (0.0, -1.0, 1.3, math.nan):
        with pytest.raises(ValueError, match=r"up to 1\.25 s, a quarter"):
            smooth_poses(path, TIMES, seconds)
    spinning = assemble(turn(TIMES[:, None] * EVEN.new_tensor([0, 8.0, 0])), EVEN)
    with pytest.raises(ValueError, match="turns too far"):
        smooth_poses(spinning, TIMES, 1.0)


def test_samples_on_the_edge_of_the_kernel_are_taken_on_both_sides():
    # 4 x 0.2 s are 24 frames at 30 fps, but not to the last bit
    times = torch.arange(151, dtype=torch.float64) / 30
    path = assemble(turn(torch.zeros(151, 3, dtype=torch.float64)), times[:, None] * EVEN.new_tensor([1.0, 2, 3]))
    close(smooth_poses(path, times, 0.2), path, 1e-12)
