"""v2: the mathematics of attention relative to rays."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from camera.network_input import CameraInput, camera_input
from camera.poses import exp_se3, invert
from tests.wan.dit_helpers import ADAPTERS, I2V, inputs, random_camera, relative_error, small_model, trained_adapter
from wan.adapters.build import with_arguments
from wan.adapters.relative import RayTurns, RelativeAdapter, apply_matrices, compress
from wan.rope import rotary_table

GRID = (3, 3, 4)


def frames_of(camera: CameraInput) -> Tensor:
    return camera.frames.flatten(1, 3)


def attend(adapter: RelativeAdapter, x: Tensor, frames: Tensor) -> Tensor:
    """The attention layer with given ray-to-world frames [B, L, 4, 4], no positions."""
    layer = adapter.layers[0]
    table = rotary_table((1,), (6,), 1.0, frames.device)
    still = type(table)(torch.ones(36, 6), torch.zeros(36, 6))
    return layer.attend(x, RayTurns(invert(frames), frames, still, still), GRID)


@pytest.fixture
def adapter() -> RelativeAdapter:
    found = trained_adapter(with_arguments(ADAPTERS["v2"], ["kv_stride=1"]))
    assert isinstance(found, RelativeAdapter)
    return found


@given(st.lists(st.floats(-1.5, 1.5), min_size=6, max_size=6))
@settings(max_examples=20, deadline=None)
def test_attention_knows_only_how_rays_lie_to_each_other(twist: list[float]):
    """All ray frames moved by one rigid motion of the world, with no common reference taken out before."""
    adapter = trained_adapter(with_arguments(ADAPTERS["v2"], ["kv_stride=1"])).double()
    world = exp_se3(torch.tensor(twist, dtype=torch.float64))
    # the turns themselves are float32, so that is how equal they can be
    frames = frames_of(random_camera()).double()
    x = torch.randn(2, 36, I2V.dim, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        here, there = attend(adapter, x, frames), attend(adapter, x, world @ frames)
    assert relative_error(there, here) < 2e-6


def test_attention_is_that_of_explicit_relative_poses(adapter: RelativeAdapter):
    """q_i meets k_j through T_i^-1 T_j, and values come through the same matrix: computed pair by pair."""
    layer, frames = adapter.layers[0], frames_of(random_camera(batch=1))[0].double()
    x = torch.randn(1, 36, I2V.dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got = attend(adapter, x, frames[None].float())[0].double()
        projected = (layer.norm_q(layer.q(x)), layer.norm_k(layer.k(x)), layer.v(x))
    q, k, v = (heads.unflatten(-1, (2, 20))[0].double() for heads in projected)
    pair = torch.linalg.inv(frames)[:, None] @ frames[None]
    relative = [t[..., :8].unflatten(-1, (2, 4)) for t in (q, k, v)]
    logits = torch.einsum("inga,ijab,jngb->nij", relative[0], pair, relative[1])
    logits += torch.einsum("ind,jnd->nij", q[..., 8:], k[..., 8:])
    weights = (logits / 20**0.5).softmax(-1)
    moved = torch.einsum("nij,ijab,jngb->inga", weights, pair, relative[2]).flatten(-2)
    expected = torch.cat((moved, torch.einsum("nij,jnd->ind", weights, v[..., 8:])), dim=-1).flatten(1)
    assert relative_error(got, expected) < 1e-5


@pytest.mark.parametrize("stride", [1, 2])
def test_the_whole_model_does_not_see_where_the_world_begins(stride: int):
    model, given = small_model(), inputs()
    model.attach_adapter(trained_adapter(with_arguments(ADAPTERS["v2"], [f"kv_stride={stride}"])))
    generator = torch.Generator().manual_seed(3)
    poses = exp_se3(torch.randn(2, 9, 6, generator=generator, dtype=torch.float64) * 0.3)
    lenses = torch.tensor([0.9, 1.2, 0.5, 0.5], dtype=torch.float64).expand(2, 9, 4)
    world = exp_se3(torch.tensor([40.0, -7.0, 12.0, 0.7, -1.1, 0.4], dtype=torch.float64))
    with torch.no_grad():
        here = model(*given.arguments, camera=camera_input(poses, lenses, 6, 8))
        there = model(*given.arguments, camera=camera_input(world @ poses, lenses, 6, 8))
        other = model(*given.arguments, camera=camera_input(invert(poses), lenses, 6, 8))
    assert relative_error(there, here) < 2e-6
    assert relative_error(other, here) > 1e-3


def test_an_identical_camera_everywhere_is_plain_attention(adapter: RelativeAdapter):
    """One frame for all rays: D_i D_j^-1 is the identity, whatever the frame."""
    x = torch.randn(2, 36, I2V.dim, generator=torch.Generator().manual_seed(0))
    pose = exp_se3(torch.tensor([0.4, 0.1, -0.6, 0.2, 0.5, 0.1], dtype=torch.float64)).float()
    with torch.no_grad():
        turned, plain = (attend(adapter, x, frame.expand(2, 36, 4, 4)) for frame in (pose, torch.eye(4)))
    assert relative_error(turned, plain) < 1e-5


def test_cells_of_keys_are_close_to_single_ones_on_a_smooth_picture():
    """Two strides of one adapter agree where tokens change slowly, and on odd grids too."""
    camera = random_camera(1, (2, 14, 18), size=0.05)
    x = torch.randn(1, 2, 1, 1, I2V.dim, generator=torch.Generator().manual_seed(0)).expand(1, 2, 7, 9, I2V.dim)
    x = x.flatten(1, 3)
    single = trained_adapter(with_arguments(ADAPTERS["v2"], ["kv_stride=1"]))
    pooled = copy.deepcopy(trained_adapter(ADAPTERS["v2"]))
    pooled.load_state_dict(single.state_dict())
    with torch.no_grad():
        results = []
        for adapter in (single, pooled):
            branch = adapter.branch(0, adapter.prepare(camera))
            assert branch is not None and branch.place == "beside_self"
            results.append(branch.add(x))
    assert relative_error(results[1], results[0]) < 0.05


@given(st.floats(1e-6, 1e3), st.floats(0.1, 10))
@settings(max_examples=50, deadline=None)
def test_compressed_frames_stay_rigid_and_well_conditioned_and_keep_the_order_of_speeds(length: float, unit: float):
    frame = exp_se3(torch.tensor([0.0, 0, 0, 0.4, -0.2, 0.9], dtype=torch.float64))
    frame[:3, 3] = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64) * length
    got = compress(frame, unit)
    assert torch.equal(got[:3, :3], frame[:3, :3])
    size, units = float(got[:3, 3].norm()), length / unit
    assert (size <= units * (1 + 1e-9) and size == pytest.approx(units, rel=0.12)) or units > 1
    torch.testing.assert_close(got[:3, 3] / size, frame[:3, 3] / length)
    assert float(torch.linalg.matrix_norm(got, 2)) <= 1 + size + 1e-9
    assert size < 10, "a thousand units are 8 or so"
    frame[:3, 3] *= 2
    # twice as fast stays visibly faster
    assert float(compress(frame, unit)[:3, 3].norm()) > size * 1.05


def test_groups_of_four_channels_are_homogeneous_points():
    pose = exp_se3(torch.tensor([0.4, 0.1, -0.6, 0.2, 0.5, 0.1], dtype=torch.float64)).float()
    point = torch.tensor([0.3, -0.7, 2.0, 1.0])
    x = torch.stack((point, 2 * point), dim=0).flatten().expand(1, 5, 3, 8)
    moved = apply_matrices(x, pose.expand(1, 5, 4, 4)).unflatten(-1, (2, 4))
    torch.testing.assert_close(moved[0, 0, 0, 0], pose @ point)
    torch.testing.assert_close(moved[0, 4, 2, 1], 2 * (pose @ point))


def test_geometry_is_float32_under_bfloat16_weights_and_autocast():
    adapter = trained_adapter(ADAPTERS["v2"]).bfloat16()
    camera = random_camera(size=1e-4)
    still = random_camera(size=0.0)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        near, none = adapter.prepare(camera), adapter.prepare(still)
        assert near.turns.to_ray.dtype == near.turns.to_world.dtype == torch.float32
        moved = (near.turns.to_world - none.turns.to_world).abs().amax()
        assert 2e-5 < moved < 1e-3, "bfloat16 would give 0 or 4e-3"
        x = torch.randn(2, 36, 2, 8)
        exact = apply_matrices(x.double(), near.turns.to_ray.double())
        assert relative_error(apply_matrices(x, near.turns.to_ray), exact) < 1e-6
