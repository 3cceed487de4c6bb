"""ReCamMaster and MultiCamVideo: camera_extrinsics.json, poses of several cameras in Unreal Engine's axes.

    {"frame0": {"cam01": "[r r r 0] [r r r 0] [r r r 0] [tx ty tz 1] ", "cam02": ...}, "frame1": ...}

Unreal is left-handed: x forward, y right, z up, centimetres. A matrix is written for row vectors, so its rows are the
camera's forward, right and up axis and its centre. A camera that moved 1 m to its right from the origin has ty = 100.

KlingTeam/ReCamMaster, `inference_recammaster.py` (read in the copy SKAssist/ReCamMaster-REAL-Stabilize): transpose,
take columns [1, 2, 0, 3], negate column 1, divide the translation by 100. What results still lies in Unreal's
left-handed world; only poses relative to the first are used there, so it cancels. Here the world is turned too, to
(right, down, forward) = (y, -z, x), which makes each pose a rotation and leaves the relative poses as theirs.

No intrinsics; MultiCamVideo names the focal length in the folder (f24_aperture5: 24 mm on a sensor of 23.76 mm).
No times. Several cameras in one file: PATH#cam01 names one.
"""

import re
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.formats.core import Format, RawTrack, Request
from camera.formats.documents import entry, read_json, table, write_json
from camera.formats.sample import Sample
from camera.formats.text import digits, number
from camera.intrinsics import Size
from camera.track import CameraTrack

_FRAME = re.compile(r"frame(\d{1,9})")
_CM = 100.0
_SENSOR_MM = 23.76
_FOLDER = re.compile(r"f(\d{1,3})_aperture[\d.]+")
_NUMBERED_FROM = "cam01"
_TO_OURS = torch.tensor([[0, 1, 0], [0, 0, -1], [1, 0, 0]], dtype=torch.float64)
"""Row k is our k-th axis (right, down, forward) in Unreal's coordinates (forward, right, up)."""


def _recognise(sample: Sample) -> str | None:
    document = sample.json
    if not isinstance(document, dict) or not document:
        return None
    cameras = document.get("frame0")
    if not isinstance(cameras, dict) or not all(isinstance(value, str) for value in cameras.values()):
        return None
    return f"keys frame0 ... with cameras {', '.join(sorted(map(str, cameras))[:3])}" if cameras else None


def _read(path: Path, request: Request) -> RawTrack:
    document = table(read_json(path), str(path))
    frames = sorted((int(match[1]), key) for key in document if (match := _FRAME.fullmatch(key)))
    if len(frames) != len(document) or [index for index, _ in frames] != list(range(len(frames))):
        raise ValueError(f"{path}: expected the keys frame0, frame1, ... without a gap and nothing else")
    if not frames:
        raise ValueError(f"{path}: no frame")
    camera = _camera(table(document["frame0"], f"{path}: frame0"), request, path)
    found = []
    for _, key in frames:
        where = f"{path}: {key}"
        value = entry(table(document[key], where), camera, where)
        found.append(_matrix(value, f"{where}.{camera}"))
    unreal = torch.stack(found)
    return RawTrack(
        _to_opencv(unreal), "opencv_c2w", intrinsics=_lens(path, len(unreal)), scale="metric", notes=_notes(path)
    )


def _camera(cameras: dict[str, object], request: Request, path: Path) -> str:
    names = sorted(cameras)
    if request.member is not None:
        if request.member not in cameras:
            raise ValueError(f"{path}: no camera '{request.member}'; it has {', '.join(names) or 'none'}")
        return request.member
    if len(names) != 1:
        raise ValueError(
            f"{path}: {len(names)} cameras ({', '.join(names)}); name one behind the path: "
            f"{path}#{names[0] if names else _NUMBERED_FROM}"
        )
    return names[0]


def _matrix(value: object, where: str) -> Float64[Tensor, "4 4"]:
    """A matrix for column vectors from the text "[a b c 0] [...] [...] [x y z 1]" for row vectors."""
    if not isinstance(value, str):
        raise ValueError(f"{where}: {type(value).__name__}, expected a text of four rows in brackets")
    rows = [row.split() for row in re.findall(r"\[([^\[\]]*)\]", value)]
    if [len(row) for row in rows] != [4, 4, 4, 4]:
        raise ValueError(f"{where}: expected four rows of four numbers in brackets, found '{value[:60]}'")
    return torch.tensor([[number(word, where) for word in row] for row in rows], dtype=torch.float64).T


def _to_opencv(unreal: Float64[Tensor, "F 4 4"]) -> Float64[Tensor, "F 4 4"]:
    """Camera axes and world from (forward, right, up) to (right, down, forward), centimetres to metres."""
    result = unreal.clone()
    result[:, :3, :3] = _TO_OURS @ unreal[:, :3, :3] @ _TO_OURS.T
    result[:, :3, 3] = unreal[:, :3, 3] @ _TO_OURS.T / _CM
    return result


def _focal_mm(path: Path) -> float | None:
    found = [match[1] for part in path.absolute().parts if (match := _FOLDER.fullmatch(part))]
    return float(found[-1]) if found and float(found[-1]) > 0 else None


def _lens(path: Path, frames: int) -> Float64[Tensor, "F 4"] | None:
    focal = _focal_mm(path)
    if focal is None:
        return None
    norm = focal / _SENSOR_MM
    return torch.tensor([norm, norm, 0.5, 0.5], dtype=torch.float64).expand(frames, 4).clone()


def _notes(path: Path) -> tuple[str, ...]:
    focal = _focal_mm(path)
    return (
        () if focal is None else (f"lens of {focal:g} mm on a square sensor of {_SENSOR_MM} mm, by its folder's name",)
    )


def _write(track: CameraTrack, path: Path, size: Size | None) -> None:
    ours = track.c2w
    unreal = ours.clone()
    unreal[:, :3, :3] = _TO_OURS.T @ ours[:, :3, :3] @ _TO_OURS
    unreal[:, :3, 3] = ours[:, :3, 3] @ _TO_OURS * _CM
    document = {
        f"frame{index}": {_NUMBERED_FROM: "".join(f"[{digits(row)}] " for row in matrix)}
        for index, matrix in enumerate(unreal.mT.tolist())
    }
    write_json(path, document)


FORMATS = (
    Format(
        "recammaster",
        "ReCamMaster camera_extrinsics.json: Unreal axes, row vectors, centimetres, several cameras (PATH#cam01)",
        _recognise,
        _read,
        _write,
        lens="none",
        holds_times=False,
        members=True,
    ),
)
"""The one format."""
