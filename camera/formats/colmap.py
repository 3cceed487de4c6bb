"""COLMAP's sparse models: a folder with cameras and images as .txt or .bin.

Layout after colmap/colmap, scripts/python/read_write_model.py, and doc/format.rst: an image is a quaternion
(w, x, y, z) and a translation, world-to-camera in OpenCV axes; a camera has a model, a size and parameters in pixels,
with the centre of the upper left pixel at (0.5, 0.5), as here. Models and their numbers after
src/colmap/sensor/models.h (pycolmap 4.2). There are no times: images are taken in the order of their names, numbers in
names counted as numbers. Points are not read. Where both kinds of file are there, COLMAP reads .bin, and so does this.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.conventions import from_opencv_c2w
from camera.formats import colmap_binary, colmap_text
from camera.formats.array_parts import unit_rotation
from camera.formats.colmap_model import MODELS, Camera, Image
from camera.formats.core import Format, RawTrack, Request
from camera.formats.losses import pixel_intrinsics
from camera.formats.sample import Sample
from camera.intrinsics import Size
from camera.poses import assemble, quaternion_of
from camera.track import CameraTrack

_KINDS = {".bin": colmap_binary, ".txt": colmap_text}


def _model_folder(path: Path, kinds: Sequence[str]) -> tuple[Path, str] | None:
    """The folder at or below `path` that holds cameras and images, and the kind of its files."""
    for folder in (path, path / "sparse" / "0", path / "sparse", path / "0"):
        for kind in kinds:
            if (folder / f"cameras{kind}").is_file() and (folder / f"images{kind}").is_file():
                return folder, kind
    return None


def _recognise(sample: Sample, kind: str) -> str | None:
    found = _model_folder(sample.path, (".bin", ".txt")) if sample.is_folder else None
    if found is None or found[1] != kind:
        return None
    return f"cameras{kind} and images{kind} of COLMAP in {found[0]}"


def read_colmap(path: Path, request: Request, kinds: Sequence[str] = (".bin", ".txt")) -> RawTrack:
    """Read the poses and lenses of a sparse model.

    Args:
        path: the model's folder, or one with it in sparse/0.
        request: without `fps` the images count as consecutive frames.
        kinds: of files, the first found is read.

    Raises:
        FileNotFoundError: no model there.
        ValueError: damaged, or a camera without a lens; names file and line or byte.
    """
    found = _model_folder(path, kinds)
    if found is None:
        raise FileNotFoundError(f"{path}: no model of COLMAP; expected cameras and images as .txt or .bin, here or in "
                                "sparse/0")  # fmt: skip
    folder, kind = found
    cameras = _KINDS[kind].read_cameras(folder / f"cameras{kind}")
    images = sorted(_KINDS[kind].read_images(folder / f"images{kind}"), key=lambda image: _natural(image.name))
    _check_images(images, cameras, folder / f"images{kind}")
    used = [cameras[image.camera_id] for image in images]
    matrices = _matrices(images, folder / f"images{kind}")
    lens_px = torch.tensor([camera.lens for camera in used], dtype=torch.float64).reshape(-1, 4)
    sizes = {(camera.height, camera.width) for camera in used}
    if len(sizes) <= 1:
        size = next(iter(sizes), None)
        return RawTrack(matrices, "opencv_w2c", intrinsics_px=lens_px, size=size, notes=_notes(images, used))
    if request.size is not None:
        raise ValueError(f"{path}: its images have {len(sizes)} sizes, so that one size= (--size) cannot stand for all")
    widths = torch.tensor([[camera.width, camera.height] * 2 for camera in used], dtype=torch.float64)
    return RawTrack(matrices, "opencv_w2c", intrinsics=lens_px / widths, notes=_notes(images, used))


def write_colmap(track: CameraTrack, path: Path, size: Size | None, kind: str = ".txt") -> None:
    """Write a model without points: an image frame_NNNNNN.png per pose, a PINHOLE camera per lens.

    Raises:
        ValueError: no size; the folder holds a model of the other kind.
    """
    lens_px = pixel_intrinsics(track, size, path)
    assert size is not None
    other = next(name for name in _KINDS if name != kind)
    if any((path / f"{name}{other}").exists() for name in ("cameras", "images")):
        raise ValueError(f"{path}: holds a model as {other}; two models in a folder are mistaken for each other")
    w2c = from_opencv_c2w(track.c2w, "opencv_w2c")
    unique, which = torch.unique(lens_px, dim=0, return_inverse=True)
    cameras = [
        Camera(number, MODELS["PINHOLE"], size[1], size[0], tuple(row)) for number, row in enumerate(unique.tolist(), 1)
    ]
    rows = torch.cat((quaternion_of(w2c[:, :3, :3]), w2c[:, :3, 3]), dim=-1).tolist()
    images = [
        Image(number, tuple(row), camera + 1, f"frame_{number:06d}.png")
        for number, (row, camera) in enumerate(zip(rows, which.tolist(), strict=True), 1)
    ]
    _KINDS[kind].write_model(path, cameras, images)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A sorting key by which frame2 comes before frame10."""
    parts = re.findall(r"\d+|\D+", name)
    # a name of a million digits is no number of a frame
    return [(0, int(part), part) if part.isdecimal() and len(part) < 20 else (1, 0, part) for part in parts]


def _check_images(images: Sequence[Image], cameras: Mapping[int, Camera], path: Path) -> None:
    for image in images:
        if image.camera_id not in cameras:
            raise ValueError(f"{path}: image {image.name} has camera {image.camera_id}, which cameras does not list")
        if cameras[image.camera_id].model.focals == 0:
            name = cameras[image.camera_id].model.name
            raise ValueError(f"{path}: image {image.name} has a camera {name}, which has no focal length")
    for image, following in pairwise(images):
        if following.name == image.name:
            raise ValueError(f"{path}: two images have the name {image.name}")


def _matrices(images: Sequence[Image], path: Path) -> Float64[Tensor, "F 4 4"]:
    poses = torch.tensor([image.pose for image in images], dtype=torch.float64).reshape(-1, 7)
    return assemble(unit_rotation(poses[:, :4], [f"{path}: image {image.name}" for image in images]), poses[:, 4:])


def _notes(images: Sequence[Image], cameras: Sequence[Camera]) -> tuple[str, ...]:
    notes = []
    bent = sorted({camera.model.name for camera in cameras if camera.model.is_distorted})
    if bent:
        notes.append(f"the distortion of its cameras ({', '.join(bent)}) is ignored; undistort the pictures")
    folders = {image.name.rpartition("/")[0] for image in images}
    if len(folders) > 1:
        notes.append(f"its images lie in {len(folders)} folders; they are taken as one path, in the order of names")
    return tuple(notes)


FORMATS = (
    Format(
        "colmap",
        "COLMAP text model (folder): w2c, OpenCV axes; intrinsics in pixels, per frame; no times",
        partial(_recognise, kind=".txt"),
        partial(read_colmap, kinds=(".txt", ".bin")),
        partial(write_colmap, kind=".txt"),
        precision=1e-11,
        needs_size=True,
        holds_times=False,
        scale="unknown",
    ),
    Format(
        "colmap_bin",
        "COLMAP binary model (folder): w2c, OpenCV axes; intrinsics in pixels, per frame; no times",
        partial(_recognise, kind=".bin"),
        partial(read_colmap, kinds=(".bin", ".txt")),
        partial(write_colmap, kind=".bin"),
        precision=1e-11,
        needs_size=True,
        holds_times=False,
        scale="unknown",
    ),
)
