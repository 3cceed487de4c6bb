"""Clips of RealEstate10K: cut out of videos whose frames say their number, with poses that say theirs."""

import json
import tarfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera.track import CameraTrack
from common import media
from dataset.cameras import item_track
from dataset.sources import MediaItem
from tests.tools.preparation_sets import grey_video, levels, lines, loaded, snapshot
from tools.preparation.video import cut_video, encode_video
from tools.prepare_realestate10k import main

ID = "a-b_C3defG7"
FPS = Fraction(30000, 1001)


def clip(path: Path, first: int, count: int, fps: float = float(FPS), video: str = ID, offset: float = 0.0) -> Path:
    """A clip's text: the camera of frame number k of the video stands k to the right of the world's origin."""
    rows = [f"https://www.youtube.com/watch?v={video}"]
    for frame in range(first, first + count):
        stamp = round((frame / fps + offset) * 1e6)
        rows.append(f"{stamp} 0.5 0.9 0.5 0.5 0 0 1 0 0 {-frame} 0 1 0 0 0 0 1 0")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def source(tmp_path):
    """A video of 48 frames and three clips, one of which is of a video that is not there."""
    grey_video(tmp_path / "whole" / f"{ID}.mp4", 48, float(FPS))
    clip(tmp_path / "poses" / "train" / "aaaa.txt", 20, 12)
    clip(tmp_path / "poses" / "train" / "bbbb.txt", 0, 5)
    clip(tmp_path / "poses" / "train" / "cccc.txt", 0, 5, video="ZZZZZZZZZZZ")
    return tmp_path / "poses"


def prepare(source: Path, out: Path, *flags: str) -> int:
    whole = str(source.parent / "whole")
    return main([str(source), "--output_dir", str(out), "--videos", whole, "--caption", "A house.", *flags])


def centres_by_frame(item: MediaItem) -> torch.Tensor:
    """x of the camera's centre at the time of each frame of an item's video."""
    info = media.probe_video(item.path)
    return item_track(item, info).at(torch.arange(info.frames, dtype=torch.float64) / info.fps).c2w[:, 0, 3]


def test_each_frame_of_a_cut_keeps_its_own_pose(tmp_path, source):
    before = snapshot(source.parent)
    assert prepare(source, tmp_path / "out") == 0
    first, second = loaded(tmp_path / "out")
    assert levels(first.path) == list(range(20, 32)) and levels(second.path) == list(range(5))
    # through the eyes of the cache: frame k of the clip is frame 20 + k of the video, k to the right of the first
    expected = torch.arange(12, dtype=torch.float64)
    torch.testing.assert_close(centres_by_frame(first), expected, atol=1e-3, rtol=0)
    assert CameraTrack.load(first.camera_file).intrinsics[0].tolist() == pytest.approx([0.5, 0.9, 0.5, 0.5])
    (left,) = lines(tmp_path / "out" / "left-out.jsonl")
    assert "cccc.txt: its video ZZZZZZZZZZZ is not there" in left["reason"]
    after = snapshot(source.parent)
    assert {path: after[path] for path in before} == before


