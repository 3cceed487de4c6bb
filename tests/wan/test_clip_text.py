"""CLIP's text tower and the image-text scores, against formulas on official names and against transformers."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tokenizers
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import XLMRobertaConfig, XLMRobertaModel

from common.weights import write_tensors
from tests.wan.test_clip import SMALL as VISION
from tests.wan.test_clip import transformers_states
from wan.clip_text import CLIPImageText
from wan.config import CLIPConfig, CLIPTextConfig
from wan.keys_clip_text import clip_image_text_table
from wan.keys_encoders import from_official, to_official
from wan.loading import load_clip, load_clip_text

TEXT = CLIPTextConfig(vocab_size=30, dim=24, num_heads=3, num_layers=2, positions=20)
SMALL = replace(VISION, text=TEXT)
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "a", "red", "cube", "blue", "ball", "room"]
PAD = 1


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    """The whole official file in small, random."""
    generator = torch.Generator().manual_seed(0)
    shapes = to_official(CLIPImageText(SMALL).state_dict(), clip_image_text_table(SMALL, TEXT))
    return {key: 0.5 * torch.randn(value.shape, generator=generator) for key, value in shapes.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, official: dict[str, Tensor]) -> Path:
    """That file, with a word-level tokenizer where the Wan2.1 download has XLM-RoBERTa's."""
    made = tmp_path_factory.mktemp("clip")
    write_tensors(made / "clip.safetensors", official)
    model = tokenizers.models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    (made / "xlm-roberta-large").mkdir()
    tokenizer.save(str(made / "xlm-roberta-large" / "tokenizer.json"))
    return made


@pytest.fixture(scope="module")
def clip(folder: Path) -> CLIPImageText:
    return load(folder)


def load(folder: Path, config: CLIPConfig = SMALL, tokenizer: Path | None = None) -> CLIPImageText:
    return load_clip_text(folder / "clip.safetensors", config, device="cpu", dtype=torch.float32, tokenizer=tokenizer)


def by_hand(official: dict[str, Tensor], ids: Tensor) -> Tensor:
    """The tower of the official `xlm_roberta.py` and `clip.py`, from its formulas, on official names."""
    weights = {key.removeprefix("textual."): value for key, value in official.items() if key.startswith("textual.")}

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (TEXT.num_heads, -1)).transpose(1, 2)

    valid = (ids != PAD).long()
    positions = PAD + valid.cumsum(1) * valid
    x = weights["token_embedding.weight"][ids] + weights["pos_embedding.weight"][positions]
    x = norm(x + weights["type_embedding.weight"][0], "norm")
    for n in range(TEXT.num_layers):
        q, k, v = (heads(linear(x, f"blocks.{n}.attn.{name}")) for name in "qkv")
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(valid[:, None, None, :] == 0, -torch.inf)
        attended = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = norm(x + linear(attended, f"blocks.{n}.attn.o"), f"blocks.{n}.norm1")
        hidden = F.gelu(linear(x, f"blocks.{n}.ffn.0"))
        x = norm(x + linear(hidden, f"blocks.{n}.ffn.2"), f"blocks.{n}.norm2")
    mean = torch.stack([row[mask.bool()].mean(0) for row, mask in zip(x, valid, strict=True)])
    return linear(F.gelu(linear(mean, "head.0")), "head.2")


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(3, 18), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_same_numbers_as_the_official_formulas(official, clip, lengths: list[int], seed: int):
    ids = torch.randint(2, TEXT.vocab_size, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    for row, length in zip(ids, lengths, strict=True):
        row[length:] = PAD
    with torch.no_grad():
        ours, theirs = clip.text(ids), by_hand(official, ids)
    assert (ours - theirs).norm() / theirs.norm() <= 1e-5


def test_same_numbers_where_the_norms_hold_on_to_their_epsilon(official, tmp_path: Path):
    """Small embeddings and small layers, so that epsilon is not lost beside the variance."""
    parts = ("embedding", "attn.o", "ffn.2")
    small = {k: v * 1e-2 if any(part in k for part in parts) else v for k, v in official.items()}
    write_tensors(tmp_path / "clip.safetensors", small)
    ids = torch.tensor([[0, 5, 6, 2]])
    with torch.no_grad():
        ours, theirs = load(tmp_path).text(ids), by_hand(small, ids)
    assert (ours - theirs).norm() / theirs.norm() <= 1e-5


def test_same_numbers_as_transformers_and_open_clips_mean_pooler(official, folder):
    """Transformers' model through our table, pooled as open_clip does: sum of mask times token over sum of mask."""
    plain = XLMRobertaModel(
        XLMRobertaConfig(
            vocab_size=30, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96,
            max_position_embeddings=20, type_vocab_size=1, layer_norm_eps=1e-5,
        ),
        add_pooling_layer=False,
    ).eval()  # fmt: skip
    ours = from_official(official, clip_image_text_table(SMALL, TEXT))
    plain.load_state_dict({k.removeprefix("text.model."): v for k, v in ours.items() if k.startswith("text.model.")})
    ids = torch.tensor([[0, 5, 6, 2], [0, 7, 2, PAD]])
    mask = (ids != PAD).long()
    with torch.no_grad():
        hidden = plain(ids, attention_mask=mask).last_hidden_state
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(-1, keepdim=True)
        pooled = F.gelu(pooled @ official["textual.head.0.weight"].T) @ official["textual.head.2.weight"].T
        assert (load(folder).text(ids) - pooled).norm() / pooled.norm() <= 1e-5


def test_images_are_pooled_by_class_token_post_norm_and_head(official, folder):
    clip, images = load(folder), torch.rand(3, 3, 20, 50, generator=torch.Generator().manual_seed(2)) * 2 - 1
    token = transformers_states(official, clip.vision.prepare_images(images))[-1][:, 0]
    normed = F.layer_norm(token, (16,), official["visual.post_norm.weight"], official["visual.post_norm.bias"], 1e-5)
    expected = normed @ official["visual.head"]
    assert (clip.encode_image(images) - expected).norm() / expected.norm() <= 1e-5


def test_scores_are_scaled_cosines(official, folder):
    clip, images = load(folder), torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(3)) * 2 - 1
    texts = ["a red cube", "a blue ball", "room"]
    scores = clip.similarity(images, texts)
    image, text = clip.encode_image(images), clip.encode_text(texts)
    assert scores.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            cosine = (image[i] @ text[j] / image[i].norm() / text[j].norm()).item()
            assert scores[i, j].item() == pytest.approx(cosine * official["log_scale"].exp().item(), abs=1e-5)


