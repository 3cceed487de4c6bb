"""Every task through the real generation script, at small dimensions: what its DiT is told, and that it listens."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from common.media import probe_video, read_image, write_image, write_video
from common.weights import read_tensors, write_tensors
from tests.scripts.world import HEIGHT, WIDTH, caption, moving_picture, run
from wan.config import WAN_CONFIGS, TaskConfig
from wan.initialise import initialise
from wan.model import WanModel

TINY = WAN_CONFIGS["i2v-tiny"]
TASKS = [task for task in WAN_CONFIGS if task != "i2v-tiny"]
TOKENS = 65


def tiny_version(task: str) -> TaskConfig:
    """The task with the dimensions of i2v-tiny: only what makes it this task is its own."""
    official = WAN_CONFIGS[task]
    dit = replace(
        TINY.dit,
        num_layers=2,
        in_dim=official.dit.in_dim,
        image_dim=TINY.dit.image_dim if official.dit.image_dim else None,
        image_pos_tokens=2 * TOKENS if official.dit.image_pos_tokens else 0,
    )
    adapter = replace(TINY.adapter, blocks=(0, 1))
    clip = TINY.clip if official.clip else None
    return replace(official, dit=dit, vae=TINY.vae, t5=TINY.t5, clip=clip, adapter=adapter, steps=2)


class Told:
    """What the DiT was told in the last step of the last run."""

    condition: Tensor | None
    clip_features: Tensor | None


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    seen = Told()
    denoise, prepare = WanModel.denoise, WanModel.prepare

    def watched_denoise(self, latents, timestep, tokens, image_condition=None):
        seen.condition = image_condition
        return denoise(self, latents, timestep, tokens, image_condition)

    def watched_prepare(self, context, clip_features=None, camera=None, cache_kv=False):
        seen.clip_features = clip_features
        return prepare(self, context, clip_features, camera, cache_kv)

    monkeypatch.setattr(WanModel, "denoise", watched_denoise)
    monkeypatch.setattr(WanModel, "prepare", watched_prepare)
    return seen


Generate = Callable[..., Tensor]


@pytest.fixture
def generate(weights: Path, models, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generate:
    """Run the script for a task, with pictures named by what they are; gives the latent."""
    write_image(tmp_path / "other.png", 255 - moving_picture(8)[0])
    write_video(tmp_path / "control.mp4", moving_picture(9), 16)
    write_video(tmp_path / "still.mp4", np.repeat(moving_picture(9)[:1], 9, 0), 16)
    flags = models["wan_generate_video"][2:]
    made: set[str] = set()

    def call(task: str, *more: object) -> Tensor:
        config = tiny_version(task) if task not in made else WAN_CONFIGS[task]
        dit = tmp_path / f"{task}.safetensors"
        if task not in made:
            made.add(task)
            monkeypatch.setitem(WAN_CONFIGS, task, config)
            model = WanModel(config.dit)
            initialise(model, 0, head_std=0.1)
            write_tensors(dit, model.state_dict())
        named = [str(item).format(photo=photo, folder=tmp_path) for item in more]
        code = run(
            "wan_generate_video", *flags, "--task", task, "--dit", dit, "--prompt", "a room", "--video_size", HEIGHT,
            WIDTH, "--video_length", config.frames if config.frames == 1 else 9, "--seed", 5, "--output_type", "both",
            "--save_path", tmp_path / "v.mp4", *named,
        )  # fmt: skip
        assert code == 0
        return read_tensors(tmp_path / "v_latent.safetensors")["latent"]

    return call


PICTURES = {
    "t2v-1.3B": [], "t2v-14B": [], "t2i-14B": [],
    "i2v-14B": ["--image_path", "{photo}"],
    "flf2v-14B": ["--image_path", "{photo}", "--end_image_path", "{folder}/other.png"],
    "t2v-1.3B-FC": ["--control_path", "{folder}/control.mp4"],
    "t2v-14B-FC": ["--control_path", "{folder}/control.mp4"],
    "i2v-14B-FC": ["--image_path", "{photo}", "--control_path", "{folder}/control.mp4"],
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_every_task_makes_its_video(generate: Generate, told: Told, tmp_path: Path, task: str):
    latent = generate(task, *PICTURES[task])
    config = WAN_CONFIGS[task]
    frames = 1 if task == "t2i-14B" else 9
    assert latent.shape == (16, (frames - 1) // 4 + 1, HEIGHT // 8, WIDTH // 8)
    assert latent.isfinite().all() and latent.std() > 0.1
    info = probe_video(tmp_path / "v.mp4")
    assert (info.frames, info.height, info.width) == (frames, HEIGHT, WIDTH)
    channels = 0 if told.condition is None else told.condition.shape[1]
    assert channels == config.dit.in_dim - 16
    batch = None if told.clip_features is None else tuple(told.clip_features.shape)
    clip_batch = 2 if task == "flf2v-14B" else 1
    tokens = TOKENS if "--image_path" in PICTURES[task] else 1
    assert batch == ((clip_batch, tokens, 128) if config.clip else None)


def test_flf2v_is_told_of_both_frames_and_listens_to_the_last(generate: Generate, told: Told):
    first = ["--image_path", "{photo}", "--end_image_path"]
    one = generate("flf2v-14B", *first, "{folder}/other.png")
    assert told.condition is not None and told.clip_features is not None
    mask = told.condition[0, :4, :, 0, 0]
    assert mask.tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 1]]
    assert (told.clip_features[0] - told.clip_features[1]).abs().max() > 1e-3
    other = generate("flf2v-14B", *first, "{photo}")
    assert torch.allclose(told.clip_features[0], told.clip_features[1])
    assert (one - other).abs().max() > 1e-3


def test_an_end_image_of_i2v_adds_a_latent_frame_that_the_clip_tokens_do_not_know(
    generate: Generate, told: Told, tmp_path: Path
):
    latent = generate("i2v-14B", "--image_path", "{photo}", "--end_image_path", "{folder}/other.png")
    assert latent.shape[1] == 4 and probe_video(tmp_path / "v.mp4").frames == 13
    assert told.condition is not None and told.clip_features is not None
    assert told.condition[0, 0, :, 0, 0].tolist() == [1, 0, 0, 1]
    assert told.clip_features.shape[0] == 1


def test_control_moves_the_latent_and_the_image_is_optional(generate: Generate, told: Told):
    moving = generate("t2v-14B-FC", "--control_path", "{folder}/control.mp4")
    assert told.condition is not None and told.clip_features is not None
    assert told.condition[:, :16].std() > 0.1 and not told.condition[:, 16:].any()
    assert not told.clip_features.any()
    still = generate("t2v-14B-FC", "--control_path", "{folder}/still.mp4")
    assert (moving - still).abs().max() > 1e-3
    generate("t2v-14B-FC", "--control_path", "{folder}/control.mp4", "--image_path", "{photo}")
    assert told.condition[0, 16:, 0].abs().max() > 0.1 and not told.condition[0, 16:, 1:].any()
    assert told.clip_features.abs().max() > 0.1


@pytest.mark.parametrize("task", ["t2v-14B", "flf2v-14B", "i2v-14B-FC"])
def test_a_camera_moves_the_latent_of_every_kind_of_task(generate: Generate, weights: Path, tmp_path: Path, task: str):
    from wan.adapters.build import build_adapter
    from wan.adapters.files import save_adapter

    config = tiny_version(task)
    adapter = build_adapter(config.adapter, config.dit.dim, config.dit.num_layers)
    adapter.reset_parameters(torch.Generator().manual_seed(0))
    for parameter in adapter.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    save_adapter(tmp_path / "a.safetensors", adapter, {"base_task": task, "trained_steps": "1"})
    camera = [*PICTURES[task], "--prompt", caption("right"), "--camera_adapter", tmp_path / "a.safetensors"]
    with_camera = generate(task, *camera)
    assert read_image(tmp_path / "v_camera.png").std() > 5
    assert (with_camera - generate(task, *camera, "--camera_scale", 0)).abs().max() > 1e-3


@pytest.mark.parametrize("script", ["wan_cache_latents", "wan_cache_text_encoder_outputs", "wan_train_network"])
@pytest.mark.parametrize("task", ["flf2v-14B"])
def test_caching_and_training_say_that_these_tasks_only_generate(capsys, script: str, task: str):
    with pytest.raises(SystemExit) as stop:
        run(script, "--task", task, "--dataset_config", "x.toml")
    said = capsys.readouterr().err
    assert stop.value.code == 2 and f"{task} has no caches and no training yet" in said and "i2v-14B" in said
