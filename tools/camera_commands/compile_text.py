"""Compile a camera text or preset: a table of what moves, how far and when, and a pose file if wanted.

Distances are in the planner's unit (the subject is at 1.003), angles in degrees, both summed along the camera's own
axes. Segments that run at the same time ("1+2") are shown by the motion they make together. A pose file is taken too;
its path is shown as a whole.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tools.camera_commands.output import motion_words, say, table
from tools.camera_commands.saving import save
from tools.trajectory_input import add_trajectory_input, trajectory_of

if TYPE_CHECKING:
    from camera.language import Move
    from camera.track import CameraTrack

SUMMARY = "what a text or preset does, segment by segment; write it as a pose file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The trajectory, and where it goes."""
    add_trajectory_input(parser)
    parser.add_argument("-o", "--output", metavar="PATH", help="pose file or camera cache to write")
    parser.add_argument("--to", metavar="FORMAT", help="format of the output, where its suffix does not say it")


def run(args: argparse.Namespace) -> int:
    """Show the segments; write the file."""
    from common.logs import get_logger

    track = trajectory_of(args)
    moves = moves_of(args.trajectory, args.preset)
    duration = float(track.times[-1] - track.times[0])
    say(f"{len(track)} frames, {duration:g} s, {_lens(track)}")
    say(segment_table(moves, track))
    if moves is not None:
        from camera.lint import lint

        rate = (len(track) - 1) / duration if duration else 1.0
        for finding in lint(moves, len(track), rate):
            # the table shows which segments run at the same time
            if finding.kind != "overlap":
                get_logger("camera").warning("%s", finding)
    if args.output is not None:
        written = save(track, args.output, args.to, args.size)
        say(f"wrote {args.output} ({written})")
    return 0


def moves_of(given: str | None, preset: str = "") -> "list[Move] | None":
    """The moves behind what a user typed and `trajectory_of` has accepted; None for a pose file or camera cache."""
    from camera.language import has_camera, parse

    if given is not None and has_camera(given):
        return parse(given)
    path = None if given is None else Path(given.split("#", maxsplit=1)[0])
    if path is None or not path.exists():
        from camera.presets import preset_from_text

        return preset_from_text(preset if given is None else given)
    text = path.read_text(encoding="utf-8-sig", errors="replace") if path.suffix.lower() == ".txt" else ""
    return parse(text) if has_camera(text) else None


def segment_table(moves: "list[Move] | None", track: "CameraTrack") -> str:
    """One row for each time at which the video shows a move or several, and one for the whole path."""
    from camera.segments import COMPONENTS, check_segments, motion_steps

    checks = check_segments(moves or [], track, track) if len(track) > 1 else []
    numbers: dict[tuple[float, float], list[str]] = {}
    for check in checks:
        numbers.setdefault((check.start, check.end), []).append(str(check.number))
    motions = {(check.start, check.end): motion_words(check.commanded) for check in checks}
    rows = [["segment", "seconds", "the camera"]]
    rows += [["+".join(numbers[span]), f"{span[0]:g} to {span[1]:g}", motions[span]] for span in motions]
    unseen = set(range(1, len(moves or []) + 1)) - {check.number for check in checks}
    rows += [[str(number), "-", "after the last frame"] for number in sorted(unseen)]
    whole: dict[str, float] = dict(zip(COMPONENTS, motion_steps(track).sum(dim=0).tolist(), strict=True))
    rows.append(["whole", f"{float(track.times[0]):g} to {float(track.times[-1]):g}", motion_words(whole)])
    return table(rows)


def _lens(track: "CameraTrack") -> str:
    from camera.metrics import horizontal_fov_deg

    fov = horizontal_fov_deg(track.intrinsics[[0, -1]]).tolist()
    same = abs(fov[0] - fov[1]) < 0.05
    return f"field of view {fov[0]:.1f}°" + ("" if same else f" to {fov[1]:.1f}°")
