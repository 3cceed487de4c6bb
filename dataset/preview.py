"""Show the clips of a data set instead of encoding them: as files, or as characters in a console."""

import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from camera.beside import clip_sheet, clip_video
from camera.language import has_camera
from camera.track import CameraTrack
from common.cli import printable
from common.logs import get_logger
from common.media import write_image, write_video
from dataset.cache import read_camera
from dataset.cameras import clip_track, item_track
from dataset.clips import Clip, DecodedClip, decode_clips
from dataset.frames import TARGET_FPS
from dataset.judging import judge_camera
from dataset.kinds import LatentCaching
from dataset.names import camera_name
from dataset.sources import ItemGroup, MediaItem

Mode = Literal["image", "console", "video"]
PREVIEW_FOLDER = "preview"
"""In the cache directory, which by default holds the media: a picture beside them would be taken for one of them."""

logger = get_logger("dataset")

Ascii = Callable[[np.ndarray], str]


def show_clips(groups: Sequence[ItemGroup], mode: Mode, count: int | None = None, to_ascii: Ascii | None = None) -> int:
    """Decode clips as they would be encoded, and show them, with their camera where one is known.

    `image` writes a contact sheet CACHE_DIRECTORY/preview/NAME.png for each clip, NAME that of its latent cache;
    `video` a NAME.mp4 at 16 frames per second, of an image a NAME.png; `console` draws the first picture of each clip,
    and asks after each whether to go on where somebody sits at the console and `count` is None.

    Args:
        groups: from `dataset.sources.load_items`.
        mode: what to write, or where.
        count: so many items of each data set; None for all.
        to_ascii: makes text of a picture, for `console`.

    Returns:
        the number of clips shown.

    Raises:
        FileNotFoundError, ValueError: a medium is not there or damaged; names the file.
    """
    shown = 0
    for group in groups:
        for item in group.items[:count]:
            for decoded in _clips_of(item):
                if mode == "console":
                    assert to_ascii is not None, "the console needs a way to draw"
                    sys.stdout.write(f"{describe(decoded)}\n{to_ascii(decoded.frames[0])}\n")
                else:
                    write_preview(decoded, mode)
                shown += 1
                if mode == "console" and count is None and _wants_to_stop():
                    return shown
    return shown


def preview_path(clip: Clip, mode: Mode) -> Path:
    """Where a clip is shown."""
    still = mode == "image" or clip.item.entry.media == "image"
    return clip.target.parent / PREVIEW_FOLDER / f"{clip.target.stem}{'.png' if still else '.mp4'}"


def write_preview(decoded: DecodedClip, mode: Mode) -> None:
    """Write the contact sheet or the video of a clip."""
    path = preview_path(decoded.clip, mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    track, title = _camera_of(decoded.clip), describe(decoded)
    if path.suffix == ".mp4":
        write_video(path, clip_video(decoded.frames, track, title), TARGET_FPS)
    else:
        # one picture shows no motion that a camera could be compared with
        write_image(path, clip_sheet(decoded.frames, track if len(decoded.frames) > 1 else None, title))
    logger.info(f"{decoded.clip.item.path.name}: {path}")


def describe(decoded: DecodedClip) -> str:
    """The clip in a line: medium, frames, times, size, caption."""
    clip = decoded.clip
    width, height = clip.span.size
    first, last = clip.frame_times[0], clip.frame_times[-1]
    turned = ", mirrored" if clip.item.mirrored else ""
    frames = f"{len(clip.frame_times)} frames, {first:.2f} to {last:.2f} s"
    return printable(
        f"{clip.item.path.name}: {frames}, {width}x{height}{turned}: " + " ".join(clip.item.caption.split())
    )


def ascii_drawer(width: int, back: str | None) -> Ascii:
    """A way to draw pictures in a console, by the package ascii-magic.

    Args:
        width: characters.
        back: background colour, as ascii-magic calls it (BLACK, RED ...); None leaves the console's.

    Raises:
        ValueError: the package is not installed, or knows no such colour.
    """
    try:
        ascii_magic: Any = import_module("ascii_magic")
    except ImportError:
        raise ValueError(
            "--debug_mode console draws with the package ascii-magic, which is not installed: pip install ascii-magic; "
            "or take --debug_mode image"
        ) from None
    colours = list(ascii_magic.Back.__members__)
    if back is not None and back.upper() not in colours:
        raise ValueError(f"--console_back {back}: expected one of {', '.join(colours)}")
    ground = None if back is None else ascii_magic.Back[back.upper()]

    def draw(picture: np.ndarray) -> str:
        return str(ascii_magic.from_pillow_image(Image.fromarray(picture)).to_ascii(columns=width, back=ground))

    return draw


def _clips_of(item: MediaItem) -> Iterator[DecodedClip]:
    clips = LatentCaching().jobs(item, [])
    if not clips:
        logger.warning(f"{item.path.name}: shorter than every clip length of the data set, nothing to show")
    return decode_clips(clips)


def _camera_of(clip: Clip) -> CameraTrack | None:
    """The camera of a clip: of its cache where that is up to date, for it knows the lens; else of its file or tags."""
    item, info = clip.item, clip.info
    cached = item.entry.cache_directory / camera_name(item.key)
    try:
        if judge_camera(cached, item, fingerprint=clip.fingerprint) is None:
            track = read_camera(cached)[1]
        elif item.camera_file is not None or has_camera(item.caption):
            track = item_track(item, info)
        else:
            return None
    except (ValueError, OSError) as error:
        logger.warning(f"{item.path.name} is shown without its camera: {error}")
        return None
    width, height = clip.span.size
    return clip_track(track, clip.frame_times, (info.height, info.width), (height, width))


def _wants_to_stop() -> bool:
    """Ask at the console; a pipe is not asked."""
    if not (sys.stdin and sys.stdin.isatty()):
        return False
    sys.stdout.write("Enter: next, q and Enter: stop\n")
    sys.stdout.flush()
    answer = next(islice(sys.stdin, 1), "q")
    return answer.strip().lower() == "q"
