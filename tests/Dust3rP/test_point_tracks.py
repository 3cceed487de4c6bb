import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Dust3rP.colmap import keyframes
from Dust3rP.point_tracks import PointTracks, motion, parallax, track_points, widest_pair, working_size


def texture(seed: int = 0, height: int = 240, width: int = 400) -> np.ndarray:
    """Smooth random blobs."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def moved(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpPerspective(picture, matrix, picture.shape[1::-1], flags=cv2.INTER_CUBIC)


def shift(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=np.float64)


def test_points_go_where_the_picture_went_to_a_tenth_of_a_pixel():
    step = np.array([2.3, -1.4])
    frames = np.stack([moved(texture(), shift(*(step * k))) for k in range(6)])
    tracks = track_points(frames)
    here, there = tracks.seen_in_both(0, 5)
    assert len(here) > 200
    assert np.abs(np.median(there - here, axis=0) - 5 * step).max() < 0.02
    assert np.quantile(np.linalg.norm(there - here - 5 * step, axis=1), 0.9) < 0.1
    assert motion(tracks)[-1] == pytest.approx(5 * np.linalg.norm(step) / np.hypot(240, 400), rel=0.02)


def test_places_are_continuous_the_first_pixels_centre_at_one_half():
    frame = np.zeros((240, 400, 3), np.uint8)
    frame[100:140, 200:260] = 255
    places = track_points(np.stack([frame, frame])).xy[0]
    # four corners of a rectangle between whole pixels; its middle is at (230, 120)
    assert len(places) == 4
    assert np.abs(places.mean(axis=0) - (230, 120)).max() < 0.05


def test_pictures_are_looked_at_in_a_size_that_has_enough_pixels_and_not_too_many():
    assert working_size((96, 160)) == (192, 320)
    assert working_size((480, 832)) == (369, 640)
    assert working_size((320, 180)) == (320, 180)


def test_a_plane_and_a_turn_have_no_parallax_and_two_planes_have():
    # a homography as a turning camera makes it
    turned = np.array([[1.01, 0.02, -8.0], [-0.01, 0.99, 3.0], [4e-5, -3e-5, 1.0]])
    one = texture()
    assert parallax(track_points(np.stack([one, moved(one, turned)])), 0, 1) < 5e-4
    near = np.zeros((240, 400), bool)
    near[60:180, 100:300] = True
    frames = []
    for k in range(5):
        front, back = moved(texture(1), shift(3.0 * k, 0)), moved(one, shift(0.5 * k, 0))
        frames.append(np.where(np.roll(near, 3 * k, axis=1)[..., None], front, back))
    tracks = track_points(np.stack(frames))
    first, second, most = widest_pair(tracks, range(5))
    assert (first, second) == (0, 4) and most > 0.01


def drifting(steps: list[float]) -> PointTracks:
    """A hundred points that all go the same way, in pixels a step."""
    start = np.random.default_rng(0).uniform(0, 100, (100, 2)).astype(np.float32)
    way = np.concatenate(([0.0], np.cumsum(steps))).astype(np.float32)
    numbers = np.arange(100)
    return PointTracks((numbers,) * len(way), tuple(start + np.float32([each, 0]) for each in way), (300, 400))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0, 40), min_size=1, max_size=400))
def test_keyframes_are_few_hold_both_ends_and_follow_the_motion(steps):
    tracks = drifting(steps)
    chosen = keyframes(tracks)
    assert chosen[0] == 0 and chosen[-1] == len(tracks) - 1
    assert chosen == sorted(set(chosen)) and len(chosen) <= 152
    assert len(chosen) >= min(len(tracks), 3)
    way = motion(tracks)
    if len(chosen) < len(tracks) and way[-1] > 0.1:
        # no leap but that of a single step
        leaps = np.diff(way[chosen])
        assert leaps.max() <= 2.5 * way[-1] / 39 + np.diff(way).max() + 1e-6
