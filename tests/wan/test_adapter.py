import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from common.weights import read_metadata, read_tensors, write_tensors
from tests.wan.dit_helpers import ADAPTER, I2V, T2V, Inputs, inputs, relative_error, small_model, trained_adapter
from wan.adapter import CameraAdapter, load_adapter, save_adapter
from wan.model import WanModel


def with_adapter(adapter: CameraAdapter | None = None) -> WanModel:
    model = small_model()
    model.attach_adapter(adapter or trained_adapter())
    return model


def run(model: WanModel, given: Inputs, camera: Tensor | None) -> Tensor:
    with torch.no_grad():
        return model(*given.arguments, camera=camera)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_adapter_changes_nothing_bit_for_bit(dtype: torch.dtype):
    model, given = small_model().to(dtype), inputs()
    plain = run(model, given, None)
    model.attach_adapter(CameraAdapter(ADAPTER, I2V.dim, I2V.num_layers).to(dtype))
    assert torch.equal(run(model, given, given.camera), plain)
    assert torch.equal(run(model, given, None), plain)


def test_a_new_adapter_can_learn():
    given = inputs()
    adapter = CameraAdapter(ADAPTER, I2V.dim, I2V.num_layers)
    model = with_adapter(adapter)
    assert not adapter.is_trained()
    model(*given.arguments, camera=given.camera).square().mean().backward()
    outputs = [layer.o.weight for layer in adapter.layers]
    assert all(weight.grad is not None and weight.grad.any() for weight in outputs)
    with torch.no_grad():
        for weight in outputs:
            weight.sub_(weight.grad)
    assert adapter.is_trained()
    model.zero_grad()
    model(*given.arguments, camera=given.camera).square().mean().backward()
    assert [name for name, weight in adapter.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_another_camera_changes_the_output_in_eval_and_train_alike():
    model, given = with_adapter(), inputs()
    other = inputs(seed=6).camera
    results = {}
    for mode in (True, False):
        model.train(mode)
        results[mode] = (run(model, given, given.camera), run(model, given, other), run(model, given, None))
    assert all(torch.equal(a, b) for a, b in zip(results[True], results[False], strict=True))
    first, second, none = results[False]
    assert relative_error(first, second) > 1e-2 and relative_error(first, none) > 1e-2


def test_every_item_keeps_its_own_camera():
    model, given = with_adapter(), inputs(batch=2)
    both = run(model, given, given.camera)
    for item in range(2):
        with torch.no_grad():
            arguments = (None if x is None else x[item : item + 1] for x in given.arguments)
            one = model(*arguments, camera=given.camera[item : item + 1])
        assert relative_error(one, both[item : item + 1]) < 1e-5
    swapped = run(model, given, given.camera.flip(0))
    assert all(relative_error(swapped[item], both[item]) > 1e-2 for item in range(2))


def test_a_latent_frame_sees_the_rays_of_that_frame_only():
    adapter = trained_adapter()
    given = inputs(batch=1)
    changed = given.camera.clone()
    changed[:, 1] += 0.5
    x = torch.randn(1, 3 * 3 * 4, I2V.dim)
    with torch.no_grad():
        a, b = (adapter.branch(0, adapter.prepare(camera)) for camera in (given.camera, changed))
        assert a is not None and b is not None
        difference = (a(x) - b(x)).unflatten(1, (3, 12)).abs().amax(dim=(0, 2, 3))
    assert difference[1] > 1e-3 and difference[0] == 0 and difference[2] == 0


def test_a_token_starts_out_looking_at_its_own_ray():
    config = replace(ADAPTER, inner_dim=96, num_heads=4, token_dim=64, hidden_dim=64)
    adapter = CameraAdapter(config, I2V.dim, I2V.num_layers)
    adapter.reset_parameters(torch.Generator().manual_seed(0))
    layer = adapter.layers[0]
    rays = adapter.prepare(inputs(batch=1, grid=(1, 12, 20)).camera)
    k, _ = layer.project(rays)
    q = layer._turn(layer.norm_q(layer.q(layer.norm(torch.randn(1, 60, I2V.dim)))), rays.rope)
    attention = torch.einsum("blnd,bsnd->bnls", q, k).mul(24**-0.5).softmax(-1).mean(1)[0]
    own = attention.diagonal()
    rows, columns = (axis.flatten() for axis in torch.meshgrid(torch.arange(6), torch.arange(10), indexing="ij"))
    far = (rows[:, None] - rows).abs() + (columns[:, None] - columns).abs() >= 4
    assert own.mean() > 5 * attention[far].mean()


def test_position_matters_not_only_the_set_of_rays():
    model, given = with_adapter(), inputs()
    assert relative_error(run(model, given, given.camera), run(model, given, given.camera.flip(-1))) > 1e-3


def test_camera_scale_multiplies_and_zero_skips_the_work():
    model, given = with_adapter(), inputs()
    adapter = model.adapter
    assert adapter is not None
    x = torch.randn(2, 36, I2V.dim)
    tokens = adapter.prepare(given.camera)
    with torch.no_grad():
        one, adapter.camera_scale = adapter.branch(2, tokens)(x), 0.5
        assert torch.allclose(adapter.branch(2, tokens)(x), one * 0.5)
    adapter.camera_scale = 0.0
    with torch.no_grad():
        for parameter in adapter.layers.parameters():
            parameter.fill_(float("nan"))
    result = run(model, given, given.camera)
    model.attach_adapter(None)
    assert torch.equal(result, run(model, given, None))


def test_only_the_named_blocks_have_a_branch():
    adapter = trained_adapter()
    tokens = adapter.prepare(inputs().camera)
    assert [adapter.branch(block, tokens) is not None for block in range(3)] == [True, False, True]
    assert adapter.branch(0, None) is None


def test_camera_tokens_are_cached_and_shared_between_branches():
    model, given = with_adapter(), inputs()
    empty = torch.zeros(2, 1, I2V.text_dim)
    plain = run(model, given, given.camera)
    with torch.no_grad():
        unconditional = model(given.latents, given.timestep, empty, *given.arguments[3:], camera=given.camera)
        cond = model.prepare(given.context, given.clip_features, given.camera, cache_kv=True)
        uncond = model.prepare(empty, given.clip_features, cond.camera, cache_kv=True)
        assert cond.camera is not None and cond.camera.cached is not None and uncond.camera is cond.camera
        for tokens, expected in ((cond, plain), (uncond, unconditional)):
            assert torch.equal(model.denoise(given.latents, given.timestep, tokens, given.image_condition), expected)


def test_checkpointing_gives_the_adapter_the_same_gradients():
    given = inputs()
    gradients = []
    for checkpointing in (False, True):
        model = with_adapter().requires_grad_(False)
        assert model.adapter is not None
        model.adapter.requires_grad_(True)
        if checkpointing:
            model.enable_gradient_checkpointing()
        model(*given.arguments, camera=given.camera).square().mean().backward()
        assert all(weight.grad is None for name, weight in model.named_parameters() if not name.startswith("adapter."))
        gradients.append([weight.grad for weight in model.adapter.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-9) for a, b in zip(*gradients, strict=True))


def test_small_motions_survive_half_precision():
    adapter = trained_adapter().bfloat16()
    camera = inputs().camera
    near = camera + 1e-4
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert adapter.prepare(camera).rays.dtype == torch.float32
        assert 0 < relative_error(adapter.prepare(near).rays, adapter.prepare(camera).rays) < 1e-2


def test_a_float32_adapter_works_on_a_bfloat16_model():
    given = inputs()
    model = small_model().bfloat16()
    model.attach_adapter(trained_adapter())
    reference = copy.deepcopy(model).float()
    assert relative_error(run(model, given, given.camera), run(reference, given, given.camera)) < 0.02


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        ((2, 3, 6, 6, 8), "24"),
        ((2, 3, 24, 5, 8), "multiples of 2"),
        ((2, 24, 6, 8), "(?i)expected"),
        ((2, 2, 24, 6, 8), "one group per latent frame"),
        ((2, 3, 24, 12, 16), "on the latent grid"),
        ((1, 3, 24, 6, 8), "camera tokens"),
    ],
)
def test_a_camera_of_the_wrong_shape_is_refused(shape: tuple[int, ...], word: str):
    # where the type checker is on, it is the first to see a missing axis
    with pytest.raises((ValueError, TypeCheckError), match=word):
        run(with_adapter(), inputs(), torch.zeros(shape))


