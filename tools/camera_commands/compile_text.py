"""Compile a camera text or preset: a table of what moves, how far and when, and a pose file if wanted.

Distances are in the planner's unit (the subject is at 1.003), angles in degrees, both summed along the camera's own
axes. Segments that run at the same time ("1+2") are shown by the motion they make together. A pose file is taken too;
its path is shown as a whole.
"""

import argparse
from typing import TYPE_CHECKING

from common import arguments
from common.logs import get_logger
from tools.camera_commands.output import motion_words, say, table
from tools.camera_commands.saving import save
from tools.trajectory_input import add_trajectory_input, size_of, trajectory_of

if TYPE_CHECKING:
    from camera.language import Move
    from camera.track import CameraTrack

_TOLD = 5
"""Warnings of one kind that are shown."""
SUMMARY = "what a text or preset does, segment by segment; write it as a pose file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The trajectory, and where it goes."""
    add_trajectory_input(parser)
    parser.add_argument("-o", "--output", metavar="PATH", help="pose file or camera cache to write")
    parser.add_argument("--to", metavar="FORMAT", help="format of the output, where its suffix does not say it")
    parser.add_argument(
        "--output_size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="picture of the output, for formats with intrinsics in pixels (of a text or preset: --size if not given)",
    )


def run(args: argparse.Namespace) -> int:
    """Show the segments; write the file."""
    for flag in ("to", "output_size"):
        if getattr(args, flag) is not None and args.output is None:
            raise ValueError(f"--{flag} is for the file that is written; name the file by --output PATH")
    if args.output is not None:
        arguments.named(args.output, "--output")
    output_size, trajectory = size_of(args, "output_size"), trajectory_of(args)
    track, moves = trajectory.track, trajectory.moves
    duration = float(track.times[-1] - track.times[0])
    say(f"{len(track)} frame{'' if len(track) == 1 else 's'}, {duration:g} s, {_lens(track)}")
    say(segment_table(moves, track))
    if moves is not None:
        _warn(moves, len(track), (len(track) - 1) / duration if duration else 1.0)
    if args.output is not None:
        # a file's pixels say nothing about those of the file that is written
        size = output_size or (None if moves is None else size_of(args, "size"))
        written = save(track, args.output, args.to, size, "--output_size", trajectory.caption)
        say(f"wrote {args.output} ({written})")
    return 0


def _warn(moves: "list[Move]", frames: int, fps: float) -> None:
    """What is odd about the moves, and of each kind only the first few."""
    from camera.lint import lint

    logger = get_logger("camera")
    told: dict[str, int] = {}
    for finding in lint(moves, frames, fps):
        told[finding.kind] = told.get(finding.kind, 0) + 1
        # the table shows which segments run at the same time
        if finding.kind != "overlap" and told[finding.kind] <= _TOLD:
            logger.warning("%s", finding)
    for kind, count in told.items():
        if kind != "overlap" and count > _TOLD:
            logger.warning("... and %d more of kind '%s' (tools/camera.py check tells all)", count - _TOLD, kind)


def segment_table(moves: "list[Move] | None", track: "CameraTrack") -> str:
    """One row for each time at which the video shows a move or several, and one for the whole path."""
    from camera.segments import COMPONENTS, motion_steps, segment_motions

    found = segment_motions(moves or [], track) if len(track) > 1 else []
    spans: dict[tuple[float, float], list[int]] = {}
    motions: dict[tuple[float, float], dict[str, float]] = {}
    for each in found:
        spans.setdefault((each.start, each.end), []).append(each.number)
        motions[each.start, each.end] = dict(zip(COMPONENTS, each.motion.tolist(), strict=True))
    rows = [["segment", "seconds", "the camera"]]
    for span, numbers in spans.items():
        rows.append([_joined(numbers), f"{span[0]:g} to {span[1]:g}", motion_words(motions[span])])
    unseen = sorted(set(range(1, len(moves or []) + 1)) - {each.number for each in found})
    rows += [[_joined(unseen), "-", "after the last frame"]] if unseen else []
    whole: dict[str, float] = dict(zip(COMPONENTS, motion_steps(track).sum(dim=0).tolist(), strict=True))
    rows.append(["whole", f"{float(track.times[0]):g} to {float(track.times[-1]):g}", motion_words(whole)])
    return table(rows)


def _joined(numbers: list[int]) -> str:
    """ "1+2"; of more than a few, how many there are."""
    if len(numbers) <= _TOLD:
        return "+".join(map(str, numbers))
    return f"{numbers[0]}+...+{numbers[-1]} ({len(numbers)})"


def _lens(track: "CameraTrack") -> str:
    from camera.intrinsics import fov_deg_of

    fov = fov_deg_of(track.intrinsics[[0, -1]]).tolist()
    same = abs(fov[0] - fov[1]) < 0.05
    return f"field of view {fov[0]:.1f}°" + ("" if same else f" to {fov[1]:.1f}°")
