"""Damaged, foreign and hostile files of weights: one clear message, exit code 2, nothing executed, nothing written."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from common.weights import read_tensors, write_tensors
from tests.scripts.world import caption, run


class Code:
    """What unpickles by calling open(marker, "w")."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def safetensors(table: object, data: bytes = b"") -> bytes:
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(header)) + header + data


def truncated(good: bytes, folder: Path) -> dict[str, bytes]:
    return {"x.safetensors": good[: len(good) // 2]}


def cut_in_the_header(good: bytes, folder: Path) -> dict[str, bytes]:
    return {"x.safetensors": good[:100]}


def empty(good: bytes, folder: Path) -> dict[str, bytes]:
    return {"x.safetensors": b""}


def text_renamed(good: bytes, folder: Path) -> dict[str, bytes]:
    return {"x.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 32790000000\n"}


def web_page(good: bytes, folder: Path) -> dict[str, bytes]:
    return {"x.pth": b"<!doctype html><html><body>Access denied</body></html>"}


def code_in_a_pickle(good: bytes, folder: Path) -> dict[str, bytes]:
    return {"x.pth": pickle.dumps({"a": Code(folder / "marker")}, protocol=2)}


def code_in_an_archive(good: bytes, folder: Path) -> dict[str, bytes]:
    stream = io.BytesIO()
    torch.save({"a": torch.ones(1), "b": Code(folder / "marker")}, stream)
    return {"x.pth": stream.getvalue()}


def archive_cut(good: bytes, folder: Path) -> dict[str, bytes]:
    stream = io.BytesIO()
    torch.save({"a": torch.ones(1000)}, stream)
    return {"x.pth": stream.getvalue()[:2000]}


def zip_bomb(good: bytes, folder: Path) -> dict[str, bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * (64 << 20))
        archive.writestr("x/version", "3\n")
    assert len(stream.getvalue()) < 100_000
    return {"x.pth": stream.getvalue()}


def absurd_header(good: bytes, folder: Path) -> dict[str, bytes]:
    return {"x.safetensors": struct.pack("<Q", 2**63) + b"{}"}


def absurd_shape(good: bytes, folder: Path) -> dict[str, bytes]:
    size = 2**40
    table = {"a": {"dtype": "F32", "shape": [size, size], "data_offsets": [0, 4 * size * size]}}
    return {"x.safetensors": safetensors(table, b"0000")}


def overlapping(good: bytes, folder: Path) -> dict[str, bytes]:
    table = {
        name: {"dtype": "U8", "shape": [8], "data_offsets": [start, start + 8]} for name, start in (("a", 0), ("b", 4))
    }
    return {"x.safetensors": safetensors(table, bytes(12))}


def duplicate_names(good: bytes, folder: Path) -> dict[str, bytes]:
    entry = b'{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    return {"x.safetensors": safetensors(b'{"a":' + entry + b',"a":' + entry + b"}", b"0")}


def deep_header(good: bytes, folder: Path) -> dict[str, bytes]:
    return {"x.safetensors": safetensors(b"[" * 200_000 + b"]" * 200_000)}


def index_of_missing_shards(good: bytes, folder: Path) -> dict[str, bytes]:
    return {"x.safetensors.index.json": json.dumps({"weight_map": {"a": "gone-1.safetensors"}}).encode()}


def index_to_outside(good: bytes, folder: Path) -> dict[str, bytes]:
    (folder / "secret.safetensors").write_bytes(good)
    return {"deep/x.safetensors.index.json": json.dumps({"weight_map": {"a": "../secret.safetensors"}}).encode()}


def index_to_absolute(good: bytes, folder: Path) -> dict[str, bytes]:
    return {"x.safetensors.index.json": json.dumps({"weight_map": {"a": "/etc/passwd"}}).encode()}


def index_that_is_none(good: bytes, folder: Path) -> dict[str, bytes]:
    return {"x.safetensors.index.json": b"[1, 2]"}


CASES: list[tuple[Callable[[bytes, Path], dict[str, bytes]], list[str]]] = [
    (truncated, ["cut short", "download"]),
    (cut_in_the_header, ["cut within its header"]),
    (empty, ["not a safetensors file"]),
    (text_renamed, ["not a safetensors file"]),
    (web_page, ["refused or unreadable"]),
    (code_in_a_pickle, ["refused or unreadable"]),
    (code_in_an_archive, ["refused or unreadable"]),
    (archive_cut, ["refused or unreadable"]),
    (zip_bomb, ["compressed"]),
    (absurd_header, ["not a safetensors file"]),
    (absurd_shape, ["absurd size"]),
    (overlapping, ["'b' overlaps"]),
    (duplicate_names, ["'a' is there twice"]),
    (deep_header, ["unreadable"]),
    (index_of_missing_shards, ["gone-1.safetensors", "does not exist"]),
    (index_to_outside, ["../secret.safetensors", "beside their index"]),
    (index_to_absolute, ["/etc/passwd", "beside their index"]),
    (index_that_is_none, ["not an index"]),
]


@pytest.fixture
def refused(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]):
    """Write a case's files, pass the last of them, and check code, message and that nothing ran."""

    def check(make, words: list[str], call: Callable[[Path], int]) -> None:
        made = make((weights / "dit.safetensors").read_bytes(), tmp_path)
        paths = [tmp_path / name for name in made]
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(made[str(path.relative_to(tmp_path))])
        code = call(paths[-1])
        err = capsys.readouterr().err
        assert code == 2, err
        message = err[err.index("error: ") :]
        assert message.count("\n") == 1 and "Traceback" not in err, err
        for word in (paths[-1].name, *words):
            assert word in message, message
        assert not (tmp_path / "marker").exists()

    return check


def generate(models, photo: Path, target: Path, *flags: object) -> int:
    good = ["--prompt", caption("right"), "--no_camera", "--image_path", photo, "--video_size", 32, 48]
    good += ["--video_length", 5, "--infer_steps", 1, "--save_path", target]
    return run("wan_generate_video", *models["wan_generate_video"], *good, *flags)


@pytest.mark.parametrize(("make", "words"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_generation_refuses_a_hostile_dit(models, photo, tmp_path, refused, make, words):
    refused(make, words, lambda path: generate(models, photo, tmp_path / "out" / "v.mp4", "--dit", path))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--t5", "--clip", "--vae", "--lora_weight"])
@pytest.mark.parametrize(("make", "words"), [CASES[0], CASES[5]], ids=["truncated", "code"])
def test_every_other_file_of_generation_is_as_safe(models, photo, tmp_path, refused, flag, make, words):
    refused(make, words, lambda path: generate(models, photo, tmp_path / "out" / "v.mp4", flag, path))


@pytest.mark.parametrize(
    ("script", "flag"),
    [("wan_cache_latents", "--vae"), ("wan_cache_text_encoder_outputs", "--t5"), ("wan_cache_latents", "--clip")],
)
@pytest.mark.parametrize(("make", "words"), [CASES[0], CASES[5], CASES[8]], ids=["truncated", "code", "bomb"])
def test_the_cache_scripts_are_as_safe(world, refused, script, flag, make, words):
    refused(make, words, lambda path: world.call(script, flag, path))
    assert not list(world.root.glob("cache/*"))


def test_training_is_as_safe(world, refused):
    world.cache_all()
    for make, words in (CASES[0], CASES[6], CASES[15]):
        refused(make, words, lambda path: world.train("--dit", path))


def test_a_t5_given_as_a_dit(models, weights, photo, tmp_path, capsys):
    assert generate(models, photo, tmp_path / "v.mp4", "--dit", weights / "t5.safetensors") == 2
    message = capsys.readouterr().err.split("error: ")[1]
    for word in ("t5.safetensors", "umT5", "task i2v-tiny", "not a Wan2.1 DiT", "missing:", "Pass it at --t5"):
        assert word in message, message


def test_a_dit_given_as_a_t5(models, weights, photo, tmp_path, capsys):
    assert generate(models, photo, tmp_path / "v.mp4", "--t5", weights / "dit.safetensors") == 2
    assert "at --dit" in capsys.readouterr().err


def test_flipped_bytes_of_a_pickle_end_with_a_message_or_load(tmp_path):
    stream = io.BytesIO()
    torch.save({f"layer.{i}.weight": torch.ones(3) for i in range(4)}, stream)
    good, generator = stream.getvalue(), torch.Generator().manual_seed(0)
    path = tmp_path / "x.pth"
    refused = 0
    for _ in range(150):
        damaged = bytearray(good)
        for place in torch.randint(len(good), (3,), generator=generator).tolist():
            damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read_tensors(path)
        except ValueError as error:
            refused += 1
            assert "x.pth" in str(error)
    assert refused > 10


def test_flipped_bytes_of_a_safetensors_header_end_with_a_message_or_load(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {f"layer.{i}.weight": torch.ones(3) for i in range(4)}, {"made": "here"})
    good, generator = path.read_bytes(), torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(good)
        place = int(torch.randint(len(good) - 48, (1,), generator=generator))
        damaged[place] = int(torch.randint(256, (1,), generator=generator))
        path.write_bytes(damaged)
        try:
            read_tensors(path)
        except ValueError as error:
            refused += 1
            assert "x.safetensors" in str(error)
    assert refused > 100
