"""The backend without weights: a trajectory by structure from motion (pycolmap), on the pixels themselves.

Needs texture and parallax. A camera that only turns gives no depth and a still one nothing at all; both are told apart
from what is seen before anything is reconstructed. See docs/trajectory-from-video.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from camera.intrinsics import default_intrinsics, fov_deg_of
from camera.poses import assemble, interpolate_poses, invert
from camera.track import CameraTrack
from common.logs import get_logger
from Dust3rP.estimate import Estimate, Lens, VideoFrames
from Dust3rP.point_tracks import PointTracks, motion, track_points, widest_pair
from Dust3rP.reconstruction import Lens4, Scene, from_features, from_tracks, load_pycolmap, register
from Dust3rP.refining import LEAST_EVIDENCE

logger = get_logger("colmap")

LEAST_MOTION = 0.003
"""Way of the picture, as a share of its diagonal, below which the camera stands."""
LEAST_PARALLAX = 0.003
"""`point_tracks.parallax` below which the camera only turns."""
_LEAST_POINTS = 25
_FEWEST_KEYFRAMES, _MOST_KEYFRAMES = 40, 150
_KEYFRAME_MOTION = 0.02
_LEAST_REGISTERED = 0.5
_LEAST_AGREEING = 12
_GOOD_ANGLE_DEG, _GOOD_POINTS, _GOOD_ERROR_PX, _GOOD_LENGTH = 5.0, 60, 1.0, 5
_POINT_ERROR_PX = 1.0


@dataclass(frozen=True, eq=False)
class _Posed:
    """Poses found of the frames of a video."""

    w2c: Float64[np.ndarray, "F 4 4"]
    agreeing: Int64[np.ndarray, "F"]
    """How many points agree with each; 0 where there is no pose."""


class ColmapBackend:
    """`estimate.TrajectoryBackend` by pycolmap. Runs on the CPU, and gives the same result every time."""

    name = "colmap"

    def __init__(self) -> None:
        """Raises ValueError when pycolmap is not installed."""
        load_pycolmap()

    def estimate(self, video: VideoFrames, intrinsics: Sequence[float] | None = None) -> Estimate:
        """The trajectory of a video, as in `estimate.TrajectoryBackend`; every frame that has texture is used.

        Raises:
            ValueError: one frame, a still camera, one that only turns, too little texture, or too few frames that
                could be related; says what was seen.
        """
        if len(video) < 2:
            raise ValueError(f"{video.name}: 1 frame shows no movement; give 2 frames or more")
        tracks = track_points(video.frames)
        chosen = keyframes(tracks)
        first, second, apart = _check_sight(video, tracks, chosen)
        lens = _lens_of(video, intrinsics)
        pictures = [video.frames[index] for index in chosen]
        scene = from_tracks(pictures, tracks, chosen, lens, intrinsics is not None, (first, second))
        followed = scene is not None and len(scene.frames) >= _LEAST_REGISTERED * len(chosen)
        if not followed:
            logger.info("%s: too few points could be followed; matching features instead", video.name)
            matched = from_features(pictures, tracks.size, lens, intrinsics is not None)
            followed = scene is not None and (matched is None or len(matched.frames) <= len(scene.frames))
            scene = scene if followed else matched
        _check_scene(video, scene, len(chosen), apart)
        assert scene is not None
        posed = _all_poses(tracks, scene, chosen, followed)
        return _answer(video, scene, posed, chosen, intrinsics is not None)

    def intrinsics(self, pictures: VideoFrames, shared: bool = True) -> Lens:
        """The lens of a video; one for all of its frames, which a moving camera needs anyway.

        Raises:
            ValueError: as `estimate`; or its focal length cannot be told from its motion.
        """
        if not shared:
            raise ValueError(f"{pictures.name}: backend 'colmap' finds one lens for a whole video, not one a picture")
        found = self.estimate(pictures)
        if any(_FOCAL_UNKNOWN in remark for remark in found.remarks):
            raise ValueError(f"{pictures.name}: {_FOCAL_UNKNOWN}; state the lens by --intrinsics or --fov_deg")
        return Lens(found.track.intrinsics[0], found.confidence, found.remarks)


_FOCAL_UNKNOWN = "its focal length cannot be told from this motion (straight moves fit with any)"


def keyframes(tracks: PointTracks) -> list[int]:
    """Frames to reconstruct from, the first and last among them: even in the motion of the picture, not in time.

    All of a short video; of a long one up to _MOST_KEYFRAMES.
    """
    way, count = motion(tracks), len(tracks)
    wanted = int(np.clip(round(way[-1] / _KEYFRAME_MOTION) + 1, _FEWEST_KEYFRAMES, _MOST_KEYFRAMES))
    if count <= wanted:
        return list(range(count))
    # a little of time, so that a camera that rests is seen too
    steps = way / max(way[-1], 1e-9) + np.linspace(0, 0.2, count)
    goals = np.linspace(0, steps[-1], wanted)
    return sorted({0, count - 1, *np.clip(np.searchsorted(steps, goals), 0, count - 1).tolist()})


def _lens_of(video: VideoFrames, intrinsics: Sequence[float] | None) -> Lens4:
    height, width = video.frames.shape[1:3]
    given = default_intrinsics(width / height).tolist() if intrinsics is None else list(intrinsics)
    fx, fy, cx, cy = (float(number) for number in given)
    return fx, fy, cx, cy


def _check_sight(video: VideoFrames, tracks: PointTracks, chosen: Sequence[int]) -> tuple[int, int, float]:
    """The two keyframes to begin with and their parallax.

    Raises:
        ValueError: too little texture, a still camera, or one that only turns.
    """
    typical = float(np.median([len(numbers) for numbers in tracks.numbers]))
    if typical < _LEAST_POINTS:
        raise ValueError(
            f"{video.name}: too little texture: {typical:.0f} points a frame can be followed, {_LEAST_POINTS} are "
            f"needed. {_OTHERWISE}"
        )
    way = motion(tracks)[-1]
    if way < LEAST_MOTION:
        raise ValueError(
            f"{video.name}: the camera stands still: its picture moves by {100 * way:.2f} % of its diagonal, "
            f"{100 * LEAST_MOTION:g} % is the least that can be used. Write it as a text with direction 'stay'"
        )
    first, second, apart = widest_pair(tracks, chosen)
    shared = len(tracks.shared(chosen[first], chosen[second])[0])
    if 0 < apart < LEAST_PARALLAX:
        raise ValueError(
            f"{video.name}: no parallax: the picture moves by {100 * way:.1f} % of its diagonal, but three quarters of "
            f"{shared} points move as one plane, to within {100 * apart:.2f} % ({100 * LEAST_PARALLAX:g} % is the "
            f"least): the camera only turns or zooms, or sees a single plane. {_OTHERWISE}"
        )
    return first, second, apart


_OTHERWISE = "Use --pose_backend dust3r, or describe the move as a text"


def _check_scene(video: VideoFrames, scene: Scene | None, wanted: int, apart: float) -> None:
    found = 0 if scene is None else len(scene.frames)
    if scene is None or found < max(2, _LEAST_REGISTERED * wanted) or len(scene.points) < _LEAST_AGREEING:
        raise ValueError(
            f"{video.name}: only {found} of {wanted} frames could be related to each other (parallax "
            f"{100 * apart:.1f} % of the diagonal): is there a cut, a blur, or much that moves by itself? "
            f"Take a part of it (--start, --end), or another backend. {_OTHERWISE}"
        )


def _all_poses(tracks: PointTracks, scene: Scene, chosen: Sequence[int], followed: bool) -> _Posed:
    """Poses of all frames: those of the scene, and of the others from the points of the scene that they see."""
    w2c = np.tile(np.eye(4), (len(tracks), 1, 1))
    agreeing = np.zeros(len(tracks), dtype=np.int64)
    counts = np.bincount(scene.seen_in, minlength=len(chosen))
    for pose, index in zip(scene.w2c, scene.frames.tolist(), strict=True):
        w2c[chosen[index]], agreeing[chosen[index]] = pose, counts[index]
    if not followed:
        return _Posed(w2c, agreeing)
    numbers = np.array([tracks.numbers[chosen[index]][key]
                        for index, key in zip(scene.seen_in, scene.seen_key, strict=True)], dtype=np.int64)  # fmt: skip
    known, rows = np.unique(numbers, return_index=True)
    for frame in np.flatnonzero(agreeing == 0).tolist():
        _, one, two = np.intersect1d(tracks.numbers[frame], known, True, return_indices=True)
        if len(one) < _LEAST_AGREEING:
            continue
        points = scene.points[scene.seen_point[rows[two]]]
        found = register(scene, points, tracks.xy[frame][one].astype(np.float64))
        if found is not None and found[1] >= _LEAST_AGREEING:
            w2c[frame], agreeing[frame] = found
    return _Posed(w2c, agreeing)


def _answer(video: VideoFrames, scene: Scene, posed: _Posed, chosen: Sequence[int], known: bool) -> Estimate:
    has_pose = torch.from_numpy(posed.agreeing > 0)
    c2w = invert(torch.from_numpy(posed.w2c))[has_pose]
    origin = c2w[0]
    c2w = invert(origin) @ c2w
    every = interpolate_poses(c2w, video.times[has_pose], video.times)
    unit = _unit(every)
    lens = torch.tensor(scene.lens, dtype=torch.float64).expand(len(video), 4).clone()
    track = CameraTrack(assemble(every[:, :3, :3], every[:, :3, 3] / unit), lens, video.times, "relative")
    angle_deg = _typical_angle_deg(scene)
    confidence = _confidence(scene, posed, angle_deg)
    frame_confidence = torch.from_numpy(np.minimum(1.0, posed.agreeing / _GOOD_POINTS)) * confidence
    points, colours = _coloured(video, scene, chosen, origin, unit)
    return Estimate(
        track, "colmap", confidence, frame_confidence, points, colours,
        _remarks(scene, has_pose, angle_deg, known),
    )  # fmt: skip


def _unit(c2w: Float64[Tensor, "F 4 4"]) -> float:
    """Length of the path, which the estimate's unit makes 1; COLMAP's own depends on where it began."""
    length = float(c2w[:, :3, 3].diff(dim=0).norm(dim=1).sum())
    return length if length > 0 else 1.0


def _typical_angle_deg(scene: Scene) -> float:
    """Median, over the points, of the angle between the first and the last camera that see one."""
    order = np.lexsort((scene.seen_in, scene.seen_point))
    point, picture = scene.seen_point[order], scene.seen_in[order]
    starts = np.flatnonzero(np.diff(point, prepend=-1))
    ends = np.append(starts[1:], len(point)) - 1
    centres = invert(torch.from_numpy(scene.w2c))[:, :3, 3].numpy()
    rows = np.searchsorted(scene.frames, picture)
    one = centres[rows[starts]] - scene.points[point[starts]]
    two = centres[rows[ends]] - scene.points[point[starts]]
    angle = np.arctan2(np.linalg.norm(np.cross(one, two), axis=1), (one * two).sum(axis=1))
    return float(np.degrees(np.median(angle)))


def _confidence(scene: Scene, posed: _Posed, angle_deg: float) -> float:
    """0 to 1: share of frames with a pose, angle, points a frame, length of their tracks and how well they fit."""
    share = float((posed.agreeing > 0).mean())
    angle = min(1.0, angle_deg / _GOOD_ANGLE_DEG)
    points = min(1.0, float(np.median(posed.agreeing[posed.agreeing > 0])) / _GOOD_POINTS)
    length = min(1.0, len(scene.seen_point) / len(scene.points) / _GOOD_LENGTH)
    fit = min(1.0, _GOOD_ERROR_PX / max(float(np.median(scene.seen_error)), 1e-9))
    return share * (angle * points * length * fit) ** 0.5


def _remarks(scene: Scene, has_pose: Tensor, angle_deg: float, known: bool) -> tuple[str, ...]:
    frames, registered = len(has_pose), int(has_pose.sum())
    fov_deg = float(fov_deg_of(torch.tensor(scene.lens, dtype=torch.float64)))
    error = float(np.median(scene.seen_error))
    told = [
        f"{registered} of {frames} frames placed from {len(scene.points)} points, error {error:.2f} px, angle "
        f"{angle_deg:.1f} degrees, horizontal field of view {fov_deg:.1f} degrees"
    ]
    if registered < frames:
        told.append(f"{frames - registered} of the frames could not be placed; their poses are interpolated")
    if not known and scene.focal_evidence < LEAST_EVIDENCE:
        told.append(f"{_FOCAL_UNKNOWN}: {fov_deg:.0f} degrees are assumed; state it by --intrinsics or --fov_deg")
    return tuple(told)


def _coloured(
    video: VideoFrames, scene: Scene, chosen: Sequence[int], origin: Float64[Tensor, "4 4"], unit: float
) -> tuple[Tensor, Tensor]:
    """The scene's good points in the camera of frame 0, with the colour of the picture that shows each first."""
    fits = np.flatnonzero(scene.seen_error < _POINT_ERROR_PX)
    good, rows = np.unique(scene.seen_point[fits], return_index=True)
    rows = fits[rows]
    height, width = video.frames.shape[1:3]
    picture = scene.seen_in[rows]
    scaled = scene.seen_at[rows] * (width / scene.size[1], height / scene.size[0])
    x, y = np.clip(scaled.astype(np.int64), 0, (width - 1, height - 1)).T
    colours = video.frames[np.asarray(chosen)[picture], y, x]
    inside = (torch.from_numpy(scene.points[good]) - origin[:3, 3]) @ origin[:3, :3] / unit
    return inside.float(), torch.from_numpy(np.ascontiguousarray(colours))
