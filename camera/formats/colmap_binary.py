"""COLMAP's binary files (colmap/colmap, scripts/python/read_write_model.py): little-endian, without padding."""

import mmap
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from camera.formats.colmap_model import MODEL_OF_NUMBER, Camera, Image, cameras_by_number, checked_camera
from common.files import atomic_path

_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<IiQQ")
_IMAGE = struct.Struct("<I7dI")
_POINT_BYTES = 24
_MAX_NAME = 4096


def read_cameras(path: Path) -> dict[int, Camera]:
    """Cameras by number: a count, then (number, model, width, height, parameters); ValueError names the byte."""
    cameras = []
    with _mapped(path) as data:
        (count,), offset = _take(data, 0, _COUNT, path)
        for _ in range(count):
            start = offset
            (number, model_number, width, height), offset = _take(data, offset, _CAMERA, path)
            model = MODEL_OF_NUMBER.get(model_number)
            if model is None:
                raise ValueError(f"{path}, byte {start}: camera {number} has model {model_number}, which is unknown")
            parameters, offset = _take(data, offset, struct.Struct(f"<{model.parameters}d"), path)
            camera = Camera(number, model, width, height, parameters)
            cameras.append(checked_camera(camera, f"{path}, byte {start}"))
        _refuse_rest(data, offset, path)
    return cameras_by_number(cameras, path)


def read_images(path: Path) -> list[Image]:
    """Images: a count, then (number, pose, camera, name, points, which are passed over); ValueError names the byte."""
    images = []
    with _mapped(path) as data:
        (count,), offset = _take(data, 0, _COUNT, path)
        for _ in range(count):
            (number, *pose, camera_id), offset = _take(data, offset, _IMAGE, path)
            name, offset = _take_name(data, offset, path)
            (points,), offset = _take(data, offset, _COUNT, path)
            offset += _POINT_BYTES * points
            if offset > len(data):
                raise ValueError(f"{path}: image {name} claims {points} points, more than the file has bytes for")
            images.append(Image(number, tuple(pose), camera_id, name))
        _refuse_rest(data, offset, path)
    return images


def write_model(folder: Path, cameras: Sequence[Camera], images: Sequence[Image]) -> None:
    """Write cameras.bin, images.bin and a points3D.bin without points, each whole or not there."""
    camera_parts = [_COUNT.pack(len(cameras))]
    for camera in cameras:
        camera_parts.append(_CAMERA.pack(camera.number, camera.model.number, camera.width, camera.height))
        camera_parts.append(struct.pack(f"<{len(camera.parameters)}d", *camera.parameters))
    image_parts = [_COUNT.pack(len(images))]
    for image in images:
        image_parts += [_IMAGE.pack(image.number, *image.pose, image.camera_id), image.name.encode(), b"\0"]
        image_parts.append(_COUNT.pack(0))
    contents = {"points3D": [_COUNT.pack(0)], "images": image_parts, "cameras": camera_parts}
    for name, parts in contents.items():
        with atomic_path(folder / f"{name}.bin") as temporary:
            temporary.write_bytes(b"".join(parts))


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    """The file's bytes, mapped, since its points can be gigabytes."""
    if path.stat().st_size == 0:
        raise ValueError(f"{path}, byte 0: the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _take(data: mmap.mmap, offset: int, layout: struct.Struct, path: Path) -> tuple[tuple, int]:
    """The values at an offset, and the offset after them."""
    after = offset + layout.size
    if after > len(data):
        raise ValueError(f"{path}, byte {offset}: is cut off; {layout.size} more bytes expected, {len(data)} in all")
    return layout.unpack_from(data, offset), after


def _take_name(data: mmap.mmap, offset: int, path: Path) -> tuple[str, int]:
    end = data.find(b"\0", offset, offset + _MAX_NAME)
    if end < 0:
        raise ValueError(f"{path}, byte {offset}: expected an image's name that ends in a zero byte")
    try:
        return data[offset:end].decode("utf-8"), end + 1
    except UnicodeDecodeError:
        raise ValueError(f"{path}, byte {offset}: an image's name is not UTF-8 text") from None


def _refuse_rest(data: mmap.mmap, offset: int, path: Path) -> None:
    if offset != len(data):
        raise ValueError(f"{path}, byte {offset}: {len(data) - offset} bytes more than its count says; it is damaged")