def test_time_stamps_between_frames_shift_the_camera_not_the_pictures(tmp_path, source):
    """Time stamps that lie 0.3 of a frame late: at the time of frame k the camera has not come to pose k yet."""
    clip(source / "train" / "aaaa.txt", 20, 12, offset=0.3 / float(FPS))
    prepare(source, tmp_path / "out")
    item = next(item for item in loaded(tmp_path / "out") if item.path.stem == "aaaa")
    assert levels(item.path) == list(range(20, 32))
    centres = centres_by_frame(item)
    torch.testing.assert_close(centres[1:].diff(), torch.ones(10, dtype=torch.float64), atol=1e-3, rtol=0)
    assert float(centres[5]) == pytest.approx(4.7, abs=1e-3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return grey_video(tmp_path_factory.mktemp("whole") / "v.mp4", 48, 25)


@settings(max_examples=12, deadline=None)
@given(first=st.integers(0, 40), count=st.integers(2, 8), shift=st.floats(-0.4, 0.4))
def test_any_cut_has_the_frames_nearest_to_its_ends(whole, first, count, shift):
    target = whole.parent / "cut.mp4"
    begin, shape, size = cut_video(whole, target, (first + shift) / 25, (first + count - 1 + shift) / 25)
    assert levels(target) == list(range(first, first + count))
    assert begin == pytest.approx(first / 25, abs=1e-3) and shape == size == (32, 48)


def test_a_second_run_keeps_everything_and_damage_is_made_good(tmp_path, source):
    prepare(source, tmp_path / "out")
    files = {path: at for path, at in snapshot(tmp_path / "out").items() if path.endswith((".mp4", ".safetensors"))}
    prepare(source, tmp_path / "out")
    again = snapshot(tmp_path / "out")
    assert len(files) == 4 and all(again[path] == at for path, at in files.items())
    camera = tmp_path / "out" / "safetensors" / "aaaa.safetensors"
    camera.write_bytes(camera.read_bytes()[:99])
    prepare(source, tmp_path / "out")
    assert len(CameraTrack.load(camera)) == 12


def test_frames_by_their_time_stamps(tmp_path, source):
    stamps = [line.split()[0] for line in (source / "train" / "cccc.txt").read_text().splitlines()[1:]]
    for number, stamp in enumerate(stamps):
        picture = np.full((33, 48, 3), 10 + 5 * number, np.uint8)
        media.write_image(tmp_path / "frames" / "cccc" / f"{stamp}.png", picture)
    prepare(source, tmp_path / "out", "--frames", str(tmp_path / "frames"))
    item = next(item for item in loaded(tmp_path / "out") if item.path.stem == "cccc")
    info = media.probe_video(item.path)
    assert levels(item.path) == list(range(5)) and (info.height, info.width) == (32, 48)
    assert info.fps == pytest.approx(float(FPS), rel=1e-3)
    track = CameraTrack.load(item.camera_file)
    torch.testing.assert_close(track.c2w[:, 0, 3], torch.arange(5, dtype=torch.float64), atol=1e-5, rtol=0)
    # the row that was cropped away is 1/33 of the height, so the lens is that much longer in the rest
    assert track.intrinsics[0, 1].item() == pytest.approx(0.9 * 33 / 32, rel=1e-5)
    (tmp_path / "frames" / "cccc" / f"{stamps[2]}.png").unlink()
    with pytest.raises(ValueError, match=rf"1 of 5 pictures are missing.*{stamps[2]}\.png"):
        prepare(source, tmp_path / "out", "--frames", str(tmp_path / "frames"), "--strict")


def test_videos_that_cannot_be_cut_are_told(tmp_path, source):
    clip(source / "train" / "late.txt", 40, 20)
    clip(source / "train" / "beyond.txt", 400, 20)
    (source / "train" / "README.txt").write_text("nothing\n")
    prepare(source, tmp_path / "out")
    reasons = {Path(each["item"]).stem: each["reason"] for each in lines(tmp_path / "out" / "left-out.jsonl")}
    assert "before the clip does" in reasons["late"] and "has no frame between" in reasons["beyond"]
    assert "expected the address of a YouTube video" in reasons["README"]
    assert not (tmp_path / "out" / "videos" / "late.mp4").exists()


def test_uneven_frames_are_refused_rather_than_shifted(tmp_path):
    import av

    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for pts in (0, 100, 200, 300, 900, 1000):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="constant rate first"):
        cut_video(tmp_path / "v.mp4", tmp_path / "cut.mp4", 0.0, 1.0)
    assert not (tmp_path / "cut.mp4").exists()


def test_the_archive_and_captions_by_clip(tmp_path, source):
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "RealEstate10K.tar.gz", "w:gz") as opened:
        opened.add(source, "RealEstate10K")
    (tmp_path / "captions.json").write_text(json.dumps({"aaaa.mp4": "A kitchen."}))
    flags = ["--output_dir", str(tmp_path / "out"), "--videos", str(tmp_path / "whole")]
    main(["--archives", str(tmp_path / "in"), *flags, "--captions", str(tmp_path / "captions.json")])
    (item,) = loaded(tmp_path / "out")
    assert (item.path.stem, item.caption) == ("aaaa", "A kitchen.")


def test_frames_of_different_sizes_make_no_video(tmp_path):
    frames = [np.zeros((32, 48, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)]
    with pytest.raises(ValueError, match="frame 1 is"):
        encode_video(tmp_path / "v.mp4", frames, Fraction(8))
    with pytest.raises(ValueError, match="no frames"):
        encode_video(tmp_path / "v.mp4", [], Fraction(8))
    assert not list(tmp_path.iterdir())


def test_flags_are_checked(tmp_path, source):
    with pytest.raises(ValueError, match="--videos DIR, --frames DIR or both"):
        main([str(source), "--output_dir", str(tmp_path / "out")])
    grey_video(tmp_path / "whole" / "b" / f"{ID}.mp4", 2)
    with pytest.raises(ValueError, match="two videos of one id"):
        prepare(source, tmp_path / "out")
