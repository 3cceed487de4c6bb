"""Text of 19 columns, one line a frame, and its variants: RealEstate10K, CameraCtrl, Fun-Camera, CamI2V.

    timestamp fx fy cx cy 0 0  r00 r01 r02 t0  r10 r11 r12 t1  r20 r21 r22 t2

The twelve are the upper rows of world-to-camera in OpenCV axes; the intrinsics are divided by width and height. A
camera that moved 1 to its right has t0 = -1. They differ in the first line and in the time stamps:

- RealEstate10K (google.github.io/realestate10k; Zhou et al. 2018): the video's URL; microseconds of the video.
- CameraCtrl (hehao13/CameraCtrl, `assets/pose_files/*.txt`, `Camera` in `inference.py`): the same file.
- Fun-Camera (aigc-apps/VideoX-Fun, `process_pose_file` in `videox_fun/data/utils.py`): the first line is skipped, the
  time stamps are 0. Its older files `asset/Pan_*.txt` have no time stamp at all, 18 columns: there "Pan_Left" has a
  growing t0, so the camera goes to its left, as the reading above says. Its lens is 0.532139961 0.946026558.
- CamI2V (ZGCTroy/CamI2V, `prompts/camera_pose_files/*.txt`): first line https://xxx, every time stamp 114514. Some of
  them ("look right.txt") are written in a mirrored world: every matrix has determinant -1 and the first is
  diag(-1, 1, 1). Only poses relative to the first are used there, so the mirror cancels; here x of the world is
  turned round.
- CamI2V's evaluation (`evaluation/glomap_evaluation.py`: columns 0-3 the lens with fx > 10, columns from 6 the 3x4
  w2c; `camera_data/*.txt`, read by numpy.loadtxt): no first line, no time stamp, 18 columns, pixels.
"""

from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.conventions import from_opencv_c2w
from camera.formats.core import Format, RawTrack, Request, logger, to_pixels
from camera.formats.sample import Sample
from camera.formats.text import Table, digits, number, read_table, read_text, require_growing, write_lines
from camera.intrinsics import Size
from camera.poses import assemble
from camera.track import CameraTrack

_WITH_TIME, _WITHOUT = 19, 18
_LARGEST_CENTRE = 4.0
"""Principal points beyond this are pixels: no picture lies that many widths off the axis."""
_LONGEST_HEADER = 12
_DUMMY_TIME = 114514
_MICROSECONDS = 1e6


def _shape(sample: Sample) -> int | None:
    """18 or 19 when the lines of numbers have that many, else None."""
    width = len(sample.rows[0]) if sample.rows else 0
    return width if width in (_WITH_TIME, _WITHOUT) else None


def _in_pixels(sample: Sample) -> bool:
    return any(max(row[-16], row[-15]) > _LARGEST_CENTRE for row in sample.rows)


def _time_stamps(sample: Sample) -> set[float]:
    return {row[0] for row in sample.rows}


def _recognise_realestate10k(sample: Sample) -> str | None:
    if _shape(sample) == _WITH_TIME and len(_time_stamps(sample)) > 1:
        return "19 numbers a line, of which the first grows"
    return None


def _recognise_fun_camera(sample: Sample) -> str | None:
    shape = _shape(sample)
    if shape == _WITH_TIME and _time_stamps(sample) == {0.0}:
        return "19 numbers a line, of which the first is always 0"
    if shape == _WITHOUT and not _in_pixels(sample):
        return "18 numbers a line that begin with normalised intrinsics"
    return None


def _recognise_cami2v(sample: Sample) -> str | None:
    stamps = _time_stamps(sample)
    if _shape(sample) == _WITH_TIME and len(stamps) == 1 and stamps != {0.0}:
        return f"19 numbers a line, of which the first is always {stamps.pop():g}"
    return None


def _recognise_cami2v_eval(sample: Sample) -> str | None:
    if _shape(sample) == _WITHOUT and _in_pixels(sample):
        return "18 numbers a line that begin with intrinsics in pixels"
    return None


def _header_lines(text: str) -> int:
    """1 when the first line is a URL, blank or any other text, 0 when it is already a row, damaged or not."""
    words = text.split("\n", 1)[0].split()
    if len(words) >= _LONGEST_HEADER:
        return 0
    try:
        for word in words:
            number(word, "")
    except ValueError:
        return 1
    return 0 if words else 1


def _matrices(table: Table) -> Float64[Tensor, "F 4 4"]:
    upper = table.values[:, -12:].unflatten(1, (3, 4))
    return assemble(upper[:, :, :3], upper[:, :, 3])


