"""cross: the latent frame's own rays, and files of its first version."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from common.weights import write_tensors
from tests.wan.dit_helpers import ADAPTERS, I2V, inputs, random_camera, relative_error, small_model, trained_adapter
from wan.adapters.build import build_adapter
from wan.adapters.cross import CrossAdapter, CrossTokens
from wan.adapters.files import load_adapter
from wan.config import CrossConfig

CROSS = ADAPTERS["cross"]
assert isinstance(CROSS, CrossConfig)


def test_a_latent_frame_sees_the_rays_of_that_frame_only():
    adapter = trained_adapter(CROSS)
    camera = inputs(batch=1).camera
    changed = camera._replace(rays=camera.rays.clone())
    changed.rays[:, 1] += 0.5
    x = torch.randn(1, 3 * 3 * 4, I2V.dim)
    with torch.no_grad():
        a, b = (adapter.branch(0, adapter.prepare(given)) for given in (camera, changed))
        assert a is not None and b is not None and a.place == "after_cross"
        difference = (a.add(x) - b.add(x)).unflatten(1, (3, 12)).abs().amax(dim=(0, 2, 3))
    assert difference[1] > 1e-3 and difference[0] == 0 and difference[2] == 0


def test_a_token_starts_out_looking_at_its_own_ray():
    config = replace(CROSS, inner_dim=96, num_heads=4, token_dim=64, hidden_dim=64)
    adapter = build_adapter(config, I2V.dim, I2V.num_layers, torch.Generator().manual_seed(0))
    assert isinstance(adapter, CrossAdapter)
    layer = adapter.layers[0]
    rays = adapter.prepare(random_camera(1, (1, 12, 20)))
    k, _ = layer.project(rays)
    q = layer._turn(layer.norm_q(layer.q(layer.norm(torch.randn(1, 60, I2V.dim)))), rays.rope)
    attention = torch.einsum("blnd,bsnd->bnls", q, k).mul(24**-0.5).softmax(-1).mean(1)[0]
    own = attention.diagonal()
    rows, columns = (axis.flatten() for axis in torch.meshgrid(torch.arange(6), torch.arange(10), indexing="ij"))
    far = (rows[:, None] - rows).abs() + (columns[:, None] - columns).abs() >= 4
    assert own.mean() > 5 * attention[far].mean()


def test_small_motions_survive_half_precision():
    adapter = trained_adapter(CROSS).bfloat16()
    camera = inputs().camera
    near = camera._replace(rays=camera.rays + 1e-4)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        one, other = adapter.prepare(near), adapter.prepare(camera)
        assert isinstance(one, CrossTokens) and isinstance(other, CrossTokens) and one.rays.dtype == torch.float32
        assert 0 < relative_error(one.rays, other.rays) < 1e-2


def test_a_file_of_version_1_loads_and_acts_the_same(tmp_path: Path):
    """As the first version of this project wrote it: no design in the config, no sigma window."""
    adapter, given = trained_adapter(CROSS), inputs()
    config = {key: value for key, value in asdict(CROSS).items() if key != "sigma_window"}
    metadata = {"format": "omnicam-adapter", "version": "1", "convention": "opencv_c2w"}
    metadata["config"] = json.dumps({**config, "dit_dim": I2V.dim, "dit_layers": I2V.num_layers})
    write_tensors(tmp_path / "old.safetensors", adapter.state_dict(), metadata)
    loaded = load_adapter(tmp_path / "old.safetensors", I2V)
    assert loaded.config == CROSS
    model = small_model()
    results = []
    for each in (adapter, loaded):
        model.attach_adapter(each)
        with torch.no_grad():
            results.append(model(*given.arguments, camera=given.camera))
    assert torch.equal(*results)
    names = set(adapter.state_dict())
    assert "ray_embedding.0.weight" in names and "layers.1.norm_k.weight" in names and len(names) == 4 + 2 * 10
