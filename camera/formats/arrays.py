"""Poses as arrays: VGGT, DUSt3R, SANA-WM, and bare matrices. Read by `camera.formats.npz`, which unpickles nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from camera.conventions import from_opencv_c2w
from camera.formats import monst3r, vipe
from camera.formats.array_parts import as_matrices, lens_of_matrices, matrices_of_lens, repeated
from camera.formats.core import Format, RawTrack, Request
from camera.formats.losses import frame_rate, pixel_intrinsics
from camera.formats.npz import array_names, read_array, read_header, write_npy, write_npz
from camera.formats.sample import Sample
from camera.intrinsics import Size
from camera.track import CameraTrack

_POSES = ((None, 4, 4), (None, 3, 4))
_DUST3R_POSES = ("poses", "im_poses", "cams2world")
_DUST3R_CENTRES = ("principal_points", "pps", "pp")
_DUST3R_PICTURES = ("imgs", "depthmaps", "depths")
_SQUARE = 1e-6


def _names(path: Path) -> tuple[str, ...]:
    """Names of the arrays of a file or folder; none when it is no container or a damaged one."""
    if not (path.is_dir() or path.suffix in (".npz", ".npy")):
        return ()
    try:
        return array_names(path)
    except (ValueError, OSError):
        return ()


def _by_members(*wanted: str) -> Callable[[Sample], str | None]:
    """A recogniser by the names of an .npz file's members."""

    def recognise(sample: Sample) -> str | None:
        found = set(_names(sample.path)) if sample.path.suffix == ".npz" else set()
        return f"members {', '.join(wanted)}" if found >= set(wanted) else None

    return recognise


def _size_of(path: Path, names: Sequence[str], rank: int, height_axis: int) -> Size | None:
    """(height, width) of the pictures or depth maps that are stored beside the poses."""
    for name in names:
        if name in array_names(path):
            shape = read_header(path, name).shape
            if len(shape) >= rank and min(shape[height_axis : height_axis + 2]) > 0:
                return shape[height_axis], shape[height_axis + 1]
    return None


def read_vggt(path: Path, request: Request) -> RawTrack:
    """Read VGGT's predictions: extrinsic [S,3,4], w2c in OpenCV axes, and intrinsic [S,3,3] in pixels.

    facebookresearch/vggt, demo_gradio.py writes them as predictions.npz, beside depth [S,H,W,1] and images [S,3,H,W],
    from which the size of the preprocessed pictures is taken; vggt/utils/pose_enc.py makes them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or of other shapes; names the member.
    """
    matrices = as_matrices(read_array(path, "extrinsic", (None, 3, 4), (None, 4, 4), (1, None, 3, 4)))
    lens = lens_of_matrices(read_array(path, "intrinsic", (None, 3, 3), (1, None, 3, 3)), f"{path}, member intrinsic")
    size = _size_of(path, ("depth",), 3, 1) or _size_of(path, ("images",), 4, 2)
    return RawTrack(
        matrices, "opencv_w2c", intrinsics_px=repeated(lens, len(matrices), f"{path}: intrinsic"), size=size
    )


def write_vggt(track: CameraTrack, path: Path, size: Size | None) -> None:
    """Write extrinsic and intrinsic in float32, for pictures of `size` (height, width); ValueError without one."""
    lens_px = pixel_intrinsics(track, size, path)
    w2c = from_opencv_c2w(track.c2w, "opencv_w2c")[:, :3]
    arrays = {"extrinsic": w2c, "intrinsic": matrices_of_lens(lens_px)}
    write_npz(path, {name: tensor.numpy().astype(np.float32) for name, tensor in arrays.items()})


def _first(names: Sequence[str], path: Path) -> str | None:
    return next((name for name in names if name in array_names(path)), None)


def _recognise_dust3r(sample: Sample) -> str | None:
    found = _names(sample.path)
    poses = next((name for name in _DUST3R_POSES if name in found), None)
    return None if poses is None or "focals" not in found else f"arrays {poses} and focals"


