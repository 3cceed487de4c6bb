import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from camera.poses import (
    assemble,
    interpolate_poses,
    invert,
    nearest_rotation,
    quaternion_of,
    relative_to,
    rotation_angle,
    rotation_of,
    rotation_vector,
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
