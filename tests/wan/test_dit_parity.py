"""The DiT against diffusers' independent implementation, float32 on the CPU, through the two-way key table."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.wan.dit_helpers import FLF2V, FUN_CONTROL, I2V, T2V, Inputs, inputs, relative_error, small_model
from tools.bench.full_size import diffusers_dit
from wan.config import DiTConfig
from wan.keys import dit_from_diffusers, dit_to_diffusers, dit_to_official
from wan.model import WanModel

# diffusers splits image from text tokens by a fixed text length of 512
# the 1.3B networks in small: heads of 128 channels as in every official model, and the same ffn ratio
SMALLER = {"dim": 256, "ffn_dim": 1493, "num_heads": 2, "num_layers": 2}
TASKS = {
    name: replace(config, text_len=512)
    for name, config in {
        "t2v": T2V, "i2v": I2V, "flf2v": FLF2V, "fun": FUN_CONTROL,
        "t2v-1.3B": replace(T2V, **SMALLER), "fun-1.3B": replace(FUN_CONTROL, **SMALLER),
    }.items()
}  # fmt: skip
ALL = pytest.mark.parametrize("config", TASKS.values(), ids=TASKS)


def both(model: WanModel, timesteps: tuple[float, float], given: Inputs | None = None) -> tuple[Tensor, Tensor]:
    config = model.config
    given = given or inputs(config)
    timestep = torch.tensor(timesteps)
    x = given.latents if given.image_condition is None else torch.cat([given.latents, given.image_condition], dim=1)
    clip = given.clip_features
    if clip is not None and config.image_pos_tokens:
        # diffusers takes first and last frame as a batch of two
        clip = clip.reshape(-1, config.image_pos_tokens // 2, clip.shape[-1])
    with torch.no_grad():
        ours = model(given.latents, timestep, given.context, given.clip_features, given.image_condition)
        theirs = diffusers_dit(model, torch.float32, share=True)(x, timestep, given.context, clip).sample
    return ours, theirs


@ALL
@pytest.mark.parametrize("timesteps", [(999.0, 321.0), (0.0, 17.0)], ids=["noisy", "clean"])
def test_same_numbers_as_diffusers(config: DiTConfig, timesteps: tuple[float, float]):
    ours, theirs = both(small_model(config), timesteps)
    assert theirs.std() > 0.1
    assert relative_error(ours, theirs) <= 1e-5


@ALL
def test_same_numbers_with_sharp_attention_over_long_axes(config: DiTConfig):
    model = small_model(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".norm_q." in name or ".norm_k." in name:
                weight.mul_(3.0)
    given = inputs(config, grid=(13, 4, 28))
    assert relative_error(*both(model, (999.0, 321.0), given)) <= 1e-5


@ALL
def test_same_numbers_where_the_norms_hold_on_to_their_epsilon(config: DiTConfig):
    model = small_model(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if any(
                part in name for part in ("patch_embedding", "attn.q", "attn.k", "attn.o", "ffn.2", "img_emb.proj.3")
            ):
                weight.mul_(2e-3)
            if name == "img_emb.proj.0.weight":
                weight.mul_(1e3)
    given = replace(inputs(config), clip_features=None)
    if config.image_dim is not None:
        clip = inputs(config).clip_features
        assert clip is not None
        given = replace(given, clip_features=clip * 1e-3)
    assert relative_error(*both(model, (999.0, 321.0), given)) <= 1e-5


@ALL
@pytest.mark.parametrize("lengths", [(512, 7), (1, 300)], ids=["full and short", "short and middling"])
def test_texts_of_any_length_are_padded_as_in_diffusers(config: DiTConfig, lengths: tuple[int, int]):
    """Diffusers' pipelines pad the text with zeros to 512 before the network; ours takes it as T5 gave it."""
    model, given = small_model(config), inputs(config)
    padded = given.context.clone()
    for row, length in zip(padded, lengths, strict=True):
        row[length:] = 0.0
    _, theirs = both(model, (999.0, 321.0), replace(given, context=padded))
    texts = [row[:length] for row, length in zip(padded, lengths, strict=True)]
    with torch.no_grad():
        ours = model(given.latents, torch.tensor((999.0, 321.0)), texts, given.clip_features, given.image_condition)
    assert relative_error(ours, theirs) <= 1e-5


@pytest.mark.parametrize(
    "change",
    ["blocks.1.self_attn.q.weight", "blocks.2.cross_attn.v_img.bias", "blocks.0.norm3.weight", "head.modulation"],
)
def test_a_single_changed_weight_is_noticed(change: str):
    model = small_model(TASKS["i2v"])
    _, theirs = both(model, (999.0, 321.0))
    with torch.no_grad():
        model.get_parameter(change).mul_(1.05)
    ours, _ = both(model, (999.0, 321.0))
    assert relative_error(ours, theirs) > 1e-5


@ALL
def test_names_go_to_diffusers_and_back(config: DiTConfig):
    state = small_model(config).state_dict()
    renamed = {dit_to_diffusers(key): value for key, value in state.items()}
    assert len(renamed) == len(state)
    assert all(dit_from_diffusers(dit_to_diffusers(key)) == key for key in state)
    for style in (state, renamed, {f"model.diffusion_model.{key}": value for key, value in state.items()}):
        back = dit_to_official(style)
        assert sorted(back) == sorted(state) and all(torch.equal(back[key], state[key]) for key in state)


def test_official_names_are_the_documented_ones():
    names = set(small_model(I2V).state_dict())
    block = [
        *(
            f"{part}.{leaf}.{kind}"
            for part in ("self_attn", "cross_attn")
            for leaf in "qkvo"
            for kind in ("weight", "bias")
        ),
        *(f"{part}.norm_{leaf}.weight" for part in ("self_attn", "cross_attn") for leaf in "qk"),
        *(f"cross_attn.{leaf}.{kind}" for leaf in ("k_img", "v_img") for kind in ("weight", "bias")),
        *("cross_attn.norm_k_img.weight", "norm3.weight", "norm3.bias", "modulation"),
        *(f"ffn.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")),
    ]
    rest = [f"{name}.{kind}" for name in (
        "patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2",
        "time_projection.1", "head.head", "img_emb.proj.0", "img_emb.proj.1", "img_emb.proj.3", "img_emb.proj.4",
    ) for kind in ("weight", "bias")]  # fmt: skip
    assert names == {*rest, "head.modulation", *(f"blocks.{n}.{key}" for n in range(3) for key in block)}
    assert "img_emb.emb_pos" in small_model(FLF2V).state_dict()
    assert not any("img" in name for name in small_model(T2V).state_dict())


@pytest.mark.parametrize("rename", [dit_to_diffusers, dit_from_diffusers])
def test_unknown_names_are_refused(rename):
    for key in ("myadapter.initial_conv.weight", "blocks.0.cross_attn.k_camera1.linear1.weight", "weight"):
        with pytest.raises(ValueError, match=key):
            rename(key)
