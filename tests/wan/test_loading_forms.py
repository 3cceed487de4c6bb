"""Every form of file that users have loads to the same weights, bit for bit, and goes back."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection, UMT5Config, UMT5EncoderModel

from common.tensor_headers import read_header
from common.weights import read_tensors, write_tensors
from tests.wan import test_clip, test_t5, test_vae
from tests.wan.dit_helpers import FLF2V, FUN_CONTROL, I2V, T2V, small_model
from wan.clip import CLIPVision
from wan.config import DiTConfig
from wan.fork_camera import examine_fork_camera
from wan.keys import dit_from_diffusers, dit_to_diffusers, fork_camera_names, set_fork_camera_aside
from wan.keys_encoders import clip_table, from_official, t5_table, to_official, vae_table, vae_to_ours
from wan.loading import load_clip, load_dit, load_t5, load_vae
from wan.t5 import T5Encoder
from wan.vae import WanVAE

State = Mapping[str, Tensor]
SHARD = "diffusion_pytorch_model-0000{}-of-00002.safetensors"


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(a[key].equal(b[key]) and a[key].dtype == b[key].dtype for key in a)


def dit(path: Path, config: DiTConfig = I2V, dtype: torch.dtype = torch.float32) -> State:
    return load_dit(path, config, device="cpu", dtype=dtype).state_dict()


def vae(path: Path) -> State:
    return load_vae(path, test_vae.SMALL, device="cpu", dtype=torch.float32).state_dict()


def t5(path: Path) -> State:
    return load_t5(path, test_t5.SMALL, device="cpu", dtype=torch.float32).state_dict()


def clip(path: Path) -> State:
    return load_clip(path, test_clip.SMALL, device="cpu", dtype=torch.float32).state_dict()


def random_state(module: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {key: torch.randn(value.shape, generator=generator) for key, value in module.state_dict().items()}


def write_sharded(folder: Path, tensors: State) -> Path:
    folder.mkdir(parents=True)
    names = list(tensors)
    halves = {1: names[: len(names) // 2], 2: names[len(names) // 2 :]}
    for number, part in halves.items():
        write_tensors(folder / SHARD.format(number), {name: tensors[name] for name in part})
    index = {"weight_map": {name: SHARD.format(number) for number, part in halves.items() for name in part}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"_class_name": "WanTransformer3DModel"}')
    return folder


@pytest.mark.parametrize("config", [T2V, I2V, FLF2V, FUN_CONTROL], ids=["t2v", "i2v", "flf2v", "fun"])
def test_dit_official_ours_diffusers_ours(tmp_path: Path, config: DiTConfig):
    official = small_model(config).state_dict()
    write_tensors(tmp_path / "official.safetensors", official)
    ours = dit(tmp_path / "official.safetensors", config)
    there = {dit_to_diffusers(key): value for key, value in ours.items()}
    assert not there.keys() & ours.keys() - {"patch_embedding.weight", "patch_embedding.bias"}
    write_tensors(tmp_path / "diffusers.safetensors", there)
    assert same(dit(tmp_path / "diffusers.safetensors", config), official)
    assert same({dit_from_diffusers(key): value for key, value in there.items()}, official)


@pytest.mark.parametrize("given", ["part", "pipeline", "index", "second shard"])
def test_dit_in_a_sharded_diffusers_folder(tmp_path: Path, given: str):
    official = small_model().state_dict()
    part = write_sharded(tmp_path / "transformer", {dit_to_diffusers(key): value for key, value in official.items()})
    path = {"part": part, "pipeline": tmp_path, "index": next(part.glob("*.index.json"))}.get(given)
    assert same(dit(path or part / SHARD.format(2)), official)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float8_e4m3fn])
def test_comfys_repackaged_dit_in_every_type(tmp_path: Path, dtype: torch.dtype, caplog: pytest.LogCaptureFixture):
    state = {key: value.to(dtype) for key, value in small_model().state_dict().items()}
    write_tensors(tmp_path / "dit.safetensors", {f"model.diffusion_model.{k}": v for k, v in state.items()})
    with caplog.at_level(logging.INFO, "omnicam"):
        loaded = dit(tmp_path / "dit.safetensors")
    assert same(loaded, {key: value.float() for key, value in state.items()})
    assert ("in fp8 are cast to float32" in caplog.text) == (dtype == torch.float8_e4m3fn)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_vae_official_ours_diffusers_ours(tmp_path: Path, suffix: str):
    official = random_state(WanVAE(test_vae.SMALL))
    table = vae_table(test_vae.SMALL)
    there = from_official(official, table)
    for name, tensors in (("official", official), ("diffusers", there)):
        path = tmp_path / f"{name}{suffix}"
        torch.save(tensors, path) if suffix == ".pth" else write_tensors(path, tensors)
        assert same(vae(path), official)
    assert same(to_official(there, table), official)
    assert same(vae_to_ours(there, test_vae.SMALL), official)


@pytest.mark.parametrize("given", ["vae", "."])
def test_vae_in_a_diffusers_folder_and_with_a_prefix(tmp_path: Path, given: str):
    official = random_state(WanVAE(test_vae.SMALL))
    there = from_official(official, vae_table(test_vae.SMALL))
    write_tensors(tmp_path / "vae" / "diffusion_pytorch_model.safetensors", there)
    assert same(vae(tmp_path / given), official)
    write_tensors(tmp_path / "kijai.safetensors", {f"model.{key}": value for key, value in official.items()})
    assert same(vae(tmp_path / "kijai.safetensors"), official)


def test_t5_official_ours_transformers_ours(tmp_path: Path):
    ours = random_state(T5Encoder(test_t5.SMALL))
    official = to_official(ours, t5_table(test_t5.SMALL))
    assert "token_embedding.weight" in official and not official.keys() & ours.keys()
    torch.save(official, tmp_path / "models_t5_umt5-xxl-enc-bf16.pth")
    assert same(t5(tmp_path / "models_t5_umt5-xxl-enc-bf16.pth"), ours)
    assert same(t5(tmp_path), ours), "the folder of an official download"
    shared = {("shared.weight" if "embed_tokens" in key else key): value for key, value in ours.items()}
    comfy = {**shared, "spiece_model": torch.zeros(7, dtype=torch.uint8)}
    for name, tensors in {
        "old": {**shared, **ours, "shared.weight": shared["shared.weight"].clone()},
        "new": shared,
        "comfy": comfy,
    }.items():
        write_tensors(tmp_path / f"{name}.safetensors", tensors)
        assert same(t5(tmp_path / f"{name}.safetensors"), ours), name


def test_t5_as_transformers_writes_it(tmp_path: Path):
    config = test_t5.SMALL
    model = UMT5EncoderModel(
        UMT5Config(
            vocab_size=config.vocab_size,
            d_model=config.dim,
            d_kv=config.dim_attn // config.num_heads,
            d_ff=config.dim_ffn,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
        )
    )
    model.save_pretrained(tmp_path / "text_encoder", max_shard_size="30KB")
    assert len(list((tmp_path / "text_encoder").glob("*.safetensors"))) > 1
    ours = {key: value for key, value in model.state_dict().items() if key != "shared.weight"}
    assert same(t5(tmp_path), ours)


def test_clip_official_ours_transformers_ours(tmp_path: Path):
    ours = random_state(CLIPVision(test_clip.SMALL))
    table = clip_table(test_clip.SMALL)
    official = to_official(ours, table)
    last = {
        key: torch.zeros(1)
        for key, names in table.items()
        if names is None and key.startswith("visual.transformer.2.attn.to_qkv")
    }
    extras = {"textual.head.0.weight": torch.zeros(2), "log_scale": torch.zeros(()), **last}
    torch.save({**official, **extras}, tmp_path / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth")
    assert same(clip(tmp_path), ours)
    assert same(to_official(clip(tmp_path), table), official)


@pytest.mark.parametrize("kind", [CLIPVisionModel, CLIPVisionModelWithProjection])
@pytest.mark.parametrize("prefix", ["", "vision_model."])
def test_clip_as_transformers_writes_it(tmp_path: Path, kind: Callable[..., nn.Module], prefix: str):
    config = test_clip.SMALL
    model = kind(
        CLIPVisionConfig(
            hidden_size=config.dim,
            intermediate_size=config.dim * config.mlp_ratio,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            image_size=config.image_size,
            patch_size=config.patch_size,
            projection_dim=config.embed_dim,
        )
    )
    written = {f"{prefix}{key.removeprefix('vision_model.')}": value for key, value in model.state_dict().items()}
    if kind is CLIPVisionModelWithProjection:
        written = model.state_dict() | {"vision_model.embeddings.position_ids": torch.arange(5)[None]}
    write_tensors(tmp_path / "image_encoder" / "model.safetensors", written)
    loaded = clip(tmp_path)
    telling = "embeddings.patch_embedding.weight"
    expected = next(value for key, value in written.items() if key.endswith(telling))
    assert loaded[f"vision_model.{telling}"].equal(expected)
    assert not any("layers.2." in key for key in loaded)


def fork_camera(blocks: int, batches: int) -> dict[str, Tensor]:
    tensors = {name: torch.full((3,), 0.5) for name in fork_camera_names(blocks)}
    tensors["myadapter.final_bn2d.running_var"] = torch.ones(3) if batches == 0 else torch.tensor([0.4, 1.0, 1.7])
    return tensors | {"myadapter.final_bn2d.num_batches_tracked": torch.tensor(batches)}


@pytest.mark.parametrize(
    ("batches", "lose", "trained", "word"),
    [
        (0, None, False, "look untrained"),
        (700, None, True, "has seen 700 batches"),
        (700, "blocks.1.cross_attn.v_camera1.linear2.bias", False, r"1 missing \(blocks\.1\.cross_attn\.v_camera1"),
        (0, "myadapter.final_bn2d.num_batches_tracked", False, "not whole"),
    ],
)
def test_the_forks_total_checkpoint_gives_its_base_and_says_what_else(
    tmp_path: Path, batches: int, lose: str | None, trained: bool, word: str, caplog: pytest.LogCaptureFixture
):
    state, camera = small_model().state_dict(), fork_camera(I2V.num_layers, batches)
    if lose is not None:
        del camera[lose]
    path = tmp_path / "total-3.safetensors"
    write_tensors(path, {**state, **camera})
    with caplog.at_level(logging.INFO, "omnicam"):
        assert same(dit(path), state)
    assert re.search(word, caplog.text)
    assert "not used here" in caplog.text
    _, aside = set_fork_camera_aside(read_header(path).entries)
    assert aside.keys() == camera.keys()
    assert examine_fork_camera(aside, I2V.num_layers).looks_trained == trained


def test_the_forks_base_is_taken_strictly(tmp_path: Path):
    state = small_model().state_dict()
    del state["blocks.1.ffn.2.bias"]
    write_tensors(
        tmp_path / "3.safetensors", {**state, **fork_camera(I2V.num_layers, 1), "blocks.0.odd": torch.ones(1)}
    )
    with pytest.raises(ValueError, match=r"1 missing: blocks\.1\.ffn\.2\.bias; 1 unexpected: blocks\.0\.odd"):
        dit(tmp_path / "3.safetensors")


def test_the_forks_layers_number_as_its_code_makes_them():
    # 2 of conv, 9 + 2 * 12 of myadapter, 9 a block
    assert len(fork_camera_names(40)) == len(set(fork_camera_names(40))) == 2 + 9 + 24 + 9 * 40
    base, camera = set_fork_camera_aside(dict.fromkeys((*fork_camera_names(3), *small_model().state_dict()), 0))
    assert len(camera) == len(fork_camera_names(3)) and base.keys() == small_model().state_dict().keys()


def test_scaled_fp8_of_others_is_refused_by_name(tmp_path: Path):
    state = small_model().state_dict()
    write_tensors(tmp_path / "s.safetensors", {**state, "scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)})
    with pytest.raises(ValueError, match=r"(?s)s\.safetensors.*scaled fp8 of another program \(scaled_fp8\).*bf16"):
        dit(tmp_path / "s.safetensors")


def test_a_wrong_network_says_what_it_is_what_lacks_and_where_to_pass_it(tmp_path: Path):
    official = to_official(random_state(T5Encoder(test_t5.SMALL)), t5_table(test_t5.SMALL))
    write_tensors(tmp_path / "t5.safetensors", official)
    with pytest.raises(ValueError, match="umT5") as error:
        dit(tmp_path / "t5.safetensors")
    count = len(small_model().state_dict())
    for word in ("not a Wan2.1 DiT", f"{count} missing: ", f"{len(official)} unexpected: ", "at --t5", "(--dit)"):
        assert word in str(error.value), error.value


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path):
    for number in (1, 2):
        write_tensors(tmp_path / SHARD.format(number), {"a": torch.ones(1), str(number): torch.ones(1)})
    with pytest.raises(ValueError, match="a is in another shard too"):
        read_tensors(tmp_path / SHARD.format(1))


def test_two_names_of_one_tensor_are_reported_for_the_encoders_too(tmp_path: Path):
    official = random_state(WanVAE(test_vae.SMALL))
    other = {"model.conv1.weight": official["conv1.weight"].clone()}
    write_tensors(tmp_path / "vae.safetensors", {**other, **official})
    with pytest.raises(ValueError, match=r"1 unexpected: model\.conv1\.weight"):
        vae(tmp_path / "vae.safetensors")
    ours = random_state(T5Encoder(test_t5.SMALL))
    other = {"norm.weight": to_official(ours, t5_table(test_t5.SMALL))["norm.weight"].clone()}
    write_tensors(tmp_path / "t5.safetensors", {**ours, **other})
    with pytest.raises(ValueError, match=r"1 unexpected: norm\.weight"):
        t5(tmp_path / "t5.safetensors")
