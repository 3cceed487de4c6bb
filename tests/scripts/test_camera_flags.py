"""The camera's flags through the real scripts: designs in training; guidance, sigma window, old files in generation."""

import json

import pytest
import torch

from common.weights import read_metadata, read_tensors, write_tensors
from tests.scripts.test_main_job import generate
from tests.scripts.world import caption


def latent(models, weights, photo, tmp_path, *more, name="v"):
    target = tmp_path / f"{name}.mp4"
    assert generate(models, weights, photo, target, caption("right"), "--output_type", "latent", *more) == 0
    return read_tensors(tmp_path / f"{name}_latent.safetensors")["latent"]


@pytest.fixture
def fork_file(weights, tmp_path):
    """The tiny DiT with layers of the fork that have run in training."""
    from wan.adapters.build import build_adapter
    from wan.config import WAN_CONFIGS, ForkConfig

    dit = WAN_CONFIGS["i2v-tiny"].dit
    adapter = build_adapter(ForkConfig(middle_dim=16, hidden_dim=16, blocks=tuple(range(6))), dit.dim, dit.num_layers)
    generator = torch.Generator().manual_seed(0)
    for parameter in adapter.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    state = adapter.state_dict()
    state["myadapter.final_bn2d.num_batches_tracked"] = torch.tensor(900)
    write_tensors(tmp_path / "total-3.safetensors", {**read_tensors(weights / "dit.safetensors"), **state})
    return tmp_path / "total-3.safetensors"


def test_camera_guidance_and_sigma_window_act(models, weights, photo, tmp_path):
    plain = latent(models, weights, photo, tmp_path)
    off = latent(models, weights, photo, tmp_path, "--camera_scale", 0)
    guided = latent(models, weights, photo, tmp_path, "--camera_guidance", 2)
    early = latent(models, weights, photo, tmp_path, "--camera_sigma", 0.9, 1)
    # 3 steps lie at 999, 857 and 600: the camera of the first alone, and of none
    never = latent(models, weights, photo, tmp_path, "--camera_sigma", 0.0, 0.1)
    same = latent(models, weights, photo, tmp_path, "--camera_sigma", 0, 1, "--camera_guidance", 1)
    assert torch.equal(same, plain) and torch.equal(never, off)
    found = [plain, off, guided, early]
    assert all((a - b).abs().max() > 1e-4 for i, a in enumerate(found) for b in found[:i])


def test_a_checkpoint_of_the_fork_acts_as_it_is_told(models, weights, photo, tmp_path, fork_file, capsys):
    pytest.importorskip("scipy")
    given = ["--camera_adapter", fork_file]
    off = latent(models, weights, photo, tmp_path, "--camera_scale", 0)
    trained = latent(models, weights, photo, tmp_path, *given, "--camera_compat", "train")
    assert "does not do what the words say" in capsys.readouterr().err
    (tmp_path / "poses.txt").write_text("0 0 0 0 0 0 0 1\n0.5 1 0 0 0 0 0 1\n")
    given_poses = [*given, "--camera_compat", "train", "--camera_file", tmp_path / "poses.txt"]
    assert generate(models, weights, photo, tmp_path / "v.mp4", "A room.", *given_poses) == 2
    assert "only tags in the prompt can be planned" in capsys.readouterr().err
    inferred = latent(models, weights, photo, tmp_path, *given, "--camera_compat", "infer")
    assert torch.equal(inferred, off) and (trained - off).abs().max() > 1e-3


def test_what_cannot_be_meant_is_refused(models, weights, photo, tmp_path, fork_file, capsys):
    def refused(prompt, *more):
        assert generate(models, weights, photo, tmp_path / "v.mp4", prompt, *more) == 2
        return capsys.readouterr().err

    assert "--camera_compat train" in refused(caption("right"), "--camera_adapter", fork_file)
    assert "Leave it out" in refused(caption("right"), "--camera_compat", "infer")
    assert "LOW < HIGH" in refused(caption("right"), "--camera_sigma", 0.9, 0.5)
    assert "the prompt has no camera" in refused("A room.")
    assert generate(models, weights, photo, tmp_path / "v.mp4", "A room.", "--no_camera") == 0


