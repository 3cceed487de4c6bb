"""Plain matrices of anyone: a text of 12 or 16 numbers a line (KITTI odometry poses), or a JSON list of matrices.

A line holds the rows of a 3x4 or 4x4 matrix; JSON holds [[[...] x 4] x 3 or 4] x F. Neither says which axes and
which direction the matrices have, so we ask by `convention`, unless a comment line of the text names one of
`camera.conventions.CONVENTIONS`, as those that we write do ("# opencv_c2w").
"""

import re
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.conventions import CONVENTIONS
from camera.formats.core import Format, RawTrack, Request
from camera.formats.documents import items, pose, read_json
from camera.formats.sample import Sample
from camera.formats.text import digits, read_table, read_text, write_lines
from camera.intrinsics import Size
from camera.track import CameraTrack


def _recognise(sample: Sample) -> str | None:
    if sample.rows and len(sample.rows[0]) in (12, 16):
        return f"{len(sample.rows[0])} numbers a line"
    if isinstance(sample.json, list) and sample.json and all(isinstance(each, list) for each in sample.json):
        shapes = {(len(each), len(each[0]) if each and isinstance(each[0], list) else 0) for each in sample.json}
        if shapes <= {(3, 4), (4, 4)}:
            return "a JSON list of matrices"
    return None


def _read(path: Path, request: Request) -> RawTrack:
    text = read_text(path)
    if text.lstrip().startswith("["):
        found = [pose(each, f"{path}: [{index}]") for index, each in enumerate(items(read_json(path), str(path)))]
        return RawTrack(torch.stack(found) if found else torch.empty(0, 4, 4, dtype=torch.float64), None)
    comments = " ".join(line for line in text.split("\n") if line.lstrip().startswith("#"))
    named = [word for word in re.findall(r"[a-z0-9_]+", comments) if word in CONVENTIONS]
    return RawTrack(_from_rows(read_table(path, (12, 16), text).values), named[0] if named else None)


def _from_rows(values: Float64[Tensor, "F columns"]) -> Float64[Tensor, "F 4 4"]:
    lower = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(len(values), 4)
    return torch.cat((values, lower), dim=1)[:, :16].unflatten(1, (4, 4))


def _write(track: CameraTrack, path: Path, size: Size | None) -> None:
    write_lines(path, ["# opencv_c2w", *map(digits, track.c2w[:, :3].flatten(1).tolist())])


FORMATS = (
    Format(
        "matrices",
        "plain 3x4 or 4x4 matrices, as text or JSON; the convention has to be stated",
        _recognise,
        _read,
        _write,
        lens="none",
        holds_times=False,
    ),
)
"""The one format."""
