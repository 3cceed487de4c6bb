"""RealEstate10K: one text a clip, and the user's own download of the videos or of their frames.

    train/HASH.txt   URL of the video; then a line a frame: microseconds, fx fy cx cy, 0 0, 3x4 world-to-camera

google.github.io/realestate10k (RealEstate10K.tar.gz, folders train and test). The videos are no part of it. What
people have of them is one of: VIDEOS/ID.mp4, the whole video by its YouTube id, out of which clips are cut by their
time stamps (one file serves many clips); FRAMES/HASH/MICROSECONDS.png, a folder of pictures for each clip, as the
downloaders for novel-view synthesis write them. Reading the poses is `camera.formats`' work.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from camera.formats import load_trajectory
from camera.track import CameraTrack
from common.media import IMAGE_EXTENSIONS, read_image
from dataset.fingerprint import file_fingerprint, text_fingerprint
from tools.preparation.archives import visible_files
from tools.preparation.cameras import is_done, save_camera
from tools.preparation.captions import CaptionBook
from tools.preparation.options import Common
from tools.preparation.output import Prepared
from tools.preparation.video import cut_video, encode_video
from tools.preparation.videos import find_videos

_ID = re.compile(r"(?:[?&]v=|youtu\.be/|/embed/|/shorts/)([\w-]{11})(?![\w-])")
_MICROSECONDS = 1e6


@dataclass(frozen=True)
class Told:
    """Where the pictures are, and what the user says of them."""

    book: CaptionBook
    videos: Mapping[str, Path]
    """Whole videos by the stem of their name, which is the id."""
    frames: Path | None
    """Folder of a folder of pictures for each clip."""


@dataclass(frozen=True)
class Clip:
    """The head of a clip's text."""

    path: Path
    video_id: str
    start: float
    """Seconds of the video at its first pose."""


def find_clips(roots: list[Path]) -> list[Path]:
    """The texts of all clips below some folders."""
    return [path for root in roots for path in visible_files(root) if path.suffix == ".txt"]


def find_whole_videos(folder: Path) -> dict[str, Path]:
    """Videos by the stem of their name.

    Raises:
        ValueError: two have the same.
    """
    found: dict[str, Path] = {}
    for path in find_videos(folder):
        if found.setdefault(path.stem, path) != path:
            raise ValueError(f"{path} and {found[path.stem]}: two videos of one id; keep one")
    return found


def read_head(path: Path) -> Clip:
    """The id of the video that a clip is of, and where it begins.

    Raises:
        ValueError: the first line is no address of a video, or the second does not begin with a time.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        address, row = file.readline().strip(), file.readline().split()
    found = _ID.search(address)
    if found is None or not row or not row[0].isdigit():
        raise ValueError(
            f"{path}: expected the address of a YouTube video in line 1 and microseconds at the start of line 2, found "
            f"{address[:80]!r} and {' '.join(row[:1])!r}"
        )
    return Clip(path, found[1], int(row[0]) / _MICROSECONDS)


def prepare_clip(path: Path, told: Told, common: Common) -> list[Prepared]:
    """Make the video and the camera file of one clip.

    Args:
        path: of its text.
        told: where the pictures are.
        common: of the tool.

    Raises:
        FileNotFoundError: neither its video nor its frames are there.
        ValueError: the text, the video or the frames cannot be used.
    """
    clip = read_head(path)
    name = path.stem
    caption = told.book.find(name)
    video, camera = Path("videos") / f"{name}.mp4", Path("safetensors") / f"{name}.safetensors"
    record = {"video_path": video.as_posix(), "caption": caption, "camera_file": camera.as_posix()}
    source = find_source(clip, told)
    if common.dry_run:
        return [Prepared(record)]
    fingerprint = text_fingerprint(file_fingerprint(path), caption, *_identity(source))
    if is_done(common.folder / camera, fingerprint) and (common.folder / video).is_file():
        return [Prepared(record, kept=True)]
    (common.folder / camera).unlink(missing_ok=True)
    track = load_trajectory(path, format="realestate10k")
    if source.is_dir():
        made = _from_frames(source, track, clip, common.folder / video)
    else:
        made = _from_video(source, track, clip, common.folder / video)
    save_camera(common.folder / camera, made.rebased(), caption, fingerprint)
    return [Prepared(record)]


def find_source(clip: Clip, told: Told) -> Path:
    """The folder of a clip's frames, or the whole video that it is of.

    Raises:
        FileNotFoundError: neither is there.
    """
    frames = None if told.frames is None else told.frames / clip.path.stem
    if frames is not None and frames.is_dir():
        return frames
    if clip.video_id in told.videos:
        return told.videos[clip.video_id]
    raise FileNotFoundError(f"{clip.path}: its video {clip.video_id} is not there, nor a folder of its frames")


def _identity(source: Path) -> list[str]:
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    return [f"{file.name} {file.stat().st_size}" for file in files]


def _from_video(source: Path, track: CameraTrack, clip: Clip, target: Path) -> CameraTrack:
    """Cut the clip out; the camera's times become seconds of the cut."""
    times = clip.start + track.times
    first, shape, size = cut_video(source, target, float(times[0]), float(times[-1]))
    return replace(track, times=times - first).cropped(shape, size)


def _from_frames(source: Path, track: CameraTrack, clip: Clip, target: Path) -> CameraTrack:
    """Make a video of the clip's pictures, of which there is one for each pose, at the rate of the time stamps."""
    pictures = {path.stem: path for path in sorted(source.iterdir()) if path.suffix.lower() in IMAGE_EXTENSIONS}
    stamps = [str(round((clip.start + seconds) * _MICROSECONDS)) for seconds in track.times.tolist()]
    missing = [stamp for stamp in stamps if stamp not in pictures]
    if missing:
        there = next(iter(pictures), "none")
        raise ValueError(
            f"{source}: {len(missing)} of {len(stamps)} pictures are missing; expected the microseconds of the poses "
            f"as names, such as {missing[0]}.png, found such as {there}"
        )
    rate = (len(track) - 1) / float(track.times[-1] - track.times[0])
    uneven = (track.times - track.times[0] - track.times.new_tensor(range(len(track))) / rate).abs().max()
    if uneven > 0.5 / rate:
        raise ValueError(f"{clip.path}: its time stamps are not evenly spaced, by up to {float(uneven):.3f} s")
    frames = (read_image(pictures[stamp]) for stamp in stamps)
    _, size = encode_video(target, frames, Fraction(rate).limit_denominator(1001))
    shape = read_image(pictures[stamps[0]]).shape[:2]
    return replace(track, times=track.times - track.times[0]).cropped(shape, size)
