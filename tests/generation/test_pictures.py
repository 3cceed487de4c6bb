"""Which pictures a task takes, and how they come to the video's size."""

from pathlib import Path

import numpy as np
import pytest

from common.media import write_image, write_video
from generation.pictures import PicturePaths, check_paths, read_control, read_pictures
from wan.config import WAN_CONFIGS

NONE = PicturePaths(None, None, None)


def grey(level: int, height: int = 32, width: int = 48) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


@pytest.fixture
def paths(tmp_path: Path) -> PicturePaths:
    """A first frame, a last one of another shape, and a control folder of three images, darker to lighter."""
    write_image(tmp_path / "first.png", grey(10))
    write_image(tmp_path / "last.png", grey(200, 64, 64))
    (tmp_path / "control").mkdir()
    for index, level in enumerate((50, 100, 150)):
        write_image(tmp_path / "control" / f"{index}.png", grey(level))
    (tmp_path / "control" / "notes.txt").write_text("no image")
    return PicturePaths(str(tmp_path / "first.png"), str(tmp_path / "last.png"), str(tmp_path / "control"))


def read(task: str, paths: PicturePaths, frames: int | None = 9, size: tuple[int, int] = (32, 48)):
    return read_pictures(task, WAN_CONFIGS[task], paths, size, frames, 16)


def test_text_to_video_has_a_size_and_no_picture():
    pictures = read("t2v-14B", NONE, None)
    assert (pictures.frames, pictures.height, pictures.width) == (81, 32, 48)
    assert pictures.first is None and pictures.last is None and pictures.control is None
    assert read("t2i-14B", NONE, None).frames == 1


def test_the_last_frame_follows_the_size_of_the_first(paths: PicturePaths):
    pictures = read("flf2v-14B", PicturePaths(paths.image, paths.end_image, None))
    assert pictures.first is not None and pictures.last is not None
    assert pictures.first.shape == pictures.last.shape == (32, 48, 3)
    assert (pictures.frames, int(pictures.first.mean()), int(pictures.last.mean())) == (9, 10, 200)
    assert pictures.source_size == (32, 48)


def test_an_end_image_of_an_i2v_task_makes_the_video_four_frames_longer(paths: PicturePaths, caplog):
    with caplog.at_level("WARNING", "omnicam"):
        pictures = read("i2v-14B", PicturePaths(paths.image, paths.end_image, None))
    assert pictures.frames == 13
    assert "13 frames long instead of 9" in caplog.text


def test_a_control_folder_is_read_by_name_and_its_last_image_repeated(paths: PicturePaths, caplog):
    with caplog.at_level("WARNING", "omnicam"):
        pictures = read("t2v-1.3B-FC", PicturePaths(None, None, paths.control), 5)
    assert pictures.control is not None and pictures.first is None
    assert pictures.control[:, 0, 0, 0].tolist() == [50, 100, 150, 150, 150]
    assert "3 frames; its last one stands for 2 more" in caplog.text


def test_a_control_video_is_cut_to_the_length_and_cropped_like_the_image(tmp_path: Path):
    ramp = np.stack([grey(20 * i, 32, 64) for i in range(12)])
    ramp[:, :, :8] = 255  # the left edge of the wide picture lies outside the video
    write_video(tmp_path / "c.mp4", ramp, 16)
    control = read_control(str(tmp_path / "c.mp4"), 9, 32, 48)
    assert control.shape == (9, 32, 48, 3)
    assert np.abs(control.mean((1, 2, 3)) - 20 * np.arange(9)).max() < 4


@pytest.mark.parametrize("rate", [8, 16])
def test_a_control_video_at_another_rate_is_said_to_play_at_another_speed(tmp_path: Path, caplog, rate: int):
    write_video(tmp_path / "c.mp4", np.stack([grey(20 * i) for i in range(9)]), rate)
    with caplog.at_level("WARNING", "omnicam"):
        read("t2v-14B-FC", PicturePaths(None, None, str(tmp_path / "c.mp4")))
    assert ("has 8 frames per second, the video 16" in caplog.text) == (rate == 8)


@pytest.mark.parametrize(
    ("task", "given", "words"),
    [
        ("t2v-14B", "image", ["--image_path", "text alone", "i2v"]),
        ("t2v-14B", "end_image", ["--end_image_path", "text alone"]),
        ("t2i-14B", "control", ["--control_path", "t2v-1.3B-FC", "i2v-14B-FC"]),
        ("i2v-14B", "image control", ["--control_path", "i2v-14B", "t2v-14B-FC"]),
        ("i2v-14B", "end_image", ["--image_path is needed"]),
        ("flf2v-14B", "image", ["--end_image_path is needed", "last frame"]),
        ("flf2v-14B", "end_image", ["--image_path is needed"]),
        ("t2v-14B-FC", "image", ["--control_path is needed"]),
        ("t2v-14B-FC", "control end_image", ["--end_image_path", "first frame only", "flf2v-14B"]),
        ("i2v-14B-FC", "control", ["--image_path is needed"]),
    ],
)
def test_what_a_task_lacks_or_cannot_use_is_said(paths: PicturePaths, task: str, given: str, words: list[str]):
    chosen = {name: getattr(paths, name) if name in given.split() else None for name in vars(paths)}
    with pytest.raises(ValueError) as caught:
        check_paths(task, WAN_CONFIGS[task], PicturePaths(**chosen))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("task", "frames", "word"), [("t2i-14B", 5, "one image"), ("flf2v-14B", 1, "5 or more"), ("t2v-14B", 6, "4n.1")]
)
def test_lengths_a_task_cannot_make(paths: PicturePaths, task: str, frames: int, word: str):
    chosen = PicturePaths(paths.image, paths.end_image, None) if task == "flf2v-14B" else NONE
    with pytest.raises(ValueError, match=word):
        read(task, chosen, frames)


def test_control_that_is_not_there_or_holds_nothing(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.mp4"):
        read_control(str(tmp_path / "nothing.mp4"), 5, 32, 48)
    with pytest.raises(ValueError, match=r"holds no image"):
        read_control(str(tmp_path), 5, 32, 48)
    (tmp_path / "words.mp4").write_text("words")
    with pytest.raises(ValueError, match=r"words\.mp4"):
        read_control(str(tmp_path / "words.mp4"), 5, 32, 48)
