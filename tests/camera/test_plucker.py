import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camera.language import Move
from camera.plucker import group_frames, latent_rays, plucker_map
from camera.poses import assemble, relative_to, turn
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


def make_cameras(*shape, seed=0, zoom=True):
    """Poses [*shape, 4, 4] and intrinsics [*shape, 4], float64, the last axis of `shape` being the frames."""
    generator = torch.Generator().manual_seed(seed)
    like = {"generator": generator, "dtype": torch.float64}
    c2w = assemble(turn(torch.randn(*shape, 3, **like)), torch.randn(*shape, 3, **like))
    lenses = torch.rand(*shape[:-1], shape[-1] if zoom else 1, 4, **like) + 0.3
    return c2w, lenses.expand(*shape, 4)


def oracle(c2w, intrinsics, height, width):
    """The definition, one ray after the other, in float64: the pixel's direction, turned into the world; m = o x d."""
    rays = torch.empty(len(c2w), 6, height, width, dtype=torch.float64)
    for frame, (pose, (fx, fy, cx, cy)) in enumerate(zip(c2w.double(), intrinsics.double().tolist(), strict=True)):
        for row in range(height):
            for column in range(width):
                u, v = (column + 0.5) / width, (row + 0.5) / height
                local = torch.tensor([(u - cx) / fx, (v - cy) / fy, 1], dtype=torch.float64)
                direction = pose[:3, :3] @ local / local.norm()
                rays[frame, :3, row, column] = torch.linalg.cross(pose[:3, 3], direction)
                rays[frame, 3:, row, column] = direction
    return rays


@pytest.mark.parametrize("zoom", [False, True], ids=["one lens", "a lens for each frame"])
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 3e-7), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)]
)
def test_every_way_is_the_definition_to_the_precision_of_its_result(zoom, dtype, bound):
    c2w, intrinsics = make_cameras(9, zoom=zoom)
    expected = oracle(c2w, intrinsics, HEIGHT, WIDTH)
    torch.testing.assert_close(plucker_map(c2w, intrinsics, HEIGHT, WIDTH), expected, rtol=0, atol=1e-14)
    rays = latent_rays(c2w, intrinsics, HEIGHT, WIDTH, dtype)
    assert rays.dtype == dtype and rays.is_contiguous()
    torch.testing.assert_close(rays.double(), group_frames(expected), rtol=0, atol=bound)
    # one rounding, at the end
    assert torch.equal(rays, latent_rays(c2w, intrinsics, HEIGHT, WIDTH, torch.float64).to(dtype))


@given(st.integers(0, 2**32 - 1), st.floats(-100, 100))
def test_a_ray_does_not_depend_on_where_along_it_the_camera_stands(seed, distance):
    # a camera moved along the optical axis of its middle pixel sees the world along the same middle ray
    c2w, intrinsics = make_cameras(1, seed=seed)
    intrinsics = torch.cat((intrinsics[:, :2], torch.full((1, 2), 0.5, dtype=torch.float64)), dim=1)
    moved = c2w.clone()
    moved[:, :3, 3] += distance * c2w[:, :3, 2]
    here, there = (plucker_map(pose, intrinsics, 3, 5)[0, :, 1, 2] for pose in (c2w, moved))
    torch.testing.assert_close(there, here, rtol=0, atol=1e-12)
    # the others' moments are those of any other point of the new ray
    rays = plucker_map(moved, intrinsics, 3, 5)[0].flatten(1)
    points = moved[0, :3, 3:] + distance * rays[3:]
    torch.testing.assert_close(torch.linalg.cross(points, rays[3:], dim=0), rays[:3], rtol=0, atol=1e-10)


@pytest.mark.parametrize("zoom", [False, True], ids=["one lens", "a lens for each frame"])
def test_each_item_of_a_batch_keeps_its_own_camera(zoom):
    c2w, intrinsics = make_cameras(2, 3, 5, zoom=zoom)
    rays, maps = latent_rays(c2w, intrinsics, 4, 6), plucker_map(c2w, intrinsics, 4, 6)
    assert rays.shape == (2, 3, 2, 24, 4, 6)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(rays[i, j], latent_rays(c2w[i, j], intrinsics[i, j], 4, 6), rtol=0, atol=1e-7)
            torch.testing.assert_close(maps[i, j], plucker_map(c2w[i, j], intrinsics[i, j], 4, 6), rtol=0, atol=1e-14)
    torch.testing.assert_close(group_frames(maps).float(), rays, rtol=0, atol=1e-7)


def test_frames_of_one_lens_and_of_nearly_one_lens_agree():
    c2w, intrinsics = make_cameras(5, zoom=False)
    nearly = intrinsics.clone()
    nearly[4] *= 1 + 1e-13
    torch.testing.assert_close(
        latent_rays(c2w, nearly, 4, 6, torch.float64), latent_rays(c2w, intrinsics, 4, 6, torch.float64),
        rtol=0, atol=1e-12,
    )  # fmt: skip


def test_far_from_the_origin_poses_are_made_relative_in_float64_first():
    # a video whose world is a map: the camera goes one metre to the right, 5 000 km away
    far = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    far[:, 0, 3] = 5e6 + torch.linspace(0, 1, 5, dtype=torch.float64)
    intrinsics = torch.tensor([1, 1, 0.5, 0.5], dtype=torch.float64).expand(5, 4)
    near = relative_to(far, far[0])
    truth = latent_rays(near, intrinsics, 3, 3, torch.float64)
    assert float((latent_rays(near, intrinsics, 3, 3) - truth).abs().max()) < 1e-7
    # the same poses rounded to float32 before: the metre has steps of half a metre
    late = latent_rays(relative_to(far.float(), far[0].float()), intrinsics.float(), 3, 3)
    assert float((late - truth).abs().max()) > 0.1
    # the middle ray of the last frame is x = 1, along z: moment (1, 0, 0) x (0, 0, 1) = (0, -1, 0)
    assert truth[1, 18:, 1, 1].tolist() == [0, -1, 0, 0, 0, 1]


def test_rays_do_not_feel_the_reduced_precision_of_matrix_products():
    c2w, intrinsics = make_cameras(5)
    exact = latent_rays(c2w, intrinsics, 8, 8)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(latent_rays(c2w, intrinsics, 8, 8), exact)
        torch.testing.assert_close(latent_rays(c2w.float(), intrinsics.float(), 8, 8), exact, rtol=0, atol=1e-6)
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_number_of_frames_that_the_vae_does_not_take_is_refused():
    c2w, intrinsics = make_cameras(8)
    with pytest.raises(ValueError, match="8 video frames: expected 4n"):
        latent_rays(c2w, intrinsics, 4, 6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("zoom", [False, True], ids=["one lens", "a lens for each frame"])
def test_rays_on_a_gpu_are_those_on_the_cpu(zoom):
    c2w, intrinsics = make_cameras(2, 81, zoom=zoom)
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        rays = latent_rays(c2w.cuda(), intrinsics.cuda(), 30, 52)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert rays.is_cuda
    torch.testing.assert_close(rays.cpu(), latent_rays(c2w, intrinsics, 30, 52), rtol=0, atol=1e-6)
