"""v1: the fork's layers, against its arithmetic written out, and its files."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camera.network_input import CameraInput, camera_input
from camera.plucker import plucker_map
from common.weights import read_tensors, write_tensors
from tests.wan.dit_helpers import ADAPTERS, I2V, inputs, random_camera, relative_error, small_model, trained_adapter
from wan.adapters.build import build_adapter
from wan.adapters.files import load_adapter, save_adapter
from wan.adapters.fork import ForkAdapter, ForkTokens
from wan.config import ForkConfig
from wan.keys import fork_camera_names
from wan.model import WanModel

WHOLE = ForkConfig(middle_dim=12, hidden_dim=16, num_heads=8, blocks=(0, 1, 2), same_frame=False)


def fork_adapter(config: ForkConfig = WHOLE, seed: int = 0) -> ForkAdapter:
    """Every weight and statistic away from its start, as in a checkpoint of the fork."""
    adapter = build_adapter(config, I2V.dim, I2V.num_layers)
    assert isinstance(adapter, ForkAdapter)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in adapter.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator) * 0.2
                value.add_(noise.abs() if name.endswith("running_var") else noise)
        adapter.myadapter.final_bn2d.num_batches_tracked.fill_(700)
    return adapter


def frames_of_fork(adapter: ForkAdapter, camera: CameraInput, index: int) -> Tensor:
    """The ray tokens of one video [f, L/f, C], by torch's own layers in evaluation mode."""
    net = adapter.myadapter
    mixed = [camera.poses[index, 0, 3]]
    for poses in camera.poses[index, 1:]:
        mixed.append(F.conv2d(poses[None], adapter.conv.weight, adapter.conv.bias)[0, 0])
    rays = plucker_map(torch.stack(mixed), camera.lenses[index], 3, 4)
    x = F.conv3d(rays.transpose(0, 1)[None], net.initial_conv.weight, net.initial_conv.bias)[0].transpose(0, 1)
    x = x.flatten(2).mT
    for layer in net.transformer_layers:
        normed = F.layer_norm(x, (16,), layer.norm1.weight, layer.norm1.bias)
        x = x + layer.attn.eval()(*[normed.transpose(0, 1)] * 3)[0].transpose(0, 1)
        x = x + layer.mlp.eval()(F.layer_norm(x, (16,), layer.norm2.weight, layer.norm2.bias))
    maps = net.final_conv2d(x.mT.unflatten(2, (3, 4)))
    return nn.functional.relu(net.final_bn2d.eval()(maps)).flatten(2).mT


def test_names_and_shapes_are_the_forks():
    with torch.device("meta"):
        state = build_adapter(ForkConfig(), 5120, 40).state_dict()
    assert set(state) == set(fork_camera_names(40))
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert shapes["conv.weight"] == (1, 4, 1, 1) and shapes["conv.bias"] == (1,)
    assert shapes["myadapter.initial_conv.weight"] == (64, 6, 1, 1, 1)
    assert shapes["myadapter.transformer_layers.1.attn.in_proj_weight"] == (192, 64)
    assert shapes["myadapter.transformer_layers.0.mlp.0.weight"] == (256, 64)
    assert shapes["myadapter.final_conv2d.weight"] == (5120, 64, 3, 3)
    assert shapes["blocks.39.cross_attn.k_camera1.linear1.weight"] == (640, 5120)
    assert shapes["blocks.0.cross_attn.v_camera1.linear2.weight"] == (5120, 640)
    # 13.12 M a block, 3.06 M for the transformer over rays
    sizes = {name: value.numel() for name, value in state.items() if "num_batches" not in name}
    assert sum(n for name, n in sizes.items() if name.startswith("blocks.7.")) == pytest.approx(13.12e6, rel=1e-3)
    assert sum(n for name, n in sizes.items() if name.startswith("myadapter.")) == pytest.approx(3.06e6, rel=0.01)


def test_ray_tokens_are_those_of_the_forks_layers():
    adapter, camera = fork_adapter(), random_camera()
    with torch.no_grad():
        tokens = adapter.prepare(camera)
        assert isinstance(tokens, ForkTokens)
        for index in range(2):
            expected = frames_of_fork(adapter, camera, index).flatten(0, 1)
            assert relative_error(tokens.rays[index], expected) < 1e-5
        # in training mode too: dropout and the batch's own statistics are gone
        assert torch.equal(adapter.train().prepare(camera).rays, tokens.rays)


