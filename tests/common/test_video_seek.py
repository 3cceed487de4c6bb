"""Frames found by jumping are, byte for byte, those found by decoding everything."""

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.media import frames as frames_module
from common.media import pick_frames, probe_video, read_video, video_frames
from tests.common.video_files import damage, encode, remux, start_at, wandering

COUNT = 72
FAST_VPX = {"deadline": "realtime", "cpu_used": 8}
B_FRAMES = {"x264_params": "b-adapt=0:bframes=3:scenecut=0"}
OPEN_GOP = "open-gop=1:bframes=3:b-adapt=0:scenecut=0"
QUIET = "log-level=none:pools=none:frame-threads=1"

SEEKABLE = {
    "h264.mp4": {**B_FRAMES},
    "h264.mkv": {**B_FRAMES},
    "h264.mov": {**B_FRAMES},
    "h264.flv": {**B_FRAMES},
    "h264_no_b.mp4": {"x264_params": "bframes=0"},
    "hevc.mp4": {"codec": "libx265", "x265_params": f"{QUIET}:bframes=3:open-gop=0"},
    "hevc_open.mkv": {"codec": "libx265", "x265_params": f"{QUIET}:bframes=3:open-gop=1"},
    "mpeg4.mp4": {"codec": "mpeg4", "b_frames": 2},
    "vp9.webm": {"codec": "libvpx-vp9", **FAST_VPX},
    "vp8.webm": {"codec": "libvpx", **FAST_VPX},
    "ffv1.mkv": {"codec": "ffv1"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}
OTHERS = {
    "h264.avi": {**B_FRAMES},
    "h264_open.mp4": {"x264_params": OPEN_GOP},
    "h264_refresh.mp4": {"x264_params": "intra-refresh=1"},
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 2},
    "mpeg2.mpg": {"codec": "mpeg2video", "b_frames": 2},
    "msmpeg4.wmv": {"codec": "msmpeg4v3"},
}
RUNS = ([40, 41, 43], [70], [0, 1, 71], [30, 31, 58, 59, 60], list(range(25, 66, 2)))


