"""What COLMAP's files are made of: camera models, cameras and images."""

import math
from dataclasses import dataclass
from pathlib import Path

_MAX_SIDE = 10**6


@dataclass(frozen=True)
class Model:
    """A camera model of COLMAP."""

    number: int
    name: str
    parameters: int
    focals: int
    """1: f, cx, cy come first; 2: fx, fy, cx, cy; 0: a model without a focal length."""

    @property
    def is_distorted(self) -> bool:
        """True when it is more than a pinhole: parameters beyond the lens, or a fisheye."""
        return self.name not in ("SIMPLE_PINHOLE", "PINHOLE")


_ALL = (
    *(Model(0, "SIMPLE_PINHOLE", 3, 1), Model(1, "PINHOLE", 4, 2), Model(2, "SIMPLE_RADIAL", 4, 1)),
    *(Model(3, "RADIAL", 5, 1), Model(4, "OPENCV", 8, 2), Model(5, "OPENCV_FISHEYE", 8, 2)),
    *(Model(6, "FULL_OPENCV", 12, 2), Model(7, "FOV", 5, 2), Model(8, "SIMPLE_RADIAL_FISHEYE", 4, 1)),
    *(Model(9, "RADIAL_FISHEYE", 5, 1), Model(10, "THIN_PRISM_FISHEYE", 12, 2)),
    *(Model(11, "RAD_TAN_THIN_PRISM_FISHEYE", 16, 2), Model(12, "SIMPLE_DIVISION", 4, 1)),
    *(Model(13, "DIVISION", 5, 2), Model(14, "SIMPLE_FISHEYE", 3, 1), Model(15, "FISHEYE", 4, 2)),
    *(Model(16, "EUCM", 6, 2), Model(17, "EQUIRECTANGULAR", 2, 0)),
)
MODELS = {model.name: model for model in _ALL}
MODEL_OF_NUMBER = {model.number: model for model in _ALL}


@dataclass(frozen=True)
class Camera:
    """A line of cameras.txt."""

    number: int
    model: Model
    width: int
    height: int
    parameters: tuple[float, ...]
    """In pixels, the lens first."""

    @property
    def lens(self) -> tuple[float, float, float, float]:
        """(fx, fy, cx, cy) in pixels, of a model that has them."""
        one = self.model.focals == 1
        fx, fy, cx, cy = self.parameters[:1] * 2 + self.parameters[1:3] if one else self.parameters[:4]
        return fx, fy, cx, cy


@dataclass(frozen=True)
class Image:
    """The first of an image's two lines in images.txt."""

    number: int
    pose: tuple[float, ...]
    """World-to-camera: quaternion w, x, y, z and translation x, y, z."""
    camera_id: int
    name: str


def checked_camera(camera: Camera, where: str) -> Camera:
    """The camera, once its size and numbers are possible; ValueError says where they are not."""
    if not (0 < camera.width <= _MAX_SIDE and 0 < camera.height <= _MAX_SIDE):
        raise ValueError(f"{where}: camera {camera.number} is {camera.width} x {camera.height} pixels; expected 1 to "
                         f"{_MAX_SIDE:,}")  # fmt: skip
    if not all(map(math.isfinite, camera.parameters)):
        raise ValueError(f"{where}: camera {camera.number} has a parameter that is not finite")
    return camera


def cameras_by_number(cameras: list[Camera], path: Path) -> dict[int, Camera]:
    """Cameras by their number; ValueError when two share one."""
    by_number = {camera.number: camera for camera in cameras}
    if len(by_number) < len(cameras):
        raise ValueError(f"{path}: {len(cameras) - len(by_number)} cameras have the number of another")
    return by_number
