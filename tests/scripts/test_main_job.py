"""The main job through the real scripts: cache, train, generate."""

import numpy as np
import pytest
import torch

from common.media import probe_video, read_image, read_video
from common.weights import read_metadata, read_tensors
from tests.scripts.world import HEIGHT, WIDTH, caption, run


def test_caches_have_musubis_names_and_keys(world):
    world.cache_all()
    names = sorted(path.name for path in world.cache.iterdir())
    assert names == sorted(
        f"{stem}_{end}"
        for stem in ("my_test", "other_wan_te", "third")
        for end in ("00000-005_0048x0032_wan.safetensors", "wan_te.safetensors", "wan_camera.safetensors")
    )
    latents = read_tensors(world.cache / "my_test_00000-005_0048x0032_wan.safetensors")
    shapes = {key: (tuple(value.shape), value.dtype) for key, value in latents.items()}
    assert shapes["latents_2x4x6_bfloat16"] == ((16, 2, 4, 6), torch.bfloat16)
    assert shapes["latents_image_2x4x6_bfloat16"] == ((20, 2, 4, 6), torch.bfloat16)
    assert shapes["clip_bfloat16"][1] == torch.float16
    text = read_tensors(world.cache / "my_test_wan_te.safetensors")
    assert set(text) == {"varlen_t5_bfloat16"}
    assert read_metadata(world.cache / "my_test_wan_te.safetensors")["caption1"] == caption("right")
    camera = read_tensors(world.cache / "my_test_wan_camera.safetensors")
    assert camera["c2w"].shape == (9, 4, 4)
    assert camera["c2w"][-1, 0, 3] > 0.1


