import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from camera.intrinsics import (
    SIDES,
    after_centre_crop,
    after_crop,
    after_flip,
    after_letterbox,
    after_padding,
    after_quarter_turns,
    after_resize_crop,
    after_shape_crop,
    default_intrinsics,
    focal_mm_of,
    fov_deg_of,
    intrinsics_of_focal_mm,
    intrinsics_of_fov,
    intrinsics_of_k_px,
    k_px_of,
)
from common.media import fit_to_size

POINT = (0.11, -0.07, 1.3)


LENS = torch.tensor([0.9, 1.2, 0.47, 0.55], dtype=torch.float64)


def spot(u, v, size):
    """A picture with a bright round spot at the continuous position (u, v)."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.exp(-((columns + 0.5 - u) ** 2 + (rows + 0.5 - v) ** 2) / (2 * 4.0**2))


def resized(picture, height, width):
    return np.asarray(Image.fromarray(picture.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))


def centre_of(picture):
    """Where the spot is, (u, v): its centre of mass, pixels counted at their centres."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return ((columns + 0.5) * picture).sum() / picture.sum(), ((rows + 0.5) * picture).sum() / picture.sum()


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
    picture = np.repeat(255 * spot(u, v, source)[..., None], 3, axis=2).round().astype(np.uint8)
    fitted = fit_to_size(picture, target[1], target[0])
    after = after_resize_crop(intrinsics, source, target)
    assert project(after, POINT, target) == pytest.approx(centre_of(fitted[..., 0].astype(float)), abs=0.05)


def test_a_batch_and_the_same_size_and_float32():
    rows = torch.rand(5, 4) + 0.1
    torch.testing.assert_close(after_resize_crop(rows, (96, 160), (96, 160)), rows)
    assert after_resize_crop(rows, (96, 160), (32, 32)).dtype == torch.float32


def test_an_empty_picture_is_refused():
    with pytest.raises(ValueError, match="sides must be 1 or more"):
        after_resize_crop(default_intrinsics(1.0), (0, 10), (5, 5))


SOURCE = (150, 201)


@pytest.mark.parametrize(
    ("change", "pixels"),
    [
        (lambda k: after_crop(k, SOURCE, (11, 23), (120, 160)), lambda p: p[11:131, 23:183]),
        (lambda k: after_centre_crop(k, SOURCE, (101, 130)), lambda p: p[24:125, 35:165]),
        (lambda k: after_padding(k, SOURCE, 3, 10, 20, 1), lambda p: np.pad(p, ((3, 10), (20, 1)))),
        (lambda k: after_centre_crop(k, SOURCE, (160, 130)), lambda p: np.pad(p, ((5, 5), (0, 0)))[:, 35:165]),
        (after_flip, lambda p: p[:, ::-1]),
    ],
    ids=["crop", "centre crop", "padding", "crop and padding", "flip"],
)
def test_moved_pixels_are_where_the_intrinsics_say(change, pixels):
    moved = pixels(spot(*project(LENS, POINT, SOURCE), SOURCE))
    point = (-POINT[0], *POINT[1:]) if change is after_flip else POINT
    assert project(change(LENS), point, moved.shape) == pytest.approx(centre_of(moved), abs=1e-3)


@pytest.mark.parametrize("turns", [-3, -1, 0, 1, 2, 3, 6])
def test_turned_pixels_are_where_the_intrinsics_say(turns):
    turned = np.rot90(spot(*project(LENS, POINT, SOURCE), SOURCE), -turns)
    x, y, z = POINT
    for _ in range(turns % 4):
        # the camera's axes turn with the picture: its new x is the old -y
        x, y = -y, x
    assert project(after_quarter_turns(LENS, turns), (x, y, z), turned.shape) == pytest.approx(
        centre_of(turned), abs=1e-3
    )


def test_a_resize_to_another_shape_leaves_normalised_intrinsics():
    height, width = SOURCE
    stretched = resized(spot(*project(LENS, POINT, SOURCE), SOURCE), 90, 400)
    assert project(LENS, POINT, (90, 400)) == pytest.approx(centre_of(stretched), abs=0.02)
    stretch = torch.tensor([400 / width, 90 / height, 1], dtype=torch.float64).diag()
    torch.testing.assert_close(k_px_of(LENS, (90, 400)), stretch @ k_px_of(LENS, SOURCE), rtol=1e-15, atol=0)


