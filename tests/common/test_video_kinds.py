"""Videos as they come from the world: read right, or refused by name."""

import os
import time
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.media import folders, pick_frames, probe_folder, probe_video, read_video, video_frames, write_image
from common.media.frames import _Owed
from tests.common.video_files import CLOCKWISE, UPRIGHT, damage, encode, remux, start_at, turn, wandering

FAST_VP9 = {"codec": "libvpx-vp9", "deadline": "realtime", "cpu_used": 8}
STREAM = SimpleNamespace(codec_context=SimpleNamespace(name="h264"))


pytestmark = pytest.mark.usefixtures("told")


def is_near(one, other, tolerance=6):
    return one.shape == other.shape and np.abs(one.astype(int) - other).mean() < tolerance


def test_rates_and_times_follow_the_time_stamps(tmp_path):
    frames = wandering(30)
    for rate in (25, 30, Fraction(30000, 1001), Fraction(24000, 1001), 60):
        for name, exact in (("a.mp4", 1e-9), ("a.mkv", 1e-9), ("a.flv", 1e-3)):
            info = probe_video(encode(tmp_path / name, frames, rate=rate))
            assert info.times is None, (name, rate)
            assert info.fps == pytest.approx(float(rate), rel=exact)
            assert info.time_of(29) == pytest.approx(29 / rate, abs=0.002)


def test_a_variable_rate_is_read_off_frame_by_frame(tmp_path):
    stamps = [0, 33, 67, 100, 200, 233, 300, 310, 320, 720]
    path = encode(tmp_path / "a.mkv", wandering(10), stamps=[1000 + s for s in stamps], time_base=Fraction(1, 1000))
    info = probe_video(path)
    assert info.times == tuple(stamp / 1000 for stamp in stamps)
    assert info.fps == pytest.approx(9 / 0.72)
    assert info.time_of(4) == 0.2


def test_one_dropped_frame_makes_a_rate_variable_and_jitter_does_not(tmp_path):
    frames = wandering(40)
    dropped = [index for index in range(41) if index != 20]
    info = probe_video(encode(tmp_path / "a.mp4", frames, stamps=dropped))
    assert info.times is not None
    assert info.times[20] == pytest.approx(21 / 25)
    jitter = [round(index * 1000 / 30) + index % 2 for index in range(1, 41)]
    info = probe_video(encode(tmp_path / "b.mkv", frames, stamps=jitter, time_base=Fraction(1, 1000)))
    assert info.times is None
    assert info.fps == pytest.approx(30, rel=0.002)


@pytest.mark.parametrize(
    ("matrix", "seen"),
    [
        (UPRIGHT, lambda picture: picture),
        (CLOCKWISE, lambda picture: np.rot90(picture, -1)),
        ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
        ((0, -1, 1, 0), lambda picture: np.rot90(picture, 1)),
        ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
        ((1, 0, 0, -1), lambda picture: picture[::-1]),
        ((0, 1, 1, 0), lambda picture: picture.transpose(1, 0, 2)),
    ],
)
def test_a_phone_video_stands_upright(tmp_path, matrix, seen):
    frames = wandering(3)
    path = turn(encode(tmp_path / "a.mp4", frames, crf=4), matrix)
    info = probe_video(path)
    pictures = read_video(path)
    assert pictures.shape == (3, info.height, info.width, 3)
    assert all(is_near(picture, seen(frame)) for picture, frame in zip(pictures, frames, strict=True))


def test_a_slanted_video_is_refused(tmp_path):
    path = turn(encode(tmp_path / "a.mp4", wandering(3)), (0.978, 0.208, -0.208, 0.978))
    with pytest.raises(ValueError, match=r"a\.mp4: is to be shown turned by -12 degrees"):
        probe_video(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deep.mkv", {"pix_fmt": "yuv420p10le", "codec": "libx265", "x265_params": "log-level=none:pools=none:crf=4"}),
        ("deep.mov", {"pix_fmt": "yuv422p10le", "codec": "prores_ks"}),
        ("full.mkv", {"pix_fmt": "yuvj420p", "crf": 4}),
        ("four.mkv", {"pix_fmt": "yuv444p", "crf": 4}),
        ("lossless.avi", {"pix_fmt": "rgb24", "codec": "png"}),
    ],
)
def test_all_pixel_formats_become_rgb_of_8_bits(tmp_path, name, options):
    frames = wandering(4)
    pictures = read_video(encode(tmp_path / name, frames, **options))
    assert pictures.dtype == np.uint8
    assert is_near(pictures, frames)


