"""NeRF, nerfstudio, Instant-NGP and DL3DV: transforms.json.

    {"fl_x": .., "fl_y": .., "cx": .., "cy": .., "w": .., "h": ..,
     "frames": [{"file_path": .., "transform_matrix": [[..] x 4]}, ..]}

Matrices are camera-to-world in OpenGL axes (x right, y up, z backward), in a world whose +z is up
(docs.nerf.studio/quickstart/data_conventions.html; nerfstudio `data/dataparsers/nerfstudio_dataparser.py`). A camera
that moved 1 along its optical axis from the identity has -1 in row 2, column 3.

Intrinsics are in pixels of w x h, for all frames or in a frame of their own, which wins. Instead of fl_x there may be
camera_angle_x (and camera_angle_y), full fields of view in radians (bmild/nerf, `load_blender.py`: focal = 0.5 w /
tan(0.5 camera_angle_x)). Distortion is not used. `applied_transform` (3x4) and `applied_scale` took the original world
to the saved one (comment in nerfstudio's dataparser); they are undone, which changes the world and the unit only.

DL3DV-10K's transforms.json is of this kind; its pixels are those of its own w and h, while the frames beside it
(images_4, images_8) are smaller: normalised intrinsics fit them all.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.conventions import from_opencv_c2w
from camera.formats.core import Format, RawTrack, Request, to_pixels
from camera.formats.documents import entry, finite, items, pose, read_json, table, write_json
from camera.formats.sample import Sample
from camera.intrinsics import Size
from camera.poses import invert
from camera.track import CameraTrack

_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_LARGEST_SIDE = 2**20
_ORTHONORMAL = 1e-3


def _recognise(sample: Sample) -> str | None:
    document = sample.json
    frames = document.get("frames") if isinstance(document, dict) else None
    if isinstance(frames, list) and frames and isinstance(frames[0], dict) and "transform_matrix" in frames[0]:
        return "a list 'frames' with transform_matrix"
    return None


def _read(path: Path, request: Request) -> RawTrack:
    document = table(read_json(path), str(path))
    listed = items(entry(document, "frames", str(path)), f"{path}: frames")
    frames = [table(frame, f"{path}: frames[{index}]") for index, frame in enumerate(listed)]
    if not frames:
        raise ValueError(f"{path}: frames: empty")
    matrices = torch.stack(
        [
            pose(entry(frame, "transform_matrix", where := f"{path}: frames[{index}]"), f"{where}.transform_matrix")
            for index, frame in enumerate(frames)
        ]
    )
    lens, size = _lenses(document, frames, request, path)
    return RawTrack(
        _original_world(matrices, document, path),
        "opengl_c2w",
        intrinsics=lens if size is None else None,
        intrinsics_px=lens if size is not None else None,
        size=size,
        notes=_notes(document, frames),
    )


def _lenses(
    document: Mapping[str, object], frames: list[dict[str, object]], request: Request, path: Path
) -> tuple[Float64[Tensor, "F 4"] | None, Size | None]:
    """The intrinsics in pixels and their size, or normalised and None; None and None when there are none."""
    merged = [{**document, **frame} for frame in frames]
    if not any(key in each for each in merged for key in ("fl_x", "camera_angle_x")):
        return None, None
    wheres = [f"{path}: frames[{index}] (or the keys for all frames)" for index in range(len(frames))]
    sizes = [_size(each, request, where) for each, where in zip(merged, wheres, strict=True)]
    rows = [_pixels(each, size, where) for each, size, where in zip(merged, sizes, wheres, strict=True)]
    pixels = torch.tensor(rows, dtype=torch.float64)
    if len(set(sizes)) == 1:
        return pixels, sizes[0]
    per_frame = torch.tensor([[width, height, width, height] for height, width in sizes], dtype=torch.float64)
    return pixels / per_frame, None


def _size(values: Mapping[str, object], request: Request, where: str) -> Size:
    if request.size is not None:
        return request.size
    if "w" not in values or "h" not in values:
        raise ValueError(
            f"{where}: no w and h, so its intrinsics say nothing without the picture's size; pass size=(height, width) "
            "(--size HEIGHT WIDTH on the command line)"
        )
    height, width = finite(values["h"], f"{where}: h"), finite(values["w"], f"{where}: w")
    if not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE):
        raise ValueError(f"{where}: w {width:g}, h {height:g}: expected pixels, 1 to {_LARGEST_SIDE}")
    return round(height), round(width)


def _pixels(values: Mapping[str, object], size: Size, where: str) -> list[float]:
    """(fx, fy, cx, cy) in pixels, the missing ones by square pixels and a centred axis."""
    height, width = size
    fx = _focal(values, "fl_x", "camera_angle_x", width, where)
    fy = _focal(values, "fl_y", "camera_angle_y", height, where)
    if fx is None:
        raise ValueError(f"{where}: neither fl_x nor camera_angle_x")
    centre = [
        finite(values[key], f"{where}: {key}") if key in values else side / 2
        for key, side in (("cx", width), ("cy", height))
    ]
    return [fx, fx if fy is None else fy, *centre]


def _focal(values: Mapping[str, object], key: str, angle_key: str, side: int, where: str) -> float | None:
    if key in values:
        return finite(values[key], f"{where}: {key}")
    if angle_key not in values:
        return None
    angle = finite(values[angle_key], f"{where}: {angle_key}")
    if not 0 < angle < math.pi:
        raise ValueError(f"{where}: {angle_key} {angle:g}: expected radians between 0 and pi")
    return 0.5 * side / math.tan(0.5 * angle)


def _original_world(
    matrices: Float64[Tensor, "F 4 4"], document: Mapping[str, object], path: Path
) -> Float64[Tensor, "F 4 4"]:
    """The poses before `applied_transform` and `applied_scale`."""
    scale = finite(document.get("applied_scale", 1.0), f"{path}: applied_scale")
    if scale <= 0:
        raise ValueError(f"{path}: applied_scale {scale:g}: expected a number above 0")
    unscaled = matrices.clone()
    unscaled[:, :3, 3] /= scale
    if "applied_transform" not in document:
        return unscaled
    applied = pose(document["applied_transform"], f"{path}: applied_transform")
    rotation = applied[:3, :3]
    skew = (rotation.T @ rotation - torch.eye(3, dtype=torch.float64)).abs().max()
    if not skew <= _ORTHONORMAL or torch.linalg.det(rotation) < 0:
        raise ValueError(f"{path}: applied_transform is no rotation; undo it before reading the file")
    return invert(applied) @ unscaled


def _notes(document: Mapping[str, object], frames: list[dict[str, object]]) -> tuple[str, ...]:
    merged = [{**document, **frame} for frame in frames]
    notes = []
    if any(each.get(key) not in (None, 0, 0.0) for each in merged for key in _DISTORTION):
        notes.append("its lens distortion (k1 ... p2) is not used: the camera is read as a pinhole")
    if any("FISHEYE" in str(each.get("camera_model")) for each in merged):
        notes.append("its camera_model is a fisheye; it is read as a pinhole")
    names = [str(frame.get("file_path", "")) for frame in frames]
    if names != sorted(names):
        notes.append("its frames are not in the order of their file names; the order of the file is kept")
    return tuple(notes)


def _write(track: CameraTrack, path: Path, size: Size | None) -> None:
    assert size is not None, "needs_size"
    height, width = size
    pixels = to_pixels(track.intrinsics, size)
    shared = bool((pixels == pixels[0]).all())
    keys = ("fl_x", "fl_y", "cx", "cy")
    frames = [
        {
            "file_path": f"images/frame_{index:05d}.png",
            **({} if shared else dict(zip(keys, lens, strict=True))),
            "transform_matrix": matrix,
        }
        for index, (lens, matrix) in enumerate(
            zip(pixels.tolist(), from_opencv_c2w(track.c2w, "opengl_c2w").tolist(), strict=True)
        )
    ]
    lens = dict(zip(keys, pixels[0].tolist(), strict=True)) if shared else {}
    write_json(path, {"camera_model": "PINHOLE", "w": width, "h": height, **lens, "frames": frames})


def _same_as_nerfstudio(sample: Sample) -> str | None:
    """DL3DV's files are nerfstudio's; one name for a file that nobody named is enough."""
    return None


FORMATS = (
    Format(
        "nerfstudio",
        "NeRF and nerfstudio transforms.json: c2w, OpenGL, intrinsics in pixels",
        _recognise,
        _read,
        _write,
        needs_size=True,
        holds_times=False,
    ),
    Format(
        "dl3dv",
        "DL3DV transforms.json: the same file as nerfstudio",
        _same_as_nerfstudio,
        _read,
        _write,
        needs_size=True,
        holds_times=False,
    ),
)
"""Both names."""
