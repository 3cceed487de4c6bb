"""Look at a camera trajectory before any GPU time: a picture, an interactive page, and a preview with your image.

Writes OUTPUT.png (views and curves) and OUTPUT.html (open it in a browser; nothing is loaded from elsewhere). With
--image also OUTPUT.mp4, the image seen along the path, and OUTPUT_sheet.png. See docs/visualize.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import arguments, cli
from common.files import require_file, require_writable
from common.logs import get_logger, setup_logging
from tools.trajectory_input import add_trajectory_flags, add_trajectory_input, size_of, trajectory_from, trajectory_of

if TYPE_CHECKING:
    import numpy as np

    from camera.track import CameraTrack

log = get_logger("visualize")

SCENES = ("plane", "room", "depth")
DEPTH_KINDS = ("near", "metric")
_MAX_PREVIEW_FRAMES = 241
_MAX_PREVIEW_SIDE = 4096
_SUFFIXES = (".png", ".html", ".mp4")
_TITLE_LENGTH = 400


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    add_trajectory_input(parser)
    parser.add_argument("--compare", metavar="OTHER", help="a second text, preset or file, drawn over the first")
    add_trajectory_flags(parser.add_argument_group("how to read OTHER, as the same flags above say it"), "compare_")
    parser.add_argument(
        "--output", default="outputs/trajectory", metavar="STEM", help="where to write, without suffix; or a folder/"
    )
    parser.add_argument("--title", help="heading of the picture and the page; default: what was given")
    preview = parser.add_argument_group("preview")
    preview.add_argument("--image", metavar="PATH", help="the first frame: writes a parallax preview of the move")
    preview.add_argument(
        "--scene", choices=SCENES, help="what the image stands on; default: room, or depth where --depth is given"
    )
    preview.add_argument("--depth", metavar="PATH", help="depth map of the whole image, .npy or grey .png (16 bits)")
    preview.add_argument("--depth_kind", choices=DEPTH_KINDS, help="near (default): larger is nearer; metric: z-depth")
    preview.add_argument(
        "--depth_factor",
        type=float,
        help="track units of one metric depth value (1 if not given), where the depths set the distance themselves",
    )
    preview.add_argument(
        "--preview_size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="pixels of the preview, cut from what the lens sees; default: height 480 and the lens's shape",
    )
    preview.add_argument("--distance", type=float, help="distance of the subject; default: the planner's, or a guess")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Resolve what was typed, then draw."""
    args = build_parser().parse_args(argv)
    setup_logging()
    scene = check_preview(args)
    stem = output_stem(args)
    track = trajectory_of(args).track
    other = None if args.compare is None else trajectory_from(args.compare, args, "compare_").track
    if other is not None and other.scale != track.scale:
        log.warning("--compare: scales differ (%s and %s); both are drawn as they are", track.scale, other.scale)
    image = None if args.image is None else fitted_image(args, track)
    ground = None if image is None else scene_of(args, track, image, scene)
    draw(args, stem, track, other, image)
    if image is not None and ground is not None:
        write_preview(stem, track, image, ground, size_of(args, "preview_size") or image.shape[:2])
        log.info("preview: %s.mp4 (scene: %s), contact sheet: %s_sheet.png", stem, scene, stem)
    return 0


def check_preview(args: argparse.Namespace) -> str:
    """The scene that the flags ask for; flags that contradict each other, or would not be used, are refused."""
    arguments.check_ranges(args, distance=0, depth_factor=0)
    scene = args.scene or ("room" if args.depth is None else "depth")
    for flag in ("scene", "depth", "distance", "preview_size"):
        if args.image is None and getattr(args, flag) is not None:
            raise ValueError(f"--{flag} is for the preview, which needs --image PATH")
    if (scene == "depth") != (args.depth is not None):
        raise ValueError(f"--scene {scene} and --depth: give --depth PATH with --scene depth, and only with it")
    for flag in ("depth_kind", "depth_factor"):
        if args.depth is None and getattr(args, flag) is not None:
            raise ValueError(f"--{flag} {getattr(args, flag)} says how to read --depth PATH, which is not given")
    for flag in ("fps", "format", "convention", "size", "intrinsics", "fov_deg"):
        if args.compare is None and getattr(args, f"compare_{flag}") is not None:
            raise ValueError(f"--compare_{flag} says how to read --compare OTHER, which is not given")
    for flag in ("distance", "depth_factor"):
        if getattr(args, flag) == 0:
            raise ValueError(f"--{flag} 0: expected a number above 0")
    for flag in ("image", "depth"):
        if getattr(args, flag) is not None:
            require_file(arguments.named(getattr(args, flag), f"--{flag}"), f"--{flag}")
    return scene


def output_stem(args: argparse.Namespace) -> Path:
    """What the names of all results start with."""
    given = arguments.named(args.output, "--output")
    path = Path(given)
    if path.is_dir() or given.endswith(("/", "\\")):
        path = path / "trajectory"
    elif path.suffix.lower() in _SUFFIXES:
        path = path.with_suffix("")
    require_writable(path.parent, "--output")
    return path


