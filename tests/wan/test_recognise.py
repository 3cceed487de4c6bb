"""What a file is, told from names and shapes alone."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from common.tensor_headers import Header, TensorEntry
from common.weights import write_tensors
from tests.wan.dit_helpers import I2V, T2V, small_model
from wan.clip import CLIPVision
from wan.config import WAN_CONFIGS, DiTConfig
from wan.keys import dit_to_diffusers
from wan.model import WanModel
from wan.recognise import Contents, recognise, tasks_in_words
from wan.t5 import T5Encoder
from wan.vae import WanVAE


def header(shapes: dict[str, tuple[int, ...]], dtype: torch.dtype = torch.bfloat16, **metadata: str) -> Header:
    """The header of a file that is not there: sizes of official models cost nothing this way."""
    entries = {name: TensorEntry(Path("x"), dtype, torch.Size(shape), 0) for name, shape in shapes.items()}
    return Header(Path("x"), (Path("x"),), entries, metadata)


def of_state(state: dict[str, Tensor], dtype: torch.dtype = torch.bfloat16) -> Contents:
    return recognise(header({name: tuple(value.shape) for name, value in state.items()}, dtype))


def dit_state(config: DiTConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        return WanModel(config).state_dict()


@pytest.mark.parametrize(
    ("keys", "network", "words"),
    [
        (["myadapter.final_conv2d.weight", "blocks.0.self_attn.q.weight"], "dit", "OmniCam-Wan fork"),
        (["model.diffusion_model.blocks.0.self_attn.q.weight"], "dit", "Comfy"),
        (["blocks.0.self_attn.q.weight", "vace_blocks.0.after_proj.weight"], "dit", "VACE"),
        (["condition_embedder.time_proj.weight"], "dit", "diffusers"),
        (["lora_unet_blocks_0_self_attn_q.lora_down.weight"], "lora", "musubi"),
        (["diffusion_model.blocks.0.self_attn.q.lora_A.weight"], "lora", "Comfy"),
        (["transformer.blocks.0.attn1.to_q.lora_A.weight"], "lora", "peft"),
        (["lora_unet_blocks_0_self_attn_q.hada_w1_a"], "lora", "LoHa"),
        (["lora_unet_blocks_0_self_attn_q.lokr_w1"], "lora", "LoKr"),
        (["encoder.downsamples.0.residual.0.gamma"], "vae", "Wan2.1 VAE"),
        (["encoder.down_blocks.0.conv1.weight"], "vae", "diffusers"),
        (["blocks.0.attn.q.weight", "blocks.0.pos_embedding.embedding.weight"], "t5", "umT5"),
        (["encoder.block.0.layer.0.SelfAttention.q.weight"], "t5", "transformers"),
        (["textual.x", "visual.transformer.0.attn.to_qkv.weight"], "clip", "CLIP"),
        (["embeddings.class_embedding"], "clip", "transformers"),
        (["ray_embedding.0.weight"], "adapter", "camera adapter"),
        (["enc_blocks.0.x", "dec_blocks.0.attn.qkv.weight"], "dust3r", "DUSt3R"),
        (["latents_5x12x20_bfloat16"], "latent cache", "latent cache"),
        (["varlen_t5_bfloat16"], "text cache", "text cache"),
        (["c2w", "intrinsics", "times"], "camera cache", "camera cache"),
        (["extrinsics", "intrinsics"], "camera cache", "fork"),
        (["foo", "bar"], "unknown", "nothing this project knows (2 tensors: bar, foo)"),
    ],
)
def test_files_are_recognised_by_their_names(keys: list[str], network: str, words: str):
    found = recognise(header(dict.fromkeys(keys, (2, 2))))
    assert found.network == network
    assert words in str(found)


@pytest.mark.parametrize("style", ["official", "comfy", "diffusers"])
@pytest.mark.parametrize(
    ("task", "same"),
    [
        ("t2v-1.3B", ["t2v-1.3B"]),
        ("t2v-14B", ["t2v-14B", "t2i-14B"]),
        ("i2v-14B", ["i2v-14B"]),
        ("flf2v-14B", ["flf2v-14B"]),
        ("t2v-1.3B-FC", ["t2v-1.3B-FC"]),
        ("i2v-14B-FC", ["t2v-14B-FC", "i2v-14B-FC"]),
    ],
)
def test_the_dit_of_every_task_is_told_in_every_style(task: str, same: list[str], style: str):
    rename = {"official": str, "comfy": "model.diffusion_model.{}".format, "diffusers": dit_to_diffusers}[style]
    state = {rename(name): value for name, value in dit_state(WAN_CONFIGS[task].dit).items()}
    found = of_state(state)
    assert (found.network, found.style, list(found.tasks)) == ("dit", style, same)
    assert found.parameters == sum(value.numel() for value in state.values())
    assert found.dtypes == {"bfloat16": found.parameters}


@pytest.mark.parametrize("task", ["i2v-14B", "i2v-tiny"])
def test_the_encoders_of_every_task_are_told(task: str):
    config = WAN_CONFIGS[task]
    assert config.clip is not None
    with torch.device("meta"):
        networks = {"vae": WanVAE(config.vae), "t5": T5Encoder(config.t5), "clip": CLIPVision(config.clip)}
    for network, module in networks.items():
        found = of_state(module.state_dict())
        assert found.network == network
        assert ("i2v-tiny" in found.tasks) == (task == "i2v-tiny") and ("i2v-14B" in found.tasks) == (task == "i2v-14B")
    assert str(of_state(networks["vae"].state_dict())).endswith(
        "(task i2v-tiny)" if task == "i2v-tiny" else "official task)"
    )


def test_i2v_14b_has_the_official_number_of_parameters():
    assert of_state(dit_state(WAN_CONFIGS["i2v-14B"].dit)).parameters == 16_394_878_784


def test_a_dit_of_no_task_is_still_a_dit():
    found = of_state(small_model(replace(T2V, num_layers=2)).state_dict())
    assert (found.network, found.tasks) == ("dit", ())


@pytest.mark.parametrize(
    ("key", "metadata"),
    [
        ("scaled_fp8", {}),
        ("blocks.0.self_attn.q.scale_weight", {}),
        ("model.diffusion_model.blocks.0.self_attn.q.weight_scale", {}),
        ("blocks.0.self_attn.q.comfy_quant", {}),
        ("x", {"_quantization_metadata": "{}"}),
    ],
)
def test_scales_of_other_programs_are_seen(key: str, metadata: dict[str, str]):
    plain = {"blocks.0.self_attn.q.weight": (2, 2)}
    assert recognise(header(plain, torch.float8_e4m3fn)).scale_key is None
    assert recognise(header(plain, torch.float8_e4m3fn)).is_fp8
    found = recognise(header({**plain, key: (1,)}, torch.float8_e4m3fn, **metadata))
    assert found.scale_key is not None and (key in found.scale_key or "metadata" in found.scale_key)


def test_no_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "dit.safetensors"
    write_tensors(path, small_model(I2V).state_dict())
    reads: list[int] = []

    class Counting(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            reads.append(len(data))
            return data

    monkeypatch.setattr(Path, "open", lambda self, mode: Counting(io.FileIO(self, mode)))
    assert recognise(path).network == "dit"
    assert 0 < sum(reads) < 20_000 < path.stat().st_size


def test_tasks_in_words():
    official = [task for task in WAN_CONFIGS if task != "i2v-tiny"]
    assert tasks_in_words(official) == "every official task"
    assert tasks_in_words(["a"]) == "task a"
    assert tasks_in_words(["a", "b"]) == "tasks a, b"