def _read(path: Path, request: Request) -> RawTrack:
    """Any of the variants with normalised intrinsics: they are read alike."""
    text = read_text(path)
    table = read_table(path, (_WITH_TIME, _WITHOUT), text, _header_lines(text))
    intrinsics = table.values[:, -18:-14]
    far = (intrinsics[:, 2:].abs().amax(dim=1) > _LARGEST_CENTRE).nonzero()
    if len(far):
        row = int(far[0])
        raise ValueError(
            f"{path}: line {table.lines[row]}: principal point {digits(intrinsics[row, 2:].tolist())}: these are "
            "pixels, expected fractions of width and height (18 columns in pixels are format 'cami2v_eval')"
        )
    matrices, notes = _matrices(table), ()
    times = _times(path, table) if table.values.shape[1] == _WITH_TIME else None
    if times is None and (torch.linalg.det(matrices[:, :3, :3]) < 0).all():
        matrices = matrices * torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
        notes = ("every pose is mirrored (CamI2V's own files are so): the x axis of the world is turned round",)
    return RawTrack(matrices, "opencv_w2c", intrinsics=intrinsics, times=times, notes=notes)


def _times(path: Path, table: Table) -> Float64[Tensor, "F"] | None:
    """Seconds from the first frame; None when all time stamps are the same, which says nothing."""
    stamps = table.values[:, 0]
    if (stamps == stamps[0]).all():
        return None
    require_growing(path, table, "time stamp")
    return (stamps - stamps[0]) / _MICROSECONDS


def _read_eval(path: Path, request: Request) -> RawTrack:
    table = read_table(path, (_WITHOUT,), read_text(path))
    return RawTrack(_matrices(table), "opencv_w2c", intrinsics_px=table.values[:, :4])


def _rows(track: CameraTrack, intrinsics: Float64[Tensor, "F 4"]) -> list[str]:
    upper = from_opencv_c2w(track.c2w, "opencv_w2c")[:, :3].flatten(1)
    return [f"{digits(lens)} 0 0 {digits(row)}" for lens, row in zip(intrinsics.tolist(), upper.tolist(), strict=True)]


def _write_timed(track: CameraTrack, path: Path, size: Size | None) -> None:
    # counted from the first frame first: microseconds of a late start would lose digits
    stamps = ((track.times - track.times[0]) * _MICROSECONDS).round() + (track.times[0] * _MICROSECONDS).round()
    if not (stamps.diff() > 0).all():
        raise ValueError(f"{path}: frames less than a microsecond apart; this format counts microseconds")
    if float(track.times[0]) != 0:
        logger.info("%s: read again, its times count from its first frame", path)
    rows = _rows(track, track.intrinsics)
    write_lines(path, ["", *(f"{int(stamp)} {row}" for stamp, row in zip(stamps.tolist(), rows, strict=True))])


def _write_fun_camera(track: CameraTrack, path: Path, size: Size | None) -> None:
    write_lines(path, ["", *(f"0 {row}" for row in _rows(track, track.intrinsics))])


def _write_cami2v(track: CameraTrack, path: Path, size: Size | None) -> None:
    write_lines(path, ["https://xxx", *(f"{_DUMMY_TIME} {row}" for row in _rows(track, track.intrinsics))])


def _write_eval(track: CameraTrack, path: Path, size: Size | None) -> None:
    assert size is not None, "needs_size"
    write_lines(path, _rows(track, to_pixels(track.intrinsics, size)))


def _same_as_realestate10k(sample: Sample) -> str | None:
    """CameraCtrl's files are RealEstate10K's; one name for a file that nobody named is enough."""
    return None


FORMATS = (
    Format(
        "realestate10k",
        "RealEstate10K: w2c, OpenCV, normalised intrinsics, microseconds",
        _recognise_realestate10k,
        _read,
        _write_timed,
    ),
    Format(
        "cameractrl",
        "CameraCtrl and AC3D: the same file as realestate10k",
        _same_as_realestate10k,
        _read,
        _write_timed,
    ),
    Format(
        "fun_camera",
        "VideoX-Fun's Fun-Camera: as realestate10k, time stamps 0 or none",
        _recognise_fun_camera,
        _read,
        _write_fun_camera,
        holds_times=False,
    ),
    Format(
        "cami2v",
        "CamI2V demo: as realestate10k, one dummy time stamp",
        _recognise_cami2v,
        _read,
        _write_cami2v,
        holds_times=False,
    ),
    Format(
        "cami2v_eval",
        "CamI2V evaluation camera_data: w2c, OpenCV, intrinsics in pixels",
        _recognise_cami2v_eval,
        _read_eval,
        _write_eval,
        needs_size=True,
        holds_times=False,
    ),
)
"""The five variants."""
