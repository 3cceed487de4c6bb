import numpy as np
import pytest
from PIL import Image

from common.media import (
    contact_sheet,
    fit_to_size,
    pick_frames,
    probe_image,
    probe_video,
    read_image,
    read_video,
    write_image,
    write_video,
)


@pytest.fixture
def ramp():
    frames = np.zeros((9, 32, 48, 3), np.uint8)
    frames += (np.arange(9, dtype=np.uint8) * 20)[:, None, None, None]
    return frames


def test_a_video_comes_back_with_its_frames_size_and_rate(tmp_path, ramp):
    write_video(tmp_path / "a.mp4", ramp, fps=16)
    info = probe_video(tmp_path / "a.mp4")
    assert (info.width, info.height, info.fps, info.frames) == (48, 32, 16.0, 9)
    part = read_video(tmp_path / "a.mp4", 3, 6)
    assert part.shape == (3, 32, 48, 3)
    assert np.abs(part.astype(int) - ramp[3:6]).max() <= 4


@pytest.mark.parametrize("content", [b"", b"no video here"])
def test_what_is_no_video_is_refused_by_name(tmp_path, content):
    (tmp_path / "bad.mp4").write_bytes(content)
    for reader in (probe_video, read_video):
        with pytest.raises(ValueError, match=r"bad\.mp4"):
            reader(tmp_path / "bad.mp4")


def test_more_frames_than_there_are_is_an_error(tmp_path, ramp):
    write_video(tmp_path / "a.mp4", ramp, fps=16)
    with pytest.raises(ValueError, match=r"a\.mp4.*ends before"):
        read_video(tmp_path / "a.mp4", 4, 20)


def test_odd_sizes_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="even"):
        write_video(tmp_path / "a.mp4", np.zeros((2, 33, 48, 3), np.uint8), 16)
    assert not list(tmp_path.iterdir())


def test_images_are_turned_as_exif_says_and_lose_alpha(tmp_path):
    image = Image.fromarray(np.zeros((20, 30, 4), np.uint8), "RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").shape == (30, 20, 3)


def test_a_truncated_image_is_refused_by_name(tmp_path):
    write_image(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    with pytest.raises(ValueError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("source", "target"), [((40, 60), (32, 32)), ((10, 20), (48, 64)), ((33, 77), (96, 160))])
def test_fit_covers_and_keeps_the_centre(source, target):
    image = np.zeros((*source, 3), np.uint8)
    image[source[0] // 2 - 1 : source[0] // 2 + 1, source[1] // 2 - 1 : source[1] // 2 + 1] = 255
    fitted = fit_to_size(image, width=target[1], height=target[0])
    assert fitted.shape == (*target, 3)
    rows, columns = np.nonzero(fitted[..., 0] > 100)
    assert abs(rows.mean() + 0.5 - target[0] / 2) <= 1.5
    assert abs(columns.mean() + 0.5 - target[1] / 2) <= 1.5


def test_contact_sheet_picks_evenly(ramp):
    sheet = contact_sheet(ramp, columns=3, count=5)
    assert sheet.shape == (2 * 32 + 2, 3 * 48 + 4, 3)
    assert sheet[0, 0, 0] == 0
    assert sheet[-1, 60, 0] == 160


def test_picked_frames_are_the_ones_named(tmp_path, ramp):
    write_video(tmp_path / "a.mp4", ramp, fps=16)
    picked = list(pick_frames(tmp_path / "a.mp4", [1, 4, 8]))
    assert [round(float(frame.mean()) / 20) for frame in picked] == [1, 4, 8]
    with pytest.raises(ValueError, match=r"a\.mp4: ends before frame 9; it has 9"):
        list(pick_frames(tmp_path / "a.mp4", [2, 9]))


def test_an_images_header_tells_its_turned_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png", exif=exif)
    assert probe_image(tmp_path / "a.png") == (20, 30)
    (tmp_path / "b.png").write_text("words")
    with pytest.raises(ValueError, match=r"b\.png"):
        probe_image(tmp_path / "b.png")


def test_grey_levels_of_16_bits_are_refused_not_burnt_out(tmp_path):
    Image.fromarray(np.full((8, 8), 30000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png.*8-bit"):
        read_image(tmp_path / "deep.png")


def test_the_same_frames_give_the_same_bytes(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (9, 64, 96, 3), dtype=np.uint8)
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", frames, 16)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
