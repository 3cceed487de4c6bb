import numpy as np
import pytest
import torch

from wan.pixels import to_frames, to_tensor
from wan.sizes import check_frames, check_size, size_for_image


@pytest.mark.parametrize(
    ("image", "area", "expected"),
    [
        # 936 x 504 as a budget for a picture of 508 x 941: the official pipeline's size, performance.md
        ((508, 941), 936 * 504, (496, 928)),
        ((600, 1000), 96 * 160, (96, 160)),
        ((720, 1280), 720 * 1280, (720, 1280)),
        ((1280, 720), 480 * 832, (832, 464)),
        ((512, 512), 256 * 256, (256, 256)),
    ],
)
def test_the_image_gives_the_shape_and_the_budget_the_area(image, area, expected):
    assert size_for_image(*image, area) == expected


def test_every_exact_size_survives_rounding():
    for height in range(16, 1040, 16):
        for width in range(16, 1040, 48):
            assert size_for_image(height, width, height * width) == (height, width)


def test_a_picture_too_thin_for_its_budget_is_refused():
    with pytest.raises(ValueError, match="10x4000"):
        size_for_image(10, 4000, 256 * 256)


@pytest.mark.parametrize(("frames", "near"), [(0, "1 or 5"), (2, "1 or 5"), (80, "77 or 81"), (83, "81 or 85")])
def test_frames_must_be_4n_plus_1(frames, near):
    with pytest.raises(ValueError, match=near):
        check_frames(frames)
    assert check_frames(81) == 81


@pytest.mark.parametrize("size", [(0, 64), (64, 12), (8, 64), (-16, 16)])
def test_sizes_not_allowed_are_refused(size):
    with pytest.raises(ValueError, match="--video_size"):
        check_size(*size)


def test_pictures_come_back_from_the_networks_range():
    frames = np.arange(2 * 3 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 3, 4, 5, 3)
    tensor = to_tensor(frames, torch.device("cpu"))
    assert tensor.shape == (2, 3, 3, 4, 5)
    assert tensor[1, 2, 0, 3, 4] == frames[1, 0, 3, 4, 2] / 127.5 - 1
    assert np.array_equal(to_frames(tensor), frames)
    assert to_frames(torch.full((3, 1, 1, 1), 7.0)).max() == 255
