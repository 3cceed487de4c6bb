"""What becomes of caches that the data set does not ask for."""

import logging
import shutil

import torch

from common.weights import write_tensors
from tests.dataset.helpers import camera_caption, encode_latents


def test_only_our_own_outdated_caches_are_deleted_unless_asked(project, caplog):
    project.videos([camera_caption(), camera_caption()]).cache_all()
    cache = project.root / "cache"
    kinds = ("_00000-005_0064x0048_wan", "_wan_te", "_wan_camera")
    own = {cache / "v0_00005-005_0064x0048_wan.safetensors"}
    own |= {cache / f"v0~0123abcd{kind}.safetensors" for kind in kinds}
    foreign = {cache / f"gone{kind}.safetensors" for kind in kinds}
    musubis = cache / "v1_00005-005_0064x0048_wan.safetensors"
    others = {"notes.txt", "lora_wan.safetensors", "gone_0064x0048_hv.safetensors", "picture_0064x0048_wan.safetensors"}
    for path in own:
        suffix = next(kind for kind in kinds if path.stem.endswith(kind[-6:]))
        shutil.copy(cache / f"v0{suffix}.safetensors", path)
    for path in foreign:
        path.write_bytes(b"x")
    write_tensors(musubis, {"latents_2x6x8_bfloat16": torch.zeros(16, 2, 6, 8)}, {"architecture": "wan"})
    foreign.add(musubis)
    for name in others:
        (cache / name).write_bytes(b"x")
    whole = set(cache.iterdir())

    def cache_all(**options):
        project.cache_latents(skip_existing=True, **options)
        project.cache_text(skip_existing=True, **options)
        project.cache_cameras(skip_existing=True, **options)
        return set(cache.iterdir())

    assert cache_all(pruning="none") == whole
    with caplog.at_level(logging.WARNING, "omnicam"):
        assert cache_all() == whole - own
    for path in foreign:
        assert path.name in caplog.text
    assert "--prune_foreign" in caplog.text
    assert cache_all(pruning="foreign") == whole - own - foreign


def test_folders_and_broken_links_named_like_caches_are_passed_over(project):
    project.videos([camera_caption()]).cache_all()
    cache = project.root / "cache"
    for kind in ("_00000-005_0064x0048_wan", "_wan_te", "_wan_camera"):
        (cache / f"folder{kind}.safetensors").mkdir()
        (cache / f"link{kind}.safetensors").symlink_to(cache / "nowhere")
    before = set(cache.iterdir())
    for cache_kind in (project.cache_latents, project.cache_text, project.cache_cameras):
        cache_kind(skip_existing=True, pruning="foreign")
    assert set(cache.iterdir()) == before


def test_a_cache_that_appears_or_changes_during_a_run_is_nobodys_to_prune(project):
    project.videos(["x"])
    project.cache_latents()
    cache = project.root / "cache"
    made = cache / project.caches()[0]
    before, during = (cache / f"v0_{start:05d}-005_0064x0048_wan.safetensors" for start in (5, 6))
    shutil.copy(made, before)

    def encode(clips):
        # what another run of other settings would do meanwhile
        before.unlink()
        shutil.copy(made, before)
        shutil.copy(made, during)
        return encode_latents(clips)

    assert project.cache_latents(encode) == 1
    assert before.exists() and during.exists()
    project.cache_latents(skip_existing=True)
    assert project.caches() == [made.name]