@pytest.mark.parametrize("target", [(96, 160), (160, 96), (400, 640), (151, 83), (30, 300)])
def test_a_letterbox_holds_the_whole_picture_between_even_bars(target):
    after = after_letterbox(LENS, SOURCE, target)
    scale = min(target[0] / SOURCE[0], target[1] / SOURCE[1])
    height, width = (math.floor(side * scale + 0.5) for side in SOURCE)
    assert height == target[0] or width == target[1]
    above, left = (target[0] - height) // 2, (target[1] - width) // 2
    # scale, then paste at (above, left): the point moves with its pixel
    u, v = project(LENS, POINT, SOURCE)
    expected = (u * width / SOURCE[1] + left, v * height / SOURCE[0] + above)
    assert project(after, POINT, target) == pytest.approx(expected, abs=1e-9)
    small = resized(spot(u, v, SOURCE), height, width)
    boxed = np.pad(small, ((above, target[0] - height - above), (left, target[1] - width - left)))
    assert project(after, POINT, target) == pytest.approx(centre_of(boxed), abs=0.05)


sides_px = st.integers(1, 4000)
lenses = st.tuples(*[st.floats(0.05, 20)] * 2, *[st.floats(-1, 2)] * 2).map(
    lambda row: torch.tensor(row, dtype=torch.float64)
)


@given(lenses, sides_px, sides_px, st.integers(-500, 500), st.integers(-500, 500), st.integers(-3, 3))
def test_changes_that_undo_each_other(lens, height, width, top, left, turns):
    def close(actual):
        torch.testing.assert_close(actual, lens, rtol=1e-12, atol=1e-10)

    close(after_flip(after_flip(lens)))
    close(after_quarter_turns(after_quarter_turns(lens, turns), -turns))
    close(intrinsics_of_k_px(k_px_of(lens, (height, width)), (height, width)))
    close(
        after_crop(
            after_crop(lens, (height, width), (top, left), (480, 832)), (480, 832), (-top, -left), (height, width)
        )
    )
    padded = after_padding(lens, (height, width), 7, 5, 3, 2)
    close(after_crop(padded, (height + 12, width + 5), (7, 3), (height, width)))


@given(st.floats(0.5, 175), st.floats(0.2, 5), st.sampled_from(SIDES))
def test_a_field_of_view_gives_a_lens_that_has_it(fov_deg, aspect, side):
    lens = intrinsics_of_fov(fov_deg, aspect, side)
    assert float(fov_deg_of(lens, side)) == pytest.approx(fov_deg, rel=1e-12)
    assert float(lens[0]) * aspect == pytest.approx(float(lens[1]), rel=1e-12)
    horizontal, vertical, diagonal = (math.radians(float(fov_deg_of(lens, each))) / 2 for each in SIDES)
    assert math.tan(diagonal) ** 2 == pytest.approx(math.tan(horizontal) ** 2 + math.tan(vertical) ** 2, rel=1e-9)
    assert math.tan(horizontal) == pytest.approx(aspect * math.tan(vertical), rel=1e-9)


def test_the_field_of_view_of_a_camera_with_its_axis_aside():
    # the axis at the left edge: 0 degrees to the left, 45 to the right; in the rows 1/4 above and 3/4 below
    lens = torch.tensor([[1.0, 1.0, 0.0, 0.25]], dtype=torch.float64).expand(3, 4)
    assert fov_deg_of(lens).tolist() == pytest.approx([45] * 3)
    expected = math.degrees(math.atan(0.25) + math.atan(0.75))
    assert fov_deg_of(lens, "vertical").tolist() == pytest.approx([expected] * 3)


