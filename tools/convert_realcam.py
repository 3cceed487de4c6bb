"""Convert a RealCam-Vid .npz, without unpickling it, into one camera file a clip and a metadata.jsonl.

It writes camera/VIDEO.safetensors (a `CameraTrack` in the clip's first camera) and metadata.jsonl with video_path,
caption and camera_file. Nothing of the file is run: it is read opcode by opcode, and whatever is no plain data is
refused with its position. Clips that are there already with the same settings are kept, so the same command goes on
where it was stopped; clips whose poses cannot be used are told and left out.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from camera.formats.realcam import Clip, clip_track, parse_clip, read_clips
from common import cli
from common.arguments import make_parser, named
from common.files import require_file
from common.logs import get_logger, setup_logging
from common.media import probe_video
from common.progress import progress
from tools.demo_folder import output_folder, write_lines
from tools.preparation.cameras import check_pose_count, is_done, save_camera

logger = get_logger("convert_realcam")

_JSONL = "metadata.jsonl"
_SHOWN = 10
_MAX_NAME = 200


@dataclass(frozen=True)
class Settings:
    """What the camera files are made with, beside the clips."""

    source: str
    folder: Path
    fps: float | None
    video_root: Path | None
    metric: bool
    caption: str

    def fingerprint(self, index: int, clip: Clip) -> str:
        """What a camera file says it was made from; the same text means that it is kept."""
        rate = f"fps of {clip.video_path}" if self.fps is None else f"fps {self.fps:g}"
        return f"{self.source}, clip {index}, {rate}, {'metric' if self.metric else 'relative'}"


def main(argv: list[str] | None = None) -> int:
    """Read the clips, write what is missing, list what is there."""
    setup_logging()
    args = parse_arguments(argv)
    source = require_file(args.npz, "RealCam-Vid file")
    settings = Settings(
        source.name,
        output_folder(named(args.output_dir, "--output_dir")),
        args.fps,
        Path(args.video_root) if args.video_root else None,
        args.metric,
        f"{args.caption}_caption",
    )
    logger.info(f"reading {source}; nothing in it is run")
    records = read_clips(source, int(args.memory_gb * 2**30))
    lines, refused, kept, taken = [], [], 0, set()
    for index, record in enumerate(progress(records, "writing cameras", "clip")):
        try:
            line, was_there = convert(record, index, settings, taken)
        except (ValueError, FileNotFoundError) as error:
            refused.append(str(error))
            continue
        lines.append(line)
        kept += was_there
    if lines:
        write_lines(settings.folder / _JSONL, lines)
    for reason in refused[:_SHOWN]:
        logger.warning(reason)
    if len(refused) > _SHOWN:
        logger.warning(f"... and {len(refused) - _SHOWN} more")
    if not lines:
        raise ValueError(f"{source}: none of its {len(records)} clips could be converted; nothing was listed")
    logger.info(
        f"{len(records)} clips: {len(lines) - kept} converted, {kept} there already, {len(refused)} left out; "
        f"listed in {settings.folder / _JSONL}"
    )
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line, checked; ValueError names the flag, the value and what is allowed."""
    parser = make_parser("Convert RealCam-Vid to camera files, without running what its pickle may hold.")
    parser.add_argument("npz", help="RealCam-Vid_train.npz or _test.npz")
    parser.add_argument("--output_dir", required=True, metavar="DIR", help="folder for the camera files and the list")
    parser.add_argument("--fps", type=float, help="frames per second of all its videos")
    parser.add_argument("--video_root", metavar="DIR", help="instead of --fps: take it from each video below DIR")
    parser.add_argument("--metric", action="store_true", help="translations in metres, by each clip's align_factor")
    parser.add_argument("--caption", choices=("long", "short"), default="long", help="which caption to list")
    parser.add_argument("--memory_gb", type=float, default=8.0, help="refuse a file that needs more memory")
    args = parser.parse_args(argv)
    if (args.fps is None) == (args.video_root is None):
        raise ValueError("state the time of the poses by one of --fps FPS and --video_root DIR")
    if args.fps is not None and not (math.isfinite(args.fps) and 0 < args.fps <= 1000):
        raise ValueError(f"--fps {args.fps:g}: expected a number above 0, up to 1000")
    if not 0 < args.memory_gb <= 1024:
        raise ValueError(f"--memory_gb {args.memory_gb:g}: expected a number above 0, up to 1024")
    return args


def convert(record: Any, index: int, settings: Settings, taken: set[str]) -> tuple[dict[str, str], bool]:
    """Write the camera file of one clip, unless it is there.

    Args:
        record: of `read_clips`.
        index: its number.
        settings: of the run.
        taken: names of camera files of this run, to which this one is added.

    Returns:
        the clip's line of metadata.jsonl, and whether its file was there.

    Raises:
        ValueError: the clip cannot be used, or its video has another number of frames than it has poses.
        FileNotFoundError: its video is not below --video_root.
    """
    clip = parse_clip(record, f"{settings.source}, clip {index}")
    name = camera_name(clip.video_path, index)
    if name in taken:
        raise ValueError(f"{settings.source}, clip {index}: a second clip of {clip.video_path}")
    taken.add(name)
    caption = clip.long_caption if settings.caption == "long_caption" else clip.short_caption
    line = {"video_path": clip.video_path, "caption": caption, "camera_file": name}
    path, fingerprint = settings.folder / name, settings.fingerprint(index, clip)
    if is_done(path, fingerprint):
        return line, True
    fps = settings.fps
    if fps is None:
        assert settings.video_root is not None
        video = probe_video(settings.video_root / clip.video_path)
        check_pose_count(len(clip.w2c), video.frames, f"{settings.source}, clip {index}")
        fps = video.fps
    track = clip_track(clip, fps, settings.metric, Path(f"{settings.source}, clip {index}"))
    save_camera(path, track, caption, fingerprint)
    return line, False


def camera_name(video_path: str, index: int) -> str:
    """Where a clip's camera file lies below the output folder, named as its video.

    Raises:
        ValueError: the path leads out of the folder of the data set, or has characters that no file name has.
    """
    path = PurePosixPath(video_path)
    if path.is_absolute() or ".." in path.parts or "\0" in video_path or "\\" in video_path or not path.stem:
        raise ValueError(f"clip {index}: video_path {video_path[:80]!r} leads out of the data set's folder")
    if any(len(part.encode()) > _MAX_NAME for part in path.parts):
        raise ValueError(f"clip {index}: video_path {video_path[:80]!r} has a name of more than {_MAX_NAME} bytes")
    return str("camera" / path.with_suffix(".safetensors"))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
