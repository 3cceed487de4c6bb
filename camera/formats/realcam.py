"""RealCam-Vid: an .npz whose arr_0 is a pickled list of dictionaries, one a clip. Never loaded; a tool converts it.

ZGCTroy/RealCam-Vid, README and scripts/i2v_camera_dataset.py: a clip has video_path, short_caption, long_caption,
camera_extrinsics [F,4,4], world-to-camera in OpenCV axes, one for each frame of the video, camera_intrinsics [4],
normalised, and align_factor, by which the camera-to-world translation becomes metres. A stranger's pickle can run any
code when it is loaded, so `load_trajectory` refuses it, and `tools/convert_realcam.py` reads it through
`camera.formats.plain_pickle`, which cannot.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from camera.formats.core import Format, RawTrack, Request, to_track
from camera.formats.npz import array_names, open_member, read_header
from camera.formats.plain_pickle import read_plain
from camera.formats.sample import Sample
from camera.track import CameraTrack

_MEMBER = "arr_0"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Clip:
    """A clip of RealCam-Vid."""

    video_path: str
    short_caption: str
    long_caption: str
    w2c: Float64[Tensor, "F 4 4"]
    """World-to-camera, OpenCV axes, as it is stored."""
    intrinsics: Float64[Tensor, "4"]
    """Normalised (fx/W, fy/H, cx/W, cy/H)."""
    align_factor: float | None
    """Metres in a unit of the translation."""


def _recognise(sample: Sample) -> str | None:
    if sample.is_folder or sample.path.suffix != ".npz":
        return None
    try:
        pickled = array_names(sample.path) == (_MEMBER,) and read_header(sample.path, _MEMBER).is_pickled
    except (ValueError, OSError):
        return None
    return f"one member {_MEMBER} of pickled objects, as RealCam-Vid has" if pickled else None


def refuse_realcam(path: Path, request: Request) -> RawTrack:
    """Raise ValueError with the command that converts the file."""
    raise ValueError(
        f"{path}: holds pickled objects, as RealCam-Vid does: many clips, and possibly code that would run. It is not "
        f"loaded. Convert it, which runs nothing: python tools/convert_realcam.py {path} --output_dir DIR --fps FPS"
    )


def read_clips(path: Path, limit: int) -> list[Any]:
    """The records of a RealCam-Vid file, not yet checked, without unpickling it.

    Args:
        path: the .npz.
        limit: bytes of memory that they may take.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or it holds more than plain data; names the byte position.
    """
    with open_member(path, _MEMBER) as (stream, where, header):
        if not header.is_pickled or len(header.shape) != 1:
            raise ValueError(f"{where}: is no list of clips (shape {list(header.shape)}, dtype {header.dtype})")
        records = read_plain(stream, where, limit)
    if not isinstance(records, list) or len(records) != header.shape[0]:
        raise ValueError(f"{where}: expected a list of {header.shape[0]} clips")
    return records


def parse_clip(record: Any, where: str) -> Clip:
    """A record, checked; ValueError names the key that is missing or of another kind."""
    if not isinstance(record, Mapping):
        raise ValueError(f"{where}: expected a dictionary, found {type(record).__name__}")
    texts = {key: record.get(key, "") for key in ("video_path", "short_caption", "long_caption")}
    wrong = [key for key, value in texts.items() if not isinstance(value, str)]
    # half a character of UTF-16 can be pickled, but not written
    wrong = wrong or [key for key, value in texts.items() if _SURROGATE.search(value)]
    if wrong or not texts["video_path"]:
        raise ValueError(f"{where}: {(wrong or ['video_path'])[0]} is no text")
    w2c = _numbers(record, "camera_extrinsics", where, (4, 4))
    intrinsics = _numbers(record, "camera_intrinsics", where, ())
    if intrinsics.shape != (4,):
        raise ValueError(f"{where}: camera_intrinsics: expected [4], found {list(intrinsics.shape)}")
    factor = record.get("align_factor")
    if isinstance(factor, np.ndarray) and factor.size == 1 and factor.dtype.kind in "fiu":
        factor = float(factor.reshape(()))
    if factor is not None and (isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < 1e9):
        raise ValueError(f"{where}: align_factor: expected a number above 0")
    return Clip(**texts, w2c=w2c, intrinsics=intrinsics, align_factor=None if factor is None else float(factor))


def clip_track(clip: Clip, fps: float, metric: bool, path: Path) -> CameraTrack:
    """The camera of a clip, in the camera of its first frame.

    Args:
        clip: of `parse_clip`.
        fps: frames per second of its video, above 0.
        metric: translations in metres, by the clip's align_factor.
        path: for messages.

    Raises:
        ValueError: its matrices are no poses, or metres are asked for and the clip has no align_factor.
    """
    if metric and clip.align_factor is None:
        raise ValueError(f"{path}: has no align_factor, so that its metres are not known")
    lens = clip.intrinsics.expand(len(clip.w2c), 4).clone()
    raw = RawTrack(clip.w2c, "opencv_w2c", intrinsics=lens, fps=fps, scale="metric" if metric else "relative")
    track = to_track(raw, Request(), path).rebased()
    if clip.align_factor is None or not metric:
        return track
    c2w = track.c2w.clone()
    c2w[:, :3, 3] *= clip.align_factor
    return replace(track, c2w=c2w)


def _numbers(record: Mapping[str, Any], key: str, where: str, shape: tuple[int, ...]) -> Float64[Tensor, "N *shape"]:
    array = record.get(key)
    if isinstance(array, list | tuple) and all(type(item) in (int, float) for item in array):
        array = np.array(array, dtype=np.float64)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.shape[1:] != shape or not array.ndim:
        found = list(array.shape) if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{where}: {key}: expected numbers {['N', *shape]}, found {found}")
    return torch.from_numpy(array.astype(np.float64))


FORMATS = (
    Format(
        "realcam",
        "RealCam-Vid (.npz of pickled clips): refused; tools/convert_realcam.py converts it without unpickling",
        _recognise,
        refuse_realcam,
        write=None,
    ),
)