def test_grey_videos_become_rgb(tmp_path):
    pictures = read_video(encode(tmp_path / "a.mkv", wandering(4), "ffv1", "gray"))
    assert np.array_equal(pictures[..., 0], pictures[..., 2])
    assert is_near(pictures[..., 0], wandering(4).mean(-1), 12)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"), [("a.mov", "qtrle", "argb"), ("a.webm", "libvpx-vp9", "yuva420p")]
)
def test_alpha_is_cut_off_with_a_word(tmp_path, told, name, codec, pix_fmt):
    frames = np.concatenate([wandering(3), np.full((3, 64, 96, 1), 10, np.uint8)], axis=-1)
    options = {"auto_alt_ref": 0, **FAST_VP9} if codec == "libvpx-vp9" else {"codec": codec}
    path = encode(tmp_path / name, frames, pix_fmt=pix_fmt, **options)
    probe_video(path)
    probe_video(path)
    assert is_near(read_video(path), frames[..., :3])
    assert [record.message for record in told.records] == [
        f"{path} has an alpha channel, which is cut off (said of the first such file only)"
    ]


def test_odd_and_tiny_sizes(tmp_path):
    for width, height in ((97, 63), (1, 1), (3, 200)):
        frames = wandering(3, width, height)
        info = probe_video(encode(tmp_path / "a.mkv", frames, "ffv1", "yuv444p"))
        assert (info.width, info.height) == (width, height)
        assert read_video(tmp_path / "a.mkv").shape == frames.shape


def test_interlaced_hdr_and_flat_pixels_are_told_of_once(tmp_path, told):
    params = "interlaced=1:sar=4/3:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
    path = encode(tmp_path / "a.mp4", wandering(4), x264_params=params)
    for _ in range(2):
        probe_video(path)
    told_of = " ".join(record.message for record in told.records)
    assert len(told.records) == 3
    assert "interlaced" in told_of and "HLG" in told_of and "pixels of 4:3" in told_of


@pytest.mark.parametrize(
    "content", [b"", b"no video here", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", b"\x00\x00\x00\x18ftypmp42"]
)
def test_what_is_no_video_is_refused_by_name(tmp_path, content):
    (tmp_path / "bad.mp4").write_bytes(content)
    for reader in (probe_video, read_video):
        with pytest.raises(ValueError, match=r"bad\.mp4: (not a readable video|has no video stream|a video without)"):
            reader(tmp_path / "bad.mp4")


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_sound_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.mp4: has no video stream; it holds audio"):
        probe_video(write_sound(tmp_path / "a.mp4"))


def test_of_several_video_streams_the_first_is_read_with_a_word(tmp_path, told):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams = [container.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream, side in zip(streams, (32, 48), strict=True):
            stream.width = stream.height = side
            stream.pix_fmt = "yuv444p"
        for index in range(6):
            for stream in streams:
                picture = np.full((stream.height, stream.width, 3), 20 * index, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    info = probe_video(tmp_path / "a.mkv")
    assert (info.width, info.frames) == (32, 6)
    assert read_video(tmp_path / "a.mkv").shape == (6, 32, 32, 3)
    assert "2 video streams; the first is read" in told.text


def test_no_frames_at_all_are_refused(tmp_path):
    path = start_at(encode(tmp_path / "a.mp4", wandering(5)), 50, 512)
    with pytest.raises(ValueError, match=r"a\.mp4: (a video without a single frame|damaged)"):
        probe_video(path)
    nothing = remux(encode(tmp_path / "b.mp4", wandering(5)), tmp_path / "c.mkv", keep=lambda index, packet: False)
    with pytest.raises(ValueError, match=r"c\.mkv: "):
        probe_video(nothing)


@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.flv", "a.webm"])
def test_a_file_cut_short_is_refused(tmp_path, name, share):
    source = encode(tmp_path / f"whole_{name}", wandering(72), **(FAST_VP9 if name == "a.webm" else {}))
    path = remux(source, tmp_path / name, **({"movflags": "faststart"} if name == "a.mp4" else {}))
    assert probe_video(path).frames == 72
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=rf"{name}: cut short"):
        probe_video(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.flv"])
def test_a_file_cut_between_two_frames_is_refused(tmp_path, name):
    source = encode(tmp_path / f"whole_{name}", wandering(40))
    path = remux(source, tmp_path / name, **({"movflags": "faststart"} if name == "a.mp4" else {}))
    content = path.read_bytes()
    head = {"a.avi": 8, "a.flv": 4}.get(name, 0)  # a position is that of the chunk there, and flv repeats a size behind
    with av.open(str(path)) as container:
        ends = [packet.pos + packet.size + head for packet in container.demux(video=0) if packet.size]
    for end in ends[3:24:6]:
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=rf"{name}: cut short"):
            probe_video(path)


def test_an_mp4_without_its_index_is_refused(tmp_path):
    path = encode(tmp_path / "a.mp4", wandering(30))
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"moov") - 4])
    with pytest.raises(ValueError, match=r"a\.mp4: not a readable video"):
        probe_video(path)


