import io
import zipfile

import numpy as np
import pytest
import torch

from camera.formats.npz import MAX_BYTES, array_names, read_array, read_header, write_npy

ARRAY = np.arange(6, dtype="<f4").reshape(2, 3)


def npy(array, version=None):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version, allow_pickle=False)
    return stream.getvalue()


def header(text, numbers=b""):
    text = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + numbers


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "i1", "<u2", ">i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_writes_is_read(tmp_path, version, dtype, order):
    array = np.array(ARRAY, dtype, order=order)
    (tmp_path / "a.npy").write_bytes(npy(array, version))
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.npy", "name.npy")
    for container, name in ((tmp_path, "a"), (tmp_path / "a.npy", ""), (tmp_path / "b.npz", "name")):
        assert array_names(container) == (name,)
        assert read_header(container, name).shape == (2, 3)
        read = read_array(container, name, (None, 3))
        assert read.dtype == torch.float64 and read.tolist() == ARRAY.tolist()


def test_a_file_cut_at_any_byte_or_with_too_many_is_refused(tmp_path):
    content = npy(ARRAY)
    file = tmp_path / "a.npy"
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"a\.npy: "):
            read_array(file, "", (2, 3))
    file.write_bytes(content + b"x")
    with pytest.raises(ValueError, match="has more bytes than its shape"):
        read_array(file, "", (2, 3))


@pytest.mark.parametrize(
    "content, words",
    [
        (
            header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 4, 4), }"),
            "no trajectory is that long",
        ),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 4, 4), }"), "pickled Python objects"),
        (header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2, 4, 4), }"), "dtype record"),
        (header("{'descr': '<f16', 'fortran_order': False, 'shape': (2, 4, 4), }"), "dtype <f16"),
        (header("{'descr': '<M8', 'fortran_order': False, 'shape': (2, 4, 4), }"), "dtype <M8"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 4, 4), }"), "header is damaged"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': __import__('os'), }"), "header is damaged"),
        (header("{'descr': '<f8', 'shape': (2, 4, 4), }"), "header is damaged"),
        (b"\x93NUMPY\x09\x00" + bytes(200), "header of version 9"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(200), "and 4294967295 bytes"),
        (b"PK\x03\x04" + bytes(200), "does not begin as an array of numpy"),
    ],
)
def test_a_header_is_not_believed(tmp_path, content, words):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_array(tmp_path / "a.npy", "", (None, 4, 4))
    assert "a.npy" in str(caught.value)


def test_an_archive_cut_at_any_byte_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "good.npz", a=ARRAY)
    content = (tmp_path / "good.npz").read_bytes()
    for length in range(len(content)):
        (tmp_path / "bad.npz").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"bad\.npz"):
            read_array(tmp_path / "bad.npz", "a", (2, 3))


def test_archives_of_other_kinds_are_refused(tmp_path):
    for name, method in (("bz2", zipfile.ZIP_BZIP2), ("lzma", zipfile.ZIP_LZMA)):
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w", method) as archive:
            archive.writestr("a.npy", npy(np.random.default_rng(0).normal(size=(99, 3))))
        content = bytearray((tmp_path / f"{name}.npz").read_bytes())
        content[300:340] = bytes(40)
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.npz, member a: is damaged"):
            read_array(tmp_path / f"{name}.npz", "a", (None, 3))
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for number in range(1001):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(ValueError, match="an archive of 1001 members"):
        array_names(tmp_path / "many.npz")


def test_the_largest_array_that_is_read(tmp_path):
    assert MAX_BYTES == 2**20 * 16 * 8
    write_npy(tmp_path / "a.npy", np.zeros((2, 3)))
    assert read_array(tmp_path / "a.npy", "", (2, 3)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"has shape \[2, 3\], expected \[N, 4\] or \[4\]"):
        read_array(tmp_path / "a.npy", "", (None, 4), (4,))
