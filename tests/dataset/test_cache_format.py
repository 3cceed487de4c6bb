from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from common.weights import read_metadata, read_tensors, write_tensors
from dataset.cache import plain_name, read_cache, read_camera, read_header, refuse_not_finite, write_latents, write_text
from dataset.names import (
    LatentName,
    camera_name,
    is_camera_name,
    is_text_name,
    latents_by_stem,
    parse_latent_name,
    text_name,
)

STEMS = ["a", "my_test", "a_te_b", "x_wan_te", "v_00000-017", "0960x0544", "a b.c", "é_wan", "s_0000_wan_camera"]


def latents(frames=3, value=0.5):
    return {
        "latents": torch.full((16, frames, 6, 8), value, dtype=torch.bfloat16),
        "latents_image": torch.zeros(20, frames, 6, 8, dtype=torch.bfloat16),
        "clip": torch.zeros(5, 8, dtype=torch.float16),
    }


def write(path, tensors, **extra):
    write_latents(path, tensors, width=64, height=48, frame_count=9, extra=extra)


def test_names_are_musubis():
    assert LatentName("my_test", 832, 480, 5, 81).file_name() == "my_test_00005-081_0832x0480_wan.safetensors"
    assert LatentName("a", 1920, 10800).file_name() == "a_1920x10800_wan.safetensors"
    assert text_name("my_test") == "my_test_wan_te.safetensors"
    assert camera_name("my_test") == "my_test_wan_camera.safetensors"


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("numbers", [(64, 48, 0, 5), (10000, 12000, 123456, 1001)])
def test_names_are_read_back(stem, numbers):
    clip, image = LatentName(stem, *numbers), LatentName(stem, *numbers[:2])
    assert parse_latent_name(clip.file_name(), "video") == clip
    assert parse_latent_name(image.file_name(), "image") == image
    assert is_text_name(text_name(stem)) and is_camera_name(camera_name(stem))
    for name in (text_name(stem), camera_name(stem)):
        assert parse_latent_name(name, "video") is None and parse_latent_name(name, "image") is None
    assert not is_text_name(camera_name(stem)) and not is_camera_name(text_name(stem))
    assert not is_text_name(clip.file_name()) and not is_camera_name(clip.file_name())


@given(st.text(min_size=1).filter(lambda text: not text.startswith(".")), st.integers(0, 10**6), st.integers(1, 5000))
def test_any_stem_survives(stem, start, frames):
    name = LatentName(stem, 64, 48, start, frames)
    assert parse_latent_name(name.file_name(), "video") == name


@pytest.mark.parametrize(
    "name",
    ["a.safetensors", "lora_wan.safetensors", ".a_0064x0048_wan.safetensors", "a_64x48_wan.safetensors", "a.mp4"],
)
def test_other_files_are_no_caches(name):
    assert parse_latent_name(name, "image") is None and parse_latent_name(name, "video") is None
    assert not is_text_name(name) and not is_camera_name(name)


def test_a_folder_is_read_by_stem(tmp_path):
    for name in (LatentName("a_te_b", 64, 48, 0, 5), LatentName("a_te_b", 64, 48, 5, 5), LatentName("a", 64, 48, 0, 5)):
        (tmp_path / name.file_name()).touch()
    (tmp_path / text_name("a")).touch()
    found = latents_by_stem(tmp_path, "video")
    assert {stem: [name.start for name in names] for stem, names in found.items()} == {"a": [0], "a_te_b": [0, 5]}
    assert latents_by_stem(tmp_path / "nowhere", "video") == {}


def test_latent_keys_and_metadata_are_musubis_and_ours_beside(tmp_path):
    file = tmp_path / "a_00000-009_0064x0048_wan.safetensors"
    write(file, latents(), source="a.mp4")
    assert set(read_tensors(file)) == {"latents_3x6x8_bfloat16", "latents_image_3x6x8_bfloat16", "clip_bfloat16"}
    assert read_metadata(file) == {
        "architecture": "wan",
        "width": "64",
        "height": "48",
        "format_version": "1.0.1",
        "frame_count": "9",
        "source": "a.mp4",
    }
    header, tensors = read_cache(file, ("latents", "clip"))
    assert header.shapes["latents_image"] == (20, 3, 6, 8)
    assert set(tensors) == {"latents", "clip"} and tensors["clip"].dtype == torch.float16
    assert header.frame_times is None and header.source_info is None


