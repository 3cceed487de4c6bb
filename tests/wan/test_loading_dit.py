from pathlib import Path

import pytest
import torch

from common.weights import write_tensors
from tests.wan.dit_helpers import FLF2V, I2V, T2V, inputs, small_model
from wan.config import WAN_CONFIGS, DiTConfig
from wan.fp8 import FP8, Fp8Mode
from wan.keys import dit_to_diffusers
from wan.loading import load_dit
from wan.model import WanModel


def load(path: Path, config: DiTConfig = I2V, dtype: torch.dtype = torch.float32) -> WanModel:
    return load_dit(path, config, device="cpu", dtype=dtype)


@pytest.mark.parametrize("config", [T2V, I2V, FLF2V], ids=["t2v", "i2v", "flf2v"])
@pytest.mark.parametrize("style", ["official", "comfy", "diffusers"])
def test_every_style_of_names_loads_and_computes_the_same(tmp_path: Path, config: DiTConfig, style: str):
    model, given = small_model(config), inputs(config)
    rename = {"official": str, "comfy": "model.diffusion_model.{}".format, "diffusers": dit_to_diffusers}[style]
    path = tmp_path / "dit.safetensors"
    write_tensors(path, {rename(key): value for key, value in model.state_dict().items()})
    loaded = load(path, config)
    assert not loaded.training and not any(weight.requires_grad for weight in loaded.parameters())
    with torch.no_grad():
        assert torch.equal(loaded(*given.arguments), model(*given.arguments))


def test_pth_files_load_and_are_cast(tmp_path: Path):
    path = tmp_path / "dit.pth"
    torch.save(small_model().state_dict(), path)
    loaded = load(path, dtype=torch.bfloat16)
    assert {weight.dtype for weight in loaded.parameters()} == {torch.bfloat16}


def write(path: Path, model: WanModel) -> Path:
    write_tensors(path, model.state_dict())
    return path


def test_a_dit_of_another_task_is_named_with_what_to_pass(tmp_path: Path):
    path = tmp_path / "dit.safetensors"
    with torch.device("meta"):
        state = WanModel(WAN_CONFIGS["i2v-tiny"].dit).state_dict()
    write_tensors(path, {key: torch.zeros(value.shape, dtype=torch.bfloat16) for key, value in state.items()})
    with pytest.raises(ValueError, match=r"in_dim 36.*dim 5120.*--task i2v-tiny") as error:
        load(path, WAN_CONFIGS["t2v-14B"].dit)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("config", "word"), [(T2V, "in_dim 16"), (FLF2V, "first and last frame")])
def test_another_kind_of_dit_is_refused(tmp_path: Path, config: DiTConfig, word: str):
    path = write(tmp_path / "dit.safetensors", small_model(config))
    with pytest.raises(ValueError, match=word):
        load(path, I2V)


def test_another_network_is_named(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    write_tensors(
        path, {"token_embedding.weight": torch.zeros(2), "blocks.0.pos_embedding.embedding.weight": torch.zeros(2)}
    )
    with pytest.raises(ValueError, match=r"is the umT5 text encoder, not a Wan2\.1 DiT"):
        load(path)


def test_missing_and_unexpected_weights_are_named(tmp_path: Path):
    state = small_model().state_dict()
    del state["blocks.1.ffn.2.bias"]
    path = tmp_path / "x.safetensors"
    write_tensors(path, {**state, "blocks.1.ffn.2.scale": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"(?s)blocks\.1\.ffn\.2\.bias.*blocks\.1\.ffn\.2\.scale"):
        load(path)


def test_a_missing_file_and_an_unknown_attention_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="attn_mode"):
        load_dit(tmp_path / "none.safetensors", I2V, device="cpu", dtype=torch.float32, attn_mode="sageattn")


@pytest.mark.parametrize("fp8", ["none", "base", "scaled"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["blocks.1.self_attn.q.bias", "blocks.0.ffn.0.weight", "head.head.weight"])
def test_a_weight_that_is_no_number_is_named(tmp_path: Path, key: str, value: float, fp8: Fp8Mode):
    state = small_model().state_dict()
    state[key].view(-1)[3] = value
    write_tensors(tmp_path / "dit.safetensors", state)
    with pytest.raises(ValueError, match=rf"dit\.safetensors: 1 of \d+ tensors hold NaN or infinity: {key}"):
        load_dit(tmp_path / "dit.safetensors", I2V, device="cpu", dtype=torch.float32, fp8=fp8)


def test_nan_in_an_fp8_file_is_named(tmp_path: Path):
    state = {key: value.to(FP8) if value.ndim == 2 else value for key, value in small_model().state_dict().items()}
    state["blocks.0.ffn.2.weight"].view(torch.uint8).view(-1)[7] = 0xFF
    write_tensors(tmp_path / "dit.safetensors", state)
    with pytest.raises(ValueError, match=r"NaN or infinity: blocks\.0\.ffn\.2\.weight"):
        load_dit(tmp_path / "dit.safetensors", I2V, device="cpu", dtype=torch.float32, fp8="base")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_weights_that_are_no_floats_are_refused(tmp_path: Path, dtype: torch.dtype):
    torch.save({key: value.to(dtype) for key, value in small_model().state_dict().items()}, tmp_path / "dit.pth")
    with pytest.raises(ValueError, match=r"dit\.pth: \d+ weights are not in a floating-point type"):
        load(tmp_path / "dit.pth")


@pytest.mark.parametrize("first", [True, False])
def test_a_tensor_that_is_there_under_two_names_is_not_dropped_silently(tmp_path: Path, first: bool):
    state, second = small_model().state_dict(), {"model.diffusion_model.head.head.weight": torch.zeros(1)}
    torch.save({**second, **state} if first else {**state, **second}, tmp_path / "dit.pth")
    with pytest.raises(ValueError, match=r"1 unexpected: model\.diffusion_model\.head\.head\.weight"):
        load(tmp_path / "dit.pth")


@pytest.mark.parametrize("fp8", ["none", "base"])
def test_a_merge_that_overflows_is_named(tmp_path: Path, fp8: Fp8Mode):
    path = write(tmp_path / "dit.safetensors", small_model())
    merge = {"blocks.1.ffn.0.weight": lambda weight: weight * 1e39}
    with pytest.raises(ValueError, match=r"with its LoRAs.*blocks\.1\.ffn\.0\.weight"):
        load_dit(path, I2V, device="cpu", dtype=torch.float32, fp8=fp8, merge=lambda _: merge)
