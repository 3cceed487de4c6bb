"""A plain folder of videos, with text files or a list of captions, and camera files where there are any.

The videos stay where they are; the jsonl names them by relative paths. Those with neither tags in the caption nor a
camera file cannot be trained on: they are listed in without_camera.jsonl, and move when they get one.
"""

from dataclasses import dataclass
from pathlib import Path

from camera.formats import SourceVideo, Unstated, load_trajectory
from camera.intrinsics import default_intrinsics
from camera.language import has_camera, parse
from common.arguments import CONVERT_FLAGS
from common.media import VIDEO_EXTENSIONS, VideoInfo, probe_video
from dataset.fingerprint import file_fingerprint, text_fingerprint
from tools.preparation.archives import visible_files
from tools.preparation.cameras import is_done, save_camera
from tools.preparation.captions import CaptionBook
from tools.preparation.options import Common
from tools.preparation.output import METADATA, WITHOUT_CAMERA, Prepared, relative_path

CAMERA_SUFFIXES = (".safetensors", ".txt", ".json", ".npz", ".npy", ".tum")
"""Of a camera file, in the order in which they are looked for."""


@dataclass(frozen=True)
class VideoFolder:
    """Where things are, and what the user says of them."""

    source: Path
    """Videos, at any depth."""
    book: CaptionBook
    caption_extension: str
    """Of the text beside a video."""
    cameras: Path | None
    """Camera files, STEM.* or in the same sub-folders as the videos."""
    convention: str | None
    """Of camera files that do not say it."""
    fov_deg: float
    """Lens of camera files that have none: horizontal field of view in degrees."""
    fps: float | None
    """Frames per second that the videos really have, when their containers are wrong."""


def find_videos(folder: Path) -> list[Path]:
    """All videos below a folder, in the order of their names."""
    return [path for path in visible_files(folder) if path.suffix.lower() in VIDEO_EXTENSIONS]


def prepare_video(path: Path, told: VideoFolder, common: Common) -> list[Prepared]:
    """List one video, and bring its camera file into our format.

    Args:
        path: of the video.
        told: what the user says.
        common: of the tool.

    Raises:
        FileNotFoundError, ValueError: the video, its caption or its camera cannot be used.
    """
    info = probe_video(path)
    caption = told.book.find(path.stem, path.with_suffix(told.caption_extension))
    record: dict[str, str | float] = {"video_path": relative_path(path, common.folder), "caption": caption}
    if told.fps is not None:
        record["fps"] = told.fps
    camera = None if told.cameras is None else find_camera(path.relative_to(told.source), told.cameras)
    if camera is None:
        if has_camera(caption):
            parse(caption)
        return [Prepared(record, METADATA if has_camera(caption) else WITHOUT_CAMERA)]
    name = Path("safetensors") / path.relative_to(told.source).with_suffix(".safetensors")
    kept = common.dry_run or convert_camera(camera, common.folder / name, info, caption, told)
    return [Prepared({**record, "camera_file": name.as_posix()}, kept=kept and not common.dry_run)]


def find_camera(video: Path, cameras: Path) -> Path | None:
    """The camera file of a video: in the same sub-folder, else by its stem alone.

    Args:
        video: path below the folder of videos.
        cameras: folder of camera files.
    """
    places = (cameras / video.parent / video.stem, cameras / video.stem)
    found = (place.with_name(place.name + suffix) for place in places for suffix in CAMERA_SUFFIXES)
    return next((path for path in found if path.is_file()), None)


def convert_camera(camera: Path, target: Path, info: VideoInfo, caption: str, told: VideoFolder) -> bool:
    """Write a camera file in our format, unless it is there; tells whether it was.

    Raises:
        ValueError: it is damaged, or leaves open what neither the video nor the user says.
    """
    fps = info.fps if told.fps is None else told.fps
    settings = f"{fps:g} fps, {told.convention}, {told.fov_deg:g} degrees, {info.width}x{info.height}"
    fingerprint = text_fingerprint(file_fingerprint(camera), settings, caption)
    if is_done(target, fingerprint):
        return True
    lens = default_intrinsics(info.width / info.height, told.fov_deg)
    try:
        track = load_trajectory(camera, told.convention, video=SourceVideo(fps, (info.height, info.width), lens))
    except Unstated as error:
        flag = (
            "--convention NAME"
            if error.argument == "convention"
            else f"tools/camera.py convert {CONVERT_FLAGS[error.argument]}"
        )
        raise ValueError(f"{error}. Here: {flag}") from None
    save_camera(target, track.rebased(), caption, fingerprint)
    return False
