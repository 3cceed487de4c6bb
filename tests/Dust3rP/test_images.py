"""DUSt3R's sizes of pictures, their values, and how intrinsics follow there and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from Dust3rP.images import crop_pictures, picture_crop, to_input

# (width, height) of the source and of the network's picture, as DUSt3R's own loader makes it
OFFICIAL = [
    ((1280, 720), (512, 288)),
    ((832, 480), (512, 288)),
    ((640, 480), (512, 384)),
    ((1920, 800), (512, 208)),
    ((1280, 704), (512, 272)),
    ((513, 287), (512, 272)),
    ((1000, 1000), (512, 384)),
]
SIDES = st.integers(64, 3000)


@pytest.mark.parametrize(("source", "wanted"), OFFICIAL)
def test_every_official_example(source, wanted):
    (width, height), (wanted_width, wanted_height) = source, wanted
    assert picture_crop((height, width)).size == (wanted_height, wanted_width)
    if width != height:
        assert picture_crop((width, height)).size == (wanted_width, wanted_height)


def test_a_side_is_rounded_before_it_is_cut():
    crop = picture_crop((480, 832))
    assert crop.scaled_size == (295, 512) and crop.size == (288, 512) and crop.corner == (3, 0)


def test_a_square_loses_an_eighth_above_and_below():
    crop = picture_crop((1000, 1000))
    assert crop.scaled_size == (512, 512) and crop.corner == (64, 0)


@pytest.mark.parametrize(
    ("source", "scaled"), [((480, 640), (224, 299)), ((640, 480), (299, 224)), ((90, 90), (224, 224))]
)
def test_at_224_a_square_is_cut_out(source, scaled):
    crop = picture_crop(source, 224)
    assert crop.scaled_size == scaled and crop.size == (224, 224)


@given(height=SIDES, width=SIDES, resolution=st.sampled_from([224, 512]))
def test_the_rectangle_lies_in_the_middle_of_the_scaled_picture(height, width, resolution):
    if max(height, width) > 25 * min(height, width):
        return
    crop = picture_crop((height, width), resolution)
    assert all(side % 16 == 0 and side > 0 for side in crop.size)
    for scaled, size, corner in zip(crop.scaled_size, crop.size, crop.corner, strict=True):
        assert corner >= 0 and corner + size <= scaled and abs(2 * corner + size - scaled) <= 1
    if resolution == 512 and height != width:
        assert max(crop.scaled_size) == 512 == max(crop.size)


@given(height=SIDES, width=SIDES, focal=st.floats(0.3, 5), x=st.floats(0.3, 0.7), y=st.floats(0.3, 0.7))
def test_intrinsics_go_there_and_back(height, width, focal, x, y):
    if max(height, width) > 25 * min(height, width):
        return
    crop = picture_crop((height, width))
    lens = torch.tensor([focal, focal * width / height, x, y], dtype=torch.float64)
    torch.testing.assert_close(crop.to_source(crop.of_source(lens)), lens, rtol=1e-12, atol=1e-12)
    # a point of the scene is seen at the same place of the scene's picture
    ray = torch.tensor([0.1, -0.05], dtype=torch.float64)
    place = (lens[:2] * ray + lens[2:]) * torch.tensor(crop.scaled_size[::-1]) - torch.tensor(crop.corner[::-1])
    seen = crop.of_source(lens)
    torch.testing.assert_close((seen[:2] * ray + seen[2:]) * torch.tensor(crop.size[::-1]), place)


def test_a_picture_too_narrow_is_refused():
    with pytest.raises(ValueError, match=r"4000x100 is too narrow for DUSt3R: at 512x13"):
        picture_crop((100, 4000))


@pytest.mark.parametrize("size", [(90, 160), (720, 1280), (600, 400)])
def test_a_colour_ramp_stays_where_the_crop_says(size):
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    ramp = np.stack((columns * 255 / (width - 1), rows * 255 / (height - 1), 0 * rows), axis=-1)
    crop = picture_crop(size)
    found = crop_pictures(np.round(ramp).astype(np.uint8)[None], crop)[0].astype(float)
    assert found.shape == (*crop.size, 3)
    for axis, channel in ((1, 0), (0, 1)):
        # where the middle of each pixel was in the source, in source pixels
        place = (np.arange(crop.size[axis]) + 0.5 + crop.corner[axis]) * size[axis] / crop.scaled_size[axis] - 0.5
        expected = np.clip(place, 0, size[axis] - 1) * 255 / (size[axis] - 1)
        seen = found[..., channel].mean(axis=1 - axis)
        assert np.abs(seen - expected)[3:-3].max() < 1.0


def test_large_pictures_are_shrunk_by_lanczos_and_small_ones_enlarged_bicubic():
    noise = np.random.default_rng(1).integers(0, 256, (400, 640, 3), dtype=np.uint8)
    for source, method in ((noise, Image.Resampling.LANCZOS), (noise[:200, :320], Image.Resampling.BICUBIC)):
        wanted = np.asarray(Image.fromarray(source).resize((512, 320), method))
        assert np.array_equal(crop_pictures(source[None], picture_crop(source.shape[:2]))[0], wanted)


def test_levels_become_minus_one_to_one():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    found = to_input(levels, torch.device("cpu"))
    assert found.shape == (1, 3, 16, 16) and found.dtype == torch.float32
    torch.testing.assert_close(found[0, 1].flatten(), torch.linspace(-1, 1, 256), rtol=0, atol=1e-6)
