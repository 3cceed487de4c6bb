"""Cache folders that take nothing are told before any encoder is loaded."""

import os
import shutil
from collections import namedtuple

import pytest

from dataset.caching import plan_caching
from dataset.kinds import CameraCaching, LatentCaching, TextCaching
from tests.dataset.helpers import I2V, camera_caption

LATENT_BYTES = 2 * (16 + 20) * 2 * 6 * 8
"""Of 5 frames of 64x48: 36 channels on a grid of 2x6x8, in bfloat16."""


def plan(project, kind, skip_existing=False):
    return plan_caching(project.groups, kind, skip_existing=skip_existing)


@pytest.fixture
def free(monkeypatch):
    """Sets how many bytes every disk has left."""
    usage = namedtuple("usage", "total used free")
    return lambda count: monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, count))


def test_a_disk_that_is_too_full_is_told_before_anything_is_made(project, free):
    project.videos([camera_caption()] * 3)
    free(4 * LATENT_BYTES - 1)
    with pytest.raises(OSError, match=r"cache: .* kB are free, and writing the latent caches needs .* make room"):
        plan(project, LatentCaching(I2V))
    assert not (project.root / "cache").exists()
    free(4 * LATENT_BYTES)
    assert len(plan(project, LatentCaching(I2V)).todo) == 3
    # without the condition there are 16 channels
    free(4 * LATENT_BYTES * 16 // 36)
    assert len(plan(project, LatentCaching()).todo) == 3
    free(0)
    for kind in (TextCaching(), CameraCaching()):
        with pytest.raises(OSError, match=f"writing the {kind.label} caches needs"):
            plan(project, kind)


def test_the_estimate_is_never_more_than_the_files_take(project):
    project.videos(["x"] * 2).cache_latents()
    for path in (project.root / "cache").iterdir():
        assert LATENT_BYTES <= path.stat().st_size < 2 * LATENT_BYTES


def test_what_is_there_needs_no_room_of_its_own(project, free):
    project.videos(["x"] * 3).cache_latents()
    free(LATENT_BYTES)
    assert len(plan(project, LatentCaching(I2V)).todo) == 3, "made again, one after the other"
    free(0)
    assert plan(project, LatentCaching(I2V), skip_existing=True).todo == ()
    with pytest.raises(OSError, match="kB are free"):
        plan(project, LatentCaching(I2V))


def test_two_folders_on_one_disk_share_its_room(project, free):
    project.videos(["x"] * 2)
    second = "[[datasets]]\nvideo_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache2'\ntarget_frames = [5]\n"
    project.write(project.toml.read_text() + second)
    free(5 * LATENT_BYTES - 1)
    with pytest.raises(OSError, match="cache2: "):
        plan(project, LatentCaching(I2V))
    free(5 * LATENT_BYTES)
    assert len(plan(project, LatentCaching(I2V)).todo) == 4


def test_a_folder_that_may_not_be_written_to_is_named(project, monkeypatch):
    project.videos([camera_caption()])
    allowed = os.access
    root = project.root
    monkeypatch.setattr(os, "access", lambda path, mode: allowed(path, mode) and path != root)
    for kind in (LatentCaching(I2V), TextCaching(), CameraCaching()):
        with pytest.raises(PermissionError, match=r"cache_directory .*/cache: .*/project may not be written to"):
            plan(project, kind)
    monkeypatch.undo()
    project.cache_latents()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert plan(project, LatentCaching(I2V), skip_existing=True).todo == (), "a finished cache may be read-only"
