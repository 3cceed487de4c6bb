"""What the network is given of a camera: ray frames, and that nothing in it depends on where the world's origin is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera.language import Move
from camera.network_input import camera_input, stack_inputs
from camera.plucker import latent_rays, plucker_map
from camera.poses import assemble, exp_se3, invert, turn
from camera.ray_frames import pool_cells, pooled_frames, ray_frames
from camera.trajectory import compile as compile_moves

SQUARE = torch.tensor([0.5, 0.5, 0.5, 0.5], dtype=torch.float64)


def track(direction, frames=9, rotate="stay"):
    return compile_moves([Move(0, 1, 1.0, direction, rotate)], frames, 16.0, SQUARE)


@given(st.lists(st.floats(-2, 2), min_size=6, max_size=6), st.floats(0.3, 3.0))
@settings(max_examples=30, deadline=None)
def test_frames_are_rigid_and_look_along_the_rays(twist, focal):
    pose, lens = exp_se3(torch.tensor(twist, dtype=torch.float64)), SQUARE * torch.tensor([focal, focal, 1, 1])
    frames = ray_frames(pose, lens, 3, 5)
    rotation = frames[..., :3, :3]
    torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3).double().expand(3, 5, 3, 3), rtol=0, atol=1e-12)
    assert (torch.linalg.det(rotation) > 0.999).all()
    rays = plucker_map(pose[None], lens[None], 3, 5)[0]
    torch.testing.assert_close(rotation[..., 2], rays[3:].permute(1, 2, 0), rtol=0, atol=1e-12)
    torch.testing.assert_close(frames[..., :3, 3], pose[:3, 3].expand(3, 5, 3), rtol=0, atol=0)
    # x stays as near to the camera's right as it can: it has no part along the plane's other axis
    upright = torch.linalg.cross(rotation[..., 2], pose[:3, 0].expand(3, 5, 3))
    assert float((upright * rotation[..., 0]).sum(-1).abs().max()) < 1e-12
    assert float((rotation[..., 0] * pose[:3, 0]).sum(-1).min()) > 0


def test_the_middle_ray_of_a_camera_is_the_camera():
    pose = exp_se3(torch.tensor([0.3, -0.2, 0.5, 0.1, 0.4, -0.3], dtype=torch.float64))
    torch.testing.assert_close(ray_frames(pose, SQUARE, 3, 5)[1, 2], pose, rtol=0, atol=1e-12)


def test_a_latent_frame_takes_the_last_pose_of_its_group():
    camera, path = camera_input(*(lambda t: (t.c2w, t.intrinsics))(track("right")), 6, 6), track("right")
    assert camera.frames.shape == (3, 3, 3, 4, 4) and camera.poses.shape == (3, 4, 4, 4)
    for latent, frame in enumerate((0, 4, 8)):
        torch.testing.assert_close(camera.frames[latent, 1, 1], path.c2w[frame].float(), rtol=0, atol=1e-6)
    # an orbit to the right: the camera moves to +x and turns left, to keep the subject
    assert camera.frames[2, 1, 1, 0, 3] > 0.1 and camera.frames[2, 1, 1, 0, 2] < -0.1
    torch.testing.assert_close(camera.poses[1], path.c2w[1:5].float(), rtol=0, atol=1e-6)
    torch.testing.assert_close(camera.rays, latent_rays(path.c2w, path.intrinsics, 6, 6), rtol=0, atol=1e-6)


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=3), st.lists(st.floats(-3, 3), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_moving_the_whole_world_changes_nothing(far, turned):
    path = track("leftup45", rotate="right")
    world = assemble(turn(torch.tensor(turned, dtype=torch.float64)), torch.tensor(far, dtype=torch.float64))
    here = camera_input(path.c2w, path.intrinsics, 4, 6, ray_scale=2)
    there = camera_input(world @ path.c2w, path.intrinsics, 4, 6, ray_scale=2)
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    kept = camera_input(world @ path.c2w, path.intrinsics, 4, 6, rebase=False)
    torch.testing.assert_close(kept.poses[0, 0], world.float())


def test_finer_rays_are_those_of_a_finer_grid():
    path = track("forward")
    fine = camera_input(path.c2w, path.intrinsics, 4, 6, ray_scale=4)
    assert fine.rays.shape == (3, 24, 16, 24) and fine.frames.shape == (3, 2, 3, 4, 4)
    torch.testing.assert_close(fine.rays, latent_rays(path.c2w, path.intrinsics, 16, 24), rtol=0, atol=1e-6)


def test_each_clip_of_a_batch_keeps_its_own_lens():
    path = track("up")
    lenses = [path.intrinsics, path.intrinsics * torch.tensor([2.0, 2.0, 1.0, 1.0])]
    one, other = (camera_input(path.c2w, lens, 4, 4) for lens in lenses)
    both = stack_inputs([one, other])
    assert all(torch.equal(part[0], a) and torch.equal(part[1], b) for part, a, b in zip(both, one, other, strict=True))
    # a longer lens sees less: its outer rays are nearer to the axis
    assert other.frames[0, 0, 0, 2, 2] > one.frames[0, 0, 0, 2, 2]


def test_a_grid_of_half_tokens_is_refused():
    path = track("up")
    with pytest.raises(ValueError, match="latent grid 5 x 4"):
        camera_input(path.c2w, path.intrinsics, 5, 4)
    with pytest.raises(ValueError, match="4n"):
        camera_input(path.c2w[:8], path.intrinsics[:8], 4, 4)


def test_pooling_takes_means_and_keeps_what_is_left_at_the_edges():
    values = torch.arange(15.0).view(1, 3, 5, 1)
    expected = torch.tensor([[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]])
    torch.testing.assert_close(pool_cells(values)[0, :, :, 0], expected)


def test_pooled_frames_are_rigid_and_look_between_their_rays():
    pose = exp_se3(torch.tensor([0.3, -0.2, 0.5, 0.1, 0.4, -0.3], dtype=torch.float64))
    frames = ray_frames(pose, SQUARE, 4, 6)
    pooled, coarse = pooled_frames(frames), ray_frames(pose, SQUARE, 2, 3)
    torch.testing.assert_close(invert(pooled) @ pooled, torch.eye(4).double().expand(2, 3, 4, 4), rtol=0, atol=1e-12)
    # nearly the rays through the middle of the cells: a cell of 2 x 2 is some 20 degrees wide here
    assert float((pooled[..., :3, 2] * coarse[..., :3, 2]).sum(-1).min()) > 0.999
    odd = pooled_frames(ray_frames(pose, SQUARE, 3, 5))
    torch.testing.assert_close(odd[1, 2], ray_frames(pose, SQUARE, 3, 5)[2, 4])
