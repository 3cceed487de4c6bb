"""Structure from motion by pycolmap: points seen in pictures to cameras and a sparse scene.

Schönberger, Frahm, "Structure-from-Motion Revisited", CVPR 2016. Everything that is particular to COLMAP stays here:
its database, its w2c poses, its options. Its pixel coordinates put the centre of pixel i at i + 0.5, as ours do.

The incremental mapper refines the focal length from its first two pictures on, which on a video, whose first pictures
are hardly apart, leads astray. So it maps with a fixed one; `Dust3rP.refining` finds it at the end.
"""

import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64, Int64, UInt8

from camera.intrinsics import Size
from Dust3rP.point_tracks import PointTracks
from Dust3rP.refining import LOSS_PX, observations, refined

Lens4 = tuple[float, float, float, float]
"""Normalised (fx/W, fy/H, cx/W, cy/H)."""

_INSTALL = "pip install -r requirements-colmap.txt"
_SEED = 0
_LEAST_SHARED = 15
_ERROR_PX = 2.0
_LEAST_ANGLE_DEG = 1.0
_ENOUGH = 0.5
"""Share of the pictures that must be registered from the two that were chosen; else COLMAP chooses."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What was reconstructed, in a world and a unit of its own."""

    frames: Int64[np.ndarray, "R"]
    """Which pictures have a pose, increasing; indices of those given."""
    w2c: Float64[np.ndarray, "R 4 4"]
    """Their poses, OpenCV axes."""
    lens: Lens4
    focal_evidence: float
    """How much worse the pictures fit when the focal length is changed by a quarter: 0 if it cannot be told from this
    motion; infinity where it was given."""
    points: Float64[np.ndarray, "P 3"]
    seen_in: Int64[np.ndarray, "O"]
    """Observations: index of the picture (not of `frames`)."""
    seen_point: Int64[np.ndarray, "O"]
    """Observations: index of the point."""
    seen_key: Int64[np.ndarray, "O"]
    """Observations: index of the picture's own feature."""
    seen_error: Float64[np.ndarray, "O"]
    """Observations: distance to the projected point, in pixels of the pictures that were looked at."""
    seen_at: Float64[np.ndarray, "O 2"]
    """Observations: where, in those pixels."""
    size: Size
    """(height, width) of the pictures that were looked at."""


def load_pycolmap() -> ModuleType:
    """The optional package.

    Raises:
        ValueError: it is not installed; says how to install it.
    """
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        import pycolmap
    except ImportError as error:
        raise ValueError(f"pose backend 'colmap' needs the package pycolmap ({error}): {_INSTALL}") from None
    # its import takes the signal over and prints a native stack trace, where `common.cli` cleans up
    if terminate is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)
    return pycolmap


def from_tracks(
    pictures: Sequence[UInt8[np.ndarray, "H W 3"]],
    tracks: PointTracks,
    chosen: Sequence[int],
    lens: Lens4,
    known: bool,
    start: tuple[int, int],
) -> Scene | None:
    """Reconstruct pictures from points that were followed through a video.

    Args:
        pictures: the chosen ones.
        tracks: of the whole video.
        chosen: which of its frames the pictures are, increasing.
        lens: normalised intrinsics; square pixels are assumed, fx is used.
        known: the lens is certain, else its focal length is a first guess.
        start: two of the pictures, far apart, to begin with.

    Returns:
        None where nothing could be reconstructed.
    """
    colmap = load_pycolmap()
    with _workspace() as folder:
        images = _import(colmap, folder, pictures, tracks.size, lens)
        with colmap.Database.open(folder / "database.db") as database:
            for image, frame in zip(images, chosen, strict=True):
                database.write_keypoints(image, tracks.xy[frame])
            for first, second in _pairs(len(chosen)):
                one, two = tracks.shared(chosen[first], chosen[second])
                if len(one) >= _LEAST_SHARED:
                    matches = np.stack((one, two), axis=1).astype(np.uint32)
                    database.write_matches(images[first], images[second], matches)
        with _quiet(colmap):
            verifier = colmap.GeometricVerifierOptions()
            verifier.num_threads = _threads()
            colmap.geometric_verification(
                folder / "database.db", verifier, two_view_geometry_options=_two_views(colmap, _ERROR_PX)
            )
        return _reconstructed(colmap, folder, tracks.size, known, (images[start[0]], images[start[1]]))


