"""ViPE's artifacts, and the folder that LingBot-World takes its camera from.

nv-tlabs/vipe, vipe/utils/io.py: pose/NAME.npz holds data [N,4,4], c2w in OpenCV axes, and inds [N], the numbers of the
frames; intrinsics/NAME.npz holds data [N,4 or more] (fx, fy, cx, cy, distortion) in pixels, and inds;
intrinsics/NAME_camera.txt the camera's type a frame. Translations are near metres (ViPE, arXiv 2508.10934).
Robbyant/lingbot-world, wan/image2video.py: poses.npy [N,4,4], c2w "opencv coordinate", and intrinsics.npy [N,4] in
pixels of a picture of 480 x 832, which stands for the whole picture whatever its shape.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from camera.formats.array_parts import as_matrices, repeated
from camera.formats.core import DEFAULT_FPS, Format, RawTrack, Request
from camera.formats.losses import pixel_intrinsics
from camera.formats.npz import array_names, read_array, write_npy
from camera.formats.sample import Sample
from camera.intrinsics import Size
from camera.track import CameraTrack

LINGBOT_SIZE = (480, 832)
"""(height, width) to which LingBot-World takes its intrinsics to belong."""
_NEAR_CENTRE = 0.1


def recognise_artifact(sample: Sample) -> str | None:
    """The evidence of a file pose/NAME.npz of ViPE, or None."""
    if sample.is_folder or sample.path.suffix != ".npz":
        return None
    try:
        names = array_names(sample.path)
    except (ValueError, OSError):
        return None
    return "members data and inds of ViPE's poses" if {"data", "inds"} <= set(names) else None


def _recognise(sample: Sample) -> str | None:
    if sample.is_folder and sample.path.joinpath("pose").is_dir() and sample.path.joinpath("intrinsics").is_dir():
        return "folders pose and intrinsics of ViPE"
    return recognise_artifact(sample)


def read_vipe(path: Path, request: Request) -> RawTrack:
    """Read ViPE's poses with the intrinsics that lie beside them.

    Args:
        path: pose/NAME.npz, or the folder of results when it holds one video.
        request: `fps` turns the frames' numbers into times where frames are missing.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of other shapes, several videos in the folder, poses and intrinsics of other frames, a
            panorama.
    """
    poses = _pose_file(path)
    matrices = as_matrices(read_array(poses, "data", (None, 4, 4)))
    frames = _frame_numbers(poses, len(matrices))
    lens, notes = _lens_beside(poses, frames)
    times = None
    if len(frames) and not torch.equal(frames, torch.arange(len(frames), dtype=torch.float64) + frames[0]):
        fps = request.fps or DEFAULT_FPS
        times = (frames - frames[0]) / fps
        notes += (
            f"some frames have no pose; the times of the others are at {fps:g} frames per second (fps= or --fps)",
        )
    notes += ("ViPE's metres are estimated",)
    return RawTrack(matrices, "opencv_c2w", intrinsics_px=lens, times=times, scale="metric", notes=notes)


def _pose_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = sorted((path / "pose").glob("*.npz"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files[:5]) or "none"
        raise ValueError(f"{path}: expected one file in pose/, found {len(files)} ({names}); name the file itself")
    return files[0]


def _frame_numbers(path: Path, count: int) -> Float64[Tensor, "N"]:
    frames = read_array(path, "inds", (None,))
    if len(frames) != count or not (frames.diff() > 0).all() or not frames.isfinite().all():
        raise ValueError(f"{path}, member inds: expected {count} increasing frame numbers, found {len(frames)}")
    return frames


def _lens_beside(poses: Path, frames: Float64[Tensor, "N"]) -> tuple[Float64[Tensor, "N 4"] | None, tuple[str, ...]]:
    """(fx, fy, cx, cy) from ../intrinsics/NAME.npz, where it is there, and what to tell of it."""
    path = poses.parent.parent / "intrinsics" / poses.name
    if not path.is_file():
        return None, (f"has no {path}, so that its lens is not known",)
    rows = read_array(path, "data", *[(None, width) for width in range(4, 13)])
    numbers = _frame_numbers(path, len(rows))
    missing = ~torch.isin(frames, numbers)
    if missing.any():
        raise ValueError(f"{path}: has no intrinsics for frame {int(frames[missing][0])}, which has a pose")
    lens = rows[torch.searchsorted(numbers, frames)]
    types = _camera_types(path.with_name(f"{poses.stem}_camera.txt"))
    if any("PANO" in name for name in types):
        raise ValueError(f"{path}: its camera is a panorama, which is no pinhole")
    bent = [name for name in types if name != "PINHOLE"]
    if bent or rows.shape[1] > 4:
        return lens[:, :4], (f"the distortion of its camera ({', '.join(bent) or 'unnamed'}) is ignored",)
    return lens, ()


def _camera_types(path: Path) -> list[str]:
    """The types that a NAME_camera.txt names ("0: PINHOLE"), each once."""
    if not path.is_file():
        return []
    text = path.read_bytes()[: 2**20].decode("utf-8", errors="replace")
    return sorted({line.partition(":")[2].strip()[:30] for line in text.splitlines() if ":" in line})


def _recognise_lingbot(sample: Sample) -> str | None:
    if sample.is_folder and {"poses.npy", "intrinsics.npy"} <= set(sample.names):
        return "poses.npy and intrinsics.npy of LingBot-World"
    return None


def read_lingbot(path: Path, request: Request) -> RawTrack:
    """Read poses.npy and intrinsics.npy; of more intrinsics than poses the first are taken, as LingBot-World does.

    Raises:
        FileNotFoundError: one of the two is missing.
        ValueError: damaged, of other shapes, or too few intrinsics; names the file.
    """
    matrices = as_matrices(read_array(path, "poses", (None, 4, 4)))
    rows = read_array(path, "intrinsics", (None, 4), (4,)).reshape(-1, 4)
    notes: tuple[str, ...] = ()
    if len(rows) > len(matrices):
        notes = (f"has {len(rows)} intrinsics for {len(matrices)} poses; the first are taken",)
        rows = rows[: len(matrices)]
    lens = repeated(rows, len(matrices), str(path / "intrinsics.npy"))
    size = LINGBOT_SIZE if _is_near_centre(lens, LINGBOT_SIZE) else None
    if size is not None and request.size is None:
        notes += ("its intrinsics are taken to be of a picture of 480x832, as LingBot-World does (size= or --size)",)
    return RawTrack(matrices, "opencv_c2w", intrinsics_px=lens, size=size, notes=notes)


def write_lingbot(track: CameraTrack, path: Path, size: Size | None) -> None:
    """Write poses.npy and intrinsics.npy, float32, with intrinsics of 480 x 832 pixels, which stand for any size.

    Raises:
        ValueError: another size is asked for.
    """
    if size not in (None, LINGBOT_SIZE):
        raise ValueError(f"{path}: LingBot-World reads its intrinsics as of 480x832 pixels; leave size (--size) out")
    lens_px = pixel_intrinsics(track, LINGBOT_SIZE, path)
    write_npy(path / "intrinsics.npy", lens_px.numpy().astype(np.float32))
    write_npy(path / "poses.npy", track.c2w.numpy().astype(np.float32))


def _is_near_centre(lens: Float64[Tensor, "N 4"], size: Size) -> bool:
    """True when the principal points fit a picture of that size, which they do not when it is of another."""
    height, width = size
    offset = lens[:, 2:] / torch.tensor([width, height], dtype=torch.float64) - 0.5
    return bool((offset.abs() < _NEAR_CENTRE).all())


FORMATS: Sequence[Format] = (
    Format(
        "vipe",
        "ViPE results (pose/NAME.npz or the folder): c2w, OpenCV axes, metres; intrinsics in pixels; read only",
        _recognise,
        read_vipe,
        # lingbot holds the same in two plain files
        write=None,
    ),
    Format(
        "lingbot",
        "LingBot-World folder (poses.npy, intrinsics.npy): c2w, OpenCV axes; pixels of 480x832, per frame; no times",
        _recognise_lingbot,
        read_lingbot,
        write_lingbot,
        precision=1e-6,
        holds_times=False,
        scale="unknown",
    ),
)
