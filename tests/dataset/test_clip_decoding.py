"""Which frames of a medium a clip takes, decoded: extraction, rates, mirroring and control."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataset.clips
from common.media import VideoInfo, fit_to_size, write_image
from dataset.clips import ClipSpan, decode, decode_clips, probe_item, spans_of
from dataset.config import DatasetEntry
from dataset.control import control_indices
from dataset.frames import kept_at_times, kept_frames
from dataset.kinds import LatentCaching
from dataset.sources import MediaItem
from tests.common.video_files import encode, wandering

SIZE = {"width": 64, "height": 48}


def entry(media="video", **values):
    return DatasetEntry("here", media, Path("cache"), **{"resolution": (64, 48), "target_frames": (5,), **values})


def an_item(path="a.mp4", media="video", control=None, fps=None, mirrored=False, **values):
    return MediaItem("a", Path(path), "", None, entry(media, **values), "here", control, fps, mirrored)


def clips_of(item):
    return LatentCaching().jobs(item, [])


def tell(frames):
    """The numbers of frames by the grey square in the corner of `wandering`."""
    return [round(float(frame[1:5, 1:5].mean()) / 5) for frame in frames]


@pytest.mark.parametrize(
    ("values", "starts"),
    [
        ({"frame_extraction": "head"}, [0]),
        ({"frame_extraction": "chunk"}, [0, 5, 10]),
        ({"frame_extraction": "slide", "frame_stride": 4}, [0, 4, 8, 12]),
        ({"frame_extraction": "uniform", "frame_sample": 3}, [0, 6, 13]),
        ({"frame_extraction": "full", "max_frames": 11}, [0]),
    ],
)
def test_every_extraction_decodes_the_frames_it_names(tmp_path, values, starts):
    path = encode(tmp_path / "a.mkv", wandering(18, **SIZE), rate=16, crf=4)
    clips = clips_of(an_item(path, **values))
    length = 9 if values["frame_extraction"] == "full" else 5
    assert [clip.span.start for clip in clips] == starts
    for clip in clips:
        wanted = list(range(clip.span.start, clip.span.start + length))
        assert tell(decode(clip).frames) == wanted == list(clip.span.indices)
        assert clip.frame_times == pytest.approx([index / 16 for index in wanted], abs=1e-6)


def test_all_clips_come_from_one_pass_and_are_those_that_come_one_by_one(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mkv", wandering(40, **SIZE), rate=16)
    values = {"frame_extraction": "slide", "frame_stride": 3, "target_frames": (5, 9)}
    clips = clips_of(an_item(path, **values))
    alone = {clip.span: decode(clip).frames for clip in clips}
    passes = []

    def counted(path, indices, original=dataset.clips.pick_frames):
        passes.append(indices)
        return original(path, indices)

    monkeypatch.setattr(dataset.clips, "pick_frames", counted)
    together = list(decode_clips(clips[::-1]))
    assert passes == [list(range(39))]
    assert sorted(found.clip.span.indices for found in together) == sorted(clip.span.indices for clip in clips)
    assert all(np.array_equal(found.frames, alone[found.clip.span]) for found in together)
    ends = [found.clip.span.indices[-1] for found in together]
    assert ends == sorted(ends)


def test_frames_are_let_go_when_no_clip_needs_them(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mkv", wandering(60, **SIZE), rate=16)
    decoded = 0

    def counted(path, indices, original=dataset.clips.pick_frames):
        nonlocal decoded
        for frame in original(path, indices):
            decoded += 1
            yield frame

    monkeypatch.setattr(dataset.clips, "pick_frames", counted)
    clips = decode_clips(clips_of(an_item(path, frame_extraction="chunk")))
    for number in range(1, 6):
        next(clips)
        assert decoded == 5 * number, "nothing is decoded before it is asked for"


@given(st.sampled_from([23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 120]), st.integers(1, 500))
def test_by_time_and_by_musubis_sum_the_same_number_of_frames_stays(fps, count):
    by_time = kept_at_times(index / fps for index in range(count))
    by_sum = kept_frames(count, fps)
    assert abs(len(by_time) - len(by_sum)) <= 1
    assert all(abs(one - other) <= 1 for one, other in zip(by_time, by_sum, strict=False))


@given(st.lists(st.floats(0.001, 0.4), min_size=1, max_size=200))
def test_of_uneven_frames_the_first_of_each_sixteenth_stays(gaps):
    times = np.cumsum(gaps) - gaps[0]
    kept = kept_at_times(times)
    ticks = np.floor(times * 16 + 0.02).astype(int)
    assert ticks[kept].tolist() == sorted(set(ticks.tolist()))
    assert all(index == 0 or ticks[index - 1] < ticks[index] for index in kept)


@given(st.integers(1, 300), st.floats(2, 16))
def test_slow_videos_keep_every_frame(count, fps):
    assert kept_at_times(index / fps for index in range(count)) == list(range(count)) == kept_frames(count, fps)


def test_times_that_a_container_has_rounded_keep_the_frames_of_the_exact_ones():
    exact = [index / 48 for index in range(200)]
    for rounded in ([round(time, 3) for time in exact], [int(time * 1000) / 1000 for time in exact]):
        assert kept_at_times(rounded) == kept_at_times(exact) == list(range(0, 200, 3))


def test_a_stated_rate_is_musubis_and_auto_is_the_files(tmp_path):
    path = encode(tmp_path / "a.mp4", wandering(48, **SIZE), rate=24)
    info = probe_item(an_item(path))
    kept = {
        rate: [span.indices[0] for span in spans_of(an_item(path, source_fps=rate, target_frames=(1,), **CHUNK), info)]
        for rate in (None, 48.0, 24.0, "auto")
    }
    assert kept[None] == list(range(48))
    assert kept[24.0] == kept_frames(48, 24.0)
    assert kept[48.0] == kept_frames(48, 48.0)
    assert kept["auto"] == [index for index in range(48) if index % 3 != 1]
    stated = an_item(path, source_fps=24.0, target_frames=(1,), fps=48.0, **CHUNK)
    assert [span.indices[0] for span in spans_of(stated, probe_item(stated))] == kept[48.0]


CHUNK = {"frame_extraction": "chunk"}


def test_the_rate_of_an_item_overrules_its_file(tmp_path):
    path = encode(tmp_path / "a.mkv", wandering(12, **SIZE), rate=25, stamps=[*range(11), 30])
    assert probe_item(an_item(path)).times is not None
    assert probe_item(an_item(path, fps=8.0)) == VideoInfo(64, 48, 8.0, 12)
    (clip,) = clips_of(an_item(path, fps=32.0, source_fps="auto"))
    assert clip.span.indices == (0, 2, 4, 6, 8)
    assert clip.frame_times == (0.0, 0.0625, 0.125, 0.1875, 0.25)


def test_frame_times_of_a_variable_rate_are_the_files(tmp_path):
    stamps = [0, 20, 70, 130, 140, 190, 260, 330, 380, 500]
    path = encode(tmp_path / "a.mkv", wandering(10, **SIZE), stamps=stamps, time_base=Fraction(1, 1000), crf=4)
    (clip,) = clips_of(an_item(path, source_fps="auto"))
    assert clip.span.indices == (0, 2, 3, 5, 6)
    assert clip.frame_times == (0.0, 0.07, 0.13, 0.19, 0.26)
    assert tell(decode(clip).frames) == [0, 2, 3, 5, 6]


def test_a_folder_of_images_runs_at_the_rate_of_the_data_set(tmp_path):
    for index, frame in enumerate(wandering(20, **SIZE)):
        write_image(tmp_path / "take" / f"{index}.png", frame)
    assert probe_item(an_item(tmp_path / "take")).fps == 16
    assert probe_item(an_item(tmp_path / "take", fps=12.0)).fps == 12
    (clip,) = clips_of(an_item(tmp_path / "take", source_fps=32.0))
    assert clip.span.indices == (0, 2, 4, 6, 8)
    assert tell(decode(clip).frames) == [0, 2, 4, 6, 8]


def test_a_mirrored_item_is_turned_before_it_is_cut(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (50, 91, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", picture)
    (clip,) = clips_of(an_item(tmp_path / "a.png", "image", mirrored=True))
    assert np.array_equal(decode(clip).frames[0], fit_to_size(picture[:, ::-1].copy(), 64, 48))


@pytest.fixture
def filmed(tmp_path):
    """A video of 30 frames per second."""
    return encode(tmp_path / "a.mp4", wandering(45, **SIZE), rate=30)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_control_video_is_shown_at_the_times_of_the_frames(tmp_path, filmed, mirrored):
    control = encode(tmp_path / "c.mp4", wandering(40, **SIZE), rate=15, crf=4)
    item = an_item(filmed, source_fps="auto", control=control, mirrored=mirrored, **CHUNK)
    for found in decode_clips(clips_of(item)):
        assert found.control is not None
        assert found.control.shape == found.frames.shape
        shown = found.control[:, :, ::-1] if mirrored else found.control
        expected = [int(index / 2) for index in found.clip.span.indices]
        assert tell(shown) == expected
        alone = decode(found.clip)
        assert alone.control is not None
        assert np.array_equal(alone.control, found.control)


def test_of_a_short_control_the_last_frame_is_repeated(tmp_path, filmed):
    control = encode(tmp_path / "c.mp4", wandering(6, **SIZE), rate=30, crf=4)
    (clip,) = clips_of(an_item(filmed, source_fps="auto", control=control))
    assert clip.span.indices == (0, 2, 4, 6, 8)
    decoded = decode(clip).control
    assert decoded is not None
    assert tell(decoded) == [0, 2, 4, 5, 5]


def test_a_folder_or_image_as_control(tmp_path, filmed):
    for index, frame in enumerate(wandering(7, **SIZE)):
        write_image(tmp_path / "c" / f"{index}.png", frame)
    for control, expected in ((tmp_path / "c", [0, 2, 4, 6, 6]), (tmp_path / "c" / "3.png", [3] * 5)):
        (clip,) = clips_of(an_item(filmed, source_fps="auto", control=control))
        decoded = decode(clip).control
        assert decoded is not None
        assert tell(decoded) == expected


def test_the_rate_of_an_item_counts_for_its_control(tmp_path, filmed):
    control = encode(tmp_path / "c.mp4", wandering(45, **SIZE), rate=25)
    item = an_item(filmed, control=control, fps=24.0)
    assert control_indices(item, probe_item(item)) == list(range(45))
    assert control_indices(replace(item, fps=None), probe_item(an_item(filmed)))[30] == 25


def test_an_image_has_an_image_as_control_with_the_same_crop(tmp_path):
    write_image(tmp_path / "a.png", wandering(1, 80, 48)[0])
    write_image(tmp_path / "c.png", wandering(1, 80, 48, seed=1)[0])
    (clip,) = clips_of(an_item(tmp_path / "a.png", "image", control=tmp_path / "c.png"))
    decoded = decode(clip)
    assert decoded.control is not None
    assert np.array_equal(decoded.control[0], wandering(1, 80, 48, seed=1)[0][:, 8:72])
    assert np.array_equal(decoded.frames[0], wandering(1, 80, 48)[0][:, 8:72])


@given(st.lists(st.integers(1, 200), min_size=2, max_size=40, unique=True))
def test_clip_times_are_those_of_the_video(stamps):
    times = tuple(sorted(stamp / 16 for stamp in stamps))
    span = ClipSpan(0, tuple(range(0, len(times), 2)), (64, 48))
    assert span.times(VideoInfo(64, 48, 16.0, len(times), times)) == tuple(round(time, 6) for time in times[::2])
    assert span.times(VideoInfo(64, 48, 16.0, len(times))) == tuple(index / 16 for index in span.indices)


def test_a_cache_of_a_variable_rate_remembers_it(project):
    stamps = [0, 1, 2, 5, 6, 9, 10, 11, 12, 13]
    encode(project.root / "a.mp4", wandering(10, **SIZE), stamps=stamps)
    toml = "[[datasets]]\nvideo_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\nresolution = [64, 48]\n"
    toml += "target_frames = [5]\nsource_fps = 'auto'\n"
    record = {"video_path": "a.mp4", "caption": "a room"}
    project.write(toml, record).cache_latents()
    assert project.cache_latents(skip_existing=True) == 0
    project.write(toml, {**record, "fps": 10})
    assert project.cache_latents(skip_existing=True) == 1
    assert project.cache_latents(skip_existing=True) == 0
    project.write(toml, record)
    assert project.cache_latents(skip_existing=True) == 1


def test_a_folder_of_images_is_cached_as_a_video(project):
    for index, frame in enumerate(wandering(6, **SIZE)):
        write_image(project.root / "take" / f"{index}.png", frame)
    toml = "[[datasets]]\nvideo_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\nresolution = [64, 48]\n"
    project.write(toml + "target_frames = [5]\n", {"video_path": "take", "caption": "a room"})
    assert project.cache_latents() == 1
    assert project.cache_latents(skip_existing=True) == 0
