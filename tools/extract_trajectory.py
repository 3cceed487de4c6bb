"""Lift the camera trajectory from a video or a folder of pictures, and write, draw or describe it.

    tools/extract_trajectory.py video.mp4 --describe                       # in words of the trajectory language
    tools/extract_trajectory.py video.mp4 --output poses.txt --plot path.png --ply scene.ply
    tools/extract_trajectory.py video.mp4 --output video.safetensors --size 480 832   # a camera cache for a bucket

See docs/trajectory-from-video.md.
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
from tools.camera_commands import saving
from tools.camera_commands.output import say
from tools.trajectory_input import size_of

if TYPE_CHECKING:
    from camera.track import CameraTrack
    from common.media import VideoInfo
    from Dust3rP.estimate import Estimate, TrajectoryBackend

log = get_logger("extract")


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # keeps the examples
    parser.add_argument("video", metavar="VIDEO", help="video file, or folder of pictures")
    _add_frames(parser.add_argument_group("which frames"))
    _add_estimation(parser.add_argument_group("how the camera is found"))
    _add_results(parser.add_argument_group("results; at least one of --output, --plot, --ply, --truth, --describe"))
    return parser


def _add_frames(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--start", type=float, default=0.0, help="seconds from which on frames are taken (default: 0)")
    add("--end", type=float, help="seconds up to which; default: the end")
    add("--every", type=int, default=1, help="take every so many-th frame (default: 1)")
    add("--fps", type=float, help="pictures per second of a folder (default: 16)")


def _add_estimation(group: argparse._ArgumentGroup) -> None:
    arguments.add_pose_backend(group)
    group.add_argument("--device", help="of DUSt3R: cuda, cuda:1, cpu; default: cuda where there is one")
    arguments.add_lens(group, "found with the trajectory")
    group.add_argument("--smooth", type=float, metavar="SECONDS", help="smooth the path, standard deviation in seconds")
    group.add_argument("--length", type=float, metavar="METRES", help="length of the whole path: makes it metric")
    group.add_argument(
        "--between", type=int, nargs=2, metavar=("I", "J"), help="--length is the distance of these two of the frames"
    )


def _add_results(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--output",
        metavar="FILE",
        action="append",
        default=[],
        help="pose file, in the format of its name or of --to; .safetensors is a camera cache; may be given again",
    )
    add("--to", metavar="FORMAT", help="format of --output where its name does not say it (tools/camera.py formats)")
    add(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="picture that the lens is cut to, as a bucket of a data set; default: the video's own",
    )
    add("--plot", metavar="FILE", help="picture of the path, .png")
    add("--ply", metavar="FILE", help="points of the scene with the camera's path, .ply")
    add("--truth", metavar="FILE", help="the true camera, a file of any format: say how far the one found is from it")
    add("--describe", action="store_true", help="say it in the nearest words of the trajectory language")
    add("--segments", type=int, default=6, help="most segments of the description (default: 6)")


def main(argv: Sequence[str] | None = None) -> int:
    """Check, find, measure, write."""
    args = build_parser().parse_args(argv)
    setup_logging()
    check(args)
    from Dust3rP.videos import DEFAULT_FPS, probe, read_frames

    fps = DEFAULT_FPS if args.fps is None else args.fps
    info = probe(args.video, fps)
    lens = lens_of(args, info)
    frames = read_frames(args.video, fps, args.start, args.end, args.every)
    estimate = open_backend(args).estimate(frames, lens)
    for remark in estimate.remarks:
        log.info("%s", remark)
    if estimate.confidence < arguments.LOW_CONFIDENCE:
        log.warning("confidence %.2f: look at the path before using it", estimate.confidence)
    estimate = finished(args, estimate)
    write(args, estimate, info)
    if args.truth is not None:
        compare(args, estimate)
    if args.describe:
        describe(args, estimate)
    return 0


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot work, before anything slow is done."""
    require_file(arguments.named(args.video, "VIDEO"), "VIDEO")
    arguments.check_ranges(args, start=0, end=0, every=1, fps=0.01, segments=1, size=1)
    for flag in ("smooth", "length"):
        value = getattr(args, flag)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{flag} {value}: expected a number above 0")
    if args.between is not None and args.length is None:
        raise ValueError("--between says what --length METRES is the distance of; give that too")
    if not (args.output or args.plot or args.ply or args.truth or args.describe):
        raise ValueError(
            "nothing is asked for: give one or more of --output FILE, --plot FILE, --ply FILE, --truth FILE, --describe"
        )
    if args.fps is not None and not Path(args.video).is_dir():
        log.warning("--fps is not used: %s has times of its own", args.video)
    for flag, suffix in (("plot", ".png"), ("ply", ".ply")):
        value = getattr(args, flag)
        if value is not None and Path(arguments.named(value, f"--{flag}")).suffix.lower() != suffix:
            raise ValueError(f"--{flag} {value}: expected a name that ends in {suffix}")
    if args.truth is not None:
        require_file(arguments.named(args.truth, "--truth"), "--truth")
    for flag in ("output", "plot", "ply"):
        for value in [getattr(args, flag)] if isinstance(getattr(args, flag), str) else getattr(args, flag) or []:
            require_writable(Path(arguments.named(value, f"--{flag}")).parent, f"--{flag}")


