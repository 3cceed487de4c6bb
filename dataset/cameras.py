"""From an item to the camera of its whole video, and from that to the rays of one clip."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from camera.captions import CLAUSE_CONVENTION
from camera.estimating import known_intrinsics
from camera.formats import FORMATS, SourceVideo, Unstated, load_trajectory, recognise, split_member
from camera.intrinsics import after_flip
from camera.language import CameraTextError, has_camera, parse
from camera.network_input import CameraInput, camera_input
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves
from common.arguments import how_to_convert
from common.logs import get_logger
from common.media import VideoInfo
from dataset.fingerprint import file_fingerprint, text_fingerprint
from dataset.sources import ItemGroup, MediaItem, shorten

logger = get_logger("dataset")

_SHOWN_MISTAKES = 5
_ROUNDING = 1e-6
_FOLDER_FILES = {".txt", ".bin", ".npy", ".npz"}
"""What the formats that are folders consist of."""


def item_track(item: MediaItem, info: VideoInfo, lens: float | Sequence[float] = 60.0) -> CameraTrack:
    """The camera of a whole video, in seconds after its first frame.

    Taken from the item's camera file, of any format of `camera.formats`; without one, from the tags of the caption.
    The first pose is the identity. What a camera file leaves out, and its format does not say, is the video's: the
    frame rate, the size that pixels belong to, the lens. A mirrored item has the mirrored camera of its original.

    Args:
        item: the medium.
        info: its size, rate and frame count.
        lens: of the source picture, where no camera file states it: the horizontal field of view in degrees, or
            normalised (fx/W, fy/H, cx/W, cy/H).

    Raises:
        FileNotFoundError: the camera file is missing.
        ValueError: the camera file or the tags are wrong, or there is neither; or the file leaves open what cannot be
            taken from the video, such as its convention (tells the command that converts it).
    """
    intrinsics = known_intrinsics(lens, info.width / info.height)
    if item.camera_file is not None:
        video = SourceVideo(info.fps, (info.height, info.width), intrinsics)
        track = _from_file(item, item.camera_file, info, video)
        return track.mirrored() if item.mirrored else track
    if item.mirrored:  # its caption is mirrored already, the lens is not
        intrinsics = after_flip(intrinsics)
    if item.entry.media == "image":
        return compile_moves([], 1, info.fps, intrinsics)
    try:
        # at an even rate, as far as the last frame of a file of uneven ones
        frames = math.ceil(info.time_of(info.frames - 1) * info.fps - _ROUNDING) + 1
        return compile_moves(parse(item.caption), frames, info.fps, intrinsics)
    except ValueError as error:
        raise ValueError(f"{item.where}: {item.path.name}: {error}") from None


def _from_file(item: MediaItem, camera_file: Path, info: VideoInfo, video: SourceVideo) -> CameraTrack:
    try:
        track = load_trajectory(camera_file, _convention(item, camera_file), video=video)
    except Unstated as error:
        raise ValueError(
            f"{item.where}: {item.path.name}: {error}. For a data set it is said once, when the file is converted: "
            + how_to_convert(camera_file, error.argument, info.fps)
        ) from None
    except ValueError as error:
        raise ValueError(f"{item.where}: {item.path.name}: {error}") from None
    if item.entry.media == "image":
        return track.at([float(track.times[0])]).rebased()
    track = _at_the_frames(track, info)
    frame, end = 1 / info.fps, info.time_of(info.frames - 1)
    first, last = float(track.times[0]), float(track.times[-1])
    if first > frame or last < end - frame:
        logger.warning(
            f"{camera_file}: covers {first:.2f} to {last:.2f} s of {item.path.name}, which lasts from 0 to "
            f"{end:.2f} s; outside, the camera stands still"
        )
    return track.rebased()


def _convention(item: MediaItem, camera_file: Path) -> str | None:
    """The convention that the place where a camera file is named says, None where it says nothing."""
    return CLAUSE_CONVENTION if item.by_clause and recognise(camera_file).name == "fork" else None


def _at_the_frames(track: CameraTrack, info: VideoInfo) -> CameraTrack:
    """Put poses that were counted out at the average rate of a file, one a frame, at the times of its frames."""
    if info.times is None or len(track) != info.frames:
        return track
    even = torch.arange(info.frames, dtype=torch.float64) / info.fps
    counted = torch.allclose(track.times, even, rtol=0, atol=_ROUNDING)
    return replace(track, times=torch.tensor(info.times, dtype=torch.float64)) if counted else track


def camera_fingerprint(camera_file: Path) -> str:
    """Identity of the content of a camera file, or of all files of a folder that may belong to its trajectory.

    Raises:
        FileNotFoundError: no such file or folder.
    """
    path, member = split_member(camera_file)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in _FOLDER_FILES and file.is_file())
        return text_fingerprint(*(f"{file.relative_to(path).as_posix()} {file_fingerprint(file)}" for file in files))
    return file_fingerprint(path) if member is None else text_fingerprint(file_fingerprint(path), member)


def states_lens(camera_file: Path) -> bool:
    """Whether the format of a camera file has room for intrinsics, so that the video's are not asked for.

    Raises:
        FileNotFoundError, ValueError: as `camera.formats.recognise`.
    """
    return FORMATS[recognise(camera_file).name].lens != "none"


def check_cameras(groups: Sequence[ItemGroup], estimated: bool = False) -> None:
    """Refuse a data set with videos that have no camera, or a camera text that is wrong.

    Args:
        groups: the data set.
        estimated: whether videos without a camera get one that is found in their pictures.

    Raises:
        ValueError: names the first such items, counts them all, and says what to add.
    """
    videos = [item for group in groups if group.entry.media == "video" for item in group.items]
    from_text = [item for item in videos if item.camera_file is None]
    without = [item for item in from_text if not has_camera(item.caption)]
    if without and not estimated:
        names = shorten([f"{item.path.name} ({item.where})" for item in without])
        raise ValueError(
            f"{len(without)} of {len(videos)} videos have no camera: {names}. Add the tags to the caption "
            "('... ; Camera: <starttime>0</starttime> <endtime>2</endtime> <speed>high</speed> "
            "<direction>forward</direction> <rotate>stay</rotate>', direction and rotate 'stay' for a camera that "
            "stands), or a camera_file to the jsonl line, or a camera_directory to the data set; or let it be found "
            "in the video itself: --estimate_trajectory"
        )
    wrong = [message for item in from_text if has_camera(item.caption) and (message := _mistakes(item))]
    if wrong:
        shown = "\n".join(wrong[:_SHOWN_MISTAKES])
        raise ValueError(f"{len(wrong)} of {len(videos)} videos have a wrong camera text:\n{shown}")


def _mistakes(item: MediaItem) -> str:
    try:
        parse(item.caption)
    except CameraTextError as error:
        return f"{item.path.name} ({item.where}): {error}"
    return ""


def clip_track(
    track: CameraTrack, times: Sequence[float], source_size: tuple[int, int], clip_size: tuple[int, int]
) -> CameraTrack:
    """The camera of one clip: the poses of its own frames, in the camera of its first frame, with its own crop.

    Args:
        track: of the whole video.
        times: seconds of the video, one per frame of the clip.
        source_size: (height, width) of the video, by which the track's intrinsics are normalised.
        clip_size: (height, width) of the clip: the video scaled to cover it, and its centre.
    """
    return track.at(times).rebased().cropped(source_size, clip_size)


def clip_camera(track: CameraTrack, height: int, width: int, ray_scale: int = 1) -> CameraInput:
    """What the network is given of a clip's camera, for its latent grid (`camera.network_input`)."""
    return camera_input(track.c2w, track.intrinsics, height, width, ray_scale)
