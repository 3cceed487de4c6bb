"""Orbits by parameters, as Uni3C and ViewCrafter take them, and the camera file that Uni3C writes.

Uni3C (ewrfcas/Uni3C, `cam_render.py` for the arguments and their signs, `src/utils.py` for `traj_map`,
`set_initial_camera` and `build_cameras`; read in the fork nervouswizard/Uni3C). OpenCV axes, subject in the origin at
depth r. With c2w_0 = Rx(-start_elevation) T(0, 0, -r), frame i of F has

    c2w_i = Ry(d_phi u) Rx(d_theta u) c2w_0,  u = i / (F - 1)
    t_i <- (t_i + r (i / F) (x_offset, y_offset, z_offset)) (1 + (d_r - 1) u)
    f_i = f_0 (1 + (focal_length - 1) i / F)

so d_phi > 0 goes left, d_theta < 0 up, d_r > 1 away. r is the depth of the subject, which the file does not have: r = 1
here, a unit of subject distances. The parameters are a JSON object of the arguments' names. `cam_info.json`, which
`cam_render.py` writes, has K in pixels for all frames and w2c matrices: {"intrinsic": 3x3, "extrinsic": [4x4 x F],
"height": .., "width": ..}; a zoom is not in it. 16 frames a second.

ViewCrafter (Drexubery/ViewCrafter, `docs/render_help.md` on `--traj_txt`; `generate_traj_txt`, `sphere2pose` and
`world_point_to_obj` in `utils/pvd_utils.py`): a text of three lines, the sequences of d_phi, d_theta (degrees) and d_r
(fraction of the distance), each from 0 with 2 to 25 numbers spread evenly over the video. In a world with the subject
in the origin, x right, y up, z towards the camera, c2w = Ry(d_phi) Rx(d_theta) T(0, 0, d_r z_0) c2w_0, where c2w_0
stands at distance 1 and 5 degrees high (`--elevation`) and z_0 is its z: d_phi > 0 goes right, d_theta < 0 up, d_r < 0
closer. Sequences of up to 3 numbers are interpolated linearly there, longer ones by a smoothing spline that may miss
them by a degree; here the path goes through them, linearly. 25 frames, 8 a second.

Neither set of parameters can hold any other path, so there is no way back to them.
"""

import math
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.conventions import from_opencv_c2w
from camera.formats.core import DEFAULT_SIZE, Format, RawTrack, Request, to_pixels
from camera.formats.documents import entry, finite, items, numbers, pose, read_json, table, write_json
from camera.formats.sample import Sample
from camera.formats.text import number, read_text
from camera.intrinsics import Size, default_intrinsics
from camera.poses import turn
from camera.track import CameraTrack

_UNI3C_FPS, _VIEWCRAFTER_FPS = 16.0, 8.0
_UNI3C_FRAMES, _VIEWCRAFTER_FRAMES = 81, 25
_TABLES = (12, 16, 18, 19)
_ELEVATION = 5.0
_LARGEST = 1e6
_OTHER_ARGUMENTS = {"traj_type", "reference_image", "output_path"}
_NEUTRAL = {
    "d_r": 1.0,
    "d_theta": 0.0,
    "d_phi": 0.0,
    "x_offset": 0.0,
    "y_offset": 0.0,
    "z_offset": 0.0,
    "focal_length": 1.0,
    "start_elevation": _ELEVATION,
    "nframe": float(_UNI3C_FRAMES),
}
_PRESETS = {
    "free1": {"d_theta": -15.0, "d_phi": 45.0, "d_r": 1.6},
    "free2": {"x_offset": -0.05, "d_phi": -60.0},
    "free3": {"x_offset": -0.25, "d_r": 1.7},
    "free4": {"d_theta": -15.0, "d_phi": -60.0, "d_r": 0.75},
    "free5": {"d_theta": -15.0, "d_phi": -120.0, "d_r": 1.6},
    "orbit": {"d_phi": -360.0},
}
"""`traj_map` in Uni3C's `src/utils.py`; swing1 and swing2 need its smoothing spline."""
_PATH_KEYS = ("d_r", "d_theta", "d_phi", "x_offset", "y_offset", "z_offset")


def _recognise_parameters(sample: Sample) -> str | None:
    document = sample.json
    if not isinstance(document, dict):
        return None
    found = [key for key in ("traj_type", *_PATH_KEYS) if key in document]
    return f"keys {', '.join(found)}" if found else None