def test_an_adapter_of_another_model_is_refused():
    with pytest.raises(ValueError, match="width 64"):
        small_model().attach_adapter(CameraAdapter(ADAPTER, 64, 3))
    with pytest.raises(ValueError, match="block 2"):
        CameraAdapter(ADAPTER, I2V.dim, 2)


def test_a_file_comes_back_the_same(tmp_path: Path):
    adapter, given = trained_adapter(), inputs()
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, adapter, {"base_task": "i2v-tiny", "trained_steps": "7"})
    metadata = read_metadata(path)
    assert metadata["format"] == "omnicam-adapter" and metadata["version"] == "1"
    assert metadata["base_task"] == "i2v-tiny" and metadata["trained_steps"] == "7" and metadata["convention"]
    loaded = load_adapter(path, I2V)
    assert loaded.config == adapter.config
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), adapter.parameters(), strict=True))
    assert torch.equal(run(with_adapter(loaded), given, given.camera), run(with_adapter(adapter), given, given.camera))
    assert next(load_adapter(path, I2V, dtype=torch.bfloat16).parameters()).dtype == torch.bfloat16
    # the base model's task does not matter, its shape does
    load_adapter(path, T2V)


@pytest.mark.parametrize(
    ("metadata", "word"),
    [
        ({"format": "other"}, "a camera adapter, not a camera adapter saved by this project"),
        ({"version": "9"}, "version"),
        ({"convention": "opengl_w2c"}, "convention"),
        ({"config": "{"}, "config"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "colour": 1}'}, "colour"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "num_heads": 0}'}, "num_heads is 0"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "hidden_dim": "x"}'}, "hidden_dim is 'x'"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "eps": NaN}'}, "eps is nan"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "patch_size": [2]}'}, "patch_size is"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "blocks": [0, 7]}'}, "block 7 of a DiT with 3"),
        ({"config": '{"dit_dim": 5120, "dit_layers": 40}'}, "width 5120 with 40 blocks"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "blocks": [0, 1, 2]}'}, "does not fit the camera adapter"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_name(tmp_path: Path, metadata: dict[str, str], word: str):
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, trained_adapter(), {"base_task": "i2v-14B"})
    write_tensors(path, read_tensors(path), {**read_metadata(path), **metadata})
    with pytest.raises(ValueError, match=word) as error:
        load_adapter(path, I2V)
    assert str(path) in str(error.value)


def test_another_network_is_named(tmp_path: Path):
    path = tmp_path / "dit.safetensors"
    write_tensors(path, small_model().state_dict())
    with pytest.raises(ValueError, match=r"is a Wan2\.1 DiT, not a camera adapter"):
        load_adapter(path, I2V)


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN or infinity"), (1, "floating-point type")])
def test_an_adapter_of_no_numbers_is_refused(tmp_path: Path, value: float, word: str):
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, trained_adapter(), {})
    tensors = read_tensors(path)
    tensors["layers.0.q.weight"] = torch.full(tensors["layers.0.q.weight"].shape, value)
    write_tensors(path, tensors, read_metadata(path))
    with pytest.raises(ValueError, match=rf"adapter\.safetensors.*{word}"):
        load_adapter(path, I2V)
