"""DL3DV-10K and other scenes in nerfstudio's layout: pictures and transforms.json, made into a video and its camera.

    SUBSET/HASH/transforms.json, SUBSET/HASH/images_4/frame_00001.png ...   (960P; 480P has images_8)

DL3DV-10K/Dataset, scripts/download.py: the hub's DL3DV/DL3DV-ALL-480P ... -4K hold SUBSET/HASH.zip, SUBSET 1K to 11K;
the card of DL3DV/DL3DV-10K-Sample shows a scene's folders, there below colmap/. `file_path` in transforms.json says
images/frame_00001.png whatever the folder of the size that was downloaded is called, so that the name alone counts.

The lens distortion of transforms.json (COLMAP's OPENCV model) is taken out of the pictures, whose camera is then the
pinhole that the poses and the intrinsics describe. Pictures without a pose would make the camera jump: a scene is cut
there, and each unbroken run of them becomes a video. The poses have no times; the video's rate gives them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import torch

from camera.formats import load_trajectory
from camera.formats.documents import finite, read_json
from camera.intrinsics import intrinsics_of_k_px, k_px_of
from camera.track import CameraTrack
from common.media import IMAGE_EXTENSIONS, read_image
from dataset.fingerprint import file_fingerprint, text_fingerprint
from tools.preparation.archives import visible_files
from tools.preparation.cameras import is_done, save_camera
from tools.preparation.captions import CaptionBook
from tools.preparation.options import Common
from tools.preparation.output import Prepared
from tools.preparation.video import encode_video

_FOLDERS = ("images_4", "images_8", "images_2", "images")
_DISTORTION = ("k1", "k2", "p1", "p2", "k3")
"""In OpenCV's order."""
_TRANSFORMS = "transforms.json"


@dataclass(frozen=True)
class Told:
    """What the user says of the scenes."""

    book: CaptionBook
    fps: float
    """Frames per second of the videos that are made."""
    images: str | None
    """Name of the folder of pictures; None: the first of the usual ones."""
    min_frames: int
    """Shorter runs are left out."""


@dataclass(frozen=True)
class Scene:
    """A folder with a transforms.json."""

    path: Path
    """Of transforms.json."""
    name: str
    """Of the scene: the folder that the archive of it is named after."""


@dataclass(frozen=True)
class Run:
    """Pictures that follow each other without a gap."""

    pictures: tuple[Path, ...]
    poses: tuple[int, ...]
    """Which entry of transforms.json each has."""


def find_scenes(roots: list[Path]) -> list[Scene]:
    """Every transforms.json below some folders; a scene is called as its folder, colmap and such left out."""
    found = [path for root in roots for path in visible_files(root) if path.name == _TRANSFORMS]
    return [Scene(path, _scene_name(path)) for path in found]


def _scene_name(path: Path) -> str:
    plain = {"colmap", "nerfstudio", "gaussian_splat"}
    return next(parent.name for parent in path.absolute().parents if parent.name not in plain)


def prepare_scene(scene: Scene, told: Told, common: Common, taken: dict[str, Path]) -> list[Prepared]:
    """Make the videos and camera files of one scene.

    Args:
        scene: of `find_scenes`.
        told: what the user says.
        common: of the tool.
        taken: names of scenes of this run, to which this one is added.

    Raises:
        ValueError: it has no usable poses or pictures, or its name is another scene's.
        FileNotFoundError: its folder of pictures is missing.
    """
    if taken.setdefault(scene.name, scene.path) != scene.path:
        raise ValueError(f"{scene.path}: a second scene {scene.name!r}, after {taken[scene.name]}")
    caption = told.book.find(scene.name)
    track = load_trajectory(scene.path, format="dl3dv", fps=told.fps)
    document = read_json(scene.path)
    assert isinstance(document, dict), "or it would not have been read"
    runs = [run for run in find_runs(document, scene.path, told.images) if len(run.pictures) >= told.min_frames]
    if not runs:
        raise ValueError(f"{scene.path}: no {told.min_frames} pictures in a row have poses")
    prepared = []
    for number, run in enumerate(runs):
        name = scene.name if len(runs) == 1 else f"{scene.name}_{number}"
        prepared.append(_prepare_run(run, name, (document, track, caption), scene, told, common))
    return prepared


