from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from common.weights import write_tensors
from wan.clip import CLIPVision
from wan.config import CLIPConfig
from wan.keys_encoders import CLIP_DROPPED, clip_table, from_official, to_official
from wan.loading import load_clip

SMALL = CLIPConfig(image_size=28, patch_size=14, dim=16, num_heads=2, num_layers=3, embed_dim=8)


def random_tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: 0.3 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    """The whole official file in small: both towers and the scale."""
    shapes: dict[str, tuple[int, ...]] = {
        "log_scale": (),
        "textual.token_embedding.weight": (10, 4),
        "visual.cls_embedding": (1, 1, 16),
        "visual.pos_embedding": (1, 5, 16),
        "visual.head": (16, 8),
        "visual.patch_embedding.weight": (16, 3, 14, 14),
    }
    for norm in ("pre_norm", "post_norm"):
        shapes |= {f"visual.{norm}.{kind}": (16,) for kind in ("weight", "bias")}
    layers = {"attn.to_qkv": (48, 16), "attn.proj": (16, 16), "mlp.0": (64, 16), "mlp.2": (16, 64)}
    for n in range(3):
        for norm in ("norm1", "norm2"):
            shapes |= {f"visual.transformer.{n}.{norm}.{kind}": (16,) for kind in ("weight", "bias")}
        for name, shape in layers.items():
            shapes |= {f"visual.transformer.{n}.{name}.weight": shape, f"visual.transformer.{n}.{name}.bias": shape[:1]}
    return random_tensors(shapes)


@pytest.fixture
def path(tmp_path: Path, official: dict[str, Tensor]) -> Path:
    write_tensors(tmp_path / "clip.safetensors", official)
    return tmp_path / "clip.safetensors"


def load(path: Path, config: CLIPConfig = SMALL) -> CLIPVision:
    return load_clip(path, config, device="cpu", dtype=torch.float32)


def transformers_states(official: dict[str, Tensor], images: Tensor) -> tuple[Tensor, ...]:
    """Hidden states of transformers' whole model, its weights put together by hand from the official ones."""
    model = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            hidden_act="gelu",
        )
    ).eval()
    tower = getattr(model, "vision_model", model)
    state = {
        "embeddings.class_embedding": official["visual.cls_embedding"][0, 0],
        "embeddings.position_embedding.weight": official["visual.pos_embedding"][0],
        "embeddings.patch_embedding.weight": official["visual.patch_embedding.weight"],
    }
    for kind in ("weight", "bias"):
        state[f"pre_layrnorm.{kind}"] = official[f"visual.pre_norm.{kind}"]
        state[f"post_layernorm.{kind}"] = official[f"visual.post_norm.{kind}"]
        for n in range(3):
            ours, theirs = f"visual.transformer.{n}", f"encoder.layers.{n}"
            query_key_value = official[f"{ours}.attn.to_qkv.{kind}"]
            for i, name in enumerate("qkv"):
                state[f"{theirs}.self_attn.{name}_proj.{kind}"] = query_key_value[16 * i : 16 * (i + 1)]
            state[f"{theirs}.self_attn.out_proj.{kind}"] = official[f"{ours}.attn.proj.{kind}"]
            state[f"{theirs}.layer_norm1.{kind}"] = official[f"{ours}.norm1.{kind}"]
            state[f"{theirs}.layer_norm2.{kind}"] = official[f"{ours}.norm2.{kind}"]
            state[f"{theirs}.mlp.fc1.{kind}"] = official[f"{ours}.mlp.0.{kind}"]
            state[f"{theirs}.mlp.fc2.{kind}"] = official[f"{ours}.mlp.2.{kind}"]
    tower.load_state_dict(state)
    with torch.no_grad():
        return model(pixel_values=images, output_hidden_states=True).hidden_states


def test_the_output_is_what_enters_the_last_block(path: Path, official: dict[str, Tensor]):
    images = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    states = transformers_states(official, images)
    with torch.no_grad():
        ours = load(path)(images)
    assert len(states) == 4 and ours.shape == (2, 5, 16)
    assert (ours - states[-2]).norm() / states[-2].norm() <= 1e-5
    assert (ours - states[-1]).norm() / states[-1].norm() > 0.1


def test_official_names_of_the_real_tower():
    with torch.device("meta"):
        clip = CLIPVision(CLIPConfig())
    tensors = to_official(clip.state_dict(), clip_table(CLIPConfig()))
    assert tensors["visual.pos_embedding"].shape == (1, 257, 1280)
    assert tensors["visual.transformer.30.attn.to_qkv.weight"].shape == (3840, 1280)
    assert not [key for key in tensors if key.startswith("visual.transformer.31.")]
    # 632,076,800 parameters of ViT-H/14 without the last block (19,677,440) and the head (1280 x 1024)
    assert sum(value.numel() for value in clip.parameters()) == 632_076_800 - 19_677_440 - 1280 * 1024


def test_names_go_to_ours_and_back(official: dict[str, Tensor]):
    table = clip_table(SMALL)
    back = to_official(from_official(official, table, CLIP_DROPPED), table)
    dropped = {key for key in official if key not in back}
    assert dropped == {
        *("log_scale", "textual.token_embedding.weight", "visual.head"),
        *(key for key in official if key.startswith("visual.transformer.2.")),
    }
    assert all(torch.equal(back[key], official[key]) for key in back)


def test_images_are_resized_without_a_crop_and_normalised(path: Path):
    clip = load(path)
    images = torch.rand(2, 3, 20, 50, generator=torch.Generator().manual_seed(2)) * 2 - 1
    pixels = (F.interpolate(images, size=(28, 28), mode="bicubic", align_corners=False) + 1) / 2
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    prepared = clip.prepare_images(images)
    assert torch.allclose(prepared, (pixels - mean) / std, atol=1e-6)
    assert torch.allclose(clip.encode_image(images), clip(prepared))
    assert torch.equal(clip.train().encode_image(images), clip.eval().encode_image(images))
    low = load_clip(path, SMALL, device="cpu", dtype=torch.bfloat16).encode_image(images)
    assert low.dtype == torch.bfloat16 and torch.allclose(low.float(), clip.encode_image(images), atol=0.2)


def test_wrong_images_are_refused(path: Path):
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        load(path).encode_image(torch.zeros(3, 28, 28))


def test_transformers_names_load_too(path: Path, tmp_path: Path):
    one = load(path)
    write_tensors(tmp_path / "other.safetensors", one.state_dict())
    images = torch.ones(1, 3, 28, 28)
    assert torch.equal(load(tmp_path / "other.safetensors")(images), one(images))


def test_wrong_files_are_named(path: Path, tmp_path: Path, official: dict[str, Tensor]):
    write_tensors(tmp_path / "t5.safetensors", {"blocks.0.pos_embedding.embedding.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"t5\.safetensors is the umT5 text encoder.*--clip"):
        load(tmp_path / "t5.safetensors")
    short = {key: value for key, value in official.items() if key != "visual.transformer.0.attn.to_qkv.bias"}
    write_tensors(tmp_path / "short.safetensors", {**short, "visual.odd": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"3 missing: .*q_proj\.bias.*1 unexpected: visual\.odd"):
        load(tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match="another shape"):
        load(path, replace(SMALL, image_size=42))