@pytest.mark.parametrize("same_frame", [False, True])
def test_the_contribution_is_one_attention_by_the_queries_of_cross_attention(same_frame: bool):
    adapter = fork_adapter(replace(WHOLE, same_frame=same_frame))
    model, camera = small_model(), random_camera()
    x = torch.randn(2, 36, I2V.dim, generator=torch.Generator().manual_seed(1))
    cross = model.blocks[1].cross_attn
    with torch.no_grad():
        tokens = adapter.prepare(camera)
        branch = adapter.branch(1, tokens)
        assert branch is not None and branch.place == "in_cross"
        q = cross.heads(cross.norm_q(cross.q(x)))
        layer = adapter.blocks["1"].cross_attn
        k = layer.norm_k_cam1(layer.k_camera1.linear2(layer.k_camera1.linear1(tokens.rays)))
        v = layer.v_camera1.linear2(layer.v_camera1.linear1(tokens.rays))
        k, v = (part.unflatten(-1, (4, -1)) for part in (k, v))
        logits = torch.einsum("blnd,bsnd->bnls", q, k) / 28**0.5
        if same_frame:
            frame = torch.arange(36) // 12
            logits = logits.masked_fill(frame[:, None] != frame, -torch.inf)
        expected = torch.einsum("bnls,bsnd->blnd", logits.softmax(-1), v).flatten(2)
        assert relative_error(branch.add(q), expected) < 1e-5
        context = model.prepare(torch.randn(2, 5, I2V.text_dim), torch.randn(2, 5, 48)).context
        adapter.camera_scale = 2.0
        twice = cross(x, context, adapter.branch(1, tokens).add) - cross(x, context)
        assert relative_error(twice, F.linear(2 * expected, cross.o.weight)) < 1e-4


def test_a_new_adapter_takes_the_last_pose_of_each_group():
    adapter = build_adapter(ADAPTERS["v1"], I2V.dim, I2V.num_layers)
    assert isinstance(adapter, ForkAdapter)
    poses = random_camera().poses
    assert torch.equal(adapter.conv(poses), poses[:, :, -1])
    assert {name for name, _ in adapter.named_parameters()} & {"conv.weight", "conv.bias"} == set()


def total(tmp_path: Path, adapter: ForkAdapter, without: str | None = None) -> Path:
    tensors = {**small_model().state_dict(), **adapter.state_dict()}
    if without is not None:
        del tensors[without]
    write_tensors(tmp_path / "total-3.safetensors", tensors)
    return tmp_path / "total-3.safetensors"


def test_a_checkpoint_of_the_fork_loads_as_the_fork_used_it(tmp_path: Path):
    adapter = fork_adapter()
    loaded = load_adapter(total(tmp_path, adapter), I2V)
    assert loaded.config == replace(WHOLE, geometry="omnicam_legacy")
    state = adapter.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    half = load_adapter(tmp_path / "total-3.safetensors", I2V, dtype=torch.bfloat16).state_dict()
    assert half["myadapter.final_bn2d.num_batches_tracked"].dtype == torch.int64
    assert half["conv.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("without", "batches", "word"),
    [
        ("blocks.1.cross_attn.v_camera1.linear2.weight", 700, r"1 missing \(blocks\.1"),
        (None, 0, "look untrained"),
    ],
)
def test_one_that_lacks_layers_or_looks_untrained_is_refused_unless_forced(
    tmp_path: Path, without: str | None, batches: int, word: str
):
    adapter = fork_adapter()
    adapter.myadapter.final_bn2d.num_batches_tracked.fill_(batches)
    if batches == 0:
        adapter.myadapter.final_bn2d.running_var.fill_(1.0)
    path = total(tmp_path, adapter, without)
    with pytest.raises(ValueError, match=f"(?s)total-3.*{word}.*--force_adapter"):
        load_adapter(path, I2V)
    forced = load_adapter(path, I2V, force=True)
    if without is not None:
        assert not forced.state_dict()[without].any(), "what is missing adds nothing"


def test_our_own_file_keeps_the_names_and_says_what_it_is(tmp_path: Path):
    adapter = trained_adapter(ADAPTERS["v1"])
    save_adapter(tmp_path / "a.safetensors", adapter, {})
    names = set(read_tensors(tmp_path / "a.safetensors"))
    assert "myadapter.final_bn2d.running_var" in names and "blocks.2.cross_attn.norm_k_cam1.weight" in names
    assert names < set(fork_camera_names(3))
    loaded = load_adapter(tmp_path / "a.safetensors", I2V)
    assert loaded.config == ADAPTERS["v1"]


def test_a_pose_that_moved_changes_the_output_through_the_dit():
    model, given = small_model(), inputs()
    assert isinstance(model, WanModel)
    model.attach_adapter(fork_adapter())
    camera = given.camera._replace(poses=given.camera.poses.clone())
    camera.poses[1, 2, 3, 0, 3] += 0.5
    with torch.no_grad():
        one, other = (model(*given.arguments, camera=each) for each in (given.camera, camera))
    assert torch.equal(one[0], other[0]) and relative_error(one[1], other[1]) > 1e-4


def test_legacy_poses_are_not_rebased():
    pytest.importorskip("scipy")
    from camera.language import Move
    from camera.legacy import legacy_poses

    c2w = legacy_poses([Move(0, 1, 1.0, "right")], 9)
    camera = camera_input(c2w, torch.tensor([0.9, 1.2, 0.5, 0.5]).double().expand(9, 4), 4, 4, rebase=False)
    torch.testing.assert_close(camera.poses[0, 0], c2w[0].float())
    assert camera.poses[0, 0, 2, 3] == pytest.approx(1.0068, abs=1e-3)
