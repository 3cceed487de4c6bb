import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camera.intrinsics import after_resize_crop, default_intrinsics
from common.media import fit_to_size

POINT = (0.11, -0.07, 1.3)


def project(intrinsics, point, size):
    """Pixel (continuous, [0, W] x [0, H]) of a point in camera axes."""
    fx, fy, cx, cy = intrinsics.tolist()
    x, y, z = point
    return (fx * x / z + cx) * size[1], (fy * y / z + cy) * size[0]


@pytest.mark.parametrize("aspect", [16 / 9, 1.0, 0.5])
def test_the_default_camera_has_its_field_of_view_and_square_pixels(aspect):
    fx, fy, cx, cy = default_intrinsics(aspect, hfov_deg=70).tolist()
    assert 2 * math.degrees(math.atan(0.5 / fx)) == pytest.approx(70)
    assert fx * aspect == pytest.approx(fy)
    assert (cx, cy) == (0.5, 0.5)


@pytest.mark.parametrize("arguments", [(0,), (-1,), (math.nan,), (1, 0), (1, 180)])
def test_an_impossible_default_camera_is_refused(arguments):
    with pytest.raises(ValueError, match="expected"):
        default_intrinsics(*arguments)


def test_a_centred_crop_widens_the_normalised_focal_length():
    # 1280x720 to 480x480: scaled to 853x480, then 373 columns are cut
    before = torch.tensor([0.8, 0.8 * 1280 / 720, 0.5, 0.5], dtype=torch.float64)
    fx, fy, cx, cy = after_resize_crop(before, (720, 1280), (480, 480)).tolist()
    assert fx == pytest.approx(0.8 * 853 / 480)
    assert fy == pytest.approx(float(before[1]))
    assert cx == pytest.approx((853 / 2 - 186) / 480)
    assert cy == 0.5


@given(*[st.integers(16, 2000)] * 4)
def test_a_point_is_projected_where_its_pixel_went(height, width, target_height, target_width):
    intrinsics = torch.tensor([0.9, 1.4, 0.47, 0.55], dtype=torch.float64)
    u, v = project(intrinsics, POINT, (height, width))
    scale = max(target_height / height, target_width / width)
    scaled_height = max(target_height, math.floor(height * scale + 0.5))
    scaled_width = max(target_width, math.floor(width * scale + 0.5))
    moved_u = u * scaled_width / width - (scaled_width - target_width) // 2
    moved_v = v * scaled_height / height - (scaled_height - target_height) // 2
    after = after_resize_crop(intrinsics, (height, width), (target_height, target_width))
    assert project(after, POINT, (target_height, target_width)) == pytest.approx((moved_u, moved_v), abs=1e-9)


@pytest.mark.parametrize("target", [(96, 160), (160, 96), (120, 120), (400, 640), (101, 83)])
def test_the_pixels_of_a_real_resize_land_where_the_intrinsics_say(target):
    source = (225, 300)
    intrinsics = torch.tensor([0.9, 1.2, 0.5, 0.5], dtype=torch.float64)
    u, v = project(intrinsics, POINT, source)
    rows, columns = np.mgrid[: source[0], : source[1]]
    spot = np.exp(-((columns + 0.5 - u) ** 2 + (rows + 0.5 - v) ** 2) / (2 * 6.0**2)) * 255
    fitted = fit_to_size(np.repeat(spot[..., None], 3, axis=2).round().astype(np.uint8), target[1], target[0])
    weight = fitted[..., 0].astype(float)
    rows, columns = np.mgrid[: target[0], : target[1]]
    centre = ((columns + 0.5) * weight).sum() / weight.sum(), ((rows + 0.5) * weight).sum() / weight.sum()
    after = after_resize_crop(intrinsics, source, target)
    assert project(after, POINT, target) == pytest.approx(centre, abs=0.05)


def test_a_batch_and_the_same_size_and_float32():
    rows = torch.rand(5, 4) + 0.1
    torch.testing.assert_close(after_resize_crop(rows, (96, 160), (96, 160)), rows)
    assert after_resize_crop(rows, (96, 160), (32, 32)).dtype == torch.float32


def test_an_empty_picture_is_refused():
    with pytest.raises(ValueError, match="sides must be 1 or more"):
        after_resize_crop(default_intrinsics(1.0), (0, 10), (5, 5))
