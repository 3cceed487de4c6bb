"""The main job from beginning to end on the embedded tiny model, in minutes on a CPU; `make demo` runs this.

Every step is a command a user could type; it is printed before it runs. What is there already is not done again, so
an interrupted demo goes on where it stopped.
"""

import argparse
import importlib.util
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from camera.language import format as format_moves  # noqa: E402
from common import arguments, cli  # noqa: E402
from common.logs import get_logger, setup_logging  # noqa: E402
from tools.demo_media import PHOTO_MOVES, PHOTO_SCENE  # noqa: E402

log = get_logger("demo")

TINY = ROOT / "weights" / "tiny"
# fmt: off
LAUNCH = [
    "-m", "accelerate.commands.launch", "--quiet", "--num_machines", "1", "--num_processes", "1",
    "--dynamo_backend", "no", "--num_cpu_threads_per_process", f"{os.cpu_count()}", "--mixed_precision", "no",
    "wan_train_network.py", "--task", "i2v-tiny", "--sdpa", "--mixed_precision", "no", "--optimizer_type", "adamw",
    "--max_data_loader_n_workers", "1", "--persistent_data_loader_workers",
    "--timestep_sampling", "shift", "--discrete_flow_shift", "3.0", "--seed", "42",
]
# fmt: on
"""How both trainings begin: `accelerate launch` (here as a module of this Python), and what they share."""
FPS = 8
"""33 frames at 8 per second are the four seconds that the three segments of the prompt take."""
LIFTED_FPS = 16
"""The rate of the reference video, so that its camera fits."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the demo; the defaults are what `make demo` runs."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("--output_dir", metavar="PATH", default="outputs/demo", help="for all results; delete it to begin anew")
    add("--clips", type=int, default=24, help="rendered clips of the training set")
    add("--vae_minutes", type=float, default=2.0, help="time to train the tiny VAE for, at most")
    add("--base_epochs", type=int, default=24, help="passes that train the tiny DiT from scratch, camera and all")
    add("--lora_epochs", type=int, default=4, help="passes that train LoRA and adapter on top")
    add("--infer_steps", type=int, default=20, help="denoising steps of the generated video")
    return parser


# fmt: off
def steps(args: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """What the demo does, in order: a line for people, and the command."""
    out = Path(args.output_dir)
    data, trained = out / "data", out / "trained"
    dataset = ["--dataset_config", f"{data / 'dataset.toml'}"]
    cache = ["--task", "i2v-tiny", *dataset, "--skip_existing"]
    base = ["--dit", f"{trained / 'base_dit.safetensors'}"]
    yield "render textured rooms under camera moves, with their exact poses", [
        "tools/make_demo_dataset.py", "--output_dir", f"{data}", "--clips", f"{args.clips}",
    ]
    yield "add real footage and a photograph", ["tools/fetch_demo_media.py", "--output_dir", f"{data}"]
    yield "make the tiny networks, untrained", ["tools/make_tiny_weights.py", "--output_dir", f"{TINY}"]
    yield "train the tiny VAE, so that there is a picture to speak of", [
        "tools/train_tiny_vae.py", "--videos", f"{data / 'videos'}", f"{data / 'real'}",
        "--minutes", f"{args.vae_minutes}",
    ]
    yield "cache latents and CLIP features", ["wan_cache_latents.py", *cache]
    yield "cache text", ["wan_cache_text_encoder_outputs.py", *cache]
    yield "cache cameras", ["wan_cache_camera_encoder_outputs.py", *dataset, "--skip_existing"]
    yield "train the tiny DiT from scratch, with its camera adapter", [
        *LAUNCH, *dataset, "--max_train_epochs", f"{args.base_epochs}", "--trainable_modules", "all",
        "--learning_rate", "7e-4", "--optimizer_args", "betas=(0.9,0.98)",
        "--lr_scheduler", "cosine", "--lr_warmup_steps", "0.05",
        "--output_dir", f"{trained}", "--output_name", "base",
    ]
    yield "train LoRA and camera adapter on top of it, as for the 14B", [
        *LAUNCH, *dataset, "--max_train_epochs", f"{args.lora_epochs}", "--learning_rate", "1e-4",
        "--network_module", "networks.lora_wan", "--network_dim", "16", "--network_alpha", "16",
        *base, "--camera_adapter", f"{trained / 'base_camera.safetensors'}",
        "--output_dir", f"{trained}", "--output_name", "lora",
    ]
    yield "generate from the photograph", [
        "wan_generate_video.py", "--task", "i2v-tiny", *base,
        "--lora_weight", f"{trained / 'lora.safetensors'}",
        "--camera_adapter", f"{trained / 'lora_camera.safetensors'}",
        "--image_path", f"{data / 'photo' / 'coffee.png'}", "--video_size", "96", "160", "--video_length", "33",
        "--fps", f"{FPS}", "--infer_steps", f"{args.infer_steps}", "--seed", "42", "--output_type", "both",
        "--prompt", f"Object: {PHOTO_SCENE} ; Camera: {format_moves(PHOTO_MOVES)}",
        "--save_path", f"{out / 'coffee.mp4'}",
    ]
    yield from lifting_steps(args)


def lifting_steps(args: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """A camera found in the pixels of a video, and applied to the photograph; nothing without pycolmap."""
    if importlib.util.find_spec("pycolmap") is None:
        log.warning("pycolmap is not installed (requirements-colmap.txt): no camera is lifted from a video")
        return
    out = Path(args.output_dir)
    data, trained, reference = out / "data", out / "trained", out / "reference"
    lifted = reference / "lifted.safetensors"
    # a seed by which the camera orbits and nothing in the room moves
    yield "render one more room, larger, as a reference video", [
        "tools/make_demo_dataset.py", "--output_dir", f"{reference}", "--clips", "1", "--size", "240", "400",
        "--seed", "11",
    ]
    yield "lift the camera from its pictures, without a network, and compare it with the true one", [
        "tools/extract_trajectory.py", f"{reference / 'videos' / 'room_0000.mp4'}", "--pose_backend", "colmap",
        "--output", f"{lifted}", "--plot", f"{reference / 'lifted.png'}", "--ply", f"{reference / 'lifted.ply'}",
        "--truth", f"{reference / 'camera' / 'room_0000.safetensors'}", "--describe",
    ]
    yield "generate from the photograph with the lifted camera", [
        "wan_generate_video.py", "--task", "i2v-tiny", "--dit", f"{trained / 'base_dit.safetensors'}",
        "--lora_weight", f"{trained / 'lora.safetensors'}",
        "--camera_adapter", f"{trained / 'lora_camera.safetensors'}",
        "--image_path", f"{data / 'photo' / 'coffee.png'}", "--video_size", "96", "160", "--video_length", "33",
        "--fps", f"{LIFTED_FPS}", "--infer_steps", f"{args.infer_steps}", "--seed", "42", "--output_type", "both",
        "--prompt", f"Object: {PHOTO_SCENE}", "--camera_file", f"{lifted}",
        "--save_path", f"{out / 'coffee_lifted.mp4'}",
    ]
# fmt: on


def main(argv: Sequence[str] | None = None) -> int:
    """Run every step that is not done yet, then say where the results are."""
    args = build_parser().parse_args(argv)
    setup_logging()
    args.output_dir = str(Path(args.output_dir).resolve())
    out = Path(args.output_dir)
    done = {"base": out / "trained" / "base_dit.safetensors", "lora": out / "trained" / "lora.safetensors"}
    todo = list(steps(args))
    started = time.monotonic()
    for number, (title, command) in enumerate(todo, 1):
        log.info("\n== %d/%d %s", number, len(todo), title)
        made = done.get(_value(command, "--output_name"))
        if made is not None and made.exists():
            log.info("   done before: %s", made)
            continue
        log.info("   python %s", shlex.join(command))
        code = subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode
        if code:
            log.error("the step ended with exit code %d; the same command goes on from here", code)
            return code
    log.info("\n== done in %.0f s. Look at", time.monotonic() - started)
    for title, name in (("video", ".mp4"), ("contact sheet", "_sheet.png"), ("trajectory", "_camera.png")):
        log.info("   %-14s %s", title, out / f"coffee{name}")
    log.info("   The model was trained from scratch in minutes: the picture is poor, the pipeline is the real one.")
    return 0


def _value(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1] if flag in command else ""


if __name__ == "__main__":
    sys.exit(cli.run(main))