def test_fewer_frames_than_the_header_of_an_avi_states(tmp_path, told):
    path = encode(tmp_path / "a.avi", wandering(30), "mjpeg", "yuvj420p")
    content = path.read_bytes()
    header = content.index(b"strh") + 8 + 32  # dwLength of AVISTREAMHEADER
    main = content.index(b"avih") + 8 + 16  # dwTotalFrames of AVIMAINHEADER
    more = (99).to_bytes(4, "little")
    for place in (header, main):
        content = content[:place] + more + content[place + 4 :]
    path.write_bytes(content)
    assert probe_video(path).frames == len(read_video(path)) == 30
    assert "says it has 99 frames and has 30" in told.text


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mkv", {"codec": "libx265", "x265_params": "log-level=none:pools=none:frame-threads=1"}),
        ("b.mp4", {"codec": "mpeg4"}),
        ("b.mkv", {"codec": "mpeg2video"}),
        ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    ],
)
def test_damage_is_refused_with_file_and_time(tmp_path, name, options):
    path = encode(tmp_path / name, wandering(72), **options)
    damage(path, 36, 40)
    with pytest.raises(ValueError, match=rf"{name}: damaged after \d+ frames \(\d\.\d\d s\)"):
        read_video(path)
    with pytest.raises(ValueError, match=rf"{name}: damaged after"):
        list(pick_frames(path, [38, 39, 40, 41]))


@given(st.integers(1, 30), st.permutations(range(4)))
def test_a_frame_that_the_decoder_drops_is_noticed_at_the_next(dropped, order):
    """Packets come in groups of 4, each in its own order, and the frames of a group after it."""
    owed = _Owed("matroska,webm")
    told = []
    for group in range(0, 32, 4):
        for place in order:
            owed.feed(SimpleNamespace(pts=group + place, size=1, is_discard=False, stream=STREAM))
        for stamp in range(group, group + 4):
            if stamp != dropped and owed.is_skipped_by(SimpleNamespace(pts=stamp)):
                told.append(stamp)
    assert told == [dropped + 1]


def test_equal_time_stamps_are_counted_not_believed(tmp_path):
    source = encode(tmp_path / "a.mkv", wandering(30), x264_params="bframes=0")
    with av.open(str(source)) as read, av.open(str(tmp_path / "b.mkv"), "w") as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        for index, packet in enumerate(read.demux(video=0)):
            if packet.size:
                packet.stream = stream
                packet.pts = packet.dts = 40 * (index // 2 * 2)
                write.mux(packet)
    info = probe_video(tmp_path / "b.mkv")
    assert (info.frames, info.times) == (30, None)
    assert np.array_equal(read_video(tmp_path / "b.mkv"), read_video(source))
    assert np.array_equal(read_video(tmp_path / "b.mkv", 26, 29), read_video(source, 26, 29))


def test_a_folder_of_images_is_a_video_in_the_order_of_its_numbers(tmp_path):
    frames = wandering(12)
    folder = tmp_path / "take.1"
    for index, frame in enumerate(frames):
        write_image(folder / f"shot{index}.png", frame)
    (folder / "notes.txt").write_text("not a picture")
    info = probe_folder(folder, 16.0)
    assert (info.width, info.height, info.fps, info.frames) == (96, 64, 16.0, 12)
    assert np.array_equal(np.stack(list(video_frames(folder))), frames)
    assert np.array_equal(read_video(folder, 9, 12), frames[9:12])
    with pytest.raises(ValueError, match=r"take\.1: ends before frame 12; it holds 12 images"):
        list(pick_frames(folder, [3, 12]))


def test_folders_that_are_no_video_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no images"):
        probe_folder(tmp_path, 16.0)
    write_image(tmp_path / "1.png", np.zeros((8, 8, 3), np.uint8))
    write_image(tmp_path / "2.png", np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(ValueError, match=r"2\.png: is 9x8, and 1\.png 8x8"):
        read_video(tmp_path)
    write_image(tmp_path / "1.bmp", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"1\.bmp and 1\.png would be one frame"):
        probe_folder(tmp_path, 16.0)


def test_a_folder_that_lies_still_is_listed_once(tmp_path, monkeypatch):
    for index in range(3):
        write_image(tmp_path / f"{index}.png", np.full((8, 8, 3), index, np.uint8))
    listed, list_all = [], folders._sorted_images
    monkeypatch.setattr(folders, "_sorted_images", lambda folder: listed.append(folder) or list_all(folder))
    for _ in range(2):
        assert len(read_video(tmp_path)) == 3
    assert len(listed) > 3, "it was changed just now, and could be again within one step of the file system's clock"
    listed.clear()
    old = time.time() - 60
    os.utime(tmp_path, (old, old))
    for _ in range(2):
        assert read_video(tmp_path)[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert len(listed) == 1
    write_image(tmp_path / "3.png", np.full((8, 8, 3), 3, np.uint8))
    assert read_video(tmp_path)[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