def written(folder, name, options, gop):
    """None where this FFmpeg has no such encoder."""
    options = {"codec": "libx264", "gop": gop, **options}
    try:
        av.Codec(options["codec"], "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"no encoder {options['codec']}")
    for library in ("x264_params", "x265_params"):
        if library in options:
            options[library] += f":keyint={gop}:min-keyint={gop}"
    return encode(folder / name, wandering(COUNT), **options)


@pytest.fixture
def restarts(monkeypatch):
    """How often decoding began at the first frame."""
    begun = []

    def counted(file, indices, original=frames_module._from_start):
        begun.extend([file] if indices else [])
        return original(file, indices)

    monkeypatch.setattr(frames_module, "_from_start", counted)
    return begun


def check_runs(path):
    everything = list(video_frames(path))
    assert len(everything) == probe_video(path).frames == COUNT
    for indices in RUNS:
        picked = list(pick_frames(path, indices))
        assert len(picked) == len(indices)
        assert all(np.array_equal(everything[index], frame) for index, frame in zip(indices, picked, strict=True))


@pytest.mark.parametrize("gop", [1, 12, 250])
@pytest.mark.parametrize("name", SEEKABLE)
def test_seeking_changes_no_byte(tmp_path, name, gop, restarts):
    check_runs(written(tmp_path, name, SEEKABLE[name], gop))
    assert not restarts


@pytest.mark.parametrize("gop", [12, 250])
@pytest.mark.parametrize("name", OTHERS)
def test_where_jumps_cannot_be_trusted_the_frames_are_right_all_the_same(tmp_path, name, gop):
    check_runs(written(tmp_path, name, OTHERS[name], gop))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.flv"])
def test_the_first_time_stamp_may_be_anything(tmp_path, name, restarts):
    start = encode(tmp_path / name, wandering(COUNT), stamps=range(37, 37 + COUNT), **B_FRAMES)
    plain = encode(tmp_path / f"plain_{name}", wandering(COUNT), **B_FRAMES)
    check_runs(start)
    assert not restarts
    assert probe_video(start) == probe_video(plain)


@pytest.mark.parametrize("skipped", [5, 12, 30])
def test_an_edit_list_hides_the_frames_before_its_start(tmp_path, skipped, restarts):
    path = encode(tmp_path / "a.mp4", wandering(COUNT), **B_FRAMES)
    everything = read_video(path)
    start_at(path, skipped, 512)
    assert probe_video(path).frames == COUNT - skipped
    assert probe_video(path).times is None
    assert np.array_equal(np.stack(list(video_frames(path))), everything[skipped:])
    picked = np.stack(list(pick_frames(path, [30, 31, COUNT - skipped - 1])))
    assert np.array_equal(picked, everything[[30 + skipped, 31 + skipped, COUNT - 1]])
    assert not restarts


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 199), min_size=1, max_size=12))
def test_any_frames_of_an_uneven_file(uneven, indices):
    path, everything = uneven
    wanted = sorted(indices)
    for index, frame in zip(wanted, pick_frames(path, wanted), strict=True):
        assert np.array_equal(everything[index], frame)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Key frames at any distance, B-frames that are referred to, and a variable rate."""
    stamps = np.cumsum(np.random.default_rng(1).integers(1, 4, 200)).tolist()
    params = "keyint=40:min-keyint=3:scenecut=100:bframes=5:b-pyramid=normal:ref=4"
    path = encode(tmp_path_factory.mktemp("uneven") / "a.mkv", wandering(200), stamps=stamps, x264_params=params)
    return path, read_video(path)


def test_what_is_not_wanted_is_not_decoded(tmp_path):
    path = encode(tmp_path / "a.mp4", wandering(COUNT), **B_FRAMES)
    whole = read_video(path)
    damage(path, 14, 22)
    with pytest.raises(ValueError, match=r"a\.mp4: damaged after \d+ frames \(0\.\d+ s\)"):
        read_video(path)
    assert np.array_equal(read_video(path, 60, 64), whole[60:64])
    assert np.array_equal(read_video(path, 0, 8), whole[:8])


def test_frames_beyond_the_end_are_refused(tmp_path):
    path = encode(tmp_path / "a.mp4", wandering(30))
    for indices in ([28, 40], [40], [3, 30]):
        with pytest.raises(ValueError, match=r"a\.mp4: ends before frame \d+; it has 30"):
            list(pick_frames(path, indices))


def test_hidden_frames_of_vp8_do_not_count(tmp_path):
    path = encode(tmp_path / "a.webm", wandering(30), "libvpx", **FAST_VPX)
    with av.open(str(path)) as read, av.open(str(tmp_path / "b.webm"), "w") as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        for index, packet in enumerate(read.demux(video=0)):
            if not packet.size:
                continue
            if index == 10:
                hidden = av.Packet(bytes([bytes(packet)[0] & ~0x10]) + bytes(packet)[1:])
                hidden.pts = hidden.dts = packet.pts - 10
                hidden.time_base, hidden.stream = packet.time_base, stream
                write.mux(hidden)
            packet.stream = stream
            write.mux(packet)
    info = probe_video(tmp_path / "b.webm")
    assert info.frames == len(list(video_frames(tmp_path / "b.webm"))) == 30
    assert info.times is None


def test_a_file_cut_out_of_another_begins_at_its_first_whole_frame(tmp_path):
    params = f"{QUIET}:bframes=3:open-gop=1:keyint=12:min-keyint=12"
    source = encode(tmp_path / "a.mkv", wandering(COUNT), "libx265", x265_params=params)
    keys = [index for index, key in enumerate(_is_key(source)) if key]
    path = remux(source, tmp_path / "b.mkv", keep=lambda index, packet: index >= keys[2])
    everything = np.stack(list(video_frames(path)))
    assert probe_video(path).frames == len(everything) < COUNT - keys[2]
    assert np.array_equal(everything, read_video(source)[-len(everything) :])
    assert np.array_equal(read_video(path, 30, 33), everything[30:33])


def _is_key(path):
    with av.open(str(path)) as container:
        return [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
