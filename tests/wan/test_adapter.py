"""What every design of camera adapter keeps: the interface between it and the DiT."""

import copy
from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from camera.network_input import CameraInput
from tests.wan.dit_helpers import (
    ADAPTERS,
    I2V,
    T2V,
    Inputs,
    inputs,
    random_camera,
    relative_error,
    small_model,
    trained_adapter,
)
from wan.adapters.build import build_adapter, with_arguments
from wan.adapters.interface import CameraAdapter
from wan.config import WAN_CONFIGS, RelativeConfig
from wan.model import WanModel

DESIGNS = list(ADAPTERS)


def with_adapter(design: str, adapter: CameraAdapter | None = None) -> WanModel:
    model = small_model()
    model.attach_adapter(adapter or trained_adapter(ADAPTERS[design]))
    return model


def run(model: WanModel, given: Inputs, camera: CameraInput | None, gain: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return model(*given.arguments, camera=camera, camera_gain=gain)


def fresh(design: str) -> CameraAdapter:
    return build_adapter(ADAPTERS[design], I2V.dim, I2V.num_layers, torch.Generator().manual_seed(1))


def item(camera: CameraInput, index: int) -> CameraInput:
    return CameraInput(*(part[index : index + 1] for part in camera))


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_adapter_changes_nothing_bit_for_bit_in_both_modes(design: str, dtype: torch.dtype):
    model, given = small_model().to(dtype), inputs()
    plain = run(model, given, None)
    model.attach_adapter(fresh(design).to(dtype))
    for training in (True, False):
        model.train(training)
        assert torch.equal(run(model, given, given.camera), plain)
        assert torch.equal(run(model, given, None), plain)


@pytest.mark.parametrize("design", DESIGNS)
def test_after_one_step_gradients_reach_every_tensor(design: str):
    given, adapter = inputs(), fresh(design)
    model = with_adapter(design, adapter)
    assert not adapter.is_trained()
    model(*given.arguments, camera=given.camera).square().mean().backward()
    outputs = [layer.weight for layer in adapter.output_layers()]
    assert all(weight.grad is not None and weight.grad.any() for weight in outputs)
    with torch.no_grad():
        for weight in outputs:
            weight.sub_(weight.grad)
    assert adapter.is_trained()
    model.zero_grad()
    model(*given.arguments, camera=given.camera).square().mean().backward()
    assert [name for name, weight in adapter.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("design", DESIGNS)
def test_another_camera_changes_the_output_in_eval_and_train_alike(design: str):
    model, given = with_adapter(design), inputs()
    other = random_camera(seed=6)
    results = {}
    for mode in (True, False):
        model.train(mode)
        results[mode] = (run(model, given, given.camera), run(model, given, other), run(model, given, None))
    assert all(torch.equal(a, b) for a, b in zip(results[True], results[False], strict=True))
    first, second, none = results[False]
    assert relative_error(first, second) > 1e-3 and relative_error(first, none) > 1e-2


@pytest.mark.parametrize("design", DESIGNS)
def test_every_item_keeps_its_own_camera(design: str):
    model, given = with_adapter(design), inputs(batch=2)
    both = run(model, given, given.camera)
    for index in range(2):
        arguments = (None if x is None else x[index : index + 1] for x in given.arguments)
        with torch.no_grad():
            one = model(*arguments, camera=item(given.camera, index))
        assert relative_error(one, both[index : index + 1]) < 1e-5
    swapped = run(model, given, CameraInput(*(part.flip(0) for part in given.camera)))
    assert all(relative_error(swapped[index], both[index]) > 1e-3 for index in range(2))


@pytest.mark.parametrize("design", DESIGNS)
def test_position_matters_not_only_the_set_of_rays(design: str):
    model, given = with_adapter(design), inputs()
    # the mirrored lens, with the rays of the left half on the right
    wrong = given.camera._replace(
        rays=given.camera.rays.flip(-1), frames=given.camera.frames.flip(-3), lenses=given.camera.lenses * 1.3
    )
    assert relative_error(run(model, given, given.camera), run(model, given, wrong)) > 1e-3


@pytest.mark.parametrize("design", DESIGNS)
def test_a_dropped_camera_is_dropped_for_its_own_video_only(design: str):
    model, given = with_adapter(design), inputs()
    kept, none = run(model, given, given.camera), run(model, given, None)
    dropped = run(model, given, given.camera, torch.tensor([1.0, 0.0]))
    assert torch.equal(dropped[1], none[1])
    assert torch.equal(dropped[0], kept[0])


@pytest.mark.parametrize("design", DESIGNS)
def test_camera_scale_multiplies_and_zero_skips_the_work(design: str):
    model, given = with_adapter(design), inputs()
    adapter = model.adapter
    assert adapter is not None
    tokens = adapter.prepare(given.camera)
    x = torch.randn(2, 36, I2V.num_heads, 28) if design == "v1" else torch.randn(2, 36, I2V.dim)
    with torch.no_grad():
        add = {scale: [] for scale in (1.0, 0.5)}
        for adapter.camera_scale in add:
            branch, term = adapter.branch(2, tokens), adapter.patch_term(tokens)
            add[adapter.camera_scale] = [branch.add(x)] if branch is not None else []
            add[adapter.camera_scale] += [term] if term is not None else []
    assert len(add[1.0]) == {"v2": 2}.get(design, 1)
    assert all(torch.allclose(half, one * 0.5, atol=1e-6) for half, one in zip(add[0.5], add[1.0], strict=True))
    adapter.camera_scale = 0.0
    assert adapter.branch(2, tokens) is None and adapter.patch_term(tokens) is None
    with torch.no_grad():
        for layer in adapter.output_layers():
            layer.weight.fill_(float("nan"))
    result = run(model, given, given.camera)
    model.attach_adapter(None)
    assert torch.equal(result, run(model, given, None))


@pytest.mark.parametrize("design", [name for name in DESIGNS if name != "plucker"])
def test_only_the_named_blocks_have_a_branch(design: str):
    adapter = trained_adapter(ADAPTERS[design])
    tokens = adapter.prepare(inputs().camera)
    assert [adapter.branch(block, tokens) is not None for block in range(3)] == [True, False, True]
    assert adapter.branch(0, None) is None and adapter.patch_term(None) is None


@pytest.mark.parametrize("design", DESIGNS)
def test_camera_tokens_are_cached_and_shared_between_branches(design: str):
    model, given = with_adapter(design), inputs()
    empty = torch.zeros(2, 1, I2V.text_dim)
    plain = run(model, given, given.camera)
    with torch.no_grad():
        unconditional = model(given.latents, given.timestep, empty, *given.arguments[3:], camera=given.camera)
        cond = model.prepare(given.context, given.clip_features, given.camera, cache_kv=True)
        uncond = model.prepare(empty, given.clip_features, cond.camera, cache_kv=True)
        assert cond.camera is not None and uncond.camera is cond.camera
        for tokens, expected in ((cond, plain), (uncond, unconditional)):
            assert torch.equal(model.denoise(given.latents, given.timestep, tokens, given.image_condition), expected)
        without = model.denoise(given.latents, given.timestep, cond.without_camera(), given.image_condition)
    assert torch.equal(without, run(model, given, None))


@pytest.mark.parametrize("design", DESIGNS)
def test_outside_its_sigma_window_the_camera_does_not_act(design: str):
    model, given = with_adapter(design), inputs()
    assert model.adapter is not None
    assert given.timestep.tolist() == [999.0, 321.0]
    always, never = run(model, given, given.camera), run(model, given, None)
    model.adapter.sigma_window = (0.5, 1.0)
    gated = run(model, given, given.camera)
    assert torch.equal(gated[0], always[0]) and torch.equal(gated[1], never[1])


@pytest.mark.parametrize("design", DESIGNS)
def test_checkpointing_gives_the_adapter_the_same_gradients(design: str):
    given = inputs()
    gradients = []
    for checkpointing in (False, True):
        model = with_adapter(design).requires_grad_(False)
        assert model.adapter is not None
        model.adapter.requires_grad_(True)
        if checkpointing:
            model.enable_gradient_checkpointing()
        model(*given.arguments, camera=given.camera).square().mean().backward()
        assert all(weight.grad is None for name, weight in model.named_parameters() if not name.startswith("adapter."))
        gradients.append([weight.grad for weight in model.adapter.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-9) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("design", DESIGNS)
def test_a_float32_adapter_works_on_a_bfloat16_model(design: str):
    given = inputs()
    model = small_model().bfloat16()
    model.attach_adapter(trained_adapter(ADAPTERS[design]))
    reference = copy.deepcopy(model).float()
    assert relative_error(run(model, given, given.camera), run(reference, given, given.camera)) < 0.03
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert relative_error(run(model, given, given.camera), run(reference, given, given.camera)) < 0.03


@pytest.mark.parametrize(
    ("design", "backend"), [("v2", "inductor"), ("v2", "eager"), ("cross", "eager"), ("v1", "eager")]
)
def test_a_compiled_block_gives_the_same_numbers(design: str, backend: str):
    model, given = with_adapter(design), inputs()
    expected = run(model, given, given.camera)
    model.blocks[0].compile(backend=backend, fullgraph=True)
    assert relative_error(run(model, given, given.camera), expected) < 1e-5


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rays": torch.zeros(2, 3, 23, 6, 8)}, "24"),
        ({"rays": torch.zeros(2, 3, 24, 5, 8)}, "multiples of 2"),
        ({"rays": torch.zeros(2, 24, 6, 8)}, "(?i)expected"),
        ({"rays": torch.zeros(2, 3, 24, 12, 16)}, "video tokens"),
        ({"frames": torch.zeros(2, 3, 3, 3, 4, 4)}, "video tokens"),
    ],
)
@pytest.mark.parametrize("design", DESIGNS)
def test_a_camera_of_the_wrong_shape_is_refused(design: str, change: dict[str, Tensor], word: str):
    # where the type checker is on, it is the first to see a missing axis
    with pytest.raises((ValueError, TypeCheckError), match=word):
        run(with_adapter(design), inputs(), inputs().camera._replace(**change))


@pytest.mark.parametrize(("batch", "grid"), [(1, (3, 6, 8)), (2, (2, 6, 8)), (2, (3, 4, 8))])
def test_a_camera_of_another_video_is_refused(batch: int, grid: tuple[int, int, int]):
    with pytest.raises(ValueError, match="camera tokens"):
        run(with_adapter("v2"), inputs(), random_camera(batch, grid))


@pytest.mark.parametrize("design", ["v2", "plucker"])
def test_finer_rays_are_asked_for_and_read(design: str):
    config = with_arguments(ADAPTERS[design], ["fine_scale=2"])
    assert config.ray_scale == 2
    model, given = with_adapter(design, trained_adapter(config)), inputs()
    fine = random_camera(ray_scale=2)
    assert relative_error(run(model, given, fine), run(model, given, None)) > 1e-2
    with pytest.raises(ValueError, match="camera"):
        run(model, given, given.camera)


@pytest.mark.parametrize("design", ["v2", "cross", "plucker"])
def test_rays_of_the_group_or_of_its_last_frame_are_read(design: str):
    config, given = ADAPTERS[design], inputs()
    early, late = (given.camera._replace(rays=given.camera.rays.clone()) for _ in range(2))
    early.rays[:, :, :18] += 0.3
    late.rays[:, :, 18:] += 0.3
    for rays_of, seen in (("group", (True, True)), ("last", (False, True))):
        model = with_adapter(design, trained_adapter(with_arguments(config, [f"rays_of={rays_of}"])))
        plain = run(model, given, given.camera)
        assert (tuple(not torch.equal(run(model, given, camera), plain) for camera in (early, late))) == seen
    with pytest.raises(ValueError, match="rays_of 'first': expected group or last"):
        with_arguments(config, ["rays_of=first"])


def test_an_adapter_of_another_model_is_refused():
    with pytest.raises(ValueError, match="width 64"):
        small_model().attach_adapter(build_adapter(ADAPTERS["v2"], 64, 3))
    with pytest.raises(ValueError, match="block 2"):
        build_adapter(ADAPTERS["v2"], I2V.dim, 2)


def test_adapters_fit_text_to_video_too():
    model = small_model(T2V)
    model.attach_adapter(trained_adapter())
    given = inputs(T2V)
    assert relative_error(run(model, given, given.camera), run(model, given, None)) > 1e-2


def test_arguments_change_a_configuration():
    config = WAN_CONFIGS["i2v-14B"].adapter
    small = with_arguments(config, ["inner_dim=500", "blocks=0:10", "sigma_window=(0.5,1.0)", "translation_unit=2"])
    assert small == replace(
        RelativeConfig(), inner_dim=500, blocks=tuple(range(10)), sigma_window=(0.5, 1.0), translation_unit=2.0
    )
    fork = with_arguments(ADAPTERS["v1"], ["same_frame=false", "geometry=omnicam_legacy"])
    assert (fork.same_frame, fork.geometry) == (False, "omnicam_legacy")


@pytest.mark.parametrize(
    ("argument", "word"),
    [
        ("inner_dim", "KEY=VALUE"),
        ("colour=1", r"unknown colour; known are .*inner_dim.*\(v2\)"),
        ("inner_dim=wide", "inner_dim is 'wide'; expected the like of 40"),
        ("blocks=3", "blocks is 3; expected the like of"),
        ("blocks=(0,True)", "blocks is True"),
        ("kv_stride=3", "kv_stride"),
        ("num_heads=0", "num_heads is 0"),
        ("hidden_dim=-1", "hidden_dim is -1; expected 0 or more"),
        ("eps=1e999", "eps is inf"),
        ("sigma_window=(0.5,)", "expected two numbers"),
    ],
)
def test_wrong_arguments_are_named(argument: str, word: str):
    with pytest.raises(ValueError, match=word):
        with_arguments(ADAPTERS["v2"], [argument])


def test_a_block_beyond_the_dit_names_the_range_that_fits():
    dit = WAN_CONFIGS["i2v-tiny"].dit
    with pytest.raises(
        ValueError, match=f"block {dit.num_layers}, .*{dit.num_layers} blocks; blocks=0:{dit.num_layers}"
    ):
        build_adapter(
            RelativeConfig(inner_dim=64, num_heads=2, relative_dim=16, blocks=(0, dit.num_layers)),
            dit.dim,
            dit.num_layers,
        )
