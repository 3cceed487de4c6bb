import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from camera.poses import (
    PATHS,
    assemble,
    cross_matrix,
    exp_se3,
    interpolate_poses,
    invert,
    log_se3,
    mirror,
    nearest_rotation,
    quaternion_of,
    relative_to,
    rotation_angle,
    rotation_of,
    rotation_vector,
    screw,
    slerp,
    turn,
)

components = st.floats(-10, 10)
vectors = st.tuples(components, components, components).map(lambda v: torch.tensor(v, dtype=torch.float64))
rotations = vectors.map(turn)
poses = st.builds(assemble, rotations, vectors)
fractions = st.floats(0, 1).map(lambda u: torch.tensor(u, dtype=torch.float64))
EYE = torch.eye(4, dtype=torch.float64)


def close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@given(poses)
def test_the_inverse_undoes(pose):
    close(invert(pose) @ pose, EYE)
    close(pose @ invert(pose), EYE)
    close(invert(invert(pose)), pose)


@given(poses, poses, poses)
def test_relative_poses_chain(a, b, c):
    close(relative_to(a, a), EYE)
    close(relative_to(b, a) @ relative_to(c, b), relative_to(c, a))
    close(a @ relative_to(b, a), b)
    # the same in whatever world the poses are given
    close(relative_to(c @ b, c @ a), relative_to(b, a), 1e-8)


def test_a_relative_pose_has_a_physical_meaning():
    # the reference looks along world +x; the other camera stands one unit further along +x
    looking_right = turn(torch.tensor([0, math.pi / 2, 0], dtype=torch.float64))
    reference = assemble(looking_right, torch.tensor([5.0, 0, 0], dtype=torch.float64))
    other = assemble(looking_right, torch.tensor([6.0, 0, 0], dtype=torch.float64))
    close(relative_to(other, reference)[:3, 3], torch.tensor([0, 0, 1.0], dtype=torch.float64))


@given(vectors)
def test_turn_is_the_exponential_of_scipy(vector):
    close(turn(vector), torch.from_numpy(Rotation.from_rotvec(vector.numpy()).as_matrix()))
    close(turn(vector) @ turn(-vector), EYE[:3, :3])


@given(rotations)
def test_vectors_and_quaternions_give_the_rotation_back(rotation):
    close(turn(rotation_vector(rotation)), rotation)
    close(rotation_of(quaternion_of(rotation)), rotation)
    assert 0 <= float(rotation_angle(rotation)) <= math.pi + 1e-12


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 1e-7, 1e-5, 0.1, 3.0, math.pi - 1e-7, math.pi])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, -1, 0), (0, 0, 1), (0.6, 0, -0.8)])
def test_tiny_and_half_turns_are_exact(angle, axis):
    vector = angle * torch.tensor(axis, dtype=torch.float64)
    assert float(rotation_angle(turn(vector))) == pytest.approx(angle, abs=1e-15, rel=1e-7)
    back = rotation_vector(turn(vector))
    close(back if angle < math.pi else back.abs(), vector if angle < math.pi else vector.abs(), 1e-9)


def test_the_signs_of_turns():
    right = turn(torch.tensor([0, 0.5, 0], dtype=torch.float64))
    up = turn(torch.tensor([0.5, 0, 0], dtype=torch.float64))
    clockwise = turn(torch.tensor([0, 0, 0.5], dtype=torch.float64))
    assert right[0, 2] > 0.4  # forward goes to +x
    assert up[1, 2] < -0.4  # forward goes to -y, up
    assert clockwise[1, 0] > 0.4  # the camera's right side goes down


@given(rotations, rotations, fractions)
def test_slerp_is_even_symmetric_and_free_of_the_world(first, second, fraction):
    close(slerp(first, second, torch.zeros_like(fraction)), first)
    close(slerp(first, second, torch.ones_like(fraction)), second)
    whole = float(rotation_angle(first.mT @ second))
    if whole > math.pi - 1e-3:
        return  # two shortest ways
    between = slerp(first, second, fraction)
    assert float(rotation_angle(first.mT @ between)) == pytest.approx(float(fraction) * whole, abs=1e-7)
    close(between, slerp(second, first, 1 - fraction), 1e-7)
    close(first.mT @ between, slerp(EYE[:3, :3], first.mT @ second, fraction), 1e-7)


@given(rotations, vectors, fractions)
def test_slerp_is_that_of_scipy(first, step, fraction):
    second = first @ turn(0.28 * step / step.norm().clamp(min=1) * math.pi)
    keys = Rotation.from_matrix(np.stack([first.numpy(), second.numpy()]))
    expected = Slerp([0.0, 1.0], keys)(float(fraction)).as_matrix()
    close(slerp(first, second, fraction), torch.from_numpy(expected))