def _recognise_cam_info(sample: Sample) -> str | None:
    document = sample.json
    if isinstance(document, dict) and {"intrinsic", "extrinsic", "height", "width"} <= set(document):
        return "keys intrinsic, extrinsic, height, width"
    return None


def _recognise_viewcrafter(sample: Sample) -> str | None:
    lines = [line.split() for line in (sample.text or "").splitlines() if line.strip()]
    widths = [len(words) for words in lines]
    # three frames of a table of poses are the likelier reading of three equal widths of these
    if len(widths) != 3 or (len(set(widths)) == 1 and widths[0] in _TABLES):
        return None
    if all(2 <= width <= _VIEWCRAFTER_FRAMES for width in widths):
        try:
            starts = [float(words[0]) for words in lines]
        except ValueError:
            return None
        return "three lines of numbers that begin with 0" if starts == [0.0, 0.0, 0.0] else None
    return None


def _parameters(path: Path) -> dict[str, float]:
    document = table(read_json(path), str(path))
    unknown = sorted(set(document) - set(_NEUTRAL) - _OTHER_ARGUMENTS)
    if unknown:
        raise ValueError(f"{path}: key '{unknown[0][:40]}' is no argument of Uni3C; known are {', '.join(_NEUTRAL)}")
    name = document.get("traj_type", "custom")
    values = dict(_NEUTRAL)
    for key in _NEUTRAL:
        if key in document:
            values[key] = finite(document[key], f"{path}: {key}")
            if abs(values[key]) > _LARGEST:
                raise ValueError(f"{path}: {key} {values[key]:g}: expected at most {_LARGEST:g}")
    if name != "custom":
        if not isinstance(name, str) or name not in _PRESETS:
            raise ValueError(
                f"{path}: traj_type '{str(name)[:40]}': expected custom, {', '.join(_PRESETS)}; Uni3C's swing1 and "
                "swing2 go by a smoothing spline of its own: read the cam_info.json that it writes"
            )
        # a named path overrides what was typed, as there
        values |= {key: _NEUTRAL[key] for key in _PATH_KEYS} | _PRESETS[name]
    for key in ("d_r", "focal_length"):
        if values[key] <= 0:
            raise ValueError(f"{path}: {key} {values[key]:g}: expected a factor above 0")
    if not 2 <= values["nframe"] <= 100_000 or values["nframe"] % 1:
        raise ValueError(f"{path}: nframe {values['nframe']:g}: expected a whole number of frames, 2 to 100000")
    return values


def _about(axis: int, degrees: Float64[Tensor, "F"]) -> Float64[Tensor, "F 4 4"]:
    result = torch.eye(4, dtype=torch.float64).repeat(len(degrees), 1, 1)
    result[:, :3, :3] = turn(torch.eye(3, dtype=torch.float64)[axis] * torch.deg2rad(degrees)[:, None])
    return result


def _read_parameters(path: Path, request: Request) -> RawTrack:
    given = _parameters(path)
    frames = int(given["nframe"])
    index = torch.arange(frames, dtype=torch.float64)
    share, part = index / (frames - 1), index / frames
    start = torch.eye(4, dtype=torch.float64)
    start[2, 3] = -1.0
    start = _about(0, -torch.tensor([given["start_elevation"]], dtype=torch.float64))[0] @ start
    c2w = _about(1, given["d_phi"] * share) @ _about(0, given["d_theta"] * share) @ start
    offset = torch.tensor([given[f"{axis}_offset"] for axis in "xyz"], dtype=torch.float64)
    grown = 1 + (given["d_r"] - 1) * share
    c2w[:, :3, 3] = (c2w[:, :3, 3] + part[:, None] * offset) * grown[:, None]
    height, width = request.size or DEFAULT_SIZE
    lens = default_intrinsics(width / height).repeat(frames, 1)
    lens[:, :2] *= (1 + (given["focal_length"] - 1) * part)[:, None]
    notes = (f"has no lens of its own; taken is one of 60 degrees for a {width}x{height} picture, times focal_length",)
    return RawTrack(c2w, "opencv_c2w", intrinsics=lens, fps=_UNI3C_FPS, scale="relative", notes=notes)


