import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from common.weights import write_tensors
from wan.config import NEGATIVE_PROMPT, WAN_CONFIGS, T5Config
from wan.keys_encoders import from_official, t5_table, to_official
from wan.loading import load_t5
from wan.t5 import T5Encoder
from wan.tokenizer import Tokenizer, clean_prompt, find_tokenizer

TOKENIZER = Path(__file__).resolve().parents[2] / "weights" / "tiny" / "tokenizer.json"
SMALL = T5Config(vocab_size=2048, dim=24, dim_attn=32, dim_ffn=40, num_heads=4, num_layers=2, text_len=64)
SEED_PROMPT = (
    "Object: A triangular piece of cake is placed on a white plate, and the white plate is on a black plate. ; Camera: "
    + "<starttime>1</starttime> <endtime>2</endtime> <speed>high</speed> <direction>leftdown30</direction> "
    "<rotate>stay</rotate> <sep> " * 3
)


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    """Random weights of the small encoder, in official names."""
    generator = torch.Generator().manual_seed(0)
    tensors = to_official(T5Encoder(SMALL).state_dict(), t5_table(SMALL))
    return {key: 0.3 * torch.randn(value.shape, generator=generator) for key, value in tensors.items()}


@pytest.fixture
def path(tmp_path: Path, official: dict[str, Tensor]) -> Path:
    """Those weights in a file, with no tokenizer beside it."""
    write_tensors(tmp_path / "t5.safetensors", official)
    return tmp_path / "t5.safetensors"


def load(path: Path, config: T5Config = SMALL, tokenizer: Path | None = None) -> T5Encoder:
    return load_t5(path, config, device="cpu", dtype=torch.float32, tokenizer=tokenizer)


def plain(official: dict[str, Tensor]) -> UMT5EncoderModel:
    """Transformers' own model with the same weights."""
    model = UMT5EncoderModel(
        UMT5Config(
            vocab_size=2048, d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
        )
    )
    tensors = from_official(official, t5_table(SMALL))
    model.load_state_dict({**tensors, "shared.weight": tensors["encoder.embed_tokens.weight"]})
    return model.eval()


def test_official_names():
    with torch.device("meta"):
        tensors = to_official(T5Encoder(T5Config()).state_dict(), t5_table(T5Config()))
    assert len(tensors) == 2 + 24 * 10
    assert tensors["token_embedding.weight"].shape == (256384, 4096)
    assert tensors["blocks.23.pos_embedding.embedding.weight"].shape == (32, 64)
    assert tensors["blocks.0.ffn.gate.0.weight"].shape == (10240, 4096)
    assert tensors["blocks.0.ffn.fc2.weight"].shape == (4096, 10240)
    assert sum(value.numel() for value in tensors.values()) == 5_680_910_336


def test_same_numbers_as_transformers(path: Path, official: dict[str, Tensor]):
    ids = torch.randint(3, 2048, (3, 40), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(40) < torch.tensor([[40], [17], [1]])).long()
    with torch.no_grad():
        ours, theirs = load(path)(ids, mask), plain(official)(input_ids=ids, attention_mask=mask).last_hidden_state
    valid = mask.bool()
    assert (ours - theirs)[valid].norm() / theirs[valid].norm() <= 1e-5


