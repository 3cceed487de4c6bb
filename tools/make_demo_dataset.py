"""Render a small data set of rooms with exact cameras, ready for the three cache scripts.

For every clip it writes videos/NAME.mp4, camera/NAME.safetensors (a `CameraTrack` with the poses and intrinsics the
pictures were made with), depth/NAME_depth0.npy (float32 [H, W]: z-depth of the first frame along the optical axis,
through the pixel centres, in the unit of the poses) and depth/NAME_frame0.png (that frame, unharmed by the video's
compression); for the set, metadata.jsonl, dataset.toml and contact_sheet.png.
Clips that are there already with the same settings are kept, so the same command goes on where it was stopped.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import cli, media
from common.arguments import make_parser
from common.files import atomic_path
from common.logs import get_logger, setup_logging
from common.precision import pick_device
from common.progress import progress
from common.weights import read_metadata
from dataset.fingerprint import text_fingerprint
from tools.demo_folder import output_folder, set_dataset, write_lines
from tools.procedural_world.clips import WORLD_VERSION, plan_clip, render_clip
from tools.procedural_world.parallel import run_each

logger = get_logger("make_demo_dataset")

_JSONL = "metadata.jsonl"
_SHEET_CLIPS = 24


@dataclass(frozen=True)
class ClipFiles:
    """Where the files of one clip are, and what they must have been made from."""

    name: str
    video: Path
    camera: Path
    depth: Path
    first: Path
    fingerprint: str

    def complete(self) -> bool:
        """True when all are there; the camera file is written last and says for which settings."""
        if not all(file.is_file() for file in (self.video, self.depth, self.first, self.camera)):
            return False
        try:
            return read_metadata(self.camera).get("fingerprint") == self.fingerprint
        except ValueError:
            return False


def main(argv: list[str] | None = None) -> int:
    """Render what is missing, then list it."""
    setup_logging()
    args = parse_arguments(argv)
    folder = output_folder(args.output_dir)
    clips = [clip_files(folder, args, index) for index in range(args.clips)]
    missing = [index for index, files in enumerate(clips) if not files.complete()]
    if len(missing) < len(clips):
        logger.info(f"{len(clips) - len(missing)} of {len(clips)} clips are there already and are kept")
    device = pick_device(args.device)
    with progress(len(missing), "rendering rooms", "clip", disable=not missing) as bar:
        for _ in run_each(lambda index: make_clip(clips[index], args, index, device), missing, device):
            bar.update()
    write_lines(folder / _JSONL, [record(files, folder) for files in clips])
    config = set_dataset(folder, _JSONL, tuple(args.size), args.frames)
    sheet = folder / "contact_sheet.png"
    media.write_image(sheet, contact_sheet(clips[:_SHEET_CLIPS]))
    logger.info(f"{len(clips)} clips of {args.frames} frames in {folder}; data set {config}; overview {sheet}")
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line, checked; ValueError names the flag, the value and what is allowed."""
    parser = make_parser("Render textured rooms under camera moves, with exact poses, depth and captions.")
    parser.add_argument("--output_dir", default="outputs/demo/data", metavar="DIR", help="folder of the data set")
    parser.add_argument("--clips", type=int, default=24, help="number of clips")
    parser.add_argument("--frames", type=int, default=33, help="frames of each clip, 4n + 1")
    parser.add_argument(
        "--size", type=int, nargs=2, default=[96, 160], metavar=("HEIGHT", "WIDTH"), help="pixels, multiples of 16"
    )
    parser.add_argument("--fps", type=float, default=16.0, help="frames per second")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other rooms and moves")
    parser.add_argument("--device", help="cuda, cuda:1, cpu; default: cuda where there is one")
    args = parser.parse_args(argv)
    if args.clips < 1:
        raise ValueError(f"--clips {args.clips}: expected 1 or more")
    if args.frames < 5 or args.frames % 4 != 1:
        raise ValueError(f"--frames {args.frames}: expected 5 or more and 4n + 1 (33, 81 ...), as the VAE takes them")
    if any(side < 32 or side % 16 for side in args.size):
        raise ValueError(f"--size {args.size[0]} {args.size[1]}: expected multiples of 16, 32 or more")
    if not (math.isfinite(args.fps) and 1 <= args.fps <= 120):
        raise ValueError(f"--fps {args.fps:g}: expected 1 to 120")
    return args


def clip_files(folder: Path, args: argparse.Namespace, index: int) -> ClipFiles:
    """Names of clip `index`, and the fingerprint of its settings."""
    name = f"room_{index:04d}"
    settings = (WORLD_VERSION, args.seed, index, args.frames, *args.size, args.fps)
    return ClipFiles(
        name,
        video=folder / "videos" / f"{name}.mp4",
        camera=folder / "camera" / f"{name}.safetensors",
        depth=folder / "depth" / f"{name}_depth0.npy",
        first=folder / "depth" / f"{name}_frame0.png",
        fingerprint=text_fingerprint(*map(str, settings)),
    )


def make_clip(files: ClipFiles, args: argparse.Namespace, index: int, device: torch.device) -> None:
    """Render one clip and write its files, the camera last because it marks the clip as complete."""
    height, width = args.size
    clip = render_clip(plan_clip(args.seed, index, args.frames, args.fps, width / height), height, width, device)
    files.camera.unlink(missing_ok=True)
    media.write_video(files.video, clip.frames.cpu().numpy(), args.fps)
    with atomic_path(files.depth) as temporary:
        np.save(temporary, clip.depth.cpu().numpy())
    media.write_image(files.first, clip.frames[0].cpu().numpy())
    metadata = {"source": f"procedural world {WORLD_VERSION}, seed {args.seed}, clip {index}"}
    clip.track.save(files.camera, {**metadata, "caption": clip.caption, "fingerprint": files.fingerprint})


def record(files: ClipFiles, folder: Path) -> dict[str, str]:
    """The clip's line of metadata.jsonl; its caption was kept in the camera file."""
    return {
        "video_path": files.video.relative_to(folder).as_posix(),
        "caption": read_metadata(files.camera)["caption"],
        "camera_file": files.camera.relative_to(folder).as_posix(),
    }


def contact_sheet(clips: list[ClipFiles]) -> np.ndarray:
    """Two clips a row, four frames each, as they are in the video files."""
    pictures = []
    for files in clips:
        frames = media.read_video(files.video)
        pictures.extend(frames[np.linspace(0, len(frames) - 1, 4).round().astype(int)])
    return media.contact_sheet(pictures, columns=8)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
