"""What a user may type for a trajectory on a command line, and the way from it to a CameraTrack.

One argument takes a camera text, a whole caption, a preset ("orbit seconds=4"), a pose file of any format or a camera
cache; the tools that take trajectories share it, so that it means the same everywhere. A tool that takes two has the
flags twice, the second time with a prefix: what one file leaves open says nothing about the other.
"""

import argparse
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from common import arguments
from common.files import require_seekable
from common.logs import get_logger

if TYPE_CHECKING:
    import torch

    from camera.language import Move
    from camera.track import CameraTrack

logger = get_logger("trajectory")

DEFAULT_FRAMES = 81
DEFAULT_FPS = 16.0
_MAX_FRAMES = 100_000
_FLAGS = {"convention": "convention NAME", "fps": "fps FPS", "size": "size HEIGHT WIDTH", "format": "format NAME"}


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What a user typed, resolved."""

    track: "CameraTrack"
    moves: "list[Move] | None" = None
    """What the track was compiled from; None for a pose file or camera cache."""
    caption: str | None = None
    """The moves as text, with the scene where there is one; None without moves."""


def add_trajectory_input(parser: argparse.ArgumentParser, name: str = "trajectory") -> None:
    """Add the positional argument `name` and the flags that say how to read it; `trajectory_of` resolves them."""
    parser.add_argument(
        name,
        nargs="?",
        metavar=name.upper(),
        help="camera text, caption, preset (like 'orbit seconds=4'), pose file of any format, or camera cache",
    )
    add_length(parser)
    add_trajectory_flags(parser)
    parser.add_argument(
        "--preset", metavar="PRESET", help=f"a preset instead of {name.upper()}, like 'orbit seconds=4 degrees=90'"
    )


def add_length(parser: argparse.ArgumentParser) -> None:
    """`--frames`, for every text or preset that a tool takes."""
    parser.add_argument("--frames", type=int, help=f"frames of a text or preset (default: {DEFAULT_FRAMES})")


def add_trajectory_flags(parser: argparse._ActionsContainer, prefix: str = "") -> None:
    """Add what says how to read one trajectory, `prefix` before each name; `trajectory_from` takes the same prefix."""
    parser.add_argument(
        f"--{prefix}fps",
        type=float,
        help=f"frames per second of a text, a preset ({DEFAULT_FPS:g} if not given), or a pose file without times",
    )
    parser.add_argument(
        f"--{prefix}format", metavar="NAME", help="format of the pose file, where its content does not tell"
    )
    parser.add_argument(f"--{prefix}convention", metavar="NAME", help="convention of the poses, such as opencv_w2c")
    parser.add_argument(
        f"--{prefix}size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="picture of the lens: the pixels of a pose file that does not state them; the shape of the lens of a text "
        "or preset (480 832 if not given)",
    )
    arguments.add_intrinsics(parser, prefix)
    # a lens is forced upon a file only when the user typed one
    parser.set_defaults(**{f"{prefix}fov_deg": None})


def trajectory_of(args: argparse.Namespace, name: str = "trajectory") -> Trajectory:
    """What the arguments of `add_trajectory_input` ask for.

    Raises:
        ValueError: nothing, or two things, were given; the text, preset or file is wrong.
        FileNotFoundError: what looks like a path is not there.
    """
    given = getattr(args, name)
    if (given is None) == (args.preset is None):
        problem = "nothing was given" if given is None else f"{name.upper()} and --preset were both given"
        raise ValueError(f"{problem}; give one: a camera text, a pose file, a camera cache, or --preset 'orbit'")
    return _from_preset(args.preset, args, "") if given is None else trajectory_from(given, args)


def trajectory_from(given: str, args: argparse.Namespace, prefix: str = "") -> Trajectory:
    """One thing that a user typed: a camera text or caption, a file, or a preset, tried in this order.

    `args` holds what `add_length` and `add_trajectory_flags` added. A text file (.txt) that holds a camera text is read
    as that text. A pose file may carry a suffix "#name" that picks one of its cameras.

    Raises:
        ValueError: it is none of them, or is wrong; all that was tried is named.
        FileNotFoundError: what looks like a path is not there.
    """
    from camera.language import has_camera

    if has_camera(given):
        return _from_text(given, args, prefix)
    path = _path_of(given)
    if path is not None:
        require_seekable(path, "trajectory")
        text = _caption_of(path)
        return _from_file(given, args, prefix) if text is None else _from_text(text, args, prefix)
    if not given.strip() or _looks_like_a_path(given):
        raise FileNotFoundError(f"'{given}': no such file, and no camera text (<starttime>0</starttime> ...) either")
    return _from_preset(given, args, prefix)


def _path_of(given: str) -> Path | None:
    """The file or folder that a user typed, with or without "#name" behind it; None when there is none."""
    for name in (given, given.rpartition("#")[0]):
        if name.strip() and _exists(Path(name)):
            return Path(name)
    return None


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        raise
    except (OSError, ValueError):  # a long text is no legal name of a file
        return False
    return True


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


def _from_text(text: str, args: argparse.Namespace, prefix: str) -> Trajectory:
    from camera.language import parse
    from camera.trajectory import compile

    moves = parse(text)
    return Trajectory(compile(moves, *_length(args, prefix), _lens(args, prefix)), moves, text.strip())


def _from_preset(text: str, args: argparse.Namespace, prefix: str) -> Trajectory:
    """A preset fills the video, unless it says how long it is."""
    from camera.language import format
    from camera.presets import DEFAULT_SECONDS, MAX_SECONDS, preset_from_text
    from camera.trajectory import compile

    frames, fps = _length(args, prefix)
    moves = preset_from_text(text, min((frames - 1) / fps, MAX_SECONDS) if frames > 1 else DEFAULT_SECONDS)
    return Trajectory(compile(moves, frames, fps, _lens(args, prefix)), moves, f"Camera: {format(moves)}")


def _from_file(given: str, args: argparse.Namespace, prefix: str) -> Trajectory:
    from camera.formats import load_trajectory

    convention, fps, format = (getattr(args, f"{prefix}{name}") for name in ("convention", "fps", "format"))
    with flags_told({name: f"--{prefix}{flag}" for name, flag in _FLAGS.items()}):
        track = load_trajectory(given, convention, fps, size_of(args, f"{prefix}size"), format)
    if args.frames is not None and args.frames != len(track):
        logger.warning("--frames %d is not used: %s has %d poses of its own", args.frames, given, len(track))
    fx, fy = track.intrinsics[0, :2].tolist()
    lens = _lens(args, prefix, fy / fx)
    return Trajectory(track if lens is None else replace(track, intrinsics=lens.expand(len(track), 4).clone()))


@contextmanager
def flags_told(flags: Mapping[str, str]) -> Iterator[None]:
    """Where a pose file leaves something open, add which flag states it, by the argument of `load_trajectory`."""
    from camera.formats import Unstated

    try:
        yield
    except Unstated as error:
        raise ValueError(f"{error}. On this command line: {flags[error.argument]}") from None


def size_of(args: argparse.Namespace, flag: str) -> tuple[int, int] | None:
    """The (height, width) that a flag states, checked; None when it was not given."""
    arguments.check_ranges(args, **{flag: 1})
    given = getattr(args, flag)
    return None if given is None else (given[0], given[1])


def _length(args: argparse.Namespace, prefix: str) -> tuple[int, float]:
    """Frames and frames per second of a text or preset."""
    for flag in ("format", "convention"):
        if getattr(args, f"{prefix}{flag}") is not None:
            logger.warning("--%s%s is not used: it is for pose files", prefix, flag)
    given = getattr(args, f"{prefix}fps")
    frames, fps = DEFAULT_FRAMES if args.frames is None else args.frames, DEFAULT_FPS if given is None else given
    check_length(frames, fps, f"--{prefix}fps")
    return frames, fps


def check_length(frames: int, fps: float, flag: str = "--fps") -> None:
    """Refuse a length that no video has.

    Raises:
        ValueError: names the flag, its value and what is allowed.
    """
    if frames < 1:
        raise ValueError(f"--frames {frames}: expected a number, 1 or more")
    if frames > _MAX_FRAMES:
        raise ValueError(f"--frames {frames}: expected at most {_MAX_FRAMES}")
    if not 0 < fps <= arguments.HIGHEST["fps"]:
        raise ValueError(f"{flag} {fps:g}: expected a number above 0, at most {arguments.HIGHEST['fps']}")
    if not math.isfinite(frames / fps):
        raise ValueError(f"{flag} {fps:g}: {frames} frames would last forever; expected more frames per second")


def _lens(args: argparse.Namespace, prefix: str, aspect: float | None = None) -> "torch.Tensor | None":
    """Normalised intrinsics [4] that the flags state; None when they do not.

    `aspect` is the shape, width / height, of the picture of a file; None for a text or preset, which gets a default
    lens of the shape that `--size` states.
    """
    import torch

    from camera.intrinsics import default_intrinsics

    size = size_of(args, f"{prefix}size")
    shape = (aspect,) if aspect is not None else ()
    shape = shape if size is None else (size[1] / size[0],)
    if getattr(args, f"{prefix}intrinsics") is None and getattr(args, f"{prefix}fov_deg") is None:
        return None if aspect is not None else default_intrinsics(*shape)
    lens = arguments.lens_of(args, prefix)
    if isinstance(lens, tuple):
        return torch.tensor(lens, dtype=torch.float64)
    return default_intrinsics(*shape, hfov_deg=lens)