def _read_cam_info(path: Path, request: Request) -> RawTrack:
    document = table(read_json(path), str(path))
    k_px = numbers(entry(document, "intrinsic", str(path)), (3,), 3, f"{path}: intrinsic")
    listed = items(entry(document, "extrinsic", str(path)), f"{path}: extrinsic")
    if not listed:
        raise ValueError(f"{path}: extrinsic: empty")
    w2c = torch.stack([pose(value, f"{path}: extrinsic[{index}]") for index, value in enumerate(listed)])
    height, width = (finite(entry(document, key, str(path)), f"{path}: {key}") for key in ("height", "width"))
    if not (1 <= height <= _LARGEST and 1 <= width <= _LARGEST):
        raise ValueError(f"{path}: width {width:g}, height {height:g}: expected pixels, 1 to {_LARGEST:g}")
    lens = torch.tensor([k_px[0][0], k_px[1][1], k_px[0][2], k_px[1][2]], dtype=torch.float64)
    return RawTrack(
        w2c,
        "opencv_w2c",
        intrinsics_px=lens.repeat(len(w2c), 1),
        size=(round(height), round(width)),
        fps=_UNI3C_FPS,
    )


def _write_cam_info(track: CameraTrack, path: Path, size: Size | None) -> None:
    assert size is not None, "needs_size"
    height, width = size
    fx, fy, cx, cy = to_pixels(track.intrinsics, size)[0].tolist()
    k_px = [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]
    w2c = from_opencv_c2w(track.c2w, "opencv_w2c").tolist()
    write_json(path, {"intrinsic": k_px, "extrinsic": w2c, "height": height, "width": width})


def _read_viewcrafter(path: Path, request: Request) -> RawTrack:
    lines = [(at, text.split()) for at, text in enumerate(read_text(path).split("\n"), 1) if text.strip()]
    if len(lines) != 3:
        raise ValueError(f"{path}: {len(lines)} lines of numbers, expected three: d_phi, d_theta, d_r")
    sequences = []
    for at, words in lines:
        values = [number(word, f"{path}: line {at}") for word in words]
        if not 2 <= len(values) <= _VIEWCRAFTER_FRAMES or values[0] != 0:
            raise ValueError(f"{path}: line {at}: expected 2 to {_VIEWCRAFTER_FRAMES} numbers that begin with 0")
        if max(map(abs, values)) > _LARGEST:
            raise ValueError(f"{path}: line {at}: a number beyond {_LARGEST:g}")
        sequences.append(_spread(torch.tensor(values, dtype=torch.float64)))
    d_phi, d_theta, d_r = sequences
    start = _viewcrafter_start().repeat(_VIEWCRAFTER_FRAMES, 1, 1)
    start[:, 2, 3] *= 1 + d_r
    smoothed = any(len(words) > 3 for _, words in lines)
    note = "ViewCrafter smooths sequences of more than 3 numbers; here the path goes through them in straight lines"
    return RawTrack(
        _about(1, d_phi) @ _about(0, d_theta) @ start,
        "opencv_c2w",
        fps=_VIEWCRAFTER_FPS,
        scale="relative",
        notes=(note,) if smoothed else (),
    )


def _viewcrafter_start() -> Float64[Tensor, "4 4"]:
    """The first camera in the subject's world (x right, y up, z towards the camera), OpenCV axes, 5 degrees high."""
    sine, cosine = math.sin(math.radians(_ELEVATION)), math.cos(math.radians(_ELEVATION))
    rows = [[1, 0, 0, 0], [0, -cosine, -sine, sine], [0, sine, -cosine, cosine], [0, 0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)


def _spread(values: Float64[Tensor, "knots"]) -> Float64[Tensor, "F"]:
    """The values at even distances over the video, linear between them."""
    at = torch.linspace(0, len(values) - 1, _VIEWCRAFTER_FRAMES, dtype=torch.float64)
    before = at.floor().long().clamp(max=len(values) - 2)
    return torch.lerp(values[before], values[before + 1], at - before)


FORMATS = (
    Format(
        "uni3c",
        "Uni3C cam_info.json: w2c, OpenCV, one K in pixels",
        _recognise_cam_info,
        _read_cam_info,
        _write_cam_info,
        needs_size=True,
        lens="constant",
        holds_times=False,
    ),
    Format(
        "uni3c_params",
        "Uni3C's arguments as JSON: d_r, d_theta, d_phi, offsets, focal_length, traj_type",
        _recognise_parameters,
        _read_parameters,
        None,
    ),
    Format(
        "viewcrafter",
        "ViewCrafter --traj_txt: three lines of d_phi, d_theta, d_r",
        _recognise_viewcrafter,
        _read_viewcrafter,
        None,
    ),
)
"""What Uni3C and ViewCrafter take and write."""
