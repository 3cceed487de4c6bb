"""The folder that MonST3R writes: pred_traj.txt and pred_intrinsics.txt, with depth maps beside them.

Junyi42/monst3r, dust3r/cloud_opt/base_opt.py (save_tum_poses, save_intrinsics, save_depth_maps) and
dust3r/utils/vo_eval.py (save_trajectory_tum_format): a line of pred_traj.txt is the frame's number, the centre x y z,
and the quaternion w x y z, which is not TUM's order; poses are c2w in OpenCV axes. A line of pred_intrinsics.txt is a
3 x 3 matrix in pixels of the picture as the network saw it (long side 512), whose size frame_0000.npy has.
"""

from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.formats.array_parts import lens_of_matrices, repeated, unit_rotation
from camera.formats.core import Format, RawTrack, Request
from camera.formats.npz import MAX_BYTES, read_header
from camera.formats.sample import Sample
from camera.intrinsics import Size
from camera.poses import assemble

_TRAJECTORY, _INTRINSICS, _DEPTH = "pred_traj.txt", "pred_intrinsics.txt", "frame_0000"


def _recognise(sample: Sample) -> str | None:
    if sample.is_folder and {_TRAJECTORY, _INTRINSICS} <= set(sample.names):
        return f"{_TRAJECTORY} and {_INTRINSICS} of MonST3R"
    return None


def read_monst3r(path: Path, request: Request) -> RawTrack:
    """Read MonST3R's folder; its "times" count frames, so that the rate has to be stated.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: damaged; names file and line.
    """
    rows = _table(path / _TRAJECTORY, 8)
    rotation = unit_rotation(rows[:, 4:], [f"{path / _TRAJECTORY}, row {row + 1}" for row in range(len(rows))])
    if (rows[:, 0].diff() != 1).any():
        line = int((rows[:, 0].diff() != 1).nonzero()[0]) + 2
        raise ValueError(
            f"{path / _TRAJECTORY}, row {line}: expected the next frame's number, found {rows[line - 1, 0]:g}"
        )
    matrices = assemble(rotation, rows[:, 1:4])
    lens = lens_of_matrices(_table(path / _INTRINSICS, 9).unflatten(-1, (3, 3)), str(path / _INTRINSICS))
    lens = repeated(lens, len(matrices), str(path / _INTRINSICS))
    return RawTrack(matrices, "opencv_c2w", intrinsics_px=lens, size=_size(path))


def _size(path: Path) -> Size | None:
    """(height, width) of the first depth map, where there is one."""
    if not (path / f"{_DEPTH}.npy").is_file():
        return None
    shape = read_header(path, _DEPTH).shape
    return (shape[0], shape[1]) if len(shape) == 2 and min(shape) > 0 else None


def _table(path: Path, columns: int) -> Float64[Tensor, "rows columns"]:
    """Lines of so many numbers; empty lines are passed over."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: is larger than {MAX_BYTES:,} bytes; no trajectory is that long")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not UTF-8 text") from None
    rows = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        try:
            values = [float(field) for field in fields]
        except ValueError:
            raise ValueError(f"{path}, line {number}: expected {columns} numbers, found '{line[:60]}'") from None
        if len(values) != columns:
            raise ValueError(f"{path}, line {number}: expected {columns} numbers, found {len(values)}")
        rows.append(values)
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, columns)


FORMATS = (
    Format(
        "monst3r",
        "MonST3R output folder (pred_traj.txt, pred_intrinsics.txt): c2w, OpenCV axes; pixels; no times; read only",
        _recognise,
        read_monst3r,
        # dust3r holds the same and is one file
        write=None,
    ),
)
