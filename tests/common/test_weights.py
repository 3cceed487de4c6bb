import json

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from common.cli import printable
from common.weights import assign_tensors, compare_tensors, read_metadata, read_tensors, write_tensors


def test_tensors_and_metadata_come_back(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"a": torch.randn(2, 3).to(torch.bfloat16), "b": torch.arange(4).reshape(2, 2).t()}
    write_tensors(path, tensors, {"made_by": "a test"})
    read = read_tensors(path)
    assert all(torch.equal(read[key], tensors[key]) for key in tensors)
    assert read_metadata(path) == {"made_by": "a test"}


@pytest.mark.parametrize("named", ["shard", "index", "folder"])
def test_a_sharded_set_is_read_whole(tmp_path, named):
    parts = [{"a": torch.ones(2)}, {"b": torch.zeros(3)}]
    for i, part in enumerate(parts, 1):
        save_file(part, tmp_path / f"m-0000{i}-of-00002.safetensors")
    index = tmp_path / "m.safetensors.index.json"
    names = {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}
    index.write_text(json.dumps({"weight_map": names}))
    path = {"shard": tmp_path / "m-00002-of-00002.safetensors", "index": index, "folder": tmp_path}[named]
    assert set(read_tensors(path)) == {"a", "b"}


def test_a_missing_shard_is_named(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "m-00001-of-00002.safetensors")
    with pytest.raises(FileNotFoundError, match="m-00002-of-00002"):
        read_tensors(tmp_path / "m-00001-of-00002.safetensors")


def test_pth_files_of_tensors_are_read(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    assert torch.equal(read_tensors(tmp_path / "a.pth")["a"], torch.ones(2))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".txt"])
def test_text_in_disguise_is_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"notes{suffix}"
    path.write_text("these are not weights at all, only words")
    with pytest.raises(ValueError, match="notes"):
        read_tensors(path)


def test_a_truncated_file_is_refused_by_name(tmp_path):
    path = tmp_path / "cut.safetensors"
    save_file({"a": torch.randn(100)}, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cut\.safetensors"):
        read_tensors(path)


def test_assign_fills_a_meta_module_and_names_what_does_not_fit():
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    good = {k: torch.randn(v.shape) for k, v in module.state_dict().items()}
    assign_tensors(module, good, "the toy", "toy.pth")
    assert torch.equal(module[0].weight, good["0.weight"])
    bad = {k: v for k, v in good.items() if k != "0.bias"} | {"extra": torch.ones(1), "1.bias": torch.ones(7)}
    with pytest.raises(ValueError, match=r"toy.pth.*1 missing: 0.bias.*1 unexpected: extra.*1\.bias \(7,\)"):
        assign_tensors(module, bad, "the toy", "toy.pth")


def test_a_full_disk_is_an_os_error_that_names_the_file(tmp_path, monkeypatch):
    def full(*_args, **_keywords):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("common.weights.save_file", full)
    with pytest.raises(OSError, match=r"disk full.*a\.safetensors"):
        write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(2)})
    assert not list(tmp_path.iterdir())


def test_an_unreadable_file_is_not_called_missing(tmp_path, monkeypatch):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"a\.safetensors.*permissions"):
        read_tensors(tmp_path / "a.safetensors")


def test_names_of_a_hostile_file_stay_on_one_line_and_short():
    misfit = str(compare_tensors({}, {"a\nerror: b" + "k" * 1000: torch.ones(1)}))
    assert "\n" not in misfit and len(misfit) < 300
    assert printable("red \x1b[31m") == "red \\x1b[31m" and printable("é\n漢") == "é\n漢"


def test_the_same_tensors_and_metadata_give_the_same_bytes(tmp_path):
    """The library writes metadata in an order that it draws anew every time."""
    names = [f"k{index}" for index in range(12)] + ['a "quoted" \\ name', "é漢", "line\nbreak\x01"]
    tensors = {"b": torch.randn(3), "a": torch.zeros(2, dtype=torch.bfloat16)}
    written = set()
    for order in (names, names[::-1], sorted(names)):
        write_tensors(tmp_path / "a.safetensors", tensors, {name: name * 2 for name in order})
        written.add((tmp_path / "a.safetensors").read_bytes())
    assert len(written) == 1
    assert read_metadata(tmp_path / "a.safetensors") == {name: name * 2 for name in names}
    assert torch.equal(read_tensors(tmp_path / "a.safetensors")["b"], tensors["b"])
    write_tensors(tmp_path / "b.safetensors", tensors)
    assert read_metadata(tmp_path / "b.safetensors") == {}
