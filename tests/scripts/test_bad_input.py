"""What a user gets wrong ends with one clear message, exit code 2, and no half-written file."""

import pytest

from common.weights import read_tensors, write_tensors
from tests.scripts.world import caption, run

CACHES = ["wan_cache_latents", "wan_cache_text_encoder_outputs", "wan_cache_camera_encoder_outputs"]


@pytest.fixture
def refuses(capsys):
    """Check that a call ended with code 2 and one message that says each of `words`."""

    def check(code, *words):
        err = capsys.readouterr().err
        assert code == 2, err
        message = err[err.index("error: ") :]
        assert "Traceback" not in err
        for word in words:
            assert word in message, message

    return check


@pytest.mark.parametrize("script", [*CACHES, "wan_train_network"])
def test_a_missing_dataset_config(world, refuses, script):
    code = run(script, *world.models[script], "--dataset_config", world.root / "nothing.toml")
    refuses(code, "nothing.toml", "does not exist")


@pytest.mark.parametrize("script", [*CACHES, "wan_train_network"])
def test_an_unknown_toml_key_names_the_nearest(world, refuses, script):
    world.write_config(extra="frame_strid = 2\n")
    refuses(world.call(script), "dataset.toml", "frame_strid", "frame_stride")
    assert not world.cache.exists()


@pytest.mark.parametrize("script", CACHES[:1] + CACHES[2:])
def test_an_unreadable_video_is_named(world, refuses, script):
    (world.root / "third.mp4").write_bytes(b"not a video")
    refuses(world.call(script), "third.mp4")
    assert not list(world.root.glob("cache/.*"))


def test_a_wrong_tag_names_segment_tag_and_allowed_values(world, refuses):
    world.add_video("wrong.mp4", caption("sideways"))
    world.write_config()
    refuses(
        world.call("wan_cache_camera_encoder_outputs"), "wrong.mp4", "segment 1", "direction", "sideways", "forward"
    )
    assert not world.cache.exists()


def test_a_caption_without_a_camera_is_named(world, refuses):
    world.add_video("mute.mp4", "Object: nothing moves.")
    world.write_config()
    refuses(world.call("wan_cache_camera_encoder_outputs"), "mute.mp4", "no camera", "<direction>")


def test_a_missing_model_says_where_it_belongs(world, refuses):
    script = "wan_cache_latents"
    refuses(world.call(script, "--vae", world.root / "none.pth"), "--vae", "none.pth", "weights/README.md")


def test_a_text_encoder_given_as_a_vae(world, weights, refuses):
    refuses(world.call("wan_cache_latents", "--vae", weights / "t5.safetensors"), "t5.safetensors", "T5")
    assert not list(world.root.glob("cache/*"))


def test_training_without_caches_lists_the_commands(world, refuses):
    refuses(world.train(), "wan_cache_latents.py", "wan_cache_text_encoder_outputs.py", "my_test.mp4")
    assert not (world.root / "out").exists()


def test_training_a_dit_of_another_task(world, weights, tmp_path, refuses):
    world.cache_all()
    dit = read_tensors(weights / "dit.safetensors")
    dit["patch_embedding.weight"] = dit["patch_embedding.weight"][:, :16].contiguous()
    write_tensors(tmp_path / "t2v.safetensors", dit)
    refuses(world.train("--dit", tmp_path / "t2v.safetensors"), "t2v.safetensors", "in_dim 16", "in_dim 36")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--learning_rate", 0], ["--learning_rate"]),
        (["--network_module", "networks.nothing"], ["--network_module", "networks.lora_wan"]),
        (["--min_timestep", 900, "--max_timestep", 100], ["--min_timestep"]),
        (["--trainable_modules", "no_such_part"], ["--trainable_modules", "no_such_part"]),
        (["--optimizer_type", "Adamm"], ["--optimizer_type", "Adamm"]),
        (["--resume", "no_such_folder"], ["no_such_folder"]),
        (["--log_with", "tensorboard"], ["--logging_dir"]),
    ],
)
def test_contradicting_or_impossible_training_flags(world, refuses, flags, words):
    world.cache_all()
    refuses(world.train(*flags), *words)


GOOD = caption("right")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--video_size", 33, 48], ["--video_size 33 48", "multiples of 8"]),
        (["--video_length", 10], ["--video_length 10", "9", "13"]),
        (["--image_path", "no.png"], ["no.png", "does not exist"]),
        (["--prompt", caption("sidewards")], ["sidewards", "direction"]),
        (["--prompt", GOOD.replace("<speed>high</speed>", "")], ["speed"]),
        (["--dit", "{weights}/vae.safetensors"], ["vae.safetensors", "VAE"]),
        (["--vae", "{weights}/dit.safetensors"], ["dit.safetensors", "DiT"]),
        (["--camera_adapter", "{weights}/dit.safetensors"], ["dit.safetensors", "adapter"]),
        (["--lora_weight", "{weights}/dit.safetensors"], ["dit.safetensors", "LoRA"]),
        (["--lora_weight", "{weights}/none.safetensors"], ["none.safetensors"]),
        (["--device", "cuda:99"], ["--device"]),
        (["--infer_steps", 0], ["--infer_steps"]),
        (["--fov_deg", 190], ["--fov_deg"]),
        (["--vae_dtype", "fp12"], ["fp12"]),
    ],
)
def test_generation_refuses(models, weights, photo, tmp_path, refuses, flags, words):
    target = tmp_path / "out" / "v.mp4"
    flags = [str(flag).format(weights=weights) for flag in flags]
    good = ["--prompt", GOOD, "--image_path", photo, "--video_size", 32, 48, "--video_length", 9]
    good += ["--infer_steps", 2, "--save_path", target, "--camera_adapter", weights / "moving_adapter.safetensors"]
    refuses(run("wan_generate_video", *models["wan_generate_video"], *good, *flags), *words)
    assert not target.parent.exists()


def test_a_camera_without_an_adapter_is_refused_not_ignored(models, photo, tmp_path, refuses):
    good = ["--prompt", GOOD, "--image_path", photo, "--video_size", 32, 48, "--video_length", 9]
    code = run("wan_generate_video", *models["wan_generate_video"], *good, "--save_path", tmp_path / "v.mp4")
    refuses(code, "camera adapter", "--camera_adapter", "--no_camera")


def test_a_text_is_no_image(models, weights, tmp_path, refuses):
    (tmp_path / "photo.png").write_text("words")
    code = run(
        "wan_generate_video", *models["wan_generate_video"], "--prompt", "x", "--save_path", tmp_path / "v.mp4",
        "--image_path", tmp_path / "photo.png",
    )  # fmt: skip
    refuses(code, "photo.png", "not a readable image")