def from_features(pictures: Sequence[UInt8[np.ndarray, "H W 3"]], size: Size, lens: Lens4, known: bool) -> Scene | None:
    """Reconstruct pictures from SIFT features, matched with those of pictures near in the sequence.

    For pictures too far apart to follow points in; arguments and result as of `from_tracks`.
    """
    colmap = load_pycolmap()
    with _workspace() as folder:
        _import(colmap, folder, pictures, size, lens)
        extraction, matching = colmap.FeatureExtractionOptions(), colmap.FeatureMatchingOptions()
        pairing = colmap.SequentialPairingOptions()
        for options in (extraction, matching, pairing):
            options.num_threads = _threads()
        extraction.use_gpu = matching.use_gpu = False
        with _quiet(colmap):
            colmap.extract_features(
                folder / "database.db", folder / "pictures", extraction_options=extraction, device=colmap.Device.cpu
            )
            colmap.match_sequential(
                folder / "database.db",
                matching_options=matching,
                pairing_options=pairing,
                verification_options=_two_views(colmap, 2 * _ERROR_PX),
                device=colmap.Device.cpu,
            )
        return _reconstructed(colmap, folder, size, known)


def register(
    scene: Scene, points: Float64[np.ndarray, "N 3"], places: Float64[np.ndarray, "N 2"]
) -> tuple[Float64[np.ndarray, "4 4"], int] | None:
    """Pose (w2c) of one more picture from points of the scene that it sees, and how many of them agree.

    Args:
        scene: gives the lens and the size of the pictures.
        points: in the scene's world.
        places: where they are seen, pixels, centres at i + 0.5.
    """
    colmap = load_pycolmap()
    camera = colmap.Camera(
        model="SIMPLE_PINHOLE",
        width=scene.size[1],
        height=scene.size[0],
        params=_camera_params(scene.lens, scene.size),
    )
    options = colmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error = _ERROR_PX
    options.ransac.random_seed = _SEED
    refinement = colmap.AbsolutePoseRefinementOptions()
    refinement.loss_function_scale = LOSS_PX[-1]
    with _quiet(colmap):
        found = colmap.estimate_and_refine_absolute_pose(places, points, camera, options, refinement)
    return None if found is None else (_four_by_four(found["cam_from_world"]), int(found["num_inliers"]))


@contextmanager
def _workspace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="omnicam-colmap-") as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        (folder / "models").mkdir()
        yield folder


@contextmanager
def _quiet(colmap: Any) -> Iterator[None]:
    """Without the native log, which opens the standard error stream by its number."""
    colmap.logging.minloglevel = int(colmap.logging.FATAL)
    colmap.logging.stderrthreshold = int(colmap.logging.FATAL)
    with tempfile.TemporaryFile() as sink:
        kept = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _threads() -> int:
    return min(4, os.cpu_count() or 1)


def _camera_params(lens: Lens4, size: Size) -> list[float]:
    """Focal length and principal point in pixels, as SIMPLE_PINHOLE has them."""
    return [lens[0] * size[1], lens[2] * size[1], lens[3] * size[0]]


