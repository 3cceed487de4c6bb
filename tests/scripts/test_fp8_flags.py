"""The fp8 flags do what they say, through the scripts: types, outputs close to those without, metadata."""

import json

import pytest
import torch

import wan.loading
from common.weights import read_metadata, read_tensors, write_tensors
from tests.scripts.world import caption, run
from wan.fp8 import FP8, is_fp8_weight


@pytest.fixture
def kept(monkeypatch):
    """Types of the fp8 candidates of the networks that the scripts load, {"dit" or "t5": types}."""
    found = {}

    def watch(name):
        real = getattr(wan.loading, name)

        def load(*arguments, **keywords):
            model = real(*arguments, **keywords)
            state = model.state_dict()
            found[name[5:]] = {state[key].dtype for key in state if is_fp8_weight(key)}
            return model

        monkeypatch.setattr(f"wan.loading.{name}", load)
        if name == "load_t5":
            monkeypatch.setattr("generation.encode.load_t5", load)

    watch("load_dit")
    watch("load_t5")
    return found


def generate(models, photo, target, *flags):
    code = run(
        "wan_generate_video", *models["wan_generate_video"], "--prompt", caption("right"), "--no_camera", "--seed", 5,
        "--image_path", photo, "--video_size", 32, 48, "--video_length", 5, "--infer_steps", 2,
        "--output_type", "latent", "--save_path", target, *flags,
    )  # fmt: skip
    assert code == 0
    return read_tensors(target.with_name(f"{target.stem}_latent.safetensors"))["latent"]


@pytest.mark.parametrize(
    ("flags", "dit", "t5"),
    [
        (["--fp8"], FP8, torch.float32),
        (["--fp8", "--fp8_scaled"], FP8, torch.float32),
        (["--fp8_scaled"], FP8, torch.float32),
        (["--fp8_t5"], torch.float32, FP8),
    ],
)
def test_generation_keeps_weights_in_fp8(models, photo, tmp_path, kept, flags, dit, t5):
    plain = generate(models, photo, tmp_path / "plain.mp4")
    assert kept == {"dit": {torch.float32}, "t5": {torch.float32}}
    other = generate(models, photo, tmp_path / "fp8.mp4", *flags)
    assert kept == {"dit": {dit}, "t5": {t5}}
    error = float((other - plain).norm() / plain.norm())
    assert 0 < error < 0.05


def test_a_lora_acts_on_a_dit_in_fp8(models, photo, tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for block in range(6):
        name = f"lora_unet_blocks_{block}_self_attn_v"
        tensors[f"{name}.lora_down.weight"] = 0.3 * torch.randn(2, 256, generator=generator)
        tensors[f"{name}.lora_up.weight"] = 0.3 * torch.randn(256, 2, generator=generator)
    write_tensors(tmp_path / "l.safetensors", tensors)
    lora = ["--lora_weight", tmp_path / "l.safetensors"]
    plain, with_lora = (generate(models, photo, tmp_path / f"{len(more)}.mp4", *more) for more in ([], lora))
    in_fp8 = generate(models, photo, tmp_path / "fp8.mp4", "--fp8_scaled", *lora)
    change = (with_lora - plain).norm()
    assert (in_fp8 - with_lora).norm() < 0.3 * change


def test_fast_fp8_on_a_cpu_is_refused(models, photo, tmp_path, capsys):
    code = run(
        "wan_generate_video", *models["wan_generate_video"], "--prompt", "x", "--image_path", photo, "--fp8",
        "--fp8_fast", "--device", "cpu", "--video_size", 32, 48, "--video_length", 5, "--infer_steps", 1,
        "--save_path", tmp_path / "v.mp4",
    )  # fmt: skip
    assert code == 2 and "--fp8_fast needs a GPU" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--fp8_base"], ["--fp8_base", "--fp8_scaled"]])
def test_training_on_a_dit_in_fp8(world, kept, flags):
    world.cache_all()
    train = ["--network_module", "networks.lora_wan", "--network_dim", 4, "--max_train_steps", 2]
    assert world.train(*train, *flags) == 0
    assert kept["dit"] == {FP8}
    lora = world.root / "out" / "lora.safetensors"
    assert read_metadata(lora)["ss_fp8_base"] == "True"
    assert any(value.abs().max() > 0 for key, value in read_tensors(lora).items() if "lora_up" in key)


def test_weights_that_train_are_not_kept_in_fp8(world, capsys):
    assert world.train("--trainable_modules", "all", "--fp8_base") == 2
    assert "--trainable_modules" in capsys.readouterr().err


def test_text_caches_know_that_their_encoder_was_in_fp8(world, kept):
    script, name = "wan_cache_text_encoder_outputs", "my_test_wan_te.safetensors"
    assert world.call(script) == 0
    plain, said = read_tensors(world.cache / name), read_metadata(world.cache / name)
    assert world.call(script, "--skip_existing", "--fp8_t5") == 0
    assert kept["t5"] == {FP8}, "caches of another encoder are made anew"
    narrow, also = read_tensors(world.cache / name), read_metadata(world.cache / name)
    assert json.dumps(said) != json.dumps(also) and "float8_e4m3fn" in json.dumps(also)
    key = "varlen_t5_bfloat16"
    error = float((narrow[key].float() - plain[key].float()).norm() / plain[key].float().norm())
    assert 0 < error < 0.05


def test_fp8_fast_is_refused_before_anything_is_loaded(models, photo, tmp_path, monkeypatch, capsys, kept):
    arguments = [
        *models["wan_generate_video"], "--prompt", "x", "--image_path", photo, "--video_length", 5,
        "--save_path", tmp_path / "v.mp4", "--fp8_fast",
    ]  # fmt: skip
    assert run("wan_generate_video", *arguments, "--fp8", "--device", "cpu") == 2
    assert "--fp8_fast needs a GPU" in capsys.readouterr().err
    monkeypatch.setattr("wan.fp8.check_fast_fp8", lambda device: None)
    assert run("wan_generate_video", *arguments) == 2
    assert "add --fp8 or --fp8_scaled" in capsys.readouterr().err
    assert kept == {}