def read_dust3r(path: Path, request: Request) -> RawTrack:
    """Read what DUSt3R's and MonST3R's scenes give out, saved as an .npz or as a folder of .npy files.

    naver/dust3r, dust3r/cloud_opt/base_opt.py: get_im_poses [N,4,4] is c2w in OpenCV axes, get_focals [N,1] and
    get_principal_points [N,2] are in pixels of the pictures as the network saw them (long side 512). They have no file
    of their own, so the getters' names are looked for: poses, im_poses or cams2world; focals; principal_points, pps or
    pp, in the middle when absent, as the optimizer has them. imgs [N,H,W,3] or depthmaps [N,H,W] tell the size.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of other shapes, or without focals; names the array.
    """
    name = _first(_DUST3R_POSES, path)
    if name is None:
        raise ValueError(f"{path}: has no array {', '.join(_DUST3R_POSES)} ({', '.join(array_names(path)) or 'none'})")
    matrices = as_matrices(read_array(path, name, *_POSES))
    focals = read_array(path, "focals", (None,), (None, 1)).reshape(-1, 1)
    focals = repeated(focals, len(matrices), f"{path}: focals")
    size = request.size or _size_of(path, _DUST3R_PICTURES, 3, 1)
    centre_name, notes = _first(_DUST3R_CENTRES, path), ()
    if centre_name is not None:
        centres = repeated(read_array(path, centre_name, (None, 2)), len(matrices), f"{path}: {centre_name}")
    elif size is None:
        raise ValueError(f"{path}: has focal lengths in pixels, but no principal points and no pictures; pass "
                         "size=(height, width) of the pictures that DUSt3R saw (--size), long side 512")  # fmt: skip
    else:
        notes = ("has no principal points; taken is the middle of the picture, as DUSt3R does",)
        centres = torch.tensor([size[1] / 2, size[0] / 2], dtype=torch.float64).expand(len(matrices), 2)
    lens = torch.cat((focals, focals, centres), dim=-1)
    return RawTrack(matrices, "opencv_c2w", intrinsics_px=lens, size=size, notes=notes)


def write_dust3r(track: CameraTrack, path: Path, size: Size | None) -> None:
    """Write poses [N,4,4], focals [N,1] and principal_points [N,2], in float32 and pixels of `size`.

    Raises:
        ValueError: no size, or pixels that are not square: there is one focal length a frame.
    """
    lens_px = pixel_intrinsics(track, size, path)
    uneven = ((lens_px[:, 0] / lens_px[:, 1] - 1).abs() > _SQUARE).nonzero()
    if len(uneven):
        frame = int(uneven[0])
        raise ValueError(f"{path}: this format has one focal length a frame; frame {frame} has {lens_px[frame, 0]:g} "
                         f"across and {lens_px[frame, 1]:g} pixels down. Is the size right?")  # fmt: skip
    arrays = {"poses": track.c2w, "focals": lens_px[:, :1], "principal_points": lens_px[:, 2:]}
    write_npz(path, {name: tensor.numpy().astype(np.float32) for name, tensor in arrays.items()})


def read_sana(path: Path, request: Request) -> RawTrack:
    """Read SANA-WM-Bench: c2w [N,4,4] in OpenCV axes and metres, intrinsics [N,3,3] in pixels, fps, num_frames.

    nvlabs.github.io/Sana/docs/sana-wm-bench. The pixels are those of the source picture, whose size is not in the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of other shapes, or another number of poses than num_frames; names the member.
    """
    matrices = as_matrices(read_array(path, "c2w", *_POSES))
    lens = lens_of_matrices(read_array(path, "intrinsics", (None, 3, 3)), f"{path}, member intrinsics")
    fps = float(read_array(path, "fps", (), (1,)).reshape(()))
    if not 0 < fps < float("inf"):
        raise ValueError(f"{path}, member fps: {fps:g}; expected frames per second, above 0")
    if "num_frames" in array_names(path):
        frames = float(read_array(path, "num_frames", (), (1,)).reshape(()))
        if frames != len(matrices):
            raise ValueError(f"{path}, member num_frames: {frames:g}, but c2w has {len(matrices)} poses")
    lens = repeated(lens, len(matrices), f"{path}: intrinsics")
    return RawTrack(matrices, "opencv_c2w", intrinsics_px=lens, fps=fps, scale="metric")


