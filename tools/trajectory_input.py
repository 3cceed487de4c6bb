"""What a user may type for a trajectory on a command line, and the way from it to a CameraTrack.

One argument takes a camera text, a whole caption, a preset ("orbit seconds=4"), a pose file of any format or a camera
cache; the tools that take trajectories share it, so that it means the same everywhere.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common import arguments
from common.logs import get_logger

if TYPE_CHECKING:
    import torch

    from camera.track import CameraTrack

logger = get_logger("trajectory")

DEFAULT_FRAMES = 81
DEFAULT_FPS = 16.0
DEFAULT_SIZE = (480, 832)
"""(height, width) whose shape the lens of a text or preset has."""
DEFAULT_FOV_DEG = 60.0
_MAX_FRAMES = 100_000


def add_trajectory_input(parser: argparse.ArgumentParser, name: str = "trajectory") -> None:
    """Add the positional argument `name` and the flags that say how to read it; `trajectory_of` resolves them."""
    parser.add_argument(
        name,
        nargs="?",
        metavar=name.upper(),
        help="camera text, caption, preset (like 'orbit seconds=4'), pose file of any format, or camera cache",
    )
    add_trajectory_flags(parser)
    parser.add_argument(
        "--preset", metavar="PRESET", help=f"a preset instead of {name.upper()}, like 'orbit seconds=4 degrees=90'"
    )


def add_trajectory_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags alone, for a tool whose positional arguments are its own; use them with `track_from`."""
    parser.add_argument("--frames", type=int, help=f"frames of a text or preset (default: {DEFAULT_FRAMES})")
    parser.add_argument(
        "--fps",
        type=float,
        help=f"frames per second of a text, a preset ({DEFAULT_FPS:g} if not given), or a pose file without times",
    )
    parser.add_argument("--format", metavar="NAME", help="format of the pose file, where its content does not tell")
    parser.add_argument("--convention", metavar="NAME", help="convention of the poses, such as opencv_w2c")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="picture of the lens, in pixels (text or preset: {} {} if not given)".format(*DEFAULT_SIZE),
    )
    arguments.add_intrinsics(parser)
    # a lens is forced upon a file only when the user typed one
    parser.set_defaults(fov_deg=None)


def trajectory_of(args: argparse.Namespace, name: str = "trajectory") -> "CameraTrack":
    """The track that the arguments of `add_trajectory_input` ask for.

    Raises:
        ValueError: nothing, or two things, were given; the text, preset or file is wrong.
        FileNotFoundError: what looks like a path is not there.
    """
    given = getattr(args, name)
    if (given is None) == (args.preset is None):
        problem = "nothing was given" if given is None else f"{name.upper()} and --preset were both given"
        raise ValueError(f"{problem}; give one: a camera text, a pose file, a camera cache, or --preset 'orbit'")
    return _from_preset(args.preset, args) if given is None else track_from(given, args)


def track_from(given: str, args: argparse.Namespace) -> "CameraTrack":
    """One thing that a user typed as a track: a camera text or caption, a file, or a preset, tried in this order.

    `args` holds what `add_trajectory_flags` added. A text file (.txt) that holds a camera text is read as that text. A
    pose file may carry a suffix "#name" that picks one of its cameras.

    Raises:
        ValueError: it is none of them, or is wrong; all that was tried is named.
        FileNotFoundError: what looks like a path is not there.
    """
    from camera.language import has_camera

    arguments.check_ranges(args, frames=1, size=1)
    if has_camera(given):
        return _from_text(given, args)
    path = Path(given.split("#", maxsplit=1)[0])
    if given.strip() and _exists(path):
        text = _caption_of(path)
        return _from_file(given, args) if text is None else _from_text(text, args)
    if not given.strip() or _looks_like_a_path(given):
        raise FileNotFoundError(f"'{given}': no such file, and no camera text (<starttime>0</starttime> ...) either")
    return _from_preset(given, args)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a long text is no legal name of a file
        return False


def _looks_like_a_path(given: str) -> bool:
    first = given.split()[0]
    return "/" in first or "\\" in first or bool(Path(first).suffix and "=" not in first)


def _caption_of(path: Path) -> str | None:
    """The text of a .txt file that holds a camera text; None for anything else."""
    from camera.language import has_camera

    if path.suffix.lower() != ".txt" or not path.is_file():
        return None
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return text if has_camera(text) else None


def _from_text(text: str, args: argparse.Namespace) -> "CameraTrack":
    from camera.language import parse
    from camera.trajectory import compile

    return compile(parse(text), *_length(args), _start_lens(args))


def _from_preset(text: str, args: argparse.Namespace) -> "CameraTrack":
    from camera.presets import preset_from_text  # pyright: ignore[reportMissingImports]
    from camera.trajectory import compile

    arguments.check_ranges(args, frames=1, size=1)
    return compile(preset_from_text(text), *_length(args), _start_lens(args))


def _from_file(given: str, args: argparse.Namespace) -> "CameraTrack":
    from camera.formats import load_trajectory  # pyright: ignore[reportAttributeAccessIssue]

    size = None if args.size is None else (args.size[0], args.size[1])
    track = load_trajectory(given, convention=args.convention, fps=args.fps, size=size, format=args.format)
    if args.frames is not None and args.frames != len(track):
        logger.warning("--frames %d is not used: %s has %d poses of its own", args.frames, given, len(track))
    if args.intrinsics is None and args.fov_deg is None:
        return track
    return replace(track, intrinsics=_start_lens(args).expand(len(track), 4).clone())


def _length(args: argparse.Namespace) -> tuple[int, float]:
    """Frames and frames per second of a text or preset."""
    for flag in ("format", "convention"):
        if getattr(args, flag) is not None:
            logger.warning("--%s is not used: it is for pose files", flag)
    frames = DEFAULT_FRAMES if args.frames is None else args.frames
    fps = DEFAULT_FPS if args.fps is None else args.fps
    if frames > _MAX_FRAMES:
        raise ValueError(f"--frames {frames}: expected at most {_MAX_FRAMES}")
    if not 0 < fps <= arguments.HIGHEST["fps"]:
        raise ValueError(f"--fps {fps:g}: expected a number above 0, at most {arguments.HIGHEST['fps']}")
    return frames, fps


def _start_lens(args: argparse.Namespace) -> "torch.Tensor":
    """Normalised intrinsics [4] that `--intrinsics`, or `--fov_deg` and the shape of `--size`, say."""
    import torch

    from camera.intrinsics import default_intrinsics

    lens = DEFAULT_FOV_DEG if args.intrinsics is None and args.fov_deg is None else arguments.lens_of(args)
    if isinstance(lens, tuple):
        return torch.tensor(lens, dtype=torch.float64)
    height, width = args.size or DEFAULT_SIZE
    return default_intrinsics(width / height, lens)