def test_millimetres_of_known_lenses():
    # full frame 36 x 24 mm: a 50 mm lens sees 39.6 x 27.0 degrees, 46.8 along the diagonal (any lens table)
    lens = intrinsics_of_focal_mm(50, 36, 1.5)
    assert [round(float(fov_deg_of(lens, side)), 1) for side in SIDES] == [39.6, 27.0, 46.8]
    assert float(focal_mm_of(lens, 36)) == pytest.approx(50)
    # the middle of it, cropped to an APS-C sensor's 24 x 16 mm, is seen as by a 75 mm lens
    cropped = after_centre_crop(lens, (2400, 3600), (1600, 2400))
    assert float(focal_mm_of(cropped, 36)) == pytest.approx(75)
    assert float(focal_mm_of(cropped, 24)) == pytest.approx(50)


def test_pixels_of_a_stated_size():
    k_px = k_px_of(torch.tensor([[0.5, 1.0, 0.5, 0.25], [1, 2, 0.5, 0.25]], dtype=torch.float64), (480, 832))
    assert k_px[0].tolist() == [[416, 0, 416], [0, 480, 120], [0, 0, 1]]
    assert k_px[1, 0].tolist() == [832, 0, 416]


@pytest.mark.parametrize(
    ("row", "column", "value"), [(0, 1, 2.0), (1, 0, 1.0), (2, 2, 2.0), (2, 0, 1e-3), (0, 0, -400.0), (1, 1, math.nan)]
)
def test_a_matrix_that_our_cameras_do_not_have_is_refused(row, column, value):
    k_px = k_px_of(LENS, SOURCE)
    k_px[row, column] = value
    with pytest.raises(ValueError, match="K_px: expected"):
        intrinsics_of_k_px(k_px, SOURCE)


def test_impossible_lenses_and_sizes_are_refused():
    for call in (
        lambda: intrinsics_of_fov(60, 1.5, "width"),
        lambda: fov_deg_of(LENS, "width"),
        lambda: intrinsics_of_focal_mm(0, 36, 1.5),
        lambda: intrinsics_of_focal_mm(50, math.inf, 1.5),
        lambda: intrinsics_of_focal_mm(50, 36, 0),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
    for call in (
        lambda: after_crop(LENS, SOURCE, (0, 0), (0, 5)),
        lambda: after_padding(LENS, SOURCE, 0, -200, 0, 0),
        lambda: k_px_of(LENS, (5, 0)),
        lambda: after_letterbox(LENS, (0, 3), (5, 5)),
    ):
        with pytest.raises(ValueError, match="sides must be 1 or more"):
            call()


def test_a_zoom_is_followed_frame_by_frame():
    zoom = LENS * torch.linspace(1, 3, 9, dtype=torch.float64)[:, None]
    for change in (after_flip, lambda k: after_quarter_turns(k, 1), lambda k: after_letterbox(k, SOURCE, (64, 64))):
        rows = change(zoom)
        for row, one in zip(rows, zoom, strict=True):
            assert torch.equal(row, change(one))


@given(st.integers(40, 400), st.integers(40, 400), st.integers(40, 400), st.integers(40, 400))
def test_a_crop_to_a_shape_is_the_crop_to_a_size_without_its_rounding(height, width, other_height, other_width):
    lens = torch.tensor([0.8, 1.1, 0.45, 0.55], dtype=torch.float64)
    exact = after_shape_crop(lens, width / height, other_width / other_height)
    rounded = after_resize_crop(lens, (height, width), (other_height, other_width))
    # a side of the scaled picture is rounded by half a pixel, and so is the corner of the crop
    torch.testing.assert_close(exact, rounded, rtol=0.03, atol=0.03)
    back = after_shape_crop(exact, other_width / other_height, other_width / other_height)
    torch.testing.assert_close(back, exact)


def test_a_wider_part_keeps_the_width_and_square_pixels():
    lens = after_shape_crop(default_intrinsics(4 / 3, 60), 4 / 3, 16 / 9)
    torch.testing.assert_close(lens, default_intrinsics(16 / 9, 60))
    tall = after_shape_crop(default_intrinsics(4 / 3, 60), 4 / 3, 1.0)
    # what stays is as high as the whole, and square
    assert tall[:2].tolist() == pytest.approx([float(default_intrinsics(4 / 3, 60)[1])] * 2)