def write_sana(track: CameraTrack, path: Path, size: Size | None) -> None:
    """Write c2w, intrinsics in pixels of `size`, fps and num_frames; ValueError without a size or an even fps."""
    lens_px, fps = pixel_intrinsics(track, size, path), frame_rate(track, path)
    arrays = {"c2w": track.c2w, "intrinsics": matrices_of_lens(lens_px)}
    counts = {"fps": np.float64(fps), "num_frames": np.int64(len(track))}
    write_npz(path, {name: tensor.numpy().astype(np.float32) for name, tensor in arrays.items()} | counts)


def _pose_arrays(path: Path) -> list[str]:
    """Names of the arrays of a file that have the shape of poses."""
    names = []
    for name in _names(path)[:16] if path.is_file() else ():
        shape = read_header(path, name).shape
        if len(shape) == 3 and shape[1:] in ((4, 4), (3, 4)):
            names.append(name)
    return names


def _recognise_matrices(sample: Sample) -> str | None:
    others = (_by_members("extrinsic", "intrinsic"), _recognise_dust3r, _by_members("c2w", "intrinsics", "fps"))
    if any(other(sample) for other in (*others, vipe.recognise_artifact)):
        return None
    try:
        found = _pose_arrays(sample.path)
    except (ValueError, OSError):
        return None
    return f"{'an array' if len(found) == 1 else f'{len(found)} arrays'} of [N, 4, 4] or [N, 3, 4]" if found else None


def read_matrices(path: Path, request: Request) -> RawTrack:
    """Read the one array of [N,4,4] or [N,3,4] matrices in an .npy or .npz; what they mean, the user has to say.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or no such array, or several; names them.
    """
    if path.suffix == ".npy":
        return RawTrack(as_matrices(read_array(path, "", *_POSES)), convention=None)
    found = _pose_arrays(path)
    if len(found) != 1:
        names = ", ".join(found or array_names(path)[:8]) or "no arrays at all"
        raise ValueError(
            f"{path}: expected one array of [N, 4, 4] or [N, 3, 4], found {len(found)} (arrays: {names}). Save the "
            "poses alone, as an .npy"
        )
    return RawTrack(as_matrices(read_array(path, found[0], *_POSES)), convention=None)


def write_matrices(track: CameraTrack, path: Path, size: Size | None) -> None:
    """Write the c2w matrices alone, [N,4,4] in float64; they are read back with `convention` opencv_c2w."""
    write_npy(path, track.c2w.numpy())


FORMATS = (
    Format(
        "vggt",
        "VGGT predictions (.npz): w2c, OpenCV axes; intrinsics in pixels, per frame; no times",
        _by_members("extrinsic", "intrinsic"),
        read_vggt,
        write_vggt,
        precision=3e-6,
        needs_size=True,
        holds_times=False,
        scale="unknown",
    ),
    Format(
        "dust3r",
        "DUSt3R or MonST3R scene (.npz or folder): c2w, OpenCV axes; one focal length a frame in pixels; no times",
        _recognise_dust3r,
        read_dust3r,
        write_dust3r,
        precision=3e-6,
        needs_size=True,
        holds_times=False,
        scale="unknown",
    ),
    Format(
        "sana",
        "SANA-WM-Bench (.npz): c2w, OpenCV axes, metres; intrinsics in pixels, per frame; frames per second",
        _by_members("c2w", "intrinsics", "fps"),
        read_sana,
        write_sana,
        precision=3e-6,
        needs_size=True,
        scale="metric",
    ),
    Format(
        "numpy",
        "bare matrices [N,4,4] or [N,3,4] (.npy or .npz): convention by --convention; no intrinsics, no times",
        _recognise_matrices,
        read_matrices,
        write_matrices,
        precision=1e-12,
        lens="none",
        holds_times=False,
        scale="unknown",
    ),
    *monst3r.FORMATS,
    *vipe.FORMATS,
)
