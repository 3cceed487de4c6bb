"""Looking at a run through the real script: previews with cameras, held-out items, timesteps, `--resume latest`."""

import csv

from common.media import probe_video, read_image, read_video
from tests.scripts.world import caption
from training.previews import FPS


def test_previews_and_held_out_items(world, weights, photo):
    """Tags and a trajectory file move the camera; an image alone has none. One of the three items is held out."""
    world.cache_all()
    tokenizer = world.models["wan_cache_text_encoder_outputs"][-2:]
    track = world.cache / "third_wan_camera.safetensors"
    size = f"--w 48 --h 32 --s 2 --d 5 --l 1 --i {photo.name}"
    prompts = photo.with_name("prompts.txt")
    prompts.write_text(
        f"# a comment\n{caption('right')} --f 9 {size}\n\na room {size}\nA room. --f 5 --cf {track} {size}\n"
    )
    extra = [item for name in ("vae", "t5", "clip") for item in (f"--{name}", weights / f"{name}.safetensors")]
    code = world.train(
        *extra, *tokenizer, "--network_module", "networks.lora_wan", "--max_train_steps", 2,
        "--validation_split", 0.3, "--validate_every_n_steps", 1, "--validation_sigmas", 0.3, 0.7,
        "--sample_prompts", prompts, "--sample_every_n_steps", 2, "--sample_at_first",
    )  # fmt: skip
    assert code == 0
    made = {path.name for path in (world.root / "out" / "sample").iterdir()}
    one_round = {"00.mp4", "00_camera.mp4", "00_camera.png", "01.png", "02.mp4", "02_camera.mp4", "02_camera.png"}
    assert made == {f"lora_{step:06d}_{name}" for step in (0, 2) for name in one_round}
    video = world.root / "out" / "sample" / "lora_000000_00.mp4"
    info = probe_video(video)
    assert info.fps == FPS and (info.height, info.width) == (32, 48) and read_video(video).shape[0] == 9
    beside = probe_video(video.with_name("lora_000000_00_camera.mp4"))
    assert beside.fps == FPS and beside.width > 2 * beside.height, "frames, the first one moved, and the plot"
    assert read_image(video.with_name("lora_000000_01.png")).shape == (32, 48, 3)
    with (world.root / "out" / "lora_validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2"] and set(rows[0]) >= {"sigma_0.3", "sigma_0.7"}


def test_a_prompt_that_is_wrong_stops_before_the_network(world, capsys):
    world.cache_all()
    prompts = world.root / "p.txt"
    prompts.write_text("a room --w 48 --h 32 --q 3\n")
    sampling = ["--sample_prompts", prompts, "--sample_at_first", "--max_train_steps", 1]
    assert world.train(*sampling) == 2
    assert f"{prompts}:1: --q is not known" in capsys.readouterr().err
    prompts.write_text("a room --w 48 --h 32\n")
    assert world.train(*sampling) == 2
    assert f"{prompts}:1: --image_path is needed" in capsys.readouterr().err


def test_timesteps_are_shown_without_weights(world, capsys):
    world.cache_all()
    assert world.train("--show_timesteps", "console", "--dit", "nowhere.safetensors") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21 and lines[-1].startswith(" 950 - 1000")
    assert world.train("--show_timesteps", "image") == 0
    assert (world.root / "out" / "lora_timesteps.png").exists()
    assert not (world.root / "out" / "lora.safetensors").exists()


def test_latest_goes_on_and_begins_anew_where_there_is_nothing(world, capsys):
    world.cache_all()
    common = ["--resume", "latest", "--save_state_on_train_end", "--camera_dropout", 0]
    assert world.train(*common, "--max_train_steps", 1) == 0
    assert world.train(*common, "--max_train_steps", 2) == 0
    with (world.root / "out" / "lora_loss.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2"]
    assert world.train(*common, "--max_train_steps", 3, "--optimizer_type", "SGD") == 2
    assert "--optimizer_type AdamW, and --optimizer_type SGD" in capsys.readouterr().err
