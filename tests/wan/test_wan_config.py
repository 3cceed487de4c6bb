import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch

from wan.adapters.build import build_adapter
from wan.adapters.interface import CameraAdapter
from wan.config import (
    NEGATIVE_PROMPT,
    TRAINABLE_TASKS,
    WAN_CONFIGS,
    CLIPConfig,
    CLIPTextConfig,
    CrossConfig,
    DiTConfig,
    ForkConfig,
    PluckerConfig,
    RelativeConfig,
    T5Config,
    TaskConfig,
    VAEConfig,
    WeightPaths,
)
from wan.model import WanModel

TASKS = [
    *("t2v-1.3B", "t2v-14B", "t2i-14B", "i2v-14B", "flf2v-14B"),
    *("t2v-1.3B-FC", "t2v-14B-FC", "i2v-14B-FC", "i2v-tiny"),
]


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def build(task: str) -> WanModel:
    with torch.device("meta"):
        return WanModel(WAN_CONFIGS[task].dit)


def test_all_tasks_are_there():
    assert sorted(WAN_CONFIGS) == sorted(TASKS)


def test_config_does_not_import_torch():
    code = "import sys, wan.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "config",
    [
        DiTConfig,
        VAEConfig,
        T5Config,
        CLIPConfig,
        CLIPTextConfig,
        CrossConfig,
        ForkConfig,
        PluckerConfig,
        RelativeConfig,
        TaskConfig,
        WeightPaths,
    ],
)
def test_every_field_has_its_sentence(config: type):
    import inspect

    source = [line for kind in config.__mro__[:-1] for line in inspect.getsource(kind).splitlines()]
    for item in fields(config):
        line = next(i for i, text in enumerate(source) if text.strip().startswith(f"{item.name}:"))
        assert source[line + 1].strip().startswith('"""'), f"{config.__name__}.{item.name} has no sentence"


def test_i2v_14b_has_the_official_number_of_parameters():
    assert parameters(build("i2v-14B")) == 16_394_878_784


@pytest.mark.parametrize(
    ("task", "billions"),
    [
        ("t2v-1.3B", 1.419),
        ("t2v-14B", 14.288),
        ("t2i-14B", 14.288),
        ("flf2v-14B", 16.396),
        ("t2v-1.3B-FC", 1.565),
        ("t2v-14B-FC", 16.395),
        ("i2v-14B-FC", 16.395),
    ],
)
def test_the_other_tasks_have_plausible_numbers_of_parameters(task: str, billions: float):
    assert parameters(build(task)) == pytest.approx(billions * 1e9, rel=1e-3)


def test_the_tiny_dit_and_its_adapter_are_small():
    assert 6e6 <= parameters(build("i2v-tiny")) <= 7e6
    assert parameters(adapter_of("i2v-tiny", "v2")) <= 0.5e6


@pytest.mark.parametrize(
    ("task", "design", "millions"),
    [
        ("i2v-14B", "v2", 267.5),
        ("i2v-14B", "cross", 145.4),
        ("i2v-14B", "plucker", 5.34),
        ("i2v-14B", "v1", 528.3),
        ("t2v-1.3B", "v2", 18.5),
        ("t2v-1.3B", "cross", 13.9),
        ("i2v-tiny", "v2", 0.265),
        ("i2v-tiny", "cross", 0.490),
        ("i2v-tiny", "plucker", 0.090),
        ("i2v-tiny", "v1", 0.302),
    ],
)
def test_adapters_have_the_sizes_that_are_told(task: str, design: str, millions: float):
    assert parameters(adapter_of(task, design)) == pytest.approx(millions * 1e6, rel=0.01)


def adapter_of(task: str, design: str) -> CameraAdapter:
    entry = WAN_CONFIGS[task]
    with torch.device("meta"):
        return build_adapter(entry.adapter_of(design), entry.dit.dim, entry.dit.num_layers)


