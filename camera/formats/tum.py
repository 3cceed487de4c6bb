"""TUM RGB-D trajectories: `timestamp tx ty tz qx qy qz qw`, one line a frame, # before comments.

Camera-to-world, OpenCV axes, seconds, no intrinsics (cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats). A camera
that moved 1 to its right from the origin has tx = 1.

MonST3R, CUT3R and others write the same eight columns as `timestamp tx ty tz qw qx qy qz`, with frame numbers for time
stamps (Junyi42/monst3r, `c2w_to_tumpose` and `save_tum_poses` in `dust3r/cloud_opt/optimizer.py`): format `tum_wxyz`.

Which order a file has: its norm is 1 either way, and its smoothness is the same either way, because the turn between
two frames is 2 acos |q1 . q2|, and the dot product does not change when both are permuted. What decides is a comment
line that names the columns, or a first camera at the identity, which is (0, 0, 0, 1) in one order and (1, 0, 0, 0) in
the other: read in the wrong order, the camera would begin on its head. Without either we ask.
"""

import math
import re
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.formats.core import Format, RawTrack, Request
from camera.formats.sample import Sample
from camera.formats.text import Table, digits, read_table, read_text, require_growing, write_lines
from camera.intrinsics import Size
from camera.poses import assemble, quaternion_of, rotation_angle, rotation_of
from camera.track import CameraTrack

_COLUMNS = 8
_ORDERS = {"tum": (3, 0, 1, 2), "tum_wxyz": (0, 1, 2, 3)}
"""Where w, x, y, z are found in columns 4 to 7."""
_NAMED = {"tum": "qx qy qz qw", "tum_wxyz": "qw qx qy qz"}
_NEAR = math.radians(5)
_NORM_TOLERANCE = 1e-2
"""Files have as few as four decimals."""


def _other(name: str) -> str:
    return "tum" if name == "tum_wxyz" else "tum_wxyz"


def _named_order(sample: Sample) -> str | None:
    """The format whose columns a comment line names."""
    comments = [line for line in (sample.text or "").splitlines() if line.lstrip().startswith("#")]
    words = re.sub(r"[^a-z]+", " ", " ".join(comments).lower())
    return next((name for name, columns in _NAMED.items() if columns in words), None)


def _rotations(quaternions: Float64[Tensor, "F 4"], name: str) -> Float64[Tensor, "F 3 3"]:
    ordered = quaternions[:, list(_ORDERS[name])]
    return rotation_of(ordered / ordered.norm(dim=1, keepdim=True))


def _recognise(sample: Sample, name: str) -> str | None:
    rows = sample.rows
    if not rows or len(rows[0]) != _COLUMNS:
        return None
    quaternions = torch.tensor(rows, dtype=torch.float64)[:, 4:]
    if ((quaternions.norm(dim=1) - 1).abs() < _NORM_TOLERANCE).double().mean() < 0.5:
        return None
    named = _named_order(sample)
    if named is not None:
        return f"8 numbers a line, and a comment that names {_NAMED[name]}" if named == name else None
    angle = {order: float(rotation_angle(_rotations(quaternions[:1], order))[0]) for order in _ORDERS}
    if angle[_other(name)] < _NEAR:
        return None
    rotations = _rotations(quaternions, name)
    steps = rotation_angle(rotations[:-1].mT @ rotations[1:]) if len(rows) > 1 else torch.zeros(1)
    return (
        f"8 numbers a line; read as {_NAMED[name]} the first camera is turned by {math.degrees(angle[name]):.1f} "
        f"degrees and then by {math.degrees(float(steps.mean())):.3g} a frame (the latter is so in either order)"
    )


def _read(path: Path, request: Request, name: str) -> RawTrack:
    table = read_table(path, (_COLUMNS,), read_text(path))
    norms = table.values[:, 4:].norm(dim=1)
    wrong = (~((norms - 1).abs() < _NORM_TOLERANCE)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"{path}: line {table.lines[row]}: the quaternion {_NAMED[name]} has length {float(norms[row]):.3g}, "
            "expected 1"
        )
    matrices = assemble(_rotations(table.values[:, 4:], name), table.values[:, 1:4])
    return RawTrack(matrices, "opencv_c2w", times=_times(path, table, request))


def _times(path: Path, table: Table, request: Request) -> Float64[Tensor, "F"] | None:
    """Seconds from the first frame; None for frame numbers, which `fps` turns into seconds."""
    stamps = table.values[:, 0]
    require_growing(path, table, "time")
    if not torch.equal(stamps, torch.arange(len(stamps), dtype=torch.float64)):
        return stamps - stamps[0]
    if request.fps is None and len(stamps) > 1:
        raise ValueError(
            f"{path}: its times are 0, 1, 2 ...: frame numbers (MonST3R writes them so) or seconds? State the frames "
            "per second by fps= (--fps on the command line); 1 if they are seconds"
        )
    return None


def _write(track: CameraTrack, path: Path, name: str) -> None:
    quaternions = quaternion_of(track.c2w[:, :3, :3])
    stored = torch.empty_like(quaternions)
    stored[:, list(_ORDERS[name])] = quaternions
    rows = torch.cat((track.times[:, None], track.c2w[:, :3, 3], stored), dim=1)
    write_lines(path, [f"# timestamp tx ty tz {_NAMED[name]}", *map(digits, rows.tolist())])


def _write_xyzw(track: CameraTrack, path: Path, size: Size | None) -> None:
    _write(track, path, "tum")


def _write_wxyz(track: CameraTrack, path: Path, size: Size | None) -> None:
    _write(track, path, "tum_wxyz")


FORMATS = (
    Format(
        "tum",
        "TUM RGB-D: t tx ty tz qx qy qz qw, c2w, OpenCV, seconds, no intrinsics",
        lambda sample: _recognise(sample, "tum"),
        lambda path, request: _read(path, request, "tum"),
        _write_xyzw,
        lens="none",
    ),
    Format(
        "tum_wxyz",
        "MonST3R, CUT3R: as tum with qw first, often with frame numbers for times",
        lambda sample: _recognise(sample, "tum_wxyz"),
        lambda path, request: _read(path, request, "tum_wxyz"),
        _write_wxyz,
        lens="none",
    ),
)
"""Both orders of the quaternion."""
