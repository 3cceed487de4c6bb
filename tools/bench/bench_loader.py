"""Measure the loader of training alone: cache files to batches, each part of it, and with worker processes."""

import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from camera.language import parse
from camera.trajectory import compile as compile_moves
from common import cli
from common.arguments import make_parser
from common.logs import get_logger, setup_logging
from dataset.cache import LATENT_STRIDE, read_cache, read_camera, refuse_not_finite, write_latents, write_text
from dataset.cameras import clip_rays
from dataset.config import load_config
from dataset.inventory import TrainingClip
from dataset.names import LatentName, camera_name, text_name
from dataset.training_set import TrainingSet, load_training_set
from training.loader import BatchLoader
from training.order import Layout

logger = get_logger("bench_loader")

_FRAMES, _FPS = 81, 16.0
_GRID = 60, 104
"""Latent rows and columns of 480 x 832."""
_TOKENS, _T5_DIM, _CLIP = 120, 4096, (257, 1280)
_CAPTION = (
    "Camera: <starttime>0</starttime> <endtime>5</endtime> <speed>low</speed> <direction>right</direction> "
    "<rotate>stay</rotate> <sep>"
)
TENSORS = ("latents", "latents_image", "clip")


def main(argv: list[str] | None = None) -> int:
    """Write fake caches, time the parts of reading one clip, then whole epochs with each number of workers."""
    setup_logging()
    parser = make_parser("Clips per second that the loader of training reads, from caches in the shapes of i2v-14B.")
    parser.add_argument("--clips", type=int, default=2000, help="clips of 81 frames, one to a batch")
    parser.add_argument("--scale", type=int, default=4, help="divides rows, columns and widths of 14B at 480 x 832")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="worker processes, one run each")
    parser.add_argument("--folder", metavar="PATH", help="keep the caches here, and use what an earlier run left")
    args = parser.parse_args(argv)
    if args.clips < 1 or not 1 <= args.scale <= 16 or min(args.workers) < 0:
        raise ValueError("--clips 1 or more, --scale 1 to 16, --workers 0 or more: expected numbers of these ranges")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        write_caches(folder, args.clips, args.scale)
        begin = time.perf_counter()
        training_set = load_training_set(load_config(folder / "data.toml"), tensors=TENSORS, camera=True)
        logger.info("Python %s, torch %s, %s", platform.python_version(), torch.__version__, platform.machine())
        logger.info("%d clips found and checked in %.2f s", args.clips, time.perf_counter() - begin)
        begin = time.perf_counter()
        training_set.batch_order(0, 0)
        logger.info("order of an epoch: %.1f ms", 1000 * (time.perf_counter() - begin))
        _report_parts(training_set)
        megabytes = sum(path.stat().st_size for path in _files(training_set.clips[0])) / 1e6
        for workers in args.workers:
            rate = _rate(training_set, workers)
            logger.info("%d workers: %7.1f clips/s, %7.1f MB/s of files", workers, rate, rate * megabytes)
    return 0


def write_caches(folder: Path, clips: int, scale: int) -> None:
    """A data set of `clips` clips with all its caches; one of each kind is made, the others are its copies."""
    cache = folder / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    rows, columns = ((side // scale) // 2 * 2 for side in _GRID)
    size = columns * LATENT_STRIDE, rows * LATENT_STRIDE
    (folder / "data.toml").write_text(
        f"[general]\nresolution = [{size[0]}, {size[1]}]\n[[datasets]]\ncache_directory = 'cache'\n"
        f"video_jsonl_file = 'meta.jsonl'\ntarget_frames = [{_FRAMES}]\n",
        encoding="utf-8",
    )
    lines = (json.dumps({"video_path": f"v{number}.mp4", "caption": _CAPTION}) for number in range(clips))
    (folder / "meta.jsonl").write_text("\n".join(lines), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    shape = (_FRAMES - 1) // 4 + 1, rows, columns
    tensors = {
        "latents": torch.randn(16, *shape, generator=generator).bfloat16(),
        "latents_image": torch.randn(20, *shape, generator=generator).bfloat16(),
        "clip": torch.randn(_CLIP[0], _CLIP[1] // scale, generator=generator).half(),
    }
    t5 = torch.randn(_TOKENS, _T5_DIM // scale, generator=generator).bfloat16()
    first = _names(cache, 0, size)
    write_latents(first[0], tensors, width=size[0], height=size[1], frame_count=_FRAMES, extra={})
    write_text(first[1], t5, _CAPTION, {})
    compile_moves(parse(_CAPTION), _FRAMES, _FPS).save(first[2], {"source": "caption", "caption": _CAPTION})
    for number in range(1, clips):
        for source, target in zip(first, _names(cache, number, size), strict=True):
            if not target.exists():
                shutil.copyfile(source, target)


def _names(cache: Path, number: int, size: tuple[int, int]) -> list[Path]:
    """The latent, text and camera cache of a clip."""
    name = LatentName(f"v{number}", *size, 0, _FRAMES)
    return [cache / each for each in (name.file_name(), text_name(name.stem), camera_name(name.stem))]


def _files(clip: TrainingClip) -> list[Path]:
    assert clip.camera is not None
    return [clip.latents, clip.text, clip.camera]


def _report_parts(training_set: TrainingSet) -> None:
    """Milliseconds of the processor that each part takes for a clip, mean over the clips (up to 200)."""
    clips = training_set.clips[:200]
    _, track = read_camera(_files(clips[0])[2])
    height, width = clips[0].shape[1:]
    _, tensors = read_cache(clips[0].latents, TENSORS)
    parts: dict[str, Callable[[TrainingClip], object]] = {
        "read the bytes of its files": lambda clip: [path.read_bytes() for path in _files(clip)],
        "latent cache": lambda clip: read_cache(clip.latents, TENSORS),
        "  of which looking for NaN": lambda clip: refuse_not_finite(clip.latents, tensors, ""),
        "text cache": lambda clip: read_cache(clip.text, ("t5",)),
        "camera cache": lambda clip: read_camera(_files(clip)[2]),
        "rays of its camera": lambda clip: clip_rays(track.at(track.times), height, width),
    }
    for name, part in parts.items():
        logger.info("%-30s %7.3f ms CPU", name, _cpu_ms(part, clips))
    whole = _cpu_ms(lambda number: training_set[(number,)], range(len(clips)))
    logger.info("%-30s %7.3f ms CPU", "a batch of one clip", whole)


def _cpu_ms(function: Callable[..., object], items: Sequence[object]) -> float:
    """Milliseconds of the processor for each call, after a round that is not counted; a busy machine changes little."""
    for item in items:
        function(item)
    begin = time.process_time()
    for item in items:
        function(item)
    return 1000 * (time.process_time() - begin) / len(items)


def _rate(training_set: TrainingSet, workers: int) -> float:
    """Batches per second of a whole epoch, after one in which the workers start."""
    loader = BatchLoader(training_set, Layout(1, 1), 0, workers, persistent=workers > 0, pin_memory=False)
    for _ in loader.epoch(0, max(0, len(training_set) - 8)):
        pass
    begin = time.perf_counter()
    count = sum(1 for _ in loader.epoch(1, 0))
    return count / (time.perf_counter() - begin)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
