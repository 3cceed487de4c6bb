"""The pictures of a request: which ones a task takes, read, and cut to the video's size."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from common.arguments import named
from common.files import require_file
from common.logs import get_logger
from common.media import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, fit_to_size, probe_video, read_image, video_frames
from wan.config import TEMPORAL_STRIDE, WAN_CONFIGS, TaskConfig
from wan.sizes import SPATIAL_STEP, check_frames, check_size, size_for_image

log = get_logger("pictures")


@dataclass(frozen=True)
class PicturePaths:
    """What the user named, as typed; None where nothing was."""

    image: str | None
    """`--image_path`: the first frame."""
    end_image: str | None
    """`--end_image_path`: the last frame, or an end image."""
    control: str | None
    """`--control_path`: a video, or a folder of images."""


@dataclass(frozen=True)
class Pictures:
    """What the model is shown, uint8 RGB at the video's size, and the size itself."""

    frames: int
    """Video frames to make, with the four that an end image adds to a task made for a first frame only."""
    height: int
    """Of the video, in pixels, a multiple of 16."""
    width: int
    """Of the video, in pixels, a multiple of 16."""
    source_size: tuple[int, int]
    """Height and width of the picture whose lens a camera looks through, before it was cut to the video's size."""
    first: np.ndarray | None = None
    """First frame [H, W, 3]."""
    last: np.ndarray | None = None
    """Last frame or end image [H, W, 3]."""
    control: np.ndarray | None = None
    """Control video [F, H, W, 3]."""


def check_paths(name: str, task: TaskConfig, paths: PicturePaths) -> None:
    """Refuse what a task cannot use, and the lack of what it needs, before anything is read.

    Raises:
        ValueError: names the flag, the task, and the tasks that the flag is for.
    """
    control_tasks = [other for other, config in WAN_CONFIGS.items() if config.needs_control]
    if paths.control is not None and not task.needs_control:
        raise ValueError(f"--control_path: {name} reads no control video; choose {', '.join(control_tasks)}")
    if task.first_frame == "none":
        for flag, path in (("image_path", paths.image), ("end_image_path", paths.end_image)):
            if path:
                raise ValueError(f"--{flag}: {name} makes video from text alone; choose an i2v task or leave it out")
    if paths.end_image is not None and task.needs_control:
        raise ValueError(f"--end_image_path: {name} knows a first frame only; choose flf2v-14B or leave it out")
    if task.first_frame == "needed" and not paths.image:
        raise ValueError(f"--image_path is needed: {name} makes video from an image and a prompt")
    if task.needs_last_frame and not paths.end_image:
        raise ValueError(f"--end_image_path is needed: {name} makes the video between a first and a last frame")
    if task.needs_control and not paths.control:
        raise ValueError(f"--control_path is needed: {name} follows a control video (a video, or a folder of images)")


def read_pictures(
    name: str, task: TaskConfig, paths: PicturePaths, video_size: tuple[int, int], frames: int | None, fps: float
) -> Pictures:
    """Check a request's size, length and pictures, and read the pictures.

    Args:
        name: of the task, for messages.
        task: what it takes.
        paths: what the user named.
        video_size: height and width; with an image their product is the area, and the image gives the shape.
        frames: of the video, 4n + 1; None is the task's own number.
        fps: frames per second of the video; a control video at another rate is taken frame by frame, with a warning.

    Raises:
        FileNotFoundError: a picture is not there.
        ValueError: the task cannot use, or lacks, a picture; a file is not readable; a size or length is not possible.
    """
    check_paths(name, task, paths)
    check_size(*video_size)
    frames = check_frames(task.frames if frames is None else frames)
    if task.frames == 1 and frames != 1:
        raise ValueError(f"--video_length {frames}: {name} makes one image; choose a t2v task, or leave it out")
    if task.needs_last_frame and frames == 1:
        raise ValueError(f"--video_length 1: {name} needs room for a first and a last frame; use 5 or more")
    image = None if paths.image is None else read_image(named(paths.image, "--image_path"))
    if image is None:
        height, width = _whole_patches(video_size)
        source_size = (height, width)
    else:
        source_size = (image.shape[0], image.shape[1])
        height, width = size_for_image(*source_size, video_size[0] * video_size[1])
    end = None if paths.end_image is None else read_image(named(paths.end_image, "--end_image_path"))
    control = None
    if paths.control is not None:
        control = read_control(named(paths.control, "--control_path"), frames, height, width)
        _warn_of_rate(Path(paths.control), fps)
    if end is not None and not task.needs_last_frame:
        log.warning(
            "%s was trained without an end image: it gets a latent frame of its own, which makes the video %d frames "
            "long instead of %d",
            *(name, frames + TEMPORAL_STRIDE, frames),
        )
        frames += TEMPORAL_STRIDE
    return Pictures(
        frames=frames,
        height=height,
        width=width,
        source_size=source_size,
        first=None if image is None else fit_to_size(image, width, height),
        last=None if end is None else fit_to_size(end, width, height),
        control=control,
    )


def read_control(path: str, frames: int, height: int, width: int) -> np.ndarray:
    """The first frames of a control video, each scaled and cropped to the size; the last one repeated if too few.

    Args:
        path: a video file, or a folder of images in the order of their names.
        frames: how many are wanted.
        height: in pixels.
        width: in pixels.

    Returns:
        [frames, height, width, 3] uint8.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is no readable video, or the folder holds no image.
    """
    found = require_file(path, "the control video", "Check --control_path.")
    source = _images_of(found) if found.is_dir() else video_frames(found)
    fitted = [fit_to_size(frame, width, height) for frame in islice(source, frames)]
    if not fitted:
        raise ValueError(f"--control_path {path}: has no frames")
    control, missing = np.stack(fitted), frames - len(fitted)
    if missing:
        log.warning("--control_path %s has %d frames; its last one stands for %d more", path, len(fitted), missing)
    return np.concatenate([control, control[-1:].repeat(missing, axis=0)])


def _warn_of_rate(control: Path, fps: float) -> None:
    if control.suffix.lower() not in VIDEO_EXTENSIONS or not control.is_file():
        return
    rate = probe_video(control).fps
    if abs(rate - fps) > 0.01 * fps:
        log.warning(
            "--control_path %s has %g frames per second, the video %g: its frames are taken one by one, so that it "
            "plays at %.2g times its speed; convert it, or give --fps",
            *(control, rate, fps, fps / rate),
        )


def _images_of(folder: Path) -> Iterator[np.ndarray]:
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_EXTENSIONS)
    if not images:
        raise ValueError(f"--control_path {folder}: holds no image ({', '.join(IMAGE_EXTENSIONS)})")
    return map(read_image, images)


def _whole_patches(video_size: tuple[int, int]) -> tuple[int, int]:
    height, width = video_size
    if height % SPATIAL_STEP or width % SPATIAL_STEP:
        raise ValueError(f"--video_size {height} {width}: without an image both must be multiples of {SPATIAL_STEP}")
    return height, width