def test_texts_are_tokenised_as_xlm_roberta_does_and_batching_changes_nothing(official, folder):
    clip = load(folder)
    ids = torch.tensor([[0, 4, 5, 6, 2]])
    assert torch.allclose(clip.encode_text(["  a   red cube "]), by_hand(official, ids), atol=1e-5)
    together = clip.encode_text(["a red cube", "room"])
    assert torch.allclose(together[1:], clip.encode_text(["room"]), atol=1e-5)
    long = clip.encode_text(["a " * 100])
    assert torch.allclose(long, by_hand(official, torch.tensor([[0] + [4] * 16 + [2]])), atol=1e-5)
    assert torch.equal(clip.train().encode_text(["room"]), clip.eval().encode_text(["room"]))


def test_official_names_and_sizes():
    config, text = CLIPConfig(), CLIPTextConfig()
    with torch.device("meta"):
        clip = CLIPImageText(config)
    tensors = to_official(clip.state_dict(), clip_image_text_table(config, text))
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    assert shapes["textual.token_embedding.weight"] == (250002, 1024)
    assert shapes["textual.pos_embedding.weight"] == (514, 1024) and text.text_len == 512
    assert shapes["textual.type_embedding.weight"] == (1, 1024)
    assert shapes["textual.blocks.23.attn.q.weight"] == (1024, 1024)
    assert shapes["textual.blocks.0.ffn.0.weight"] == (4096, 1024)
    assert shapes["textual.head.0.weight"] == shapes["textual.head.2.weight"] == (1024, 1024)
    assert shapes["visual.head"] == (1280, 1024) and shapes["log_scale"] == ()
    assert shapes["visual.transformer.31.attn.to_qkv.weight"] == (3840, 1280)
    # ViT-H/14; XLM-RoBERTa large without its pooler; the projection of two 1024 x 1024 layers; the scale
    assert sum(value.numel() for value in tensors.values()) == 632_076_800 + 558_840_832 + 2 * 1024**2 + 1


def test_names_go_to_ours_and_back_and_the_video_models_encoder_reads_the_same_file(official, folder):
    table = clip_image_text_table(SMALL, TEXT)
    back = to_official(from_official(official, table), table)
    assert back.keys() == official.keys() and all(torch.equal(back[key], official[key]) for key in official)
    images = torch.ones(1, 3, 28, 28)
    alone = load_clip(folder / "clip.safetensors", SMALL, device="cpu", dtype=torch.float32)
    states = transformers_states(official, alone.prepare_images(images))
    assert torch.allclose(alone.encode_image(images), states[-2], atol=1e-4)


def test_a_folder_is_searched_for_weights_and_tokenizer(official, folder, tmp_path: Path):
    """The official download, as a folder: the tokenizer lies inside it, not beside it."""
    name = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
    torch.save(official, tmp_path / name)
    shutil.copytree(folder / "xlm-roberta-large", tmp_path / "xlm-roberta-large")
    clip = load_clip_text(tmp_path, SMALL, device="cpu", dtype=torch.float32)
    assert clip.tokenizer is not None and clip.tokenizer.path.parent.parent == tmp_path


def test_what_is_missing_is_named(official, folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_tensors(tmp_path / "clip.safetensors", official)
    with pytest.raises(FileNotFoundError, match="xlm-roberta-large"):
        load(tmp_path).encode_text(["a room"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path, tokenizer=tmp_path / "nowhere")
    tokenizer = folder / "xlm-roberta-large" / "tokenizer.json"
    with pytest.raises(ValueError, match="another model"):
        small = {k: v[:5] if k == "textual.token_embedding.weight" else v for k, v in official.items()}
        write_tensors(tmp_path / "clip.safetensors", small)
        load(tmp_path, replace(SMALL, text=replace(TEXT, vocab_size=5)), tokenizer)
    vision = {key: value for key, value in official.items() if key.startswith("visual")}
    write_tensors(tmp_path / "clip.safetensors", vision)
    with pytest.raises(ValueError, match="without CLIP's text tower"):
        load(tmp_path)
    with pytest.raises(ValueError, match="no text tower"):
        load(folder, replace(SMALL, text=None))
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a: asked.append(a) or str(tokenizer))
    write_tensors(tmp_path / "clip.safetensors", official)
    path, place = tmp_path / "clip.safetensors", {"device": "cpu", "dtype": torch.float32}
    assert load_clip_text(path, SMALL, **place, allow_download=True).tokenizer is not None
    assert asked == [("FacebookAI/xlm-roberta-large", "tokenizer.json")]