def by_hand(official: dict[str, Tensor], ids: Tensor) -> Tensor:
    """The encoder of the official `wan/modules/t5.py`, from its formulas, on official names; no padding."""

    def norm(x: Tensor, name: str) -> Tensor:
        return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * official[f"{name}.weight"]

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (SMALL.num_heads, -1)).transpose(1, 2)

    length = ids.shape[1]
    # bidirectional: half of the 32 buckets for what comes after; 8 exact distances, then log-spaced up to 128
    distance = torch.arange(length)[None, :] - torch.arange(length)[:, None]
    far = 8 + (torch.log(distance.abs().clamp(min=1) / 8) / math.log(128 / 8) * 8).long()
    buckets = (distance > 0) * 16 + torch.where(distance.abs() < 8, distance.abs(), far.clamp(max=15))
    x = official["token_embedding.weight"][ids]
    for n in range(SMALL.num_layers):
        block = f"blocks.{n}"
        y = norm(x, f"{block}.norm1")
        q, k, v = (heads(y @ official[f"{block}.attn.{name}.weight"].T) for name in "qkv")
        scores = q @ k.transpose(-1, -2)  # not scaled
        scores = scores + official[f"{block}.pos_embedding.embedding.weight"][buckets].permute(2, 0, 1)
        attended = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + attended @ official[f"{block}.attn.o.weight"].T
        y = norm(x, f"{block}.norm2")
        gate = F.gelu(y @ official[f"{block}.ffn.gate.0.weight"].T, approximate="tanh")
        x = x + (gate * (y @ official[f"{block}.ffn.fc1.weight"].T)) @ official[f"{block}.ffn.fc2.weight"].T
    return norm(x, "norm")


@pytest.mark.parametrize("scale", [1.0, 1e-2])
def test_same_numbers_as_the_official_formulas(path: Path, tmp_path: Path, official: dict[str, Tensor], scale: float):
    """On official names, so that the key table is tried too; with small numbers, where epsilon counts."""
    small = {key: value * scale if "token_embedding" in key else value for key, value in official.items()}
    write_tensors(tmp_path / "small.safetensors", small)
    ids = torch.randint(3, 2048, (2, 60), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = load(tmp_path / "small.safetensors")(ids, torch.ones(2, 60)), by_hand(small, ids)
    assert (ours - theirs).norm() / theirs.norm() <= 1e-5


def test_both_styles_of_names_load_and_go_back(path: Path, tmp_path: Path, official: dict[str, Tensor]):
    write_tensors(tmp_path / "other.safetensors", {k: v.clone() for k, v in plain(official).state_dict().items()})
    ids, mask = torch.tensor([[5, 6, 7, 1]]), torch.ones(1, 4)
    one, other = load(path), load(tmp_path / "other.safetensors")
    assert torch.equal(one(ids, mask), other(ids, mask))
    back = to_official(one.state_dict(), t5_table(SMALL))
    assert back.keys() == official.keys()
    assert all(torch.equal(back[key], official[key]) for key in official)


def test_only_valid_tokens_are_kept_and_batching_changes_nothing(path: Path):
    t5 = load(path, tokenizer=TOKENIZER)
    prompts = ["a red ball", "a much longer caption of a room with a striped wall and a lamp on the left"]
    together = t5.encode(prompts)
    numbers = Tokenizer(TOKENIZER, 64)(prompts)
    assert [tuple(item.shape) for item in together] == [(len(item), 24) for item in numbers]
    for prompt, tokens in zip(prompts, together, strict=True):
        assert torch.allclose(t5.encode([prompt])[0], tokens, atol=1e-5)
    assert t5.encode([]) == []


def test_train_and_eval_agree(path: Path):
    t5 = load(path, tokenizer=TOKENIZER)
    expected = t5.encode(["a box"])[0]
    assert torch.equal(t5.train().encode(["a box"])[0], expected)


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("  a\t red\n\nball ", "a red ball"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("&lt;sep&gt;", "<sep>"),
        ("cafÃ©", "café"),
        ("他　说", "他 说"),
    ],
)
def test_prompts_are_cleaned_as_in_the_official_code(dirty: str, clean: str):
    assert clean_prompt(dirty) == clean


def test_long_prompts_are_cut_and_still_end():
    (numbers,) = Tokenizer(TOKENIZER, 16)(["a room " * 100])
    assert len(numbers) == 16 and numbers[-1] == 1