@pytest.mark.parametrize(("prompt", "more"), [("A room.", ["--no_camera"]), (caption("right"), ["--camera_scale", 0])])
def test_what_only_a_camera_can_use_is_said_to_be_unused(models, weights, photo, tmp_path, capsys, prompt, more):
    given = ["--output_type", "latent", "--camera_guidance", 2, "--camera_sigma", 0.5, 1, *more]
    assert generate(models, weights, photo, tmp_path / "v.mp4", prompt, *given) == 0
    said = capsys.readouterr().err
    assert "--camera_guidance is not used" in said and "--camera_sigma is not used" in said
    assert generate(models, weights, photo, tmp_path / "v.mp4", prompt, "--output_type", "latent", *more) == 0
    said = capsys.readouterr().err
    assert "--camera_guidance" not in said and "--camera_sigma" not in said


def test_an_untrained_adapter_is_refused_unless_forced(models, weights, photo, tmp_path, capsys):
    from wan.adapters.build import build_adapter
    from wan.adapters.files import save_adapter
    from wan.config import WAN_CONFIGS

    task = WAN_CONFIGS["i2v-tiny"]
    save_adapter(tmp_path / "a.safetensors", build_adapter(task.adapter, task.dit.dim, task.dit.num_layers), {})
    given = ["--camera_adapter", tmp_path / "a.safetensors"]
    assert generate(models, weights, photo, tmp_path / "v.mp4", caption("right"), *given) == 2
    said = capsys.readouterr().err
    assert "never trained" in said and "encoding" not in said, "before anything slow is done"
    forced = latent(models, weights, photo, tmp_path, *given, "--force_adapter")
    assert torch.equal(forced, latent(models, weights, photo, tmp_path, "--camera_scale", 0))


@pytest.mark.parametrize(
    ("design", "arguments"),
    [
        (None, ["inner_dim=32", "fine_scale=2", "relative_dim=8"]),
        ("v1", ["middle_dim=8"]),
    ],
)
def test_every_design_trains_and_its_file_says_so(world, models, weights, photo, tmp_path, design, arguments):
    world.cache_all()
    chosen = [] if design is None else ["--adapter", design]
    assert world.train(*chosen, "--adapter_args", *arguments, "--max_train_steps", 3, "--camera_dropout", 0.3) == 0
    path = world.root / "out" / "lora_camera.safetensors"
    metadata = read_metadata(path)
    config = json.loads(metadata["config"])
    assert config["design"] == (design or "v2") and metadata["trained_steps"] == "3"
    assert json.loads(metadata["data"])[0]["num_clips"] == 3 and metadata["data_items"] == "3"
    given = ["--camera_adapter", path]
    moved = latent(models, weights, photo, tmp_path, *given)
    assert not torch.equal(moved, latent(models, weights, photo, tmp_path, "--camera_scale", 0))


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--camera_dropout", 1.5], "--camera_dropout 1.5"),
        (["--adapter_args", "colour=1"], "--adapter_args colour=1: unknown colour"),
        (["--adapter", "cross", "--camera_adapter", "{weights}/moving_adapter.safetensors"], "is of design v2"),
        (["--adapter_args", "inner_dim=8", "--camera_adapter", "{weights}/moving_adapter.safetensors"], "own sizes"),
        (["--camera_adapter", "{fork}"], "--adapter v1"),
    ],
)
def test_what_cannot_be_trained_is_refused(world, weights, fork_file, capsys, flags, word):
    world.cache_all()
    given = [str(flag).format(weights=weights, fork=fork_file) for flag in flags]
    assert world.train("--max_train_steps", 1, *given) == 2
    assert word in capsys.readouterr().err
