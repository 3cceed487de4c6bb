"""Caches that are whole files and finite, and yet no caches of ours: edited by hand, or of another network."""

import json
import logging

import pytest
import torch

from common.weights import read_metadata, read_tensors, write_tensors
from dataset.caching import plan_caching, run_caching
from dataset.examining import verdicts_of
from dataset.kinds import LatentCaching, TextCaching
from tests.dataset.helpers import I2V, camera_caption, encode_latents, encode_text

LATENTS, TEXT, CAMERA = "v0_0*_wan.safetensors", "v0_wan_te.safetensors", "v0_wan_camera.safetensors"


def edit(project, pattern, change_tensor, change_metadata):
    (file,) = (project.root / "cache").glob(pattern)
    tensors = {key: change_tensor(key, tensor).contiguous() for key, tensor in read_tensors(file).items()}
    write_tensors(file, tensors, {**read_metadata(file), **change_metadata})
    return file


def made_anew(project):
    caches = project.cache_latents, project.cache_text, project.cache_cameras
    return [cache(skip_existing=True) for cache in caches]


@pytest.fixture
def cached(project):
    return project.videos([camera_caption()], entry="target_frames = [5]\nsource_fps = 'auto'").cache_all()


def only(start, change):
    return lambda key, tensor: change(tensor) if key.startswith(start) else tensor


@pytest.mark.parametrize(
    ("pattern", "change", "reason"),
    [
        (LATENTS, only("latents_2x", lambda tensor: torch.cat([tensor, tensor])), "shapes"),
        (LATENTS, only("latents_2x", lambda tensor: tensor[0]), "shapes"),
        (LATENTS, only("latents_2x", lambda tensor: tensor[:, :0]), "shapes"),
        (LATENTS, only("latents_2x", lambda tensor: tensor.int()), "another program"),
        (LATENTS, only("latents_image", lambda tensor: tensor[..., :2]), "shapes"),
        (LATENTS, only("latents_image", lambda tensor: tensor[:16]), "shapes"),
        (LATENTS, only("clip", lambda tensor: tensor[None]), "shapes"),
        (LATENTS, only("clip", lambda tensor: tensor.to(torch.float8_e4m3fn)), "another program"),
        (TEXT, only("varlen", lambda tensor: tensor[0]), "shapes"),
        (TEXT, only("varlen", lambda tensor: tensor.int()), "another program"),
    ],
)
def test_tensors_that_no_encoder_gives_are_told_before_training_and_made_again(cached, pattern, change, reason):
    edit(cached, pattern, change, {})
    for everything in (False, True):
        with pytest.raises(ValueError, match=f"of 1 of 1 items .*{reason}"):
            cached.training_set(use_all_caches=everything)
    assert sum(made_anew(cached)) == 1
    assert len(cached.training_set()) == 1


@pytest.mark.parametrize("pattern", [LATENTS, CAMERA])
@pytest.mark.parametrize(
    "said",
    [
        {"source_width": "wide"},
        {"source_height": "0"},
        {"source_fps": "nan"},
        {"source_fps": "0"},
        {"source_frames": "inf"},
        {"source_frames": "1e12"},
        {"source_times": "7"},
        {"source_times": "[0, 1]"},
        {"source_times": json.dumps(["a"] * 9)},
    ],
)
def test_a_medium_that_cannot_be_is_no_traceback(cached, pattern, said, caplog):
    file = edit(cached, pattern, lambda key, tensor: tensor, said)
    with pytest.raises(ValueError, match=r"v0\.mp4"):
        cached.training_set()
    verdicts_of(cached.config)
    with caplog.at_level(logging.WARNING, "omnicam"):
        assert sum(made_anew(cached)) == 1
    assert file.name in caplog.text
    assert len(cached.training_set()) == 1


@pytest.mark.parametrize("times", ["7", "[]", "[0, 1]", '["a", "b", "c", "d", "e"]', "[0, 1, 2, 3, 1e999]", "{"])
def test_frame_times_that_are_none_are_no_traceback(cached, times):
    edit(cached, LATENTS, lambda key, tensor: tensor, {"frame_times": times})
    for everything in (False, True):
        with pytest.raises(ValueError, match=r"hold shapes or metadata .*: v0"):
            cached.training_set(use_all_caches=everything)
    assert made_anew(cached) == [1, 0, 0]


@pytest.mark.parametrize(("pattern", "kind"), [(TEXT, "text"), (LATENTS, "latent")])
def test_features_of_another_encoder_are_told_before_training_and_made_again(cached, pattern, kind):
    """As musubi-tuner writes them, without a word on the encoder: else they would stay, and stop the first step."""
    widths = {"t5": 6, "clip": 8}
    cut = only("varlen" if kind == "text" else "clip", lambda tensor: tensor[:, :4])
    file = edit(cached, pattern, cut, {})
    write_tensors(file, read_tensors(file), {"architecture": "wan", "caption1": camera_caption()})
    assert len(cached.training_set()) == 1
    for everything in (False, True):
        with pytest.raises(ValueError, match=f"{kind} caches of 1 of 1 items are of another encoder"):
            cached.training_set(widths=widths, use_all_caches=everything)
    if kind == "text":
        texts = plan_caching(cached.groups, TextCaching(widths=widths), skip_existing=True)
        assert run_caching(texts, encode_text) == 1
    else:
        clips = plan_caching(cached.groups, LatentCaching(I2V, widths=widths), skip_existing=True)
        assert run_caching(clips, encode_latents) == 1
    assert len(cached.training_set(widths=widths)) == 1


def test_a_name_that_no_disk_takes_is_told_before_anything_is_encoded(project):
    project.videos(["x", "y"])
    long = "l" * 240 + ".mp4"
    (project.root / "videos" / "v0.mp4").rename(project.root / "videos" / long)
    jsonl = project.root / "meta.jsonl"
    jsonl.write_text(jsonl.read_text().replace("v0.mp4", long))
    encoded = []
    with pytest.raises(ValueError, match=r"line 1: l{240}\.mp4 makes the cache name \d+ bytes too long"):
        project.cache_latents(encode=lambda clips: encoded.append(1) or encode_latents(clips))
    assert not encoded
