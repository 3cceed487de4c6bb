"""What a file leaves out is taken from its video, and only that."""

import json
import logging

import numpy as np
import pytest
import torch

from camera.formats import SourceVideo, Unstated, load_trajectory
from tests.camera.formats.tracks import SIZE, close, plain_track, save_as

# 90 degrees across
VIDEO = SourceVideo(30.0, (50, 100), torch.tensor([0.5, 1, 0.5, 0.5], dtype=torch.float64))
# w2c of a camera that went 1 to its right
ROWS = ("1 0 0 0 0 1 0 0 0 0 1 0", "1 0 0 -1 0 1 0 0 0 0 1 0")
GL = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def in_pixels(path, lens):
    path.write_text("".join(f"{lens} 0 0 {row}\n" for row in ROWS))
    return path


def transforms(path, **lens):
    path.write_text(json.dumps({**lens, "frames": [{"transform_matrix": GL}] * 2}))
    return path


def test_rate_and_lens_of_the_video_fill_in(tmp_path, caplog):
    path = save_as(plain_track(3), tmp_path, "recammaster")
    caplog.clear()
    track = load_trajectory(path, video=VIDEO)
    close(track.times, [0, 1 / 30, 2 / 30])
    close(track.intrinsics[0], VIDEO.intrinsics)
    assert "has no intrinsics; taken is the video's lens of 90 degrees" in caplog.text
    assert "has no times" not in caplog.text
    # what the caller says goes first; a square picture has fx = fy
    stated = load_trajectory(path, fps=10, size=(100, 100), video=VIDEO)
    close(stated.times, [0, 0.1, 0.2])
    close(stated.intrinsics[0, :2], [0.8660254037844386] * 2)


@pytest.mark.parametrize(
    ("name", "step"), [("realestate10k", 1 / 6), ("sana", 1 / 6), ("uni3c", 1 / 16), ("tum", 1 / 6)]
)
def test_times_and_rates_of_file_or_format_go_before_the_videos(tmp_path, caplog, name, step):
    path = save_as(plain_track(3), tmp_path, name)
    size = SIZE if name == "sana" else None
    caplog.clear()
    with caplog.at_level(logging.WARNING, "omnicam"):
        close(load_trajectory(path, size=size, video=VIDEO).times, [0, step, 2 * step], atol=1e-6)
    assert "not used" not in caplog.text


def test_the_size_of_the_video_is_for_its_own_pixels_only(tmp_path):
    own = load_trajectory(in_pixels(tmp_path / "a.txt", "50 50 50 25"), video=VIDEO)
    close(own.intrinsics[0], [0.5, 1, 0.5, 0.5])
    # a little off the middle is still this picture: 9 of 100 pixels
    close(load_trajectory(in_pixels(tmp_path / "b.txt", "50 50 59 25"), video=VIDEO).intrinsics[0, 2], 0.59)
    for lens in ("250 250 256 128", "50 50 61 25", "50 50 25 12"):
        path = in_pixels(tmp_path / "c.txt", lens)
        with pytest.raises(Unstated, match="that of its video does not fit them; pass size=") as caught:
            load_trajectory(path, video=VIDEO)
        assert caught.value.argument == "size"
    # the caller may say it
    close(load_trajectory(path, size=(24, 50), video=VIDEO).intrinsics[0], [1, 50 / 24, 0.5, 0.5])


def test_transforms_of_another_resolution_keep_their_own_size(tmp_path):
    lens = {"fl_x": 100, "fl_y": 100, "cx": 100, "cy": 50}
    file = transforms(tmp_path / "a.json", **lens, w=200, h=100)
    close(load_trajectory(file, video=VIDEO).intrinsics[0], [0.5, 1, 0.5, 0.5])
    without = transforms(tmp_path / "b.json", **lens)
    with pytest.raises(Unstated, match="no w and h"):
        load_trajectory(without, video=VIDEO)
    angle = transforms(tmp_path / "c.json", camera_angle_x=np.pi / 2)
    close(load_trajectory(angle, video=VIDEO).intrinsics[0], [0.5, 1, 0.5, 0.5])


def test_a_network_that_shrank_its_pictures_is_asked_for_their_size(tmp_path):
    np.savez(tmp_path / "a.npz", poses=np.array([GL] * 2, float), focals=np.full(2, 200.0))
    with pytest.raises(Unstated, match="pictures that DUSt3R saw"):
        load_trajectory(tmp_path / "a.npz", video=VIDEO)


def test_frame_numbers_are_the_videos_and_that_is_told(tmp_path, caplog):
    path = tmp_path / "a.txt"
    path.write_text("0 0 0 0 1 0 0 0\n1 1 0 0 1 0 0 0\n")
    with pytest.raises(Unstated, match=r"frame numbers .* or seconds") as caught:
        load_trajectory(path)
    assert caught.value.argument == "fps"
    close(load_trajectory(path, video=VIDEO).times, [0, 1 / 30])
    assert "taken to be the numbers of the video's frames" in caplog.text