def _prepare_run(
    run: Run, name: str, parts: tuple[Mapping[str, Any], CameraTrack, str], scene: Scene, told: Told, common: Common
) -> Prepared:
    document, track, caption = parts
    video, camera = Path("videos") / f"{name}.mp4", Path("safetensors") / f"{name}.safetensors"
    record = {"video_path": video.as_posix(), "caption": caption, "camera_file": camera.as_posix()}
    pictures = [f"{path.name} {path.stat().st_size}" for path in run.pictures]
    fingerprint = text_fingerprint(file_fingerprint(scene.path), f"{told.fps:g}", caption, *pictures)
    if common.dry_run:
        return Prepared(record)
    if is_done(common.folder / camera, fingerprint) and (common.folder / video).is_file():
        return Prepared(record, kept=True)
    chosen = list(run.poses)
    path = replace(
        track,
        c2w=track.c2w[chosen],
        intrinsics=track.intrinsics[chosen],
        times=torch.arange(len(chosen), dtype=torch.float64) / told.fps,
    ).rebased()
    lenses: list[torch.Tensor] = []
    frames = _undistorted(run.pictures, path, distortion_of(document, scene.path), lenses)
    (common.folder / camera).unlink(missing_ok=True)
    _, size = encode_video(common.folder / video, frames, Fraction(told.fps).limit_denominator(1001))
    height, width = read_image(run.pictures[0]).shape[:2]
    path = replace(path, intrinsics=torch.stack(lenses)).cropped((height, width), size)
    save_camera(common.folder / camera, path, caption, fingerprint)
    return Prepared(record)


def find_runs(document: Mapping[str, Any], path: Path, folder: str | None) -> list[Run]:
    """The pictures that have poses, in the order of their names, cut where one is missing.

    Args:
        document: of transforms.json.
        path: of it.
        folder: of the pictures, beside it; None: the first of images_4, images_8, images_2, images that is there.

    Raises:
        FileNotFoundError: there is no such folder; tells what is there.
    """
    pictures = _picture_folder(path.parent, folder)
    posed = {
        PurePosixPath(str(frame.get("file_path", ""))).stem: index for index, frame in enumerate(document["frames"])
    }
    runs: list[tuple[list[Path], list[int]]] = []
    broken = True
    for picture in (each for each in sorted(pictures.iterdir()) if each.suffix.lower() in IMAGE_EXTENSIONS):
        if picture.stem not in posed:
            broken = True
            continue
        if broken or _number(picture) != _number(runs[-1][0][-1]) + 1:
            runs.append(([], []))
        runs[-1][0].append(picture)
        runs[-1][1].append(posed[picture.stem])
        broken = False
    return [Run(tuple(pictures), tuple(poses)) for pictures, poses in runs]


def _picture_folder(scene: Path, folder: str | None) -> Path:
    wanted = _FOLDERS if folder is None else (folder,)
    found = next((scene / name for name in wanted if (scene / name).is_dir()), None)
    if found is None:
        there = ", ".join(sorted(path.name for path in scene.iterdir())) or "nothing"
        raise FileNotFoundError(f"{scene}: no folder {' or '.join(wanted)} of pictures; there is {there}")
    return found


def _number(picture: Path) -> int:
    digits = picture.stem.rpartition("_")[2]
    if not digits.isdigit():
        raise ValueError(f"{picture}: its name ends in no number; expected frame_00001 and so on")
    return int(digits)


def distortion_of(document: Mapping[str, Any], path: Path) -> np.ndarray:
    """(k1, k2, p1, p2, k3) of transforms.json, in OpenCV's order.

    Raises:
        ValueError: its camera is a fisheye, which is no pinhole with distortion.
    """
    if "FISHEYE" in str(document.get("camera_model")):
        raise ValueError(
            f"{path}: its camera_model {document['camera_model']} is a fisheye; expected PINHOLE or OPENCV"
        )
    return np.array([finite(document.get(key) or 0.0, f"{path}: {key}") for key in _DISTORTION])


def _undistorted(
    pictures: tuple[Path, ...], track: CameraTrack, distortion: np.ndarray, lenses: list[torch.Tensor]
) -> Iterator[np.ndarray]:
    """The pictures as the pinhole would see them, without invalid borders; the lens of each is added to `lenses`."""
    for picture, lens in zip(pictures, track.intrinsics, strict=True):
        image = read_image(picture)
        height, width = image.shape[:2]
        if not distortion.any():
            lenses.append(lens)
            yield image
            continue
        # OpenCV counts pixels from the centre of the first, we from its corner
        k_px = k_px_of(lens, (height, width)).numpy() - _HALF
        seen, _ = cv2.getOptimalNewCameraMatrix(k_px, distortion, (width, height), 0, (width, height))
        lenses.append(intrinsics_of_k_px(torch.from_numpy(np.asarray(seen, np.float64) + _HALF), (height, width)))
        yield cv2.undistort(image, k_px, distortion, newCameraMatrix=seen)


_HALF = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
