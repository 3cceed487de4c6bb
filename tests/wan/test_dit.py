import copy
from dataclasses import replace

import pytest
import torch

from tests.wan.dit_helpers import FLF2V, FUN_CONTROL, I2V, T2V, inputs, relative_error, small_model
from wan.config import DiTConfig
from wan.embeddings import sinusoid
from wan.initialise import initialise
from wan.model import WanModel

ALL = pytest.mark.parametrize("config", [T2V, I2V, FLF2V, FUN_CONTROL], ids=["t2v", "i2v", "flf2v", "fun"])


@ALL
def test_forward_gives_a_float32_velocity_for_every_task(config: DiTConfig):
    model, given = small_model(config), inputs(config)
    with torch.no_grad():
        velocity = model(*given.arguments)
    assert velocity.shape == given.latents.shape and velocity.dtype == torch.float32
    assert velocity.isfinite().all() and velocity.std() > 0.1


@ALL
def test_every_weight_matters(config: DiTConfig):
    model, given = small_model(config), inputs(config)
    model(*given.arguments).square().mean().backward()
    dead = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert dead == []


@pytest.mark.parametrize("change", ["latents", "timestep", "context", "clip_features", "image_condition"])
def test_every_input_matters(change: str):
    model, given = small_model(), inputs()
    changed = replace(
        given, **{change: getattr(inputs(seed=6), change) if change != "timestep" else torch.tensor([1.0, 2.0])}
    )
    with torch.no_grad():
        assert relative_error(model(*changed.arguments), model(*given.arguments)) > 1e-3


def test_items_of_a_batch_do_not_touch_each_other():
    model, given = small_model(), inputs(batch=2)
    with torch.no_grad():
        both = model(*given.arguments)
        for item in range(2):
            one = model(*(None if x is None else x[item : item + 1] for x in given.arguments))
            assert relative_error(one, both[item : item + 1]) < 1e-5


def test_context_is_a_list_or_padded_and_padding_is_zero():
    model, given = small_model(), inputs()
    short = [given.context[0, :7], given.context[1, :11]]
    padded = torch.zeros(2, 12, I2V.text_dim)
    padded[0, :7], padded[1, :11] = short
    rest = given.arguments[3:]
    with torch.no_grad():
        assert torch.equal(
            model(given.latents, given.timestep, short, *rest), model(given.latents, given.timestep, padded, *rest)
        )


@ALL
def test_prepared_and_cached_tokens_change_nothing(config: DiTConfig):
    model, given = small_model(config), inputs(config)
    with torch.no_grad():
        plain = model(*given.arguments)
        for cache_kv in (False, True):
            tokens = model.prepare(given.context, given.clip_features, cache_kv=cache_kv)
            assert (tokens.cached is not None) == cache_kv
            assert torch.equal(model.denoise(given.latents, given.timestep, tokens, given.image_condition), plain)


def test_cached_tokens_skip_the_projections():
    model, given = small_model(), inputs()
    with torch.no_grad():
        tokens = model.prepare(given.context, given.clip_features, cache_kv=True)
        for block in model.blocks:
            block.cross_attn.k.weight.fill_(float("nan"))
        assert model.denoise(given.latents, given.timestep, tokens, given.image_condition).isfinite().all()


def test_checkpointing_gives_the_same_results_and_gradients():
    given = inputs()
    plain, recomputed = small_model(), small_model()
    recomputed.enable_gradient_checkpointing()
    outputs = [model(*given.arguments) for model in (plain, recomputed)]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert torch.allclose(a.grad, b.grad, rtol=1e-5, atol=1e-8), name


def test_checkpointing_keeps_less():
    given = inputs()
    kept = []
    for checkpointing in (False, True):
        model = small_model()
        if checkpointing:
            model.enable_gradient_checkpointing()
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x):
            model(*given.arguments)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 3


def test_train_and_eval_agree():
    model, given = small_model(), inputs()
    with torch.no_grad():
        assert torch.equal(model.train()(*given.arguments), model.eval()(*given.arguments))


def test_bfloat16_stays_close_to_float32():
    model, given = small_model(), inputs()
    low = copy.deepcopy(model).bfloat16()
    high = copy.deepcopy(low).float()
    with torch.no_grad():
        a, b = low(*given.arguments), high(*given.arguments)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            c = high(*given.arguments)
    assert a.dtype == c.dtype == torch.float32
    assert 0 < relative_error(a, b) < 0.02
    assert relative_error(c, b) < 0.02


@pytest.mark.parametrize("part", ["time_embedding", "time_projection", "head"])
def test_what_wan_computes_in_float32_ignores_autocast(part: str):
    model = small_model()
    x = torch.rand(2) * 1000
    time = model.time_embedding(x)
    arguments = {
        "time_embedding": (x,),
        "time_projection": (time,),
        "head": (torch.randn(2, 12, I2V.dim), time, (1, 3, 4)),
    }[part]
    module = getattr(model, part)
    with torch.no_grad():
        plain = module(*arguments)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(module(*arguments), plain)


def test_sinusoid_is_exact_at_the_top_timestep():
    angles = 999.0 / 10000.0 ** (torch.arange(128, dtype=torch.float64) / 128)
    expected = torch.cat([angles.cos(), angles.sin()])
    assert (sinusoid(torch.tensor([999.0]), 256)[0].double() - expected).abs().max() < 1e-7


def test_a_fresh_model_is_silent_and_the_same_for_the_same_seed():
    given, models = inputs(), [WanModel(I2V) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        initialise(model, seed)
    with torch.no_grad():
        assert not models[0](*given.arguments).any()
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert models[0].blocks[0].self_attn.q.weight.abs().max() <= (6 / (2 * I2V.dim)) ** 0.5
    assert models[0].text_embedding[0].weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_initialise_reaches_every_weight():
    model = WanModel(FLF2V)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    initialise(model, 0)
    assert [name for name, weight in model.named_parameters() if weight.isnan().any()] == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"image_condition": None}, "36 channels"),
        ({"clip_features": None}, "clip_features"),
        ({"latents": torch.zeros(2, 16, 3, 5, 8)}, "multiples of 2"),
        ({"context": torch.zeros(2, 25, 40)}, "up to 24"),
        ({"context": torch.zeros(2, 4, 41)}, "another text encoder"),
        ({"context": torch.zeros(3, 4, 40)}, "3 contexts for 2"),
        ({"clip_features": torch.zeros(2, 5, 47)}, "another image encoder"),
        ({"camera": torch.zeros(2, 3, 24, 6, 8)}, "no camera adapter"),
    ],
)
def test_wrong_inputs_are_refused(change: dict, word: str):
    given = inputs()
    arguments = {
        key: getattr(given, key) for key in ("latents", "timestep", "context", "clip_features", "image_condition")
    }
    with pytest.raises(ValueError, match=word):
        small_model()(**{**arguments, **change})


def test_image_tokens_for_a_text_model_are_refused():
    given = inputs(T2V)
    with pytest.raises(ValueError, match="no image cross-attention"):
        small_model(T2V).prepare(given.context, torch.zeros(2, 5, 48))


def test_an_unknown_attention_is_refused():
    with pytest.raises(ValueError, match="torch, sdpa"):
        WanModel(I2V, attn_mode="flash3")


def test_first_and_last_frame_tokens_come_stacked_or_joined():
    model, given = small_model(FLF2V), inputs(FLF2V)
    assert given.clip_features is not None
    stacked = given.clip_features.reshape(4, 5, 48)
    with torch.no_grad():
        a = model(*given.arguments)
        b = model(given.latents, given.timestep, given.context, stacked, given.image_condition)
    assert torch.equal(a, b)
