"""Helpers of the script tests: a small data set, and the scripts called as their shell does."""

import importlib
import json
from pathlib import Path

import numpy as np

from common.media import write_video

CAMERA = (
    "Camera: <starttime>0</starttime> <endtime>{end}</endtime> <speed>high</speed> "
    "<direction>{direction}</direction> <rotate>stay</rotate> <sep>"
)
FRAMES, HEIGHT, WIDTH = 9, 32, 48


def caption(direction: str, end: float = 0.5) -> str:
    return f"Object: A grey room. ; {CAMERA.format(end=end, direction=direction)}"


def run(script: str, *arguments: object) -> int:
    """Call a script's main as its shell does, in this process."""
    from common import cli

    module = importlib.import_module(script)
    return cli.run(lambda: module.main([str(argument) for argument in arguments]))


def moving_picture(seed: int, frames: int = FRAMES) -> np.ndarray:
    """A smooth random texture that slides to the left."""
    wide = np.random.default_rng(seed).integers(0, 255, (8, 24, 3), dtype=np.uint8)
    wide = wide.repeat(HEIGHT // 8, 0).repeat(4, 1)
    return np.stack([wide[:, i : i + WIDTH] for i in range(frames)])


class World:
    """A folder with a data set, and the scripts to run on it."""

    def __init__(self, root: Path, models: dict[str, list[str]]) -> None:
        self.root, self.models = root, models
        self.cache = root / "cache"
        self.toml = root / "dataset.toml"
        self.lines: list[dict[str, str]] = []

    def add_video(self, name: str, text: str, frames: int = FRAMES) -> Path:
        path = self.root / name
        write_video(path, moving_picture(len(self.lines), frames), 16)
        self.lines.append({"video_path": name, "caption": text})
        return path

    def write_config(self, extra: str = "") -> None:
        lines = "".join(json.dumps(line) + "\n" for line in self.lines)
        (self.root / "metadata.jsonl").write_text(lines, encoding="utf-8")
        self.toml.write_text(
            f"[general]\nresolution = [{WIDTH}, {HEIGHT}]\nbatch_size = 2\n\n[[datasets]]\n"
            f'video_jsonl_file = "metadata.jsonl"\ncache_directory = "cache"\ntarget_frames = [5]\n'
            f'frame_extraction = "head"\n{extra}',
            encoding="utf-8",
        )

    def call(self, script: str, *arguments: object) -> int:
        return run(script, *self.models[script], "--dataset_config", self.toml, *arguments)

    def cache_all(self, *arguments: object) -> None:
        for script in ("wan_cache_latents", "wan_cache_text_encoder_outputs", "wan_cache_camera_encoder_outputs"):
            assert self.call(script, *arguments) == 0

    def train(self, *arguments: object) -> int:
        from accelerate.state import AcceleratorState

        # accelerate keeps one mixed precision per process, and these runs share one
        AcceleratorState._reset_state(True)
        fixed = ["--output_dir", self.root / "out", "--output_name", "lora", "--seed", 1, "--mixed_precision", "no"]
        fixed += ["--max_data_loader_n_workers", 0, "--timestep_sampling", "shift", "--discrete_flow_shift", 3.0]
        fixed += ["--learning_rate", 1e-3, "--sdpa"]
        return self.call("wan_train_network", *fixed, *arguments)
