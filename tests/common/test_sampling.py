"""Whole videos as few small frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.media import VideoInfo, probe_video, sample_video, shrink, write_image, write_video
from common.media.sampling import sample_indices


@given(st.integers(1, 2000), st.integers(2, 300))
def test_frames_are_spread_evenly_and_the_ends_are_among_them(frames, most):
    found = sample_indices(frames, most)
    assert len(found) == min(frames, most) and found[0] == 0 and found[-1] == frames - 1
    steps = np.diff(found)
    assert len(steps) == 0 or (steps.min() > 0 and steps.max() - steps.min() <= 1)


def test_a_video_is_scaled_down_and_its_times_are_those_of_its_frames(tmp_path):
    levels = (20 * np.arange(9)).reshape(-1, 1, 1, 1)
    write_video(tmp_path / "a.mp4", np.broadcast_to(levels, (9, 64, 96, 3)).astype(np.uint8), 16)
    video = sample_video(tmp_path / "a.mp4", probe_video(tmp_path / "a.mp4"), 3, 48)
    assert video.frames.shape == (3, 32, 48, 3) and video.times == (0.0, 0.25, 0.5)
    assert video.frames.mean((1, 2, 3)) == pytest.approx([0, 80, 160], abs=4)
    assert video.name == str(tmp_path / "a.mp4")


def test_a_folder_of_images_with_times_of_its_own(tmp_path):
    for index in range(4):
        write_image(tmp_path / f"{index}.png", np.full((20, 30, 3), 60 * index, np.uint8))
    video = sample_video(tmp_path, VideoInfo(30, 20, 2.0, 4, (0.0, 0.1, 0.7, 1.5)), 2, 512)
    assert video.frames.shape == (2, 20, 30, 3) and video.times == (0.0, 1.5)
    assert [int(frame.mean()) for frame in video.frames] == [0, 180]


@pytest.mark.parametrize(("size", "wanted"), [((720, 1280), (288, 512)), ((1000, 10), (512, 5)), ((30, 20), (30, 20))])
def test_the_longer_side_is_bounded_and_nothing_is_enlarged(size, wanted):
    assert shrink(np.zeros((*size, 3), np.uint8), 512).shape[:2] == wanted
