from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset.buckets import bucket_of, bucket_resolutions
from dataset.config import DatasetEntry
from dataset.frames import clip_spans, kept_frames


def entry(media="video", **values):
    return DatasetEntry("here", media, Path("cache"), **values)


def test_buckets_of_832x480_are_musubis():
    buckets = bucket_resolutions((832, 480))
    assert len(buckets) == 42
    assert buckets[0] == (304, 1312)
    assert buckets[-1] == (1312, 304)
    assert (832, 480) in buckets


@given(st.integers(16, 2048), st.integers(16, 2048))
def test_buckets_are_multiples_of_16_within_the_area_and_symmetric(width, height):
    buckets = bucket_resolutions((width, height))
    assert list(buckets) == sorted(set(buckets))
    for size in buckets:
        assert size[0] % 16 == size[1] % 16 == 0 and min(size) >= 16
        assert size[0] * size[1] <= width * height
        assert size[::-1] in buckets


def test_videos_go_to_the_nearest_ratio_whatever_the_flags_say():
    for flags in ({}, {"enable_bucket": True}, {"enable_bucket": True, "bucket_no_upscale": True}):
        assert bucket_of(entry(resolution=(832, 480), **flags), (1920, 1080)) == (832, 480)
        assert bucket_of(entry(resolution=(832, 480), **flags), (64, 64)) == (624, 640)


def test_images_obey_the_flags():
    plain = entry("image", resolution=(832, 480))
    bucketed = entry("image", resolution=(832, 480), enable_bucket=True)
    own = entry("image", resolution=(832, 480), enable_bucket=True, bucket_no_upscale=True)
    assert bucket_of(plain, (100, 300)) == (832, 480)
    assert bucket_of(bucketed, (1080, 1920)) == (480, 832)
    assert bucket_of(own, (100, 300)) == (96, 288)
    assert bucket_of(own, (1920, 1080)) == (832, 480)
    with pytest.raises(ValueError, match="8x300"):
        bucket_of(own, (8, 300))


@pytest.mark.parametrize(
    ("values", "count", "spans"),
    [
        ({}, 9, [(0, 5)]),
        ({}, 4, []),
        ({"target_frames": (5, 9)}, 8, [(0, 5)]),
        ({"frame_extraction": "chunk"}, 14, [(0, 5), (5, 5)]),
        ({"frame_extraction": "chunk", "target_frames": (1,)}, 3, [(0, 1), (1, 1), (2, 1)]),
        ({"frame_extraction": "slide", "frame_stride": 3}, 12, [(0, 5), (3, 5), (6, 5)]),
        ({"frame_extraction": "uniform", "frame_sample": 3}, 10, [(0, 5), (2, 5), (5, 5)]),
        ({"frame_extraction": "uniform", "frame_sample": 1}, 10, [(0, 5)]),
        ({"frame_extraction": "uniform", "frame_sample": 4}, 6, [(0, 5), (1, 5)]),
        ({"frame_extraction": "uniform", "frame_sample": 10**9}, 8, [(0, 5), (1, 5), (2, 5), (3, 5)]),
        ({"frame_extraction": "full"}, 12, [(0, 9)]),
        ({"frame_extraction": "full", "max_frames": 7}, 12, [(0, 5)]),
        ({"frame_extraction": "full"}, 0, []),
    ],
)
def test_extraction(values, count, spans):
    assert clip_spans(entry(**{"target_frames": (5,), **values}), count) == spans


@given(st.integers(5, 60), st.integers(2, 300))
def test_uniform_starts_are_musubis_however_many_are_asked_for(count, sample):
    spans = clip_spans(entry(target_frames=(5,), frame_extraction="uniform", frame_sample=sample), count)
    assert [start for start, _ in spans] == sorted(set(np.linspace(0, count - 5, sample, dtype=int).tolist()))


def test_dropping_to_16_fps():
    assert kept_frames(8, 32.0) == [0, 2, 4, 6]
    assert kept_frames(6, 24.0) == [0, 2, 3, 5]
    assert kept_frames(5, 16.0) == [0, 1, 2, 3, 4]
    assert kept_frames(5, 8.0) == [0, 1, 2, 3, 4]
    assert kept_frames(5, None) == [0, 1, 2, 3, 4]


def test_the_sum_is_rounded_as_in_musubi():
    # 6 * 16/24 summed up is a hair below 4, so frame 7 is taken and not 6
    assert kept_frames(8, 24.0) == [0, 2, 3, 5, 7]


@given(st.integers(1, 400), st.floats(16.0, 240.0))
def test_kept_frames_are_evenly_spaced_in_time(count, fps):
    kept = kept_frames(count, fps)
    assert kept[0] == 0 and kept == sorted(set(kept)) and kept[-1] < count
    for position, index in enumerate(kept):
        assert 0 <= index / fps - position / 16 <= 1 / fps + 1e-6
