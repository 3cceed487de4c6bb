"""What a user gets wrong ends with one clear message, exit code 2, and no half-written file."""

import pytest

from common.weights import read_tensors, write_tensors
from tests.scripts.world import caption, run
from wan_generate_video import build_parser, plan

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


def test_a_confidence_that_none_can_have(world, refuses):
    refuses(world.call("wan_cache_camera_encoder_outputs", "--min_confidence", 2), "--min_confidence 2", "0 to 1")
    assert not world.cache.exists()


def test_a_missing_model_says_where_it_belongs(world, refuses):
    script = "wan_cache_latents"
    refuses(world.call(script, "--vae", world.root / "none.pth"), "--vae", "none.pth", "weights/README.md")


def test_a_text_encoder_given_as_a_vae(world, weights, refuses):
    refuses(world.call("wan_cache_latents", "--vae", weights / "t5.safetensors"), "t5.safetensors", "T5")
    assert not list(world.root.glob("cache/*"))


def test_training_without_caches_lists_the_commands(world, refuses):
    refuses(world.train(), "wan_cache_latents.py", "wan_cache_text_encoder_outputs.py", "my_test.mp4")
    assert not (world.root / "out").exists()


def test_training_from_text_of_another_encoder(world, refuses):
    world.cache_all()
    for file in world.cache.glob("*_wan_te.safetensors"):
        narrow = {key: tensor[:, :64].contiguous() for key, tensor in read_tensors(file).items()}
        write_tensors(file, narrow, {"architecture": "wan"})
    refuses(world.train(), "text caches of 3 of 3 items are of another encoder", "wan_cache_text_encoder_outputs.py")
    assert not (world.root / "out").exists()
    world.cache_all("--skip_existing")
    assert world.train("--max_train_steps", 1) == 0


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
        (["--output_dir", __file__], ["--output_dir", "is a file"]),
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
        (["--vae_dtype", ""], ["dtype"]),
        (["--guidance_scale", "nan"], ["--guidance_scale nan", "finite"]),
        (["--camera_scale", "inf"], ["--camera_scale inf", "finite"]),
        (["--lora_weight", "x", "--lora_multiplier", "nan"], ["--lora_multiplier nan"]),
        (["--fps", 100_000_000_000], ["--fps"]),
        (["--seed", -1], ["--seed -1"]),
        (["--seed", 2**64], ["--seed"]),
        (["--dit", ""], ["--dit is empty"]),
        (["--camera_adapter", ""], ["--camera_adapter is empty"]),
        (["--save_path", ""], ["--save_path is empty"]),
        (["--save_path", "{weights}/a.mov"], ["a.mov", ".mp4"]),
        (["--save_path", "{weights}/dit.safetensors"], ["dit.safetensors", "is a file"]),
        (["--save_path", "{weights}/dit.safetensors/v.mp4"], ["dit.safetensors", "is a file"]),
        (["--intrinsics", 800, 800, 24, 16], ["--intrinsics", "divide pixels"]),
    ],
)
def test_generation_refuses(models, weights, photo, tmp_path, refuses, flags, words):
    target = tmp_path / "out" / "v.mp4"
    flags = [str(flag).format(weights=weights) for flag in flags]
    good = ["--prompt", GOOD, "--image_path", photo, "--video_size", 32, 48, "--video_length", 9]
    good += ["--infer_steps", 2, "--save_path", target, "--camera_adapter", weights / "moving_adapter.safetensors"]
    refuses(run("wan_generate_video", *models["wan_generate_video"], *good, *flags), *words)
    assert not target.parent.exists()


def test_a_latent_that_is_no_number_makes_no_video(models, weights, photo, tmp_path, refuses):
    target = tmp_path / "out" / "v.mp4"
    good = ["--prompt", GOOD, "--image_path", photo, "--video_size", 32, 48, "--video_length", 5, "--infer_steps", 2]
    good += ["--save_path", target, "--camera_adapter", weights / "moving_adapter.safetensors"]
    refuses(run("wan_generate_video", *models["wan_generate_video"], *good, "--guidance_scale", "1e38"), "finite")
    assert not target.parent.exists()


@pytest.mark.parametrize("script", CACHES)
@pytest.mark.parametrize("flag", ["--batch_size", "--num_workers"])
def test_counts_below_one_are_refused_by_the_cache_scripts(world, refuses, script, flag):
    refuses(world.call(script, flag, 0), f"{flag} 0", "1 or more")
    assert not world.cache.exists()


def test_a_camera_without_an_adapter_is_refused_not_ignored(models, photo, tmp_path, refuses, monkeypatch):
    monkeypatch.setattr("generation.weights.ROOT", tmp_path)  # where no adapter is shipped
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


def test_moves_after_the_end_of_the_video_are_warned_of(models, weights, photo, tmp_path, caplog):
    late = caption("right") + " " + caption("left", 101).split("Camera: ")[1].replace(">0<", ">100<")
    said = ["--prompt", late, "--image_path", str(photo), "--video_size", "32", "48", "--video_length", "5"]
    said += ["--save_path", str(tmp_path / "v.mp4"), "--camera_adapter", str(weights / "moving_adapter.safetensors")]
    with caplog.at_level("WARNING", "omnicam"):
        plan(build_parser().parse_args([*models["wan_generate_video"], *said]))
    assert "1 of 2 camera moves begin after the video's end" in caplog.text