def test_skip_existing_encodes_nothing_and_a_lost_file_comes_back(world, monkeypatch):
    world.cache_all()
    lost = world.cache / "third_00000-005_0048x0032_wan.safetensors"
    before = {path.name: path.stat().st_mtime_ns for path in world.cache.iterdir()}
    lost.unlink()
    world.cache_all("--skip_existing")
    after = {path.name: path.stat().st_mtime_ns for path in world.cache.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {lost.name}


def test_interrupted_caching_resumes_and_leaves_no_half_file(world, monkeypatch):
    from wan import clip_latents

    real, calls = clip_latents.encode_pictures, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(clip_latents, "encode_pictures", interrupted)
    assert world.call("wan_cache_latents") == 130
    written = sorted(world.cache.glob("*_wan.safetensors"))
    assert len(written) == 2 and not list(world.cache.glob(".*"))
    times = [path.stat().st_mtime_ns for path in written]
    assert world.call("wan_cache_latents", "--skip_existing") == 0
    assert len(list(world.cache.glob("*_wan.safetensors"))) == 3
    assert [path.stat().st_mtime_ns for path in written] == times


def test_an_outdated_cache_is_pruned_and_a_foreign_one_when_asked(world):
    world.cache_all()
    for name in ("gone_00000-005_0048x0032_wan.safetensors", "gone_wan_te.safetensors", "gone_wan_camera.safetensors"):
        (world.cache / name).write_bytes(b"foreign")
    (world.cache / "notes.safetensors").write_bytes(b"mine")
    outdated = world.cache / "my_test_00004-005_0048x0032_wan.safetensors"
    outdated.write_bytes((world.cache / "my_test_00000-005_0048x0032_wan.safetensors").read_bytes())
    world.cache_all("--skip_existing", "--keep_cache")
    assert outdated.exists()
    world.cache_all("--skip_existing")
    assert len(list(world.cache.glob("gone_*"))) == 3 and not outdated.exists()
    world.cache_all("--skip_existing", "--prune_foreign")
    assert not list(world.cache.glob("gone_*"))
    assert (world.cache / "notes.safetensors").exists()


def test_training_writes_lora_and_adapter_and_both_learnt(world):
    world.cache_all()
    code = world.train(
        "--network_module", "networks.lora_wan", "--network_dim", 4, "--network_alpha", 4, "--gradient_checkpointing",
        "--max_train_epochs", 2, "--save_every_n_epochs", 1, "--save_state", "--optimizer_type", "adamw",
    )  # fmt: skip
    assert code == 0
    out = world.root / "out"
    names = {path.name for path in out.iterdir()}
    assert {"lora.safetensors", "lora_camera.safetensors", "lora-000001.safetensors", "lora-000001-state"} <= names
    lora, adapter = read_tensors(out / "lora.safetensors"), read_tensors(out / "lora_camera.safetensors")
    assert lora["lora_unet_blocks_0_cross_attn_k_img.lora_up.weight"].abs().max() > 0
    assert any(value.abs().max() > 0 for key, value in adapter.items() if key.endswith("o.weight"))
    assert not any("adapter" in key or "camera" in key for key in lora)
    assert read_metadata(out / "lora_camera.safetensors")["base_task"] == "i2v-tiny"
    assert read_metadata(out / "lora.safetensors")["ss_network_dim"] == "4"


def test_resume_gives_the_same_files_as_a_run_that_was_not_stopped(world):
    world.cache_all()
    lora = ["--network_module", "networks.lora_wan", "--max_train_epochs", 2, "--save_every_n_epochs", 1]
    assert world.train(*lora, "--save_state") == 0
    out = world.root / "out"
    whole = read_tensors(out / "lora.safetensors") | read_tensors(out / "lora_camera.safetensors")
    state = out / "lora-000001-state"
    again = world.root / "again"
    assert world.train(*lora, "--resume", state, "--output_dir", again) == 0
    resumed = read_tensors(again / "lora.safetensors") | read_tensors(again / "lora_camera.safetensors")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_cache_with_nan_is_refused_by_name(world, capsys):
    from common.weights import write_tensors

    world.cache_all()
    path = world.cache / "third_wan_te.safetensors"
    tensors, metadata = read_tensors(path), read_metadata(path)
    tensors["varlen_t5_bfloat16"][0, 0] = float("nan")
    write_tensors(path, tensors, metadata)
    assert world.train("--network_module", "networks.lora_wan", "--max_train_epochs", 1) == 2
    message = capsys.readouterr().err
    assert "third_wan_te.safetensors" in message and "NaN" in message


PROMPT = " ".join(
    caption(direction, end=0.25 * (i + 1)).split("Camera: ")[1].replace("<starttime>0<", f"<starttime>{i * 0.25}<")
    for i, direction in enumerate(("forward", "right", "leftdown30"))
)


def generate(models, weights, photo, target, prompt, *more):
    return run(
        "wan_generate_video", *models["wan_generate_video"], "--image_path", photo, "--prompt", prompt, "--video_size",
        HEIGHT, WIDTH, "--video_length", 9, "--infer_steps", 3, "--seed", 5, "--save_path", target,
        "--camera_adapter", weights / "moving_adapter.safetensors", *more,
    )  # fmt: skip


def test_generation_gives_the_frames_size_and_rate_asked_for(models, weights, photo, tmp_path):
    target = tmp_path / "new" / "video.mp4"
    assert generate(models, weights, photo, target, f"A room. ; Camera: {PROMPT}", "--output_type", "both") == 0
    info = probe_video(target)
    assert (info.height, info.width, info.frames, info.fps) == (HEIGHT, WIDTH, 9, 16.0)
    latent = read_tensors(tmp_path / "new" / "video_latent.safetensors")["latent"]
    assert latent.shape == (16, 3, HEIGHT // 8, WIDTH // 8)
    assert read_image(tmp_path / "new" / "video_camera.png").std() > 5
    assert read_image(tmp_path / "new" / "video_sheet.png").shape[2] == 3


def test_another_camera_makes_another_video_and_the_same_one_the_same(models, weights, photo, tmp_path):
    """Only the lens differs, so text, image and noise are the same: what changes, changes by the rays."""
    latents = {}
    for name, fov in (("narrow", 50), ("wide", 80), ("again", 50)):
        flags = ["--output_type", "latent", "--fov_deg", fov]
        assert generate(models, weights, photo, tmp_path / f"{name}.mp4", caption("right"), *flags) == 0
        latents[name] = read_tensors(tmp_path / f"{name}_latent.safetensors")["latent"]
    assert torch.equal(latents["narrow"], latents["again"])
    assert (latents["narrow"] - latents["wide"]).abs().max() > 1e-3


@pytest.mark.parametrize("more", [[], ["--guidance_scale", 3], ["--sample_solver", "dpm++"]])
def test_the_adapter_alone_moves_the_latent(models, weights, photo, tmp_path, more):
    found = []
    for name, scale in (("with", 1), ("without", 0)):
        target = tmp_path / f"{name}.mp4"
        flags = ["--output_type", "latent", "--camera_scale", scale, *more]
        assert generate(models, weights, photo, target, caption("right"), *flags) == 0
        found.append(read_tensors(tmp_path / f"{name}_latent.safetensors")["latent"])
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_a_directory_and_numbered_images(models, weights, photo, tmp_path):
    assert generate(models, weights, photo, tmp_path / "d", caption("up"), "--output_type", "images") == 0
    assert len(list((tmp_path / "d").glob("*_5/*.png"))) == 9


def test_trained_files_load_in_generation(world, models, weights, photo, tmp_path):
    world.cache_all()
    assert (
        world.train("--network_module", "networks.lora_wan", "--max_train_epochs", 1, "--trainable_modules", "all") == 0
    )
    out = world.root / "out"
    target = tmp_path / "v.mp4"
    more = ["--lora_weight", out / "lora.safetensors", "--dit", out / "lora_dit.safetensors"]
    more += ["--camera_adapter", out / "lora_camera.safetensors"]
    assert generate(models, weights, photo, target, caption("right"), *more) == 0
    assert read_video(target).shape == (9, HEIGHT, WIDTH, 3)
    assert np.isfinite(read_tensors(out / "lora_dit.safetensors")["head.head.weight"].float().numpy()).all()


def test_loss_is_written_for_people(world):
    world.cache_all()
    assert world.train("--max_train_steps", 3) == 0
    out = world.root / "out"
    assert read_image(out / "lora_loss.png").std() > 1
    rows = (out / "lora_loss.csv").read_text(encoding="utf-8").strip().splitlines()
    assert rows[0].startswith("step,epoch,loss") and len(rows) == 4


def test_images_are_not_mixed_with_older_ones(models, weights, photo, tmp_path, capsys):
    flags = ["--output_type", "images"]
    assert generate(models, weights, photo, tmp_path / "v.mp4", caption("up"), *flags) == 0
    assert len(list((tmp_path / "v").glob("*.png"))) == 9
    assert generate(models, weights, photo, tmp_path / "v.mp4", caption("up"), *flags) == 2
    assert "holds images already" in capsys.readouterr().err


def test_a_zero_head_is_said_to_learn_nothing_and_broken_weights_are_not_saved(world, weights, tmp_path, capsys):
    from common.weights import write_tensors

    world.cache_all()
    dit = read_tensors(weights / "dit.safetensors")
    dit["head.head.weight"] = torch.zeros_like(dit["head.head.weight"])
    write_tensors(tmp_path / "zero.safetensors", dit)
    lora = ["--network_module", "networks.lora_wan", "--max_train_steps", 1]
    assert world.train(*lora, "--dit", tmp_path / "zero.safetensors") == 0
    assert "nothing is learnt" in capsys.readouterr().err
    broken = ["--optimizer_args", "weight_decay=1e60", "--output_dir", world.root / "broken"]
    assert world.train(*lora, *broken) == 2
    assert "NaN or infinity" in capsys.readouterr().err
    assert not list((world.root / "broken").glob("*.safetensors"))
