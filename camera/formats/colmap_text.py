"""COLMAP's text files, line by line (colmap/colmap, doc/format.rst, "Text File Format")."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from camera.formats.colmap_model import MODELS, Camera, Image, cameras_by_number, checked_camera
from common.files import atomic_path

_MAX_LINE = 2**24


def read_cameras(path: Path) -> dict[int, Camera]:
    """Cameras by number: lines CAMERA_ID MODEL WIDTH HEIGHT PARAMS...; ValueError names the line."""
    cameras = []
    for where, line in _lines(path):
        fields = line.split()
        if not fields or line.startswith("#"):
            continue
        if len(fields) < 4 or fields[1] not in MODELS:
            raise ValueError(f"{where}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS..., found '{line[:60].strip()}'")
        model = MODELS[fields[1]]
        number, width, height = _integers((fields[0], *fields[2:4]), where)
        parameters = _numbers(fields[4:], where)
        if len(parameters) != model.parameters:
            raise ValueError(f"{where}: {model.name} has {model.parameters} parameters, found {len(parameters)}")
        cameras.append(checked_camera(Camera(number, model, width, height, parameters), where))
    return cameras_by_number(cameras, path)


def read_images(path: Path) -> list[Image]:
    """Images: a line IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of points, often empty.

    Raises:
        ValueError: names the line.
    """
    images = []
    lines = _lines(path)
    for where, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(maxsplit=9)
        if len(fields) != 10:
            raise ValueError(f"{where}: expected 10 fields (IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME), found "
                             f"{len(fields)}: '{line[:60].strip()}'")  # fmt: skip
        number, camera_id = _integers((fields[0], fields[8]), where)
        images.append(Image(number, _numbers(fields[1:8], where), camera_id, fields[9].strip()))
        _skip_points(*next(lines, (where, "")))
    return images


def write_model(folder: Path, cameras: Sequence[Camera], images: Sequence[Image]) -> None:
    """Write cameras.txt, images.txt and an empty points3D.txt, each whole or not there."""
    camera_lines = ["# Camera list with one line of data per camera:", "#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for camera in cameras:
        numbers = " ".join(map(repr, camera.parameters))
        camera_lines.append(f"{camera.number} {camera.model.name} {camera.width} {camera.height} {numbers}")
    image_lines = [
        "# Image list with two lines of data per image:",
        "#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME",
        "#   POINTS2D[] as (X, Y, POINT3D_ID)",
    ]
    for image in images:
        image_lines += [f"{image.number} {' '.join(map(repr, image.pose))} {image.camera_id} {image.name}", ""]
    contents = {
        "points3D": ["# 3D point list with one line of data per point:"],
        "images": image_lines,
        "cameras": camera_lines,
    }
    for name, lines in contents.items():
        with atomic_path(folder / f"{name}.txt") as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines with their place; a line of points may be long, but not without end."""
    with path.open(encoding="utf-8-sig") as file:
        number = 0
        while True:
            number += 1
            try:
                line = file.readline(_MAX_LINE)
            except UnicodeDecodeError:
                raise ValueError(f"{path}, line {number} or after: is not UTF-8 text") from None
            if not line:
                return
            if len(line) == _MAX_LINE:
                raise ValueError(f"{path}, line {number}: is longer than {_MAX_LINE:,} characters")
            yield f"{path}, line {number}", line


def _skip_points(where: str, line: str) -> None:
    """Refuse a line that is no list of points: without it every second image would go unread."""
    fields = line.split()
    if len(fields) % 3 or (fields and not fields[-1].lstrip("-").isdecimal()):
        raise ValueError(f"{where}: expected the image's points (X Y POINT3D_ID ...) or an empty line, found "
                         f"'{line[:60].strip()}'")  # fmt: skip


def _integers(fields: Sequence[str], where: str) -> tuple[int, ...]:
    wrong = [field for field in fields if not (field.isascii() and field.isdecimal() and len(field) < 19)]
    if wrong:
        raise ValueError(f"{where}: '{wrong[0][:30]}' is no whole number")
    return tuple(map(int, fields))


def _numbers(fields: Sequence[str], where: str) -> tuple[float, ...]:
    numbers = []
    for field in fields:
        try:
            numbers.append(float(field))
        except ValueError:
            raise ValueError(f"{where}: '{field[:30]}' is no number") from None
    return tuple(numbers)