def test_the_tiny_tokenizer_writes_every_text():
    import tokenizers

    tokenizer = Tokenizer(TOKENIZER, 100_000)
    back = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    for text in (NEGATIVE_PROMPT, "naïve 😀 Ωmega", "a", SEED_PROMPT.strip()):
        (numbers,) = tokenizer([text])
        assert 2 not in numbers  # nothing is unknown
        assert back.decode(numbers, skip_special_tokens=True).replace(" ", "") == clean_prompt(text).replace(" ", "")
    assert tokenizer.vocab_size <= WAN_CONFIGS["i2v-tiny"].t5.vocab_size
    assert TOKENIZER.stat().st_size < 150_000


def test_a_prompt_of_three_segments_fits_into_the_tiny_text():
    (numbers,) = Tokenizer(TOKENIZER, 100_000)([SEED_PROMPT])
    assert len(numbers) <= WAN_CONFIGS["i2v-tiny"].t5.text_len


def test_a_missing_tokenizer_says_where_to_put_it(path: Path):
    t5 = load(path)
    assert t5(torch.tensor([[3, 1]]), torch.ones(1, 2)).shape == (1, 2, 24)
    with pytest.raises(FileNotFoundError, match="google/umt5-xxl"):
        t5.encode(["a ball"])
    with pytest.raises(FileNotFoundError, match=r"umt5-xxl.tokenizer\.json"):
        find_tokenizer(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(path, tokenizer=path.parent / "nowhere")


@pytest.mark.parametrize("place", ["tokenizer.json", "google/umt5-xxl/tokenizer.json", "umt5-xxl/tokenizer.json"])
def test_a_tokenizer_beside_the_weights_is_found(path: Path, place: str):
    target = path.parent / place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(TOKENIZER.read_bytes())
    assert find_tokenizer(path) == target
    assert len(load(path).encode(["a ball"])) == 1
    assert find_tokenizer(path, target.parent) == target


def test_the_hub_is_asked_only_when_allowed(path: Path, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a: asked.append(a) or str(TOKENIZER))
    load(path)
    assert asked == []
    assert find_tokenizer(path, allow_download=True) == TOKENIZER
    assert asked == [("google/umt5-xxl", "tokenizer.json")]


def test_a_tokenizer_of_another_model_is_refused(path: Path):
    with pytest.raises(ValueError, match="another"):
        load(path, replace(SMALL, vocab_size=100), TOKENIZER)


@pytest.mark.parametrize("content", [b"{", b"[]", b'["model"]', b'{"a": 1}', b'{"model": 1}', b"\xff\xfe"])
def test_a_broken_tokenizer_is_named(path: Path, content: bytes):
    broken = path.parent / "broken.json"
    broken.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.json"):
        load(path, tokenizer=broken)


def test_wrong_files_are_named(path: Path, tmp_path: Path, official: dict[str, Tensor]):
    with pytest.raises(FileNotFoundError, match="absent"):
        load(tmp_path / "absent.safetensors")
    write_tensors(tmp_path / "vae.safetensors", {"encoder.downsamples.0.residual.0.gamma": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"vae\.safetensors is the Wan2\.1 VAE.*--t5"):
        load(tmp_path / "vae.safetensors")
    official = {key: value for key, value in official.items() if key != "blocks.1.attn.o.weight"}
    write_tensors(tmp_path / "part.safetensors", {**official, "odd": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"1 missing: .*1 unexpected: odd"):
        load(tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match="another shape"):
        load(path, replace(SMALL, dim_ffn=48))


def test_a_text_that_is_cut_is_said_to_be_cut(monkeypatch):
    from wan import tokenizer as module

    said = []
    monkeypatch.setattr(module.log, "warning", lambda text, *values: said.append(text % values))
    long = "a very long story of a cube and a ball in a room with many walls"
    assert len(Tokenizer(TOKENIZER, 8)(["a cube", long])[1]) == 8
    assert said == [f"only the first 8 tokens of a text are read: {long[:60]}..."]
