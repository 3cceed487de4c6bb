"""A tiny world for the real scripts: tiny random weights, and a data set of three small videos."""

from pathlib import Path

import pytest

from common.media import write_image
from tests.scripts.world import World, caption, moving_picture


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """Random weights of i2v-tiny, with an adapter that moves the picture."""
    import torch

    from common.weights import read_tensors, write_tensors
    from tools.make_tiny_weights import main as make
    from wan.adapters.build import build_adapter
    from wan.adapters.files import save_adapter
    from wan.config import WAN_CONFIGS

    folder = tmp_path_factory.mktemp("weights")
    assert make(["--output_dir", str(folder), "--seed", "0"]) == 0
    task = WAN_CONFIGS["i2v-tiny"]
    adapter = build_adapter(task.adapter, task.dit.dim, task.dit.num_layers)
    generator = torch.Generator().manual_seed(0)
    adapter.reset_parameters(generator)
    # a fresh head is zero, and so would be everything the DiT says
    dit = read_tensors(folder / "dit.safetensors")
    dit["head.head.weight"] = 0.1 * torch.randn(dit["head.head.weight"].shape, generator=generator).bfloat16()
    write_tensors(folder / "dit.safetensors", dit)
    for parameter in adapter.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    save_adapter(folder / "moving_adapter.safetensors", adapter, {"base_task": "i2v-tiny", "trained_steps": "1"})
    return folder


@pytest.fixture(scope="session")
def models(weights) -> dict[str, list[str]]:
    """The model flags of each script."""
    tokenizer = str(Path(__file__).resolve().parents[2] / "weights" / "tiny" / "tokenizer.json")

    def flags(*names: str) -> list[str]:
        found = [item for name in names for item in (f"--{name}", str(weights / f"{name}.safetensors"))]
        return found + (["--tokenizer", tokenizer] if "t5" in names else [])

    task = ["--task", "i2v-tiny"]
    return {
        "wan_cache_latents": task + flags("vae", "clip"),
        "wan_cache_text_encoder_outputs": task + flags("t5"),
        "wan_cache_camera_encoder_outputs": [],
        "wan_train_network": task + flags("dit"),
        "wan_generate_video": task + flags("dit", "vae", "t5", "clip"),
    }


@pytest.fixture
def world(tmp_path, models) -> World:
    """Three videos with different cameras, in a folder whose name has _te in it."""
    made = World(tmp_path / "a_te_b", models)
    made.add_video("my_test.mp4", caption("right"))
    made.add_video("other_wan_te.mp4", caption("left"))
    made.add_video("third.mp4", caption("forward"))
    made.write_config()
    return made


@pytest.fixture
def photo(tmp_path) -> Path:
    """A picture of the videos' shape."""
    path = tmp_path / "photo.png"
    write_image(path, moving_picture(7)[0])
    return path