def fitted_image(args: argparse.Namespace, track: "CameraTrack") -> "np.ndarray":
    """The image [H, W, 3], scaled and cropped to the shape that the track's lens sees; `--preview_size` fits in."""
    from camera.parallax import picture_size
    from common.media import fit_to_size, read_image

    height, width = picture_size(track)
    wanted = size_of(args, "preview_size")
    if wanted is not None:
        if wanted[0] % 2 or wanted[1] % 2:
            raise ValueError(f"--preview_size {wanted[0]} {wanted[1]}: the preview is a video; both sides must be even")
        scale = max(wanted[0] / height, wanted[1] / width)
        height, width = (max(side, round(scale * full)) for side, full in zip(wanted, (height, width), strict=True))
    if max(height, width) > _MAX_PREVIEW_SIDE:
        raise ValueError(
            f"a preview of height {height} and width {width}, the shape that the lens asks for (square pixels): "
            f"expected sides of at most {_MAX_PREVIEW_SIDE}; give a smaller --preview_size, or the lens by --fov_deg"
        )
    return fit_to_size(read_image(args.image), width, height)


def draw(
    args: argparse.Namespace,
    stem: Path,
    track: "CameraTrack",
    other: "CameraTrack | None",
    image: "np.ndarray | None",
) -> None:
    """Write the picture and the page."""
    from camera.page import write_page
    from camera.plot import plot_trajectory

    names = [" ".join((given or "").split()) for given in (args.preset or args.trajectory, args.compare)]
    title = args.title or (names[0] if other is None else " / ".join(names))
    title = title if len(title) <= _TITLE_LENGTH else title[:_TITLE_LENGTH] + "…"
    plot_trajectory(track, f"{stem}.png", title, other)
    # both may be named alike, as the same file read in two ways
    tracks = track if other is None else {f"1: {names[0][:60]}": track, f"2: {names[1][:60]}": other}
    write_page(tracks, f"{stem}.html", title, image)
    log.info("picture: %s.png", stem)
    log.info("page: %s.html (open it in a browser)", stem)


def scene_of(args: argparse.Namespace, track: "CameraTrack", image: "np.ndarray", scene: str) -> "float | np.ndarray":
    """What the image stands on: the distance of a plane, or the z-depth [H, W] of the room or of `--depth`."""
    from camera.depth import fit_depth, read_depth, z_depth
    from camera.parallax import room_depth, scene_distance
    from common.media import probe_image

    known = args.distance is not None or track.scale == "relative"
    distance = scene_distance(track) if args.distance is None else args.distance
    kind = args.depth_kind or DEPTH_KINDS[0]
    absolute = scene == "depth" and kind == "metric" and not known
    if args.depth_factor is not None and not absolute:
        why = "has depths without a unit" if kind != "metric" else "brings the middle of the depths to a known distance"
        raise ValueError(
            f"--depth_factor {args.depth_factor:g} would change nothing: --depth_kind {kind} {why} (--distance, or the "
            "planner's); leave it out"
        )
    if not (known or absolute):
        log.warning("nothing says how far the scene is; taken is %.3g, in the unit of the path (--distance)", distance)
    height, width = image.shape[:2]
    if scene == "plane":
        return distance
    if scene == "room":
        return room_depth(height, width, track.intrinsics[0], distance)
    source_width, source_height = probe_image(args.image)
    values = read_depth(args.depth)
    try:
        depth = z_depth(values, kind, None if absolute else distance, args.depth_factor or 1.0)
        return fit_depth(depth, (source_height, source_width), (height, width))
    except ValueError as error:
        raise ValueError(f"--depth {args.depth}: {error}") from None


def write_preview(
    stem: Path, track: "CameraTrack", image: "np.ndarray", ground: "float | np.ndarray", size: tuple[int, int]
) -> None:
    """Render the image along the path and cut the middle; a long path is thinned out, at the speed it has."""
    import numpy as np

    from camera.parallax import depth_frames, plane_frames
    from common.media import contact_sheet, write_image, write_video
    from common.progress import progress

    first, last = float(track.times[0]), float(track.times[-1])
    count = min(len(track), _MAX_PREVIEW_FRAMES)
    thinned = track.rebased().at(np.linspace(first, last, count).tolist())
    flat = not isinstance(ground, np.ndarray)
    rendered = plane_frames(image, thinned, ground) if flat else depth_frames(image, thinned, ground)
    frames = []
    with progress(count, "preview", "frame") as bar:
        for frame in rendered:
            top, left = (frame.shape[0] - size[0]) // 2, (frame.shape[1] - size[1]) // 2
            frames.append(frame[top : top + size[0], left : left + size[1]])
            bar.update()
    write_video(f"{stem}.mp4", np.stack(frames), (count - 1) / (last - first) if count > 1 else 1.0)
    write_image(f"{stem}_sheet.png", contact_sheet(frames, columns=4, count=8))


if __name__ == "__main__":
    sys.exit(cli.run(main))
