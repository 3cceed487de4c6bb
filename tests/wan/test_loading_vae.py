from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.weights import write_tensors
from tests.wan.test_vae import SMALL, random_vae, random_video
from wan.keys_encoders import from_official, vae_table
from wan.loading import load_vae


@pytest.mark.parametrize("style", ["official", "diffusers"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_both_styles_load_and_compute_the_same(tmp_path: Path, style: str, suffix: str):
    vae = random_vae()
    state = vae.state_dict()
    tensors = state if style == "official" else from_official(state, vae_table(SMALL))
    path = tmp_path / f"vae{suffix}"
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        write_tensors(path, tensors)
    loaded = load_vae(path, SMALL, device="cpu", dtype=torch.float32)
    assert not loaded.training and not any(weight.requires_grad for weight in loaded.parameters())
    video = random_video(frames=5)
    with torch.no_grad():
        assert torch.allclose(loaded.encode(video), vae.encode(video), atol=1e-5)
        assert torch.allclose(loaded.decode(vae.encode(video)), vae.decode(vae.encode(video)), atol=1e-5)


def test_weights_are_cast_but_the_normalisation_is_not(tmp_path: Path):
    write_tensors(tmp_path / "vae.safetensors", random_vae().state_dict())
    loaded = load_vae(tmp_path / "vae.safetensors", SMALL, device="cpu", dtype=torch.bfloat16)
    assert {weight.dtype for weight in loaded.parameters()} == {torch.bfloat16}
    assert torch.equal(loaded.mean, torch.tensor(SMALL.mean)) and torch.equal(loaded.std, torch.tensor(SMALL.std))


def test_wrong_files_are_named(tmp_path: Path):
    write_tensors(tmp_path / "dit.safetensors", {"blocks.0.self_attn.q.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"dit\.safetensors is a Wan2\.1 DiT.*--vae"):
        load_vae(tmp_path / "dit.safetensors", SMALL, device="cpu", dtype=torch.float32)
    state = random_vae().state_dict()
    del state["decoder.upsamples.0.residual.2.bias"]
    write_tensors(tmp_path / "short.safetensors", {**state, "odd": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"1 missing: decoder\.upsamples\.0\.residual\.2\.bias; 1 unexpected: odd"):
        load_vae(tmp_path / "short.safetensors", SMALL, device="cpu", dtype=torch.float32)
    write_tensors(tmp_path / "vae.safetensors", random_vae().state_dict())
    with pytest.raises(ValueError, match="another shape"):
        load_vae(tmp_path / "vae.safetensors", replace(SMALL, dim=16), device="cpu", dtype=torch.float32)
