"""Compare an estimated trajectory with the true (commanded) one, by published protocols that are never mixed.

Each protocol has a block of its own: its numbers compare with those of the same protocol alone (docs/metrics.md).
When the true one is a text or preset, each of its segments is checked too: direction, share of the motion, start, stop.
"""

import argparse
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import arguments
from common.logs import get_logger
from tools.camera_commands.compile_text import moves_of
from tools.camera_commands.output import number, say, table
from tools.trajectory_input import add_trajectory_flags, track_from

if TYPE_CHECKING:
    from camera.language import Move
    from camera.metrics import Report
    from camera.segments import SegmentCheck
    from camera.track import CameraTrack

logger = get_logger("camera")

SUMMARY = "metrics of an estimated trajectory against the true one"
DEFAULT_PROTOCOLS = ["cami2v_rel", "mean_deg", "sim3", "auc"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two trajectories, the protocols, where the results go."""
    meaning = "camera text, preset, pose file or camera cache"
    parser.add_argument("estimated", metavar="ESTIMATED", help=f"the measured trajectory: {meaning}")
    parser.add_argument("true", metavar="TRUE", help=f"the commanded one: {meaning}")
    add_trajectory_flags(parser)
    parser.add_argument(
        "--protocol", nargs="+", metavar="NAME", default=DEFAULT_PROTOCOLS, help="names of docs/metrics.md, or all"
    )
    parser.add_argument("--scene_depth", type=float, default=1.0, help="distance to the scene, in units of TRUE")
    parser.add_argument("--estimated_depth_scale", type=float, default=1.0, help="multiplies ESTIMATED's translations")
    parser.add_argument("--true_depth_scale", type=float, default=1.0, help="multiplies TRUE's translations")
    parser.add_argument("--json", metavar="PATH", help="also write everything as JSON")
    parser.add_argument("--picture", metavar="PATH", help="also draw both paths as PNG, ESTIMATED in red")


def run(args: argparse.Namespace) -> int:
    """Measure, say, write."""
    from camera.metrics import evaluate, find_protocol
    from camera.protocols import PROTOCOLS

    names = list(PROTOCOLS) if args.protocol == ["all"] else args.protocol
    scales = {name: getattr(args, name) for name in ("scene_depth", "estimated_depth_scale", "true_depth_scale")}
    protocols = [replace(find_protocol(name), **scales) for name in names]
    estimated, true = _same_times(track_from(args.estimated, args), track_from(args.true, args))
    reports = [evaluate(estimated.c2w, true.c2w, protocol) for protocol in protocols]
    paths = _path_rows(estimated, true, args.scene_depth)
    checks = _segment_checks(moves_of(args.true), estimated, true, args.scene_depth)
    for report in reports:
        say(_block(report))
        say()
    say("of the paths themselves\n" + _table_of(paths))
    if checks:
        say("\nsegments of the true path\n" + _segment_rows(checks))
    if args.json is not None:
        _write_json(args, reports, paths, checks)
    if args.picture is not None:
        from camera.plot import plot_trajectory

        plot_trajectory(
            true, args.picture, title=f"{args.true[:80]} and, in red, {args.estimated[:80]}", other=estimated
        )
        say(f"wrote {args.picture}")
    return 0


def _same_times(estimated: "CameraTrack", true: "CameraTrack") -> "tuple[CameraTrack, CameraTrack]":
    """Both tracks frame by frame, from 0 s: as they are when they have as many frames, else by time."""
    estimated, true = (replace(track, times=track.times - track.times[0]) for track in (estimated, true))
    ends = float(estimated.times[-1]), float(true.times[-1])
    half = ends[1] / max(len(true) - 1, 1) / 2
    if len(estimated) == len(true):
        if abs(ends[0] - ends[1]) > half:
            logger.warning("ESTIMATED lasts %g s, TRUE %g s; their frames are compared one by one", *ends)
            estimated = replace(estimated, times=true.times)
        return estimated, true
    if ends[0] < ends[1] - half:
        raise ValueError(
            f"ESTIMATED has {len(estimated)} frames and lasts {ends[0]:g} s, TRUE {len(true)} frames and {ends[1]:g} "
            "s: give both the same length (--frames and --fps for a text; --fps for a file without times)"
        )
    logger.info("ESTIMATED has %d frames, TRUE %d: compared at the times of TRUE", len(estimated), len(true))
    return estimated.at(true.times), true


def _path_rows(estimated: "CameraTrack", true: "CameraTrack", scene_depth: float) -> dict[str, float]:
    """Numbers that belong to no protocol, by name with unit."""
    from camera.metrics import MIN_TRAVEL, fov_error, jerk, static_score
    from camera.poses import rotation_angle

    rows = {
        "jerk of ESTIMATED (unit/s^3)": jerk(estimated.c2w, estimated.times),
        "jerk of TRUE (unit/s^3)": jerk(true.c2w, true.times),
        "field of view error (deg)": fov_error(estimated.intrinsics, true.intrinsics),
    }
    first = true.rebased().c2w
    turned, moved = rotation_angle(first[:, :3, :3]).max(), first[:, :3, 3].norm(dim=1).max()
    if math.degrees(float(turned)) < 0.1 and float(moved) < MIN_TRAVEL * scene_depth:
        rows["static score: motion of a camera told to stand (deg)"] = static_score(estimated.c2w, scene_depth)
    return rows


def _segment_checks(
    moves: "list[Move] | None", estimated: "CameraTrack", true: "CameraTrack", scene_depth: float
) -> "list[SegmentCheck]":
    """The checks of each move; an estimate of another unit than the truth is first scaled to it, once."""
    from camera.alignment import fitted_scale
    from camera.segments import check_segments

    if moves is None or len(true) < 2:
        return []
    if estimated.scale != true.scale:
        scale = fitted_scale(estimated.rebased().c2w[:, :3, 3], true.rebased().c2w[:, :3, 3])
        c2w = estimated.c2w.clone()
        c2w[:, :3, 3] *= scale
        logger.info("segments: the unit of ESTIMATED is '%s', so it is scaled by %.4g first", estimated.scale, scale)
        estimated = replace(estimated, c2w=c2w)
    return check_segments(moves, true, estimated, scene_depth)


def _name(given: str) -> str:
    return "camera text" if "<" in given else given


def _block(report: "Report") -> str:
    head = f"protocol {report.protocol.name}, {report.frames} frames"
    rows = [["metric", "value", "unit"]]
    rows += [[name, number(value), report.units[name] or "-"] for name, value in report.values.items()]
    names: dict[str, list[str]] = {}
    for name, reason in report.reasons.items():
        names.setdefault(reason, []).append(name)
    notes = [f"  {', '.join(about)}: {reason}" for reason, about in names.items()]
    return "\n".join([head, table(rows), *notes])


def _table_of(values: dict[str, float]) -> str:
    return table([[name, number(value)] for name, value in values.items()])


def _segment_rows(checks: "list[SegmentCheck]") -> str:
    rows = [["segment", "seconds", "direction", "gain", "turning", "moving", "start", "stop (frames late)"]]
    for check in checks:
        right = ", ".join(f"{name} {'ok' if good else 'WRONG'}" for name, good in check.signs.items())
        numbers = (check.joint_gain, check.rotation_gain, check.translation_gain, check.start_error, check.stop_error)
        seconds = f"{check.start:g} to {check.end:g}"
        rows.append([str(check.number), seconds, right or "stay", *map(number, numbers)])
    return table(rows)


def _write_json(
    args: argparse.Namespace, reports: "list[Report]", paths: dict[str, float], checks: "list[SegmentCheck]"
) -> None:
    """Everything that was said, unrounded; NaN is written as null."""
    import json

    from common.files import atomic_path

    document = {
        "estimated": args.estimated,
        "true": args.true,
        "protocols": {report.protocol.name: asdict(report) for report in reports},
        "paths": paths,
        "segments": [{**asdict(check), "sign_accuracy": check.sign_accuracy} for check in checks],
    }
    target = Path(arguments.named(args.json, "--json"))
    with atomic_path(target) as temporary:
        temporary.write_text(json.dumps(_finite(document), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    say(f"wrote {target}")


def _finite(value: Any) -> Any:
    """The same document with null for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