def test_the_default_adapter_costs_at_most_2_percent_of_a_14b_forward():
    """81 frames of 480 x 832: 1.686 PFLOP without a camera, by the same way of counting (products only, 2 each)."""
    task, grid = WAN_CONFIGS["i2v-14B"], (21, 30, 52)
    tokens, dim, ffn, context = grid[0] * grid[1] * grid[2], task.dit.dim, task.dit.ffn_dim, 769
    block = 8 * tokens * dim**2 + 4 * tokens**2 * dim + 4 * tokens * dim**2 + 4 * context * dim**2
    block += 4 * tokens * context * dim + 4 * tokens * dim * ffn
    assert 40 * block == pytest.approx(1.686e15, rel=1e-3)

    shape = task.adapter
    assert isinstance(shape, RelativeConfig)
    cells = grid[0] * -(-grid[1] // shape.kv_stride) * -(-grid[2] // shape.kv_stride)
    projections = 4 * tokens * dim * shape.inner_dim + 4 * cells * dim * shape.inner_dim
    attention = 4 * tokens * cells * shape.inner_dim
    turns = 2 * 4 * shape.num_heads * shape.relative_dim * (2 * tokens + 2 * cells)
    layer = projections + attention + turns
    fine = 2 * tokens * shape.hidden_dim * (24 * (2 * shape.fine_scale) ** 2 + dim)
    share = (len(shape.blocks) * layer + fine) / (40 * block)
    assert 0.01 < share <= 0.02, share


def test_defaults_follow_the_task():
    assert WAN_CONFIGS["i2v-14B"].flow_shift_for(480, 832) == 3.0
    assert WAN_CONFIGS["i2v-14B"].flow_shift_for(832, 480) == 3.0
    assert WAN_CONFIGS["i2v-14B"].flow_shift_for(720, 1280) == 5.0
    assert WAN_CONFIGS["t2v-14B"].flow_shift_for(480, 832) == 5.0
    assert (WAN_CONFIGS["i2v-14B"].steps, WAN_CONFIGS["t2v-14B"].steps, WAN_CONFIGS["t2i-14B"].frames) == (40, 50, 1)
    assert WAN_CONFIGS["flf2v-14B"].negative_prompt == "镜头切换，" + NEGATIVE_PROMPT
    assert WAN_CONFIGS["t2v-14B"].clip is None and WAN_CONFIGS["t2v-1.3B-FC"].clip is not None


@pytest.mark.parametrize(
    ("task", "steps", "shift", "frames", "first_frame", "last_frame", "control"),
    [
        ("t2v-1.3B", 50, 5.0, 81, "none", False, False),
        ("t2v-14B", 50, 5.0, 81, "none", False, False),
        ("t2i-14B", 50, 5.0, 1, "none", False, False),
        ("i2v-14B", 40, 5.0, 81, "needed", False, False),
        ("flf2v-14B", 50, 16.0, 81, "needed", True, False),
        ("t2v-1.3B-FC", 50, 5.0, 81, "optional", False, True),
        ("t2v-14B-FC", 50, 5.0, 81, "optional", False, True),
        ("i2v-14B-FC", 40, 5.0, 81, "needed", False, True),
    ],
)
def test_steps_shift_and_inputs_of_every_task_are_the_official_ones(
    task: str, steps: int, shift: float, frames: int, first_frame: str, last_frame: bool, control: bool
):
    """Official `generate.py`: 40 steps where the name has i2v, else 50; shift 16 for flf2v; guidance 5."""
    config = WAN_CONFIGS[task]
    assert (config.steps, config.flow_shift_for(720, 1280), config.frames) == (steps, shift, frames)
    assert (config.first_frame, config.needs_last_frame, config.needs_control) == (first_frame, last_frame, control)
    assert config.guidance_scale == 5.0 and config.size == ((720, 1280) if task == "flf2v-14B" else (480, 832))
    assert (task in TRAINABLE_TASKS) == (not last_frame)
    image, guide = ("latents_image" in config.cached_tensors), ("latents_control" in config.cached_tensors)
    assert (image, guide) == (first_frame == "needed", control)


@pytest.mark.parametrize(
    ("build_wrong", "word"),
    [
        (lambda: DiTConfig(dim=100, num_heads=3), "num_heads"),
        (lambda: DiTConfig(dim=20, num_heads=4), "rotary"),
        (lambda: DiTConfig(freq_dim=255), "freq_dim"),
        (lambda: DiTConfig(in_dim=8), "in_dim"),
        (lambda: DiTConfig(patch_size=(2, 2, 2)), "patch_size"),
        (lambda: DiTConfig(image_pos_tokens=514), "image_dim"),
        (lambda: VAEConfig(z_dim=4), "latent channels"),
        (lambda: VAEConfig(std=(0.0,) * 16), "std"),
        (lambda: VAEConfig(dim_mult=(1, 2)), "temporal_downsample"),
        (lambda: T5Config(dim_attn=100), "num_heads"),
        (lambda: CLIPConfig(image_size=225), "patch_size"),
        (lambda: CLIPConfig(num_heads=7), "num_heads"),
        (lambda: CLIPTextConfig(num_heads=7), "num_heads"),
        (lambda: CLIPTextConfig(positions=4), "positions"),
        (lambda: replace(WAN_CONFIGS["i2v-14B"], first_frame="none"), "first_frame"),
        (lambda: replace(WAN_CONFIGS["i2v-14B"], dit=replace(WAN_CONFIGS["i2v-14B"].dit, in_dim=17)), "1 channels"),
        (lambda: CrossConfig(inner_dim=34, num_heads=2), "inner_dim"),
        (lambda: CrossConfig(blocks=(1, 0)), "blocks"),
        (lambda: RelativeConfig(blocks=()), "blocks"),
        (lambda: RelativeConfig(inner_dim=100, num_heads=3), "inner_dim"),
        (lambda: RelativeConfig(relative_dim=126), "relative_dim"),
        (lambda: RelativeConfig(kv_stride=3), "kv_stride"),
        (lambda: RelativeConfig(fine_scale=3), "fine_scale"),
        (lambda: RelativeConfig(translation_unit=0.0), "translation_unit"),
        (lambda: RelativeConfig(sigma_window=(0.9, 0.5)), "sigma_window"),
        (lambda: PluckerConfig(hidden_dim=0), "hidden_dim"),
        (lambda: ForkConfig(hidden_dim=60), "hidden_dim"),
        (lambda: ForkConfig(geometry="opengl"), "geometry"),
        (lambda: replace(WAN_CONFIGS["i2v-14B"], clip=None), "CLIP"),
        (lambda: replace(WAN_CONFIGS["i2v-14B"], t5=T5Config(dim=2048)), "T5"),
        (lambda: replace(WAN_CONFIGS["i2v-14B"], frames=80), "4n"),
        (lambda: replace(WAN_CONFIGS["i2v-tiny"], adapter=RelativeConfig()), "block 19"),
    ],
)
def test_wrong_sizes_are_refused_by_name(build_wrong, word: str):
    with pytest.raises(ValueError, match=word):
        build_wrong()


def test_the_official_constants():
    dit, vae, t5, clip = DiTConfig(), VAEConfig(), T5Config(), CLIPConfig()
    assert (dit.rope_theta, dit.eps, dit.freq_dim, dit.text_len, dit.patch_size) == (10000.0, 1e-6, 256, 512, (1, 2, 2))
    assert (vae.temporal_stride, vae.spatial_stride, vae.widths) == (4, 8, (96, 192, 384, 384))
    assert (vae.mean[0], vae.mean[15], vae.std[0], vae.std[15]) == (-0.7571, -0.2921, 2.8184, 1.9160)
    assert (sum(vae.mean), sum(vae.std)) == (pytest.approx(-0.7332), pytest.approx(34.2747))
    assert (t5.num_buckets, t5.max_distance, t5.eps, clip.eps, clip.tokens) == (32, 128, 1e-6, 1e-5, 257)
    assert all(entry.fps == 16 and entry.dit.out_dim == 16 for entry in WAN_CONFIGS.values())