def test_interpolation_meets_its_samples_and_stands_outside_them():
    times = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    angles = torch.tensor([[0, 0, 0], [0, 0.4, 0], [0.2, 0.4, 0]], dtype=torch.float64)
    c2w = assemble(turn(angles), torch.tensor([[0, 0, 0], [1, 0, 0], [1, 0, 4]], dtype=torch.float64))
    close(interpolate_poses(c2w, times, times), c2w, 1e-12)
    wanted = torch.tensor([0.0, 1.25, 3.5, 9.0], dtype=torch.float64)
    got = interpolate_poses(c2w, times, wanted)
    close(got[0], c2w[0], 1e-12)
    close(got[3], c2w[2], 1e-12)
    close(got[1], assemble(turn(angles[1] / 4), torch.tensor([0.25, 0, 0], dtype=torch.float64)), 1e-12)
    close(got[2, :3, 3], torch.tensor([1, 0, 3], dtype=torch.float64), 1e-12)
    one = interpolate_poses(c2w[:1], times[:1], wanted)
    close(one, c2w[:1].expand(4, 4, 4), 1e-12)


@given(rotations, st.floats(-1e-3, 1e-3))
def test_a_disturbed_rotation_is_brought_back(rotation, noise):
    disturbed = rotation + noise * torch.tensor([[1, -1, 0.5], [0.3, 1, -1], [-1, 0.2, 1]], dtype=torch.float64)
    mended = nearest_rotation(disturbed)
    close(mended.mT @ mended, EYE[:3, :3], 1e-12)
    assert float((mended - rotation).norm()) <= 2 * float((disturbed - rotation).norm()) + 1e-12


def test_batches_are_free():
    batch = turn(torch.randn(2, 5, 3, dtype=torch.float64))
    pose = assemble(batch, torch.randn(2, 5, 3, dtype=torch.float64))
    close(invert(pose)[1, 3], invert(pose[1, 3]))
    close(rotation_vector(batch)[0, 2], rotation_vector(batch[0, 2]))
    assert slerp(batch[:, 0], batch[:, 1], torch.rand(2, dtype=torch.float64)).shape == (2, 3, 3)


ANGLES = [0.0, 1e-12, 1e-9, 1e-6, 0.999e-3, 1.001e-3, 0.1, 1.0, math.pi - 1e-3, math.pi - 1e-6, math.pi - 1e-9]


@pytest.mark.parametrize("angle", ANGLES)
def test_from_no_turn_to_half_a_turn_all_agree_with_scipy_to_1e_12(angle):
    generator = torch.Generator().manual_seed(round(angle * 1000))
    axes = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator, dtype=torch.float64), dim=1)
    first = turn(2 * torch.randn(50, 3, generator=generator, dtype=torch.float64))
    step = turn(angle * axes)
    close(step, torch.from_numpy(Rotation.from_rotvec((angle * axes).numpy()).as_matrix()), 1e-14)
    quaternion = quaternion_of(step)
    theirs = torch.from_numpy(Rotation.from_matrix(step.numpy()).as_quat()).roll(1, dims=1)  # theirs is (x, y, z, w)
    close((quaternion * theirs).sum(dim=1).abs(), torch.ones(50, dtype=torch.float64), 1e-14)
    close(rotation_of(quaternion), step, 1e-14)
    close(rotation_vector(step), angle * axes, 1e-12)
    close(rotation_angle(first.mT @ (first @ step)), torch.full((50,), angle, dtype=torch.float64), 1e-12)
    for fraction in (0.0, 0.3, 1.0):
        between = slerp(first, first @ step, torch.full((50,), fraction, dtype=torch.float64))
        close(between, first @ turn(fraction * angle * axes), 1e-12)


@pytest.mark.parametrize("angle", ANGLES)
def test_twists_are_exact_from_no_turn_to_half_a_turn(angle):
    generator = torch.Generator().manual_seed(1 + round(angle * 1000))
    twists = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    twists[:, 3:] *= angle / twists[:, 3:].norm(dim=1, keepdim=True)
    poses = exp_se3(twists)
    generators = torch.zeros(50, 4, 4, dtype=torch.float64)
    generators[:, :3, :3], generators[:, :3, 3] = cross_matrix(twists[:, 3:]), twists[:, :3]
    close(poses, torch.from_numpy(scipy.linalg.expm(generators.numpy())), 1e-13)
    close(log_se3(poses), twists, 1e-12)
    close(exp_se3(log_se3(poses)), poses, 1e-12)


