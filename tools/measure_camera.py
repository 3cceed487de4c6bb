"""Measure the camera of one video whose first frame's depth is known, and lay it beside what was commanded.

    python tools/measure_camera.py out.mp4 --depth room_0000_depth0.npy "Camera: <starttime>0</starttime> ..."

Features are followed from frame 0, lifted by its depth, and every frame's pose is found by PnP
(docs/evaluation.md), so the unit is the depth's, and nothing is scaled to fit the command. It prints commanded and
measured motion side by side, for each segment and for the whole, and writes the measured camera as a file and both
paths as a picture. Rendered clips have such a depth (tools/make_demo_dataset.py writes depth/NAME_depth0.npy).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import arguments, cli
from common.files import require_file, require_writable
from common.logs import get_logger, setup_logging
from tools.camera_commands.output import motion_words, number, say, table
from tools.trajectory_input import add_trajectory_input, trajectory_of

if TYPE_CHECKING:
    import numpy as np

    from camera.language import Move
    from camera.track import CameraTrack
    from tools.camera_tracking import TrackedCamera

log = get_logger("measure")


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    parser.add_argument("video", help="what was generated")
    add_trajectory_input(parser)
    parser.add_argument("--depth", metavar="PATH", required=True, help=".npy [H, W]: z-depth of the first frame")
    parser.add_argument(
        "--output", metavar="PATH", help="measured camera (.safetensors); a .png of both lies beside it"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Read, measure, say, write."""
    args = build_parser().parse_args(argv)
    setup_logging()
    from common.media import probe_video, read_video

    info = probe_video(args.video)
    if args.trajectory is None or not Path(args.trajectory.rpartition("#")[0] or args.trajectory).exists():
        # a text is compiled for the frames that the video has, and at its rate
        args.frames, args.fps = args.frames or info.frames, args.fps or info.fps
    if args.output is not None:
        _check_output(Path(args.output))
    told = trajectory_of(args)
    frames = read_video(args.video)
    if len(told.track) != len(frames):
        raise ValueError(f"{args.video} has {len(frames)} frames, the command {len(told.track)}: give both the same")
    from tools.camera_tracking import track_camera

    found = track_camera(frames, _depth(Path(args.depth), frames.shape[1:3]), told.track.intrinsics)
    measured = replace(told.track, c2w=found.c2w)
    _say(told.track, measured, found, told.moves)
    if args.output is not None:
        _write(Path(args.output), told.track, measured)
    return 0


def _check_output(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise ValueError(f"--output {path}: expected a name that ends in .safetensors")
    require_writable(path.parent, "--output")


def _depth(path: Path, size: tuple[int, ...]) -> "np.ndarray":
    import numpy as np

    try:
        depth = np.load(require_file(path, "--depth"), allow_pickle=False)
    except (ValueError, EOFError):
        raise ValueError(f"--depth {path}: not an array that numpy can read (.npy without objects)") from None
    if not isinstance(depth, np.ndarray) or depth.shape != tuple(size) or not np.issubdtype(depth.dtype, np.floating):
        shape = getattr(depth, "shape", "no shape")
        raise ValueError(f"--depth {path}: {shape}, expected floating point numbers of the video's size {tuple(size)}")
    if not (np.isfinite(depth).all() and (depth > 0).all()):
        raise ValueError(f"--depth {path}: expected finite depths above 0")
    return depth.astype(np.float32)


def _say(told: "CameraTrack", measured: "CameraTrack", found: "TrackedCamera", moves: "Sequence[Move] | None") -> None:
    import torch

    from camera.language import Move
    from camera.metrics import rotation_error
    from camera.segments import check_segments

    seconds = float(told.times[-1] - told.times[0])
    whole = replace(told, times=told.times - told.times[0]), replace(measured, times=told.times - told.times[0])
    rows = [["seconds", "commanded", "measured", "gain"]]
    for check in check_segments(moves or [Move(0.0, seconds, 1.0, "stay")], *whole):
        words = motion_words(check.commanded), motion_words(check.measured)
        rows.append([f"{check.start:g} to {check.end:g}", *words, number(check.joint_gain)])
    say(table(rows))
    ends = torch.tensor([0, -1])
    error = rotation_error(measured.c2w[ends], told.c2w[ends], "mean_deg")
    moved = (measured.c2w[-1, :3, 3] - told.c2w[-1, :3, 3]).norm()
    say(f"last frame: {error:.1f} degrees and {float(moved):.3f} subject distances from where it was told to be")
    lost = int((~found.found).sum())
    if lost:
        say(f"{lost} of {len(told)} frames could not be measured; each keeps the pose before it")


def _write(path: Path, told: "CameraTrack", measured: "CameraTrack") -> None:
    from camera.plot import plot_trajectory

    measured.save(path, {"source": "measured from a video"})
    picture = path.with_suffix(".png")
    plot_trajectory(told, picture, title="commanded and, in red, measured", other=measured)
    say(f"wrote {path} and {picture}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
