"""The main job on an accelerator, in half precision. Run there with `pytest -m gpu`."""

import pytest
import torch

from common.media import probe_video
from common.weights import read_tensors
from tests.scripts.world import HEIGHT, WIDTH, caption, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator on this machine"),
]


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0).item()


def test_caches_of_the_gpu_are_those_of_the_cpu(world):
    world.call("wan_cache_latents", "--device", "cpu")
    path = world.cache / "my_test_00000-005_0048x0032_wan.safetensors"
    cpu = read_tensors(path)
    assert world.call("wan_cache_latents", "--device", "cuda", "--vae_dtype", "bf16") == 0
    gpu = read_tensors(path)
    for key in cpu:
        assert cosine(cpu[key], gpu[key]) > 0.999, key


@pytest.mark.parametrize("optimizer", ["adamw", "adamw8bit"])
def test_training_in_bf16(world, optimizer):
    if optimizer == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    world.cache_all()
    code = world.train(
        "--mixed_precision", "bf16", "--gradient_checkpointing", "--network_module", "networks.lora_wan",
        "--network_dim", 8, "--max_train_steps", 4, "--save_state", "--optimizer_type", optimizer,
    )  # fmt: skip
    assert code == 0
    lora = read_tensors(world.root / "out" / "lora.safetensors")
    assert all(value.isfinite().all() for value in lora.values())
    assert lora["lora_unet_blocks_0_self_attn_q.lora_up.weight"].abs().max() > 0


def test_generation_on_the_gpu_follows_the_camera(models, weights, photo, tmp_path):
    found = {}
    for name, direction, scale in (("right", "right", 1), ("again", "right", 1), ("off", "right", 0)):
        code = run(
            "wan_generate_video", *models["wan_generate_video"], "--device", "cuda", "--image_path", photo,
            "--prompt", caption(direction), "--video_size", HEIGHT, WIDTH, "--video_length", 9, "--infer_steps", 4,
            "--seed", 5, "--camera_adapter", weights / "moving_adapter.safetensors", "--camera_scale", scale,
            "--output_type", "both", "--save_path", tmp_path / f"{name}.mp4",
        )  # fmt: skip
        assert code == 0
        found[name] = read_tensors(tmp_path / f"{name}_latent.safetensors")["latent"]
    assert torch.equal(found["right"], found["again"])
    assert (found["right"] - found["off"]).abs().max() > 1e-2
    assert probe_video(tmp_path / "right.mp4").frames == 9
