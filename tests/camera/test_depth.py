import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from camera.depth import fit_depth, read_depth, z_depth
from common.media import fit_to_size
from tests.camera.formats.array_tracks import fuzz, mutated, mutations

STARTS = (b"", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', ", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
RAMP = np.linspace(1, 2, 90 * 160, dtype=np.float32).reshape(90, 160)


def test_npy_and_png_give_their_numbers(tmp_path):
    np.save(tmp_path / "d.npy", RAMP[None])
    np.testing.assert_array_equal(read_depth(tmp_path / "d.npy"), RAMP)
    levels = (RAMP * 20000).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "d.png")
    np.testing.assert_array_equal(read_depth(tmp_path / "d.png"), levels)


def test_other_files_are_refused_with_the_reason(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "line.npy", np.arange(5.0))
    np.save(tmp_path / "none.npy", np.zeros((0, 4)))
    np.save(tmp_path / "overflow.npy", np.full((4, 4), 1e300))
    np.save(tmp_path / "nan.npy", np.full((4, 4), np.nan))
    (tmp_path / "short.npy").write_bytes((tmp_path / "nan.npy").read_bytes()[:-9])
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "depth.exr").write_text("")
    for name, mode in (("colour", "RGB"), ("palette", "P"), ("alpha", "LA")):
        Image.new(mode, (8, 8)).save(tmp_path / f"{name}.png")
    # begins with L as grey does, and only other files than PNG can have it
    Image.new("LAB", (8, 8)).save(tmp_path / "lab.png", format="tiff")
    # the last two are a TokenError and a negative array of numpy's own reader
    shapes = {"huge": "(10000000, 10000000)", "parenthesis": "(2, 4", "negative": "(-2, 4)"}
    for name, shape in shapes.items():
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        (tmp_path / f"{name}.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    reasons = {
        "objects.npy": "pickled Python objects", "line.npy": r"\[5\]", "nan.npy": "NaN", "short.npy": "cut off",
        "text.npy": "NUMPY", "text.png": "PNG", "depth.exr": r"\.npy", "colour.png": "grey", "huge.npy": "10000000",
        "parenthesis.npy": "header is damaged", "negative.npy": "header is damaged", "none.npy": r"\[0, 4\]",
        "lab.png": "not a readable PNG", "palette.png": "grey", "alpha.png": "grey", "overflow.npy": "infinity",
    }  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=rf"{name}.*{reason}"):
            read_depth(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"missing\.npy"):
        read_depth(tmp_path / "missing.npy")


def test_one_channel_may_be_first_or_last_and_any_number_is_read(tmp_path):
    for name, array in (("first", RAMP[None]), ("last", RAMP[..., None]), ("double", RAMP.astype(">f8"))):
        np.save(tmp_path / f"{name}.npy", array)
        np.testing.assert_array_equal(read_depth(tmp_path / f"{name}.npy"), RAMP)
    np.save(tmp_path / "levels.npy", np.asfortranarray([[1, 2], [3, 4]], dtype=np.uint8))
    assert read_depth(tmp_path / "levels.npy").tolist() == [[1, 2], [3, 4]]


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    """A depth map as the bytes of each kind of file, by suffix."""
    folder = tmp_path_factory.mktemp("whole")
    np.save(folder / "a.npy", RAMP[:5, :7])
    np.save(folder / "b.npy", RAMP[:3, :3].astype(np.float64)[None])
    Image.fromarray((RAMP[:5, :7] * 20000).astype(np.uint16)).save(folder / "c.png")
    Image.fromarray((RAMP[:5, :7] * 100).astype(np.uint8)).save(folder / "d.png")
    return [(file.suffix, file.read_bytes()) for file in sorted(folder.iterdir())]


def read_or_refuse(path):
    try:
        values = read_depth(path)
    except ValueError as error:
        assert path.name in str(error)
    else:
        assert values.ndim == 2 and np.isfinite(values).all()


@fuzz
@given(content=st.binary(max_size=200), start=st.sampled_from(STARTS), suffix=st.sampled_from((".png", ".npy")))
def test_any_bytes_are_read_or_refused_by_name(tmp_path_factory, content, start, suffix):
    path = tmp_path_factory.getbasetemp() / f"any_depth{suffix}"
    path.write_bytes(start + content)
    read_or_refuse(path)


@fuzz
@given(data=st.data(), changes=st.lists(mutations(), min_size=1, max_size=3))
def test_damaged_files_are_read_or_refused_by_name(tmp_path_factory, whole_files, data, changes):
    suffix, content = data.draw(st.sampled_from(whole_files))
    path = tmp_path_factory.getbasetemp() / f"damaged_depth{suffix}"
    path.write_bytes(mutated(content, changes))
    read_or_refuse(path)


def test_near_values_become_depth_with_the_middle_at_the_subject():
    """The largest value is nearest; the inverse of depth is linear in the values."""
    depth = z_depth(RAMP, "near", 1.003)
    assert depth[0, 0] == depth.max() and depth[-1, -1] == depth.min()
    assert np.median(depth[30:60, 53:107]) == pytest.approx(1.003, rel=1e-3)
    np.testing.assert_allclose(np.diff(1 / depth.ravel()), np.diff(1 / depth.ravel())[0], rtol=0.05)
    assert depth.max() / depth.min() == pytest.approx(8, rel=1e-4)


def test_metric_values_stay_or_are_brought_to_the_subject():
    np.testing.assert_allclose(z_depth(RAMP * 1000, "metric", None, 0.001), RAMP, rtol=1e-6)
    scaled = z_depth(RAMP, "metric", 3.0)
    assert np.median(scaled[30:60, 53:107]) == pytest.approx(3.0, rel=1e-3)
    np.testing.assert_allclose(scaled / RAMP, scaled[0, 0] / RAMP[0, 0], rtol=1e-5)
    with pytest.raises(ValueError, match="above 0"):
        z_depth(RAMP - 1, "metric", None)
    with pytest.raises(ValueError, match="no depth map"):
        z_depth(np.ones_like(RAMP), "near", 1.0)
    with pytest.raises(ValueError, match="near, metric"):
        z_depth(RAMP, "far", 1.0)


@pytest.mark.parametrize("size", [(64, 160), (64, 64), (180, 320)])
def test_depth_follows_the_pixels_through_the_crop(size):
    """The column number as depth and as picture: both must land on the same pixels."""
    columns = np.tile(np.arange(160, dtype=np.float32), (90, 1))
    picture = fit_to_size(np.repeat(columns.astype(np.uint8)[..., None], 3, axis=2), size[1], size[0])
    fitted = fit_depth(columns, (90, 160), size)
    assert fitted.shape == size
    inner = np.s_[:, 3:-3]
    assert np.abs(fitted[inner] - picture[..., 0][inner].astype(np.float32)).max() <= 1.6


def test_a_depth_map_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"height 90, width 160.*height 100, width 100"):
        fit_depth(RAMP, (100, 100), (64, 64))