def _import(colmap: Any, folder: Path, pictures: Sequence[np.ndarray], size: Size, lens: Lens4) -> list[int]:
    """Write the pictures and a database of them with one camera; returns COLMAP's numbers of the pictures."""
    for index, picture in enumerate(pictures):
        way = cv2.INTER_AREA if size[0] < picture.shape[0] else cv2.INTER_CUBIC
        scaled = picture if picture.shape[:2] == size else cv2.resize(picture, size[::-1], interpolation=way)
        cv2.imwrite(str(folder / "pictures" / f"{index:06d}.png"), scaled[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    options = colmap.ImageReaderOptions()
    options.camera_model = "SIMPLE_PINHOLE"
    options.camera_params = ",".join(repr(float(number)) for number in _camera_params(lens, size))
    colmap.set_random_seed(_SEED)
    with _quiet(colmap):
        colmap.Database.open(folder / "database.db").close()
        colmap.import_images(
            folder / "database.db", folder / "pictures", camera_mode=colmap.CameraMode.SINGLE, options=options
        )
        with colmap.Database.open(folder / "database.db") as database:
            numbers = {image.name: image.image_id for image in database.read_all_images()}
    return [numbers[name] for name in sorted(numbers)]


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    """Which pictures are related directly: 1, 2, 3, 4, 8, 16 ... apart; points carry on between the others."""
    offsets = [3, *(1 << power for power in range(max(count, 1).bit_length()))]
    for first in range(count):
        yield from ((first, first + offset) for offset in sorted(offsets) if first + offset < count)


def _two_views(colmap: Any, error_px: float) -> Any:
    options = colmap.TwoViewGeometryOptions()
    options.ransac.random_seed = _SEED
    options.ransac.max_error = error_px
    options.detect_watermark = False
    return options


def _mapping(colmap: Any, start: tuple[int, int] | None) -> Any:
    """Options of the incremental mapper: one fixed lens, small angles allowed, the same result every time."""
    options = colmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = _SEED
    options.num_threads = options.mapper.num_threads = 1
    options.multiple_models, options.min_model_size, options.extract_colors = False, 3, False
    options.mapper.init_min_num_inliers = 30
    if start is not None:
        options.init_image_id1, options.init_image_id2 = start
        options.mapper.init_min_tri_angle = _LEAST_ANGLE_DEG
    options.mapper.init_max_forward_motion = 1.0
    options.mapper.filter_max_reproj_error = 2 * _ERROR_PX
    options.triangulation.merge_max_reproj_error = options.triangulation.complete_max_reproj_error = _ERROR_PX
    options.ba_refine_focal_length = options.mapper.abs_pose_refine_focal_length = False
    options.ba_refine_extra_params = False
    return options


def _reconstructed(
    colmap: Any, folder: Path, size: Size, known: bool, start: tuple[int, int] | None = None
) -> Scene | None:
    with _quiet(colmap):
        models: list[Any] = []
        for pair in (start, None) if start is not None else (None,):
            options = _mapping(colmap, pair)
            models += colmap.incremental_mapping(
                folder / "database.db", folder / "pictures", folder / "models", options
            ).values()
            if any(model.num_reg_images() > model.num_images() * _ENOUGH for model in models):
                break
        if not models:
            return None
        model = max(models, key=lambda each: (each.num_reg_images(), each.num_points3D()))
        model, evidence = refined(colmap, model, known)
    return _scene_of(model, size, evidence) if model.num_points3D() else None


def _scene_of(model: Any, size: Size, evidence: float) -> Scene:
    posed = {int(Path(image.name).stem): image for image in model.images.values() if image.has_pose}
    frames = np.array(sorted(posed), dtype=np.int64)
    pictures, numbers, keys, errors, places = observations(model)
    order = np.unique(np.array(numbers, dtype=np.int64))
    focal, cx, cy = (float(number) for number in next(iter(model.cameras.values())).params)
    return Scene(
        frames=frames,
        w2c=np.stack([_four_by_four(posed[frame].cam_from_world()) for frame in frames.tolist()]),
        lens=(focal / size[1], focal / size[0], cx / size[1], cy / size[0]),
        focal_evidence=float(evidence),
        points=np.array([model.points3D[number].xyz for number in order.tolist()]).reshape(-1, 3),
        seen_in=np.array(pictures, dtype=np.int64),
        seen_point=np.searchsorted(order, np.array(numbers, dtype=np.int64)),
        seen_key=np.array(keys, dtype=np.int64),
        seen_error=errors,
        seen_at=places,
        size=size,
    )


def _four_by_four(rigid: Any) -> Float64[np.ndarray, "4 4"]:
    return np.concatenate((rigid.matrix(), np.array([[0.0, 0.0, 0.0, 1.0]])))