def open_backend(args: argparse.Namespace) -> "TrajectoryBackend":
    """Who looks for the camera."""
    import torch

    from common.precision import compute_dtype, pick_device
    from Dust3rP.backends import open_backend

    device = pick_device(args.device)
    weights = arguments.dust3r_weights(args) if args.pose_backend != "colmap" else None
    dtype = compute_dtype(None, device, torch.bfloat16)
    return open_backend(args.pose_backend, weights=weights, device=device, dtype=dtype)


def lens_of(args: argparse.Namespace, info: "VideoInfo") -> list[float] | None:
    """Normalised intrinsics that the flags state; None where they are to be found."""
    from camera.estimating import known_intrinsics

    lens = arguments.lens_choice_of(args)
    return None if lens is None or lens == "estimate" else known_intrinsics(lens, info.width / info.height).tolist()


def finished(args: argparse.Namespace, estimate: "Estimate") -> "Estimate":
    """Smooth, and in metres or in the planner's unit."""
    from camera.estimating import in_subject_distances

    if args.smooth is not None:
        estimate = replace(estimate, track=estimate.track.smoothed(args.smooth).rebased())
    if args.length is not None:
        return estimate.scaled(args.length / _known_way(args, estimate.track))
    track, unit = in_subject_distances(estimate.track, estimate.points)
    log.info("unit: %s of what the first frame shows (--length METRES makes the path metric)", unit)
    before, after = (float(each.c2w[:, :3, 3].norm(dim=1).max()) for each in (estimate.track, track))
    return estimate.scaled(after / before, "relative") if before > 0 else estimate


def _known_way(args: argparse.Namespace, track: "CameraTrack") -> float:
    """What `--length` states, in the unit of the track."""
    centres = track.c2w[:, :3, 3]
    if args.between is None:
        way = float(centres.diff(dim=0).norm(dim=1).sum())
    else:
        first, second = args.between
        if not (0 <= first < len(track) and 0 <= second < len(track)):
            raise ValueError(f"--between {first} {second}: the frames taken have numbers 0 to {len(track) - 1}")
        way = float((centres[second] - centres[first]).norm())
    if way <= 0:
        raise ValueError("--length: the camera found does not move there, so no length can be stated")
    return way


def write(args: argparse.Namespace, estimate: "Estimate", info: "VideoInfo") -> None:
    """Write all files that were asked for."""
    source = (info.height, info.width)
    size = size_of(args, "size") or source
    track = estimate.track.cropped(source, size)
    for path in args.output:
        if Path(path).suffix == ".safetensors" and args.to in (None, "omnicam"):
            track.save(path, _metadata(estimate, args.video))
        else:
            saving.save(track, path, args.to, size, "--size")
        log.info("poses: %s", path)
    if args.plot is not None:
        from camera.plot import plot_trajectory

        plot_trajectory(track, args.plot, title=f"{Path(args.video).name}, by {estimate.backend}")
        log.info("picture: %s", args.plot)
    if args.ply is not None:
        from Dust3rP.points import write_ply

        write_ply(estimate, args.ply)
        log.info("points: %s (%d, and the path)", args.ply, len(estimate.points))


def _metadata(estimate: "Estimate", video: str) -> dict[str, str]:
    return {
        "source": "estimated",
        "backend": estimate.backend,
        "confidence": f"{estimate.confidence:.4f}",
        "medium": Path(video).name,
    }


def compare(args: argparse.Namespace, estimate: "Estimate") -> None:
    """How far the camera found is from the true one, at the same times."""
    from camera.formats import load_trajectory
    from camera.path_error import path_error

    track = estimate.track
    error = path_error(track.c2w, load_trajectory(args.truth).at(track.times).c2w)
    say(
        f"rotation error {error.rotation_deg:.2f} degrees (at most {error.rotation_max_deg:.2f}), position error "
        f"{error.position_percent:.2f} % of the path (at most {error.position_max_percent:.2f} %), against {args.truth}"
    )


def describe(args: argparse.Namespace, estimate: "Estimate") -> None:
    """The nearest words, alone on standard output, and what they leave over."""
    from camera.fit_language import fit_language
    from camera.language import format as format_moves

    fit = fit_language(estimate.track, args.segments)
    say(f"Camera: {format_moves(fit.moves)}")
    log.info(
        "left over: %.2f degrees (at most %.2f), %.2f %% of the path (at most %.2f %%); one unit of the text is %.3g "
        "of the poses written",
        *(fit.rotation_deg, fit.rotation_max_deg, fit.position_percent, fit.position_max_percent, 1 / fit.scale),
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
