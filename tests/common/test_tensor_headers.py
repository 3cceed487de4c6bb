"""Files of tensors that lie about themselves, hold more than tensors, or meet a torch that is not safe with them."""

import argparse
import io
import json
import pickle
import struct
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from common import tensor_headers
from common.tensor_headers import read_header
from common.weights import read_tensors


class _Code:
    """What unpickles by calling open(marker, "w")."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def safetensors(path: Path, header: bytes, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def entry(shape: list[int], length: int, dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, length]}


def saved(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def test_a_pickle_with_code_is_refused_in_our_words_and_nothing_runs(tmp_path):
    marker = tmp_path / "was_here"
    path = saved(tmp_path / "evil.pth", {"a": torch.ones(1), "b": _Code(marker)})
    with pytest.raises(
        ValueError, match=r"evil\.pth.*code or objects other than tensors \(GLOBAL \w+\.open\)"
    ) as error:
        read_header(path)
    assert not marker.exists()
    assert "weights_only" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("advice", ["Weights only load failed, re-run with `weights_only=False`", "weights_only"])
def test_torchs_advice_never_reaches_a_message(advice: str):
    assert tensor_headers.why(RuntimeError(advice)) == "not what torch.save writes of tensors"


def legacy(path: Path) -> None:
    saved(path, {"a": torch.ones(2)}, _use_new_zipfile_serialization=False)


def bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}, protocol=2))


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


def archive_behind_a_pickle(path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"a": torch.ones(2)}, stream)
    path.write_bytes(pickle.dumps({"a": 1}, protocol=2) + stream.getvalue())


@pytest.mark.parametrize("make", [legacy, bare_pickle, tar, archive_behind_a_pickle])
def test_only_zip_archives_reach_torchs_loader(tmp_path, monkeypatch, make):
    make(tmp_path / "old.pth")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    with pytest.raises(ValueError, match=r"old\.pth.*no zip archive as torch\.save writes since 1\.6"):
        read_header(tmp_path / "old.pth")


@pytest.mark.parametrize("version", ["2.5.1", "2.5.1+cu124", "2.6.0a0"])
def test_before_torch_2_6_pickled_files_are_not_opened(tmp_path, monkeypatch, version: str):
    path = saved(tmp_path / "a.pth", {"a": torch.ones(2)})
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    with pytest.raises(ValueError, match=r"a\.pth.*2\.\d.*CVE-2025-32434.*\.safetensors, or install torch 2\.6"):
        read_header(path)


@pytest.mark.parametrize(("version", "warnings"), [("2.6.0", 1), ("2.9.1+cpu", 1), ("2.10.0", 0), ("2.13.0+cpu", 0)])
def test_before_torch_2_10_they_are_warned_of_once(tmp_path, monkeypatch, caplog, version: str, warnings: int):
    path = saved(tmp_path / "a.pth", {"a": torch.ones(2)})
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    tensor_headers._warn_of_torch.cache_clear()
    read_header(path)
    read_header(path)
    assert caplog.text.count("CVE-2026-24747") == warnings
    tensor_headers._warn_of_torch.cache_clear()


def test_a_header_of_long_numbers_is_refused_at_once_and_by_name(tmp_path):
    digits = b'{"a":{"dtype":"U8","shape":[' + b"9" * 1_000_000 + b'],"data_offsets":[0,1]}}'
    numbers = json.dumps({"a": entry([2**61] * 60_000, 1)}).encode()
    offsets = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[' + b",".join([b"1"] * 500_000) + b"]}}"
    begin = time.perf_counter()
    for header, words in ((digits, "1000000 digits"), (numbers, "absurd size"), (offsets, "500000 offsets")):
        with pytest.raises(ValueError, match=words) as error:
            read_header(safetensors(tmp_path / "bomb.safetensors", header))
        assert "bomb.safetensors" in str(error.value) and len(str(error.value)) < 500
    assert time.perf_counter() - begin < 3


def test_a_header_of_more_than_16_mib_is_refused_unread(tmp_path):
    path = safetensors(tmp_path / "long.safetensors", b"{" + b" " * (16 << 20) + b"}")
    with pytest.raises(ValueError, match=r"long\.safetensors.*header of 16777218 bytes"):
        read_header(path)


@pytest.mark.parametrize("name", ["k" * 100_000, "red \x1b[31m\nerror: all is well"])
def test_names_from_a_header_stay_short_in_messages(tmp_path, name: str):
    for stated in ({}, entry([2], 1), entry([1], 1, "X" * 100_000)):
        with pytest.raises(ValueError, match=r"x\.safetensors") as error:
            read_header(safetensors(tmp_path / "x.safetensors", json.dumps({name: stated}).encode(), b"0"))
        assert len(str(error.value)) < 800 and "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [[2**61, 2**61, 0], [0, 2**62], [1] * 17, [2**31, 2**31]])
def test_shapes_that_torch_cannot_count_are_refused(tmp_path, shape: list[int]):
    stated = entry(shape, 0 if 0 in shape else 1)
    with pytest.raises(ValueError, match=r"x\.safetensors.*'a'.*absurd size"):
        read_header(safetensors(tmp_path / "x.safetensors", json.dumps({"a": stated}).encode()))


def test_tensors_without_numbers_and_without_axes_are_read(tmp_path):
    table = {"none": entry([3, 0, 5], 0), "one": entry([], 1)}
    read = read_tensors(safetensors(tmp_path / "x.safetensors", json.dumps(table).encode(), b"\7"))
    assert read["none"].shape == (3, 0, 5) and read["one"].item() == 7


def expanded() -> Tensor:
    return torch.zeros(1).expand(10**12)


def uncountable() -> Tensor:
    return torch.empty(0).as_strided((2**31, 2**31, 0), (1, 1, 1))


@pytest.mark.parametrize("make", [expanded, uncountable])
def test_a_small_pickled_file_cannot_tell_of_terabytes(tmp_path, make):
    path = saved(tmp_path / "small.pth", {"a.lora_down.weight": make()})
    assert path.stat().st_size < 3000
    with pytest.raises(ValueError, match=r"small\.pth: holds something other than a table of tensors"):
        read_tensors(path)


def test_views_of_a_storage_that_holds_them_are_read(tmp_path):
    whole = torch.arange(12.0)
    path = saved(tmp_path / "views.pth", {"a": whole[2:8].view(2, 3).t(), "b": whole})
    read = read_tensors(path)
    assert torch.equal(read["a"], torch.tensor([[2.0, 5.0], [3.0, 6.0], [4.0, 7.0]])) and torch.equal(read["b"], whole)


def test_of_several_tables_none_is_guessed(tmp_path):
    table, other = {"a": torch.ones(1)}, {"a": torch.zeros(1)}
    path = saved(tmp_path / "run.pth", {"ema": other, "model": table, "epoch": 3})
    with pytest.raises(ValueError, match=r"run\.pth: holds several tables of tensors \(ema, model\)"):
        read_header(path)
    with pytest.raises(ValueError, match="something other"):
        read_header(saved(tmp_path / "ema.pth", {"ema": other, "epoch": 3}))


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_what_is_left_aside_of_a_training_file_is_told(tmp_path, caplog, key: str):
    caplog.set_level("INFO", "omnicam")
    content = {"args": argparse.Namespace(lr=1), key: {"a": torch.ones(2)}, "optimizer": {"state": {}}, "epoch": 3}
    read = read_tensors(saved(tmp_path / "run.pth", content))
    assert set(read) == {"a"} and torch.equal(read["a"], torch.ones(2))
    assert f"run.pth: its {key} is read; left aside: args, optimizer, epoch" in caplog.text
