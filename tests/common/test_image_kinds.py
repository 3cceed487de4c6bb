"""Images as they come from the world."""

import cv2
import numpy as np
import pytest
from PIL import Image

from common.media import probe_image, read_image

pytestmark = pytest.mark.usefixtures("told")


@pytest.fixture
def colours():
    """Four plain quarters: red, green, blue, grey."""
    picture = np.zeros((16, 24, 3), np.uint8)
    picture[:8, :12, 0] = picture[:8, 12:, 1] = picture[8:, :12, 2] = 200
    picture[8:, 12:] = 100
    return picture


@pytest.mark.parametrize(("mode", "name"), [("P", "a.png"), ("CMYK", "a.jpg"), ("RGB", "a.bmp"), ("RGB", "a.webp")])
def test_palettes_and_cmyk_become_rgb(tmp_path, colours, mode, name):
    options = {"lossless": True} if name == "a.webp" else {"quality": 100} if name == "a.jpg" else {}
    picture = Image.fromarray(colours)
    (picture.quantize(4) if mode == "P" else picture.convert(mode)).save(tmp_path / name, **options)
    read = read_image(tmp_path / name)
    assert read.shape == colours.shape
    assert np.abs(read[2:6, 2:10].astype(int) - colours[2:6, 2:10]).max() <= 8
    assert np.abs(read[10:14, 14:22].astype(int) - 100).max() <= 8


def test_grey_and_black_and_white_become_rgb(tmp_path):
    Image.new("L", (5, 3), 77).save(tmp_path / "a.png")
    Image.new("1", (5, 3), 1).save(tmp_path / "b.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.full((3, 5, 3), 77))
    assert np.array_equal(read_image(tmp_path / "b.png"), np.full((3, 5, 3), 255))


def test_colours_of_16_bits_become_8(tmp_path, colours):
    cv2.imwrite(str(tmp_path / "a.png"), colours[..., ::-1].astype(np.uint16) * 257)
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - colours).max() <= 1


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_alpha_is_cut_off_once_told_and_colours_below_it_stay(tmp_path, colours, told, name):
    alpha = np.full((16, 24, 1), 1, np.uint8)
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    Image.fromarray(np.concatenate([colours, alpha], axis=-1)).save(tmp_path / name, **options)
    for _ in range(2):
        assert np.array_equal(read_image(tmp_path / name), colours)
    assert len(told.records) == 1
    assert f"{tmp_path / name} has an alpha channel, which is cut off" in told.text


def test_a_palette_with_a_transparent_colour_keeps_the_colour(tmp_path, colours):
    Image.fromarray(colours).quantize(4).save(tmp_path / "a.png", transparency=bytes([0, 128, 255, 255]))
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - colours).max() <= 8


def test_of_an_animation_the_first_picture_is_taken_with_a_word(tmp_path, told):
    pictures = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (50, 150, 250)]
    for name in ("a.webp", "a.png"):
        options = {"lossless": True} if name == "a.webp" else {}
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=100, **options)
        assert np.array_equal(read_image(tmp_path / name), np.asarray(pictures[0]))
    assert len(told.records) == 1
    assert "is an animation; its first picture is taken" in told.text


def test_the_second_picture_of_a_phone_photo_is_no_animation(tmp_path, told):
    first, second = Image.new("RGB", (8, 8), (50, 0, 0)), Image.new("RGB", (4, 4))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert read_image(tmp_path / "a.jpg").shape == (8, 8, 3)
    assert not told.records


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_turn_is_obeyed_and_foretold(tmp_path, colours, orientation):
    undo = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: np.rot90(p, 2),
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(undo[orientation](colours))
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), colours)
    assert probe_image(tmp_path / "a.png") == (24, 16)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (7, 5)])
def test_tiny_and_odd_images(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    assert probe_image(tmp_path / "a.png") == size
    assert read_image(tmp_path / "a.png").shape == (size[1], size[0], 3)


@pytest.mark.parametrize("content", [b"", b"words", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused_by_name(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    for reader in (probe_image, read_image):
        with pytest.raises(ValueError, match=r"bad\.png: not a readable image"):
            reader(tmp_path / "bad.png")