def test_a_text_cache(tmp_path):
    file = tmp_path / text_name("a")
    t5 = torch.randn(7, 6).bfloat16()
    write_text(file, t5, "a dog", {"t5": "x"})
    with safe_open(file, framework="pt") as opened:
        assert list(opened.keys()) == ["varlen_t5_bfloat16"]
        assert opened.metadata() == {"architecture": "wan", "caption1": "a dog", "format_version": "1.0.1", "t5": "x"}
    assert torch.equal(read_cache(file, ("t5",))[1]["t5"], t5)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("latents_9x60x104_bfloat16", "latents"),
        ("latents_image_9x60x104_float32", "latents_image"),
        ("latents_control_1x6x8_float16", "latents_control"),
        ("clip_bfloat16", "clip"),
        ("varlen_t5_bfloat16", "t5"),
        ("f_indices_int32", "f_indices"),
        ("latents_1x6x8_float8_e4m3fn", "latents"),
        ("c2w", "c2w"),
    ],
)
def test_keys_are_read_by_prefix(key, name):
    assert plain_name(key) == name


def test_of_several_precisions_the_finest_is_taken(tmp_path):
    write_tensors(
        tmp_path / "a", {f"varlen_t5_{d}": torch.ones(1, 1) * i for i, d in enumerate(["float32", "bfloat16"])}
    )
    file = (tmp_path / "a").rename(tmp_path / "a.safetensors")
    assert read_header(file).keys["t5"] == "varlen_t5_float32"


@given(
    st.sampled_from([torch.bfloat16, torch.float16, torch.float32, torch.float64]),
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from([float("nan"), float("inf"), float("-inf")])), max_size=3),
    st.sampled_from([0.0, 1.0, 6e4]),
)
def test_a_bad_number_is_found_wherever_it_is_and_large_ones_are_not_bad(dtype, bad, value):
    tensor = torch.full((100,), value, dtype=dtype)
    # the sum of these is infinite, none of them is
    tensor = torch.where(tensor > 1, torch.finfo(dtype).max, tensor).to(dtype)
    for place, number in bad:
        tensor[place] = number
    if not bad:
        refuse_not_finite(Path("x"), {"latents": tensor}, "")
        return
    with pytest.raises(ValueError, match="x: the tensor 'latents' holds NaN or infinity"):
        refuse_not_finite(Path("x"), {"latents": tensor}, "")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_is_refused_by_name_in_writing_and_in_reading(tmp_path, bad):
    file = tmp_path / "clip_00000-009_0064x0048_wan.safetensors"
    with pytest.raises(ValueError) as error:
        write(file, latents(value=bad))
    assert str(file) in str(error.value) and "'latents'" in str(error.value)
    with pytest.raises(ValueError, match="'t5'"):
        write_text(tmp_path / "t_wan_te.safetensors", torch.full((2, 2), bad), "x", {})
    assert list(tmp_path.iterdir()) == []
    write_tensors(file, {"latents_3x6x8_bfloat16": torch.full((16, 3, 6, 8), bad)})
    with pytest.raises(ValueError) as error:
        read_cache(file, ("latents",))
    assert str(file) in str(error.value) and "'latents'" in str(error.value)


def test_damaged_and_incomplete_files_are_named(tmp_path):
    file = tmp_path / "a_00000-009_0064x0048_wan.safetensors"
    write(file, {"latents": latents()["latents"]})
    with pytest.raises(ValueError, match=r"a_00000.*latents_image"):
        read_cache(file, ("latents", "latents_image"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"a_00000.*not a whole"):
        read_header(file)
    with pytest.raises(FileNotFoundError, match="cache"):
        read_camera(tmp_path / "b_wan_camera.safetensors")
