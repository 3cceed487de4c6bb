"""Where the camera of a request comes from: tags, a trajectory file, or a reference video; and its track for each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.captions import CLAUSE_CONVENTION, split_trajectory
from camera.estimating import Estimators, in_subject_distances, known_intrinsics
from camera.formats import DEFAULT_FPS, SourceVideo, Unstated, load_trajectory, recognise
from camera.intrinsics import after_resize_crop, after_shape_crop
from camera.language import has_camera, parse
from camera.track import CameraTrack
from common.arguments import DEFAULT_FOV_DEG, LOW_CONFIDENCE, LensChoice, how_to_convert, named
from common.files import require_file
from common.logs import get_logger
from common.media import (
    SampledVideo,
    VideoInfo,
    probe_folder,
    probe_video,
    read_image,
    sample_video,
    shrink,
)
from generation.camera import compile_track
from generation.pictures import Pictures

log = get_logger("generate")

LONG_SIDE = 512
"""Pixels of the longer side of the pictures that an estimator is given."""
MOST_FRAMES = 241
"""The most frames of a reference video that are looked at."""
_FRAME_ROUNDING = 1e-6


@dataclass(frozen=True)
class CameraSource:
    """Where a camera comes from, checked as far as it can be before anything slow is done."""

    kind: Literal["tags", "file", "video"]
    prompt: str
    """Without a clause `#trajectory {path}`."""
    path: Path | None = None
    """Of a file or video."""
    convention: str | None = None
    """Of the file's poses, where the place that names it says it."""
    lens: LensChoice = None
    """None: that of the file or video; of tags 60 degrees."""
    fit: Literal["time", "stretch"] = "time"
    """How the times of a file or video become those of the new video."""
    translation: float = 1.0
    """Factor on the translations of a file or video."""
    image: str | None = None
    """The picture whose lens is found, where it is to be found."""

    @property
    def needs_estimator(self) -> bool:
        """Whether something is to be found in pictures."""
        return self.kind == "video" or self.lens == "estimate"


def choose_source(
    prompt: str, camera_file: str | None, camera_video: str | None, no_camera: bool
) -> CameraSource | None:
    """Which of the places that may say a camera does; None when none does, or the user wants none.

    Raises:
        FileNotFoundError: the file or video is not there.
        ValueError: several do, or the tags are wrong.
    """
    text, clause = split_trajectory(prompt)
    tags = has_camera(text) and not no_camera
    said = {
        "--camera_file": camera_file,
        "--camera_video": camera_video,
        "#trajectory in the prompt": None if no_camera else clause,
        "tags in the prompt": "" if tags else None,
    }
    given = [name for name, value in said.items() if value is not None]
    if no_camera and given:
        raise ValueError(f"{given[0]} and --no_camera contradict each other; leave one out")
    if len(given) > 1:
        raise ValueError(
            f"{' and '.join(given)} each say what the camera does; keep one (of a prompt with tags, the part before "
            "'Camera:')"
        )
    if not given:
        return None
    if tags:
        parse(text)
        return CameraSource("tags", text)
    path = _place(camera_file or camera_video or clause or "", given[0])
    if camera_video is not None:
        return CameraSource("video", text, path)
    of_clause = clause is not None and recognise(path).name == "fork"
    return CameraSource("file", text, path, CLAUSE_CONVENTION if of_clause else None)


def _place(text: str, flag: str) -> Path:
    """A file or folder that a user named; PATH#NAME stays as it is, once the file before # is there."""
    path = Path(named(text, flag))
    if not path.exists() and "#" in path.name:
        require_file(path.with_name(path.name.rpartition("#")[0]), flag)
        return path
    return require_file(path, flag, f"Check {flag}.")


def make_track(
    source: CameraSource, pictures: Pictures, fps: float, estimators: Estimators | None = None
) -> CameraTrack:
    """The camera of every frame of the new video, the first pose the identity, for its own size.

    Args:
        source: where it comes from.
        pictures: sizes and number of frames of the new video.
        fps: its frames per second.
        estimators: find what is in pictures; given where `source.needs_estimator`.

    Raises:
        ValueError: the file is wrong or leaves something open, or nothing can be found in the video.
    """
    height, width = pictures.source_size
    stated = _stated_lens(source, width / height, estimators)
    lens = known_intrinsics(DEFAULT_FOV_DEG, width / height) if stated is None else stated
    if source.kind == "tags":
        return compile_track(source.prompt, pictures, fps, lens)
    assert source.path is not None
    if source.kind == "file":
        track = _load(source.path, source.convention, SourceVideo(fps, pictures.source_size, lens))
    else:
        assert estimators is not None
        seconds = (pictures.frames - 1) / fps if source.fit == "time" else math.inf
        track = find_in_video(source.path, seconds, estimators)
    track = fit_times(track.scaled(source.translation), pictures.frames, fps, source.fit, str(source.path)).rebased()
    return replace(track, intrinsics=_fit_lens(track.intrinsics, stated, pictures))


