"""Training from cache files on disk, through the real data layer, with worker processes."""

from pathlib import Path

import pytest
import torch

from common.weights import read_tensors
from tests.dataset.helpers import Project, camera_caption
from tests.training.tiny_run import make_config, make_networks
from training.loop import train
from training.setup import make_accelerator


def encode_latents(clips: list) -> list[dict[str, torch.Tensor]]:
    """Random numbers in the shapes of the tiny DiT, in the place of VAE and CLIP."""
    results = []
    for clip in clips:
        frames, height, width, _ = clip.frames.shape
        shape = ((frames - 1) // 4 + 1, height // 8, width // 8)
        results.append(
            {
                "latents": torch.randn(16, *shape).bfloat16(),
                "latents_image": torch.randn(20, *shape).bfloat16(),
                "clip": torch.randn(5, 16).half(),
            }
        )
    return results


@pytest.mark.parametrize("workers", [0, 2])
def test_trains_from_caches(tmp_path: Path, workers: int) -> None:
    project = Project(tmp_path / "project")
    project.root.mkdir()
    project.videos([camera_caption(direction) for direction in ("left", "right", "forward")], "batch_size = 2")
    project.cache_latents(encode_latents)
    project.cache_text(lambda jobs: [torch.randn(4, 16).bfloat16() for _ in jobs])
    project.cache_cameras()
    config = make_config(
        tmp_path / "out", max_data_loader_n_workers=workers, persistent_data_loader_workers=workers > 0
    )
    dit, network, adapter = make_networks(config)
    summary = train(config, make_accelerator(config), dit, network, adapter, project.training_set())
    assert summary.steps == 4 and summary.epochs == 2
    trained = read_tensors(tmp_path / "out" / "run_camera.safetensors")
    assert trained["layers.0.o.weight"].any()
