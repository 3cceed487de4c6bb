"""A set that is laid out in another way than its tool expects: what was expected and what is there are told."""

import pytest

from tests.camera.formats.test_realcam import record, write
from tests.tools.preparation_sets import grey_video, listing
from tools import prepare_dl3dv, prepare_omnicam, prepare_realcam, prepare_realestate10k, prepare_videos

FOUND = r"found below .*: 2 \.parquet \(data/0\.parquet\), 1 \.webp \(images/a\.webp\)"


@pytest.fixture
def other(tmp_path):
    """Videos in tables, as many sets of the hub have them."""
    folder = tmp_path / "other"
    for name in ("data/0.parquet", "data/1.parquet", "images/a.webp", ".cache/hidden.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_realcam(tmp_path, other):
    write(tmp_path / "r.npz", *[record(video_path=f"videos/DL3DV-10K/{number}.mp4") for number in range(9)])
    words = [str(tmp_path / "r.npz"), str(other), "--output_dir", str(tmp_path / "out")]
    expected = r"r\.npz with 9 clips: nothing of it.*left-out\.jsonl\. Expected .*such as videos/DL3DV-10K/0\.mp4; "
    with pytest.raises(ValueError, match=expected + FOUND):
        prepare_realcam.main(words)


def test_realestate10k(tmp_path, other):
    (tmp_path / "videos").mkdir()
    words = [str(other), "--videos", str(tmp_path / "videos"), "--caption", "", "--output_dir", str(tmp_path / "out")]
    expected = r"with 0 clips: nothing of it could be used\. Expected HASH\.txt .* and ID\.mp4 or HASH/MICROSECONDS.*; "
    with pytest.raises(ValueError, match=expected + FOUND):
        prepare_realestate10k.main(words)


def test_dl3dv(tmp_path, other):
    expected = r"with 0 transforms\.json: nothing .*Expected SUBSET/HASH/transforms\.json with a folder of pictures"
    with pytest.raises(ValueError, match=expected + ".*" + FOUND):
        prepare_dl3dv.main([str(other), "--caption", "", "--output_dir", str(tmp_path / "out")])


def test_plain_videos(tmp_path, other):
    with pytest.raises(ValueError, match=r"with 0 videos: nothing .*Expected videos \(\.mp4, .*" + FOUND):
        prepare_videos.main([str(other), "--output_dir", str(tmp_path / "out")])


def test_omnicam_lists_of_videos_that_are_not_there(tmp_path, other):
    listing(other, [{"video_path": "/x/a.mp4", "caption": "a"}])
    grey_video(other / "b.mp4", 3)
    words = ["OmniCam-Sep-2-Simple", "--local", str(other), "--output_dir", str(tmp_path / "out")]
    expected = r"with 1 captions: nothing .*Expected the videos, and pose files, that its lists name; "
    with pytest.raises(ValueError, match=expected + r"found .*: 2 \.parquet .*1 \.mp4 \(b\.mp4\)"):
        prepare_omnicam.main(words)


@pytest.mark.parametrize("tool", [prepare_dl3dv, prepare_realestate10k])
def test_a_folder_without_archives(tmp_path, other, tool):
    videos = ["--videos", str(other)] if tool is prepare_realestate10k else []
    words = ["--archives", str(other), "--caption", "", "--output_dir", str(tmp_path / "out"), *videos]
    with pytest.raises(ValueError, match=r"--archives .*: expected \.tar, .* files, found 2 \.parquet \(data/0"):
        tool.main(words)
