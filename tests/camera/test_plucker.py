import pytest
import torch

from camera.language import Move
from camera.plucker import group_frames, plucker_map
from camera.poses import assemble, turn
from camera.trajectory import compile

HEIGHT, WIDTH = 6, 10


@pytest.fixture(scope="module")
def camera():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    c2w = assemble(turn(vectors), torch.randn(5, 3, generator=generator, dtype=torch.float64))
    intrinsics = torch.rand(5, 4, generator=generator, dtype=torch.float64) + 0.3
    return c2w, intrinsics


def test_rays_are_pluecker_coordinates(camera):
    moment, direction = plucker_map(*camera, HEIGHT, WIDTH).split(3, dim=1)
    assert float((moment * direction).sum(dim=1).abs().max()) < 1e-14
    torch.testing.assert_close(
        direction.norm(dim=1), torch.ones(5, HEIGHT, WIDTH, dtype=torch.float64), rtol=0, atol=1e-14
    )


def test_the_ray_of_a_pixel_passes_through_the_point_it_saw(camera):
    rays = plucker_map(*camera, HEIGHT, WIDTH)
    for frame, (pose, row) in enumerate(zip(*camera, strict=True)):
        fx, fy, cx, cy = row * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
        k_px = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
        for v in range(HEIGHT):
            for u in range(WIDTH):
                pixel_centre = torch.tensor([u + 0.5, v + 0.5, 1], dtype=torch.float64)
                point = pose[:3, :3] @ (2.7 * torch.linalg.solve(k_px, pixel_centre)) + pose[:3, 3]
                moment, direction = rays[frame, :3, v, u], rays[frame, 3:, v, u]
                torch.testing.assert_close(torch.linalg.cross(point, direction), moment, rtol=0, atol=1e-13)
                assert float(direction @ (point - pose[:3, 3])) > 0  # in front of the camera


def test_a_point_seen_by_two_cameras_is_on_both_rays():
    # the subject stays in the middle of an orbit: with odd sides it is the centre of the middle pixel
    track = compile([Move(0, 1, 1.0, "rightup45")], 17, 16.0)
    rays = plucker_map(track.c2w, track.intrinsics, 5, 7)[:, :, 2, 3]
    subject = torch.tensor([0, 0, 1.003], dtype=torch.float64).expand(17, 3)
    torch.testing.assert_close(torch.linalg.cross(subject, rays[:, 3:]), rays[:, :3], rtol=0, atol=1e-13)


def test_order_signs_and_pixel_centres():
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = 2.0
    rays = plucker_map(pose[None], torch.tensor([[0.5, 0.5, 0.5, 0.5]], dtype=torch.float64), 2, 2)[0]
    # the upper left of 2 x 2 pixels has its centre at a quarter: ((0.25 - 0.5) / 0.5, same, 1)
    direction = torch.tensor([-0.5, -0.5, 1], dtype=torch.float64) / 1.5**0.5
    torch.testing.assert_close(rays[3:, 0, 0], direction)
    # (2, 0, 0) x d = (0, -2 dz, 2 dy)
    torch.testing.assert_close(rays[:3, 0, 0], torch.stack((0 * direction[0], -2 * direction[2], 2 * direction[1])))
    assert rays[3, 0, 1] > 0 and rays[4, 1, 0] > 0  # right is +x, down is +y


def test_each_frame_has_its_own_intrinsics():
    wide, long = [0.5, 0.5, 0.5, 0.5], [2.0, 2.0, 0.5, 0.5]
    rays = plucker_map(torch.eye(4).expand(2, 4, 4), torch.tensor([wide, long]), 4, 4)
    assert rays.dtype == torch.float32
    assert rays[0, 5, 0, 0] < rays[1, 5, 0, 0]


def test_frames_are_grouped_as_the_vae_groups_them():
    frames = torch.arange(9)
    maps = (frames[:, None] * 10 + torch.arange(6))[:, :, None, None].expand(9, 6, 2, 3).float()
    groups = group_frames(maps)
    assert groups.shape == (3, 24, 2, 3)
    expected = [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]
    for latent, covered in enumerate(expected):
        for sub_frame, frame in enumerate(covered):
            for component in range(6):
                assert (groups[latent, sub_frame * 6 + component] == frame * 10 + component).all()


def test_one_frame_is_one_latent_frame_and_other_numbers_are_refused():
    assert group_frames(torch.rand(1, 6, 2, 2)).shape == (1, 24, 2, 2)
    for frames in (2, 4, 8, 80):
        with pytest.raises(ValueError, match=f"{frames} video frames: expected 4n"):
            group_frames(torch.rand(frames, 6, 1, 1))