def _stated_lens(source: CameraSource, aspect: float, estimators: Estimators | None) -> Float64[Tensor, "4"] | None:
    """The lens of the source picture that the user states or lets be found; None for neither."""
    if source.lens is None:
        return None
    if source.lens != "estimate":
        return known_intrinsics(source.lens, aspect)
    assert estimators is not None and source.image is not None
    picture = shrink(read_image(source.image), LONG_SIDE)
    found = estimators.lens(SampledVideo(picture[None], (0.0,), source.image))
    _tell(f"the lens of {source.image}", found.confidence, found.remarks)
    return found.intrinsics.double()


def _tell(what: str, confidence: float, remarks: Sequence[str]) -> None:
    for remark in remarks:
        log.info("%s", remark)
    if confidence < LOW_CONFIDENCE:
        log.warning("%s was found with a confidence of %.2f only; look whether it is right", what, confidence)
    else:
        log.info("%s was found with a confidence of %.2f", what, confidence)


def _load(path: Path, convention: str | None, video: SourceVideo) -> CameraTrack:
    try:
        return load_trajectory(path, convention, video=video)
    except Unstated as error:
        raise ValueError(f"{error}. Say it once: {how_to_convert(path, error.argument, video.fps)}") from None


def find_in_video(path: Path, seconds: float, estimators: Estimators) -> CameraTrack:
    """The trajectory that is found in the first `seconds` of a video, in units of the subject's distance.

    A folder of images is taken to run at 16 frames per second.

    Raises:
        ValueError: it is no video, has one frame, or nothing is found in it.
    """
    info = _beginning(probe_folder(path, DEFAULT_FPS) if path.is_dir() else probe_video(path), seconds)
    if info.frames < 2:
        raise ValueError(f"--camera_video {path}: has one frame, and a trajectory two or more")
    log.info("looking for the camera of %s", path)
    found = estimators.track(sample_video(path, info, MOST_FRAMES, LONG_SIDE), None)
    if found.confidence <= 0:
        raise ValueError(f"--camera_video {path}: what was found is not to be used. {' '.join(found.remarks)}".strip())
    _tell(f"the camera of {path}, by {found.backend},", found.confidence, found.remarks)
    track, unit = in_subject_distances(found.track, found.points)
    log.info("its translations are in units of the %s (--camera_translation scales them)", unit)
    return track


def _beginning(info: VideoInfo, seconds: float) -> VideoInfo:
    """The video up to the first frame that is not before `seconds`, two frames at least."""
    before = sum(info.time_of(index) < seconds - _FRAME_ROUNDING for index in range(info.frames))
    frames = min(info.frames, max(2, before + 1))
    return replace(info, frames=frames, times=None if info.times is None else info.times[:frames])


def fit_times(track: CameraTrack, frames: int, fps: float, fit: str, name: str) -> CameraTrack:
    """A track on the frames of a video, at times i / fps.

    Args:
        track: any; its first time is that of the first frame.
        frames: of the video.
        fps: frames per second of the video.
        fit: "time": the track's seconds are the video's, and after its end the camera stands; "stretch": the track from
            its first to its last pose, faster or slower.
        name: of the track, for messages.
    """
    times = torch.arange(frames, dtype=torch.float64) / fps
    length, wanted = float(track.times[-1] - track.times[0]), float(times[-1])
    if fit == "stretch":
        log.info("%s: %.2f s of camera in a video of %.2f s", name, length, wanted)
        return replace(track.resampled(frames=frames), times=times)
    if length < wanted - 1 / fps:
        log.warning(
            "%s: its camera ends at %.2f s of %.2f s and stands from there on (--camera_fit stretch: goes slower)",
            *(name, length, wanted),
        )
    elif length > wanted + 1 / fps:
        log.info("%s: the first %.2f s of %.2f s are used (--camera_fit stretch: all, faster)", name, wanted, length)
    return replace(track, times=track.times - track.times[0]).at(times)


def _fit_lens(
    intrinsics: Float64[Tensor, "F 4"], stated: Float64[Tensor, "4"] | None, pictures: Pictures
) -> Float64[Tensor, "F 4"]:
    """The lens of every frame of the new video: the reference's, or the stated one, zoomed as the reference zooms.

    The reference's picture has the shape at which its pixels are square.
    """
    if stated is None:
        return after_shape_crop(
            intrinsics, float(intrinsics[0, 1] / intrinsics[0, 0]), pictures.width / pictures.height
        )
    fx, fy, cx, cy = after_resize_crop(stated, pictures.source_size, (pictures.height, pictures.width)).unbind()
    zoom = intrinsics[:, :2] / intrinsics[:1, :2]
    return torch.cat((zoom * torch.stack((fx, fy)), torch.stack((cx, cy)).expand(len(zoom), 2)), dim=1)
