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

# fmt: off
LAUNCH = [
    "-m", "accelerate.commands.launch", "--quiet", "--num_machines", "1", "--num_processes", "1",
    "--dynamo_backend", "no", "--num_cpu_threads_per_process", f"{os.cpu_count()}", "--mixed_precision", "no",
    "wan_train_network.py", "--task", "i2v-tiny", "--sdpa", "--mixed_precision", "no", "--optimizer_type", "adamw",
    "--max_data_loader_n_workers", "1", "--persistent_data_loader_workers",
    "--timestep_sampling", "shift", "--discrete_flow_shift", "3.0", "--seed", "42",
]
# fmt: on
"""How the training begins: `accelerate launch` (here as a module of this Python)."""
FPS = 8
"""33 frames at 8 per second are the four seconds that the three segments of the prompt take."""
LIFTED_FPS = 16
"""The rate of the rendered videos, so that their cameras fit."""
ROOM_SEED = "11"
"""One by which the camera orbits, and nothing in the room moves by itself."""
ROOM_PROMPT = "Object: A room with textured walls, and a thing on a pedestal in its middle."
ADAPTER = "weights/tiny/camera_adapter.safetensors"


def build_parser() -> argparse.ArgumentParser:
    """The options of the demo; the defaults are what `make demo` runs."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("--output_dir", metavar="PATH", default="outputs/demo", help="for all results; delete it to begin anew")
    add("--clips", type=int, default=16, help="rendered clips of the training set")
    add("--lora_epochs", type=int, default=4, help="passes that train LoRA and adapter on top of the shipped weights")
    add("--infer_steps", type=int, default=20, help="denoising steps of the generated video")
    return parser


# fmt: off
def steps(args: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """What the demo does, in order: a line for people, and the command."""
    out = Path(args.output_dir)
    data, trained = out / "data", out / "trained"
    dataset = ["--dataset_config", f"{data / 'dataset.toml'}"]
    cache = ["--task", "i2v-tiny", *dataset, "--skip_existing"]
    yield from room_steps(args)
    yield "render a small training set: textured rooms under camera moves, with their exact poses", [
        "tools/make_demo_dataset.py", "--output_dir", f"{data}", "--clips", f"{args.clips}",
    ]
    yield "add real footage and a photograph", ["tools/fetch_demo_media.py", "--output_dir", f"{data}"]
    yield "cache latents and CLIP features", ["wan_cache_latents.py", *cache]
    yield "cache text", ["wan_cache_text_encoder_outputs.py", *cache]
    yield "cache cameras", ["wan_cache_camera_encoder_outputs.py", *dataset, "--skip_existing"]
    yield "train a LoRA, and the camera adapter on, as for the 14B", [
        *LAUNCH, *dataset, "--max_train_epochs", f"{args.lora_epochs}", "--learning_rate", "1e-4",
        "--network_module", "networks.lora_wan", "--network_dim", "16", "--network_alpha", "16",
        "--camera_adapter", ADAPTER, "--output_dir", f"{trained}", "--output_name", "lora",
    ]
    yield "generate from the photograph, which is like nothing that the tiny model has learned", [
        *_generate(args, trained), "--image_path", f"{data / 'photo' / 'coffee.png'}", "--fps", f"{FPS}",
        "--prompt", f"Object: {PHOTO_SCENE} ; Camera: {format_moves(PHOTO_MOVES)}",
        "--save_path", f"{out / 'coffee.mp4'}",
    ]
    yield from lifting_steps(args)


def room_steps(args: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """A room that the shipped weights have never seen, from its first frame along a camera, and what became of that."""
    out = Path(args.output_dir)
    room = out / "room"
    camera = f"{room / 'camera' / 'room_0000.safetensors'}"
    yield "render a room that no training has seen; its camera orbits", [
        "tools/make_demo_dataset.py", "--output_dir", f"{room}", "--clips", "1", "--seed", ROOM_SEED,
    ]
    yield "generate the same move from its first frame, with the shipped weights", [
        *_generate(args, None), "--image_path", f"{room / 'depth' / 'room_0000_frame0.png'}", "--fps", f"{LIFTED_FPS}",
        "--prompt", ROOM_PROMPT, "--camera_file", camera, "--save_path", f"{out / 'room.mp4'}",
    ]
    yield "measure the camera of what was generated, beside the one that was commanded", [
        "tools/measure_camera.py", f"{out / 'room.mp4'}", camera,
        "--depth", f"{room / 'depth' / 'room_0000_depth0.npy'}", "--output", f"{out / 'room_measured.safetensors'}",
    ]


def lifting_steps(args: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """A camera found in the pixels of a video, and applied to the photograph; nothing without pycolmap."""
    if importlib.util.find_spec("pycolmap") is None:
        log.warning("pycolmap is not installed (requirements-colmap.txt): no camera is lifted from a video")
        return
    out = Path(args.output_dir)
    data, trained, reference = out / "data", out / "trained", out / "reference"
    lifted = reference / "lifted.safetensors"
    yield "render the room again, larger, as a reference video", [
        "tools/make_demo_dataset.py", "--output_dir", f"{reference}", "--clips", "1", "--size", "240", "400",
        "--seed", ROOM_SEED,
    ]
    yield "lift the camera from its pictures, without a network, and compare it with the true one", [
        "tools/extract_trajectory.py", f"{reference / 'videos' / 'room_0000.mp4'}", "--pose_backend", "colmap",
        "--output", f"{lifted}", "--plot", f"{reference / 'lifted.png'}", "--ply", f"{reference / 'lifted.ply'}",
        "--truth", f"{reference / 'camera' / 'room_0000.safetensors'}", "--describe",
    ]
    yield "generate from the photograph with the lifted camera", [
        *_generate(args, trained), "--image_path", f"{data / 'photo' / 'coffee.png'}", "--fps", f"{LIFTED_FPS}",
        "--prompt", f"Object: {PHOTO_SCENE}", "--camera_file", f"{lifted}",
        "--save_path", f"{out / 'coffee_lifted.mp4'}",
    ]


def _generate(args: argparse.Namespace, trained: Path | None) -> list[str]:
    """What all videos share; with the LoRA and the adapter of a folder, or the shipped adapter."""
    adapter = ADAPTER if trained is None else f"{trained / 'lora_camera.safetensors'}"
    own = [] if trained is None else ["--lora_weight", f"{trained / 'lora.safetensors'}"]
    return [
        "wan_generate_video.py", "--task", "i2v-tiny", *own, "--camera_adapter", adapter,
        "--video_size", "96", "160", "--video_length", "33",
        "--infer_steps", f"{args.infer_steps}", "--seed", "42", "--output_type", "both",
    ]
# fmt: on


def main(argv: Sequence[str] | None = None) -> int:
    """Run every step that is not done yet, then say where the results are."""
    args = build_parser().parse_args(argv)
    setup_logging()
    args.output_dir = str(Path(args.output_dir).resolve())
    out = Path(args.output_dir)
    done = {"lora": out / "trained" / "lora.safetensors"}
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
    for name in ("room", "coffee", "coffee_lifted"):
        files = [out / f"{name}{ending}" for ending in (".mp4", "_sheet.png", "_camera.png")]
        if files[0].exists():
            log.info("   %-14s %s", name, "  ".join(map(str, files)))
    log.info("   %-14s %s", "measured", out / "room_measured.png")
    log.info("   The model is tiny and knows rendered rooms only: a photograph shows the pipeline, not the quality.")
    return 0


def _value(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1] if flag in command else ""


if __name__ == "__main__":
    sys.exit(cli.run(main))