@given(poses, vectors)
def test_the_logarithm_of_any_pose_leads_to_it(pose, vector):
    close(exp_se3(log_se3(pose)), pose, 1e-12)
    close(cross_matrix(vector) @ pose[:3, 3], torch.linalg.cross(vector, pose[:3, 3]), 1e-13)


def test_a_twist_has_a_physical_meaning():
    # ahead by one unit a second while turning right by 90 degrees a second: a quarter of a circle to the right
    pose = exp_se3(torch.tensor([0, 0, 1, 0, math.pi / 2, 0], dtype=torch.float64))
    radius = 2 / math.pi
    close(pose[:3, 3], torch.tensor([radius, 0, radius], dtype=torch.float64), 1e-15)
    close(pose[:3, 2], torch.tensor([1.0, 0, 0], dtype=torch.float64), 1e-15)


@given(poses, poses, poses, fractions)
def test_a_screw_meets_its_ends_at_constant_twist_in_any_world(first, second, world, fraction):
    assume(float(rotation_angle(first[:3, :3].mT @ second[:3, :3])) < math.pi - 1e-3)
    at = screw(first, second, fraction)
    close(screw(first, second, torch.zeros_like(fraction)), first, 1e-12)
    close(screw(first, second, torch.ones_like(fraction)), second, 1e-12)
    twist = log_se3(relative_to(second, first))
    close(log_se3(relative_to(at, first)), fraction * twist, 1e-10)
    close(log_se3(relative_to(second, at)), (1 - fraction) * twist, 1e-10)
    close(screw(second, first, 1 - fraction), at, 1e-10)
    close(screw(world @ first, world @ second, fraction), world @ at, 1e-9)


def test_a_screw_goes_round_the_arc_of_which_linear_takes_the_chord():
    # round the point (1, 0, 0), from its left with the eyes ahead to its front with the eyes to the right
    ends = torch.stack((EYE, assemble(turn(torch.tensor([0, math.pi / 2, 0], dtype=torch.float64)),
                                      torch.tensor([1.0, 0, 1], dtype=torch.float64))))  # fmt: skip
    times, middle = torch.tensor([0.0, 2], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    arc, chord = (interpolate_poses(ends, times, middle, path)[0] for path in ("screw", "linear"))
    half = math.sqrt(0.5)
    close(arc[:3, 3], torch.tensor([1 - half, 0, half], dtype=torch.float64), 1e-15)
    close(chord[:3, 3], torch.tensor([0.5, 0, 0.5], dtype=torch.float64), 1e-15)
    close(arc[:3, :3], chord[:3, :3], 1e-15)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_meets_its_samples_and_holds_or_goes_on_outside(path):
    # a straight even move with an even turn about the line of travel: the same on all three paths
    times = torch.tensor([0.0, 0.3, 0.7, 2], dtype=torch.float64)
    twist = torch.tensor([0, 0, 1.5, 0, 0, -0.6], dtype=torch.float64)
    wanted = torch.tensor([-1.0, 0.1, 0.3, 1.9, 2, 3.5], dtype=torch.float64)
    c2w = exp_se3(times[:, None] * twist)
    close(interpolate_poses(c2w, times, wanted, path, "extrapolate"), exp_se3(wanted[:, None] * twist), 1e-12)
    close(interpolate_poses(c2w, times, wanted, path), exp_se3(wanted.clamp(0, 2)[:, None] * twist), 1e-12)
    crooked = exp_se3(torch.randn(4, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64))
    close(interpolate_poses(crooked, times, times, path, "extrapolate"), crooked, 1e-12)
    close(interpolate_poses(crooked[:1], times[:1], wanted, path, "extrapolate"), crooked[:1].expand(6, 4, 4), 1e-12)


def test_an_unknown_path_is_refused():
    times = torch.arange(2, dtype=torch.float64)
    for words in ({"path": "bezier"}, {"outside": "wrap"}):
        with pytest.raises(ValueError, match=r"expected one of \('linear', 'cubic', 'screw'\)"):
            interpolate_poses(EYE.expand(2, 4, 4), times, times, **words)


@given(poses, poses)
def test_mirrored_twice_is_the_same_and_mirrors_chain(a, b):
    assert torch.equal(mirror(mirror(a)), a)
    close(mirror(a @ b), mirror(a) @ mirror(b), 1e-12)
    close(mirror(a)[:3, :3].mT @ mirror(a)[:3, :3], EYE[:3, :3], 1e-13)
    assert float(torch.linalg.det(mirror(a))) == pytest.approx(1)
    twist = log_se3(a)
    if float(twist[3:].norm()) < math.pi - 1e-3:
        # x is mirrored, and with it the turns about the other two axes
        signs = torch.tensor([-1, 1, 1, 1, -1, -1], dtype=torch.float64)
        close(log_se3(mirror(a)), signs * twist, 1e-10)
