"""Text caches: one for each item, each caption encoded once."""

from dataclasses import replace

import torch

from dataset.cache import read_cache, read_header
from dataset.caching import plan_caching, run_caching
from dataset.kinds import TextCaching
from tests.dataset.helpers import encode_text


def test_text_is_one_cache_per_item(project):
    project.videos(["two words", "x"], entry="target_frames = [5]\nframe_extraction = 'chunk'", frames=12)
    project.cache_text()
    assert project.caches() == ["v0_wan_te.safetensors", "v1_wan_te.safetensors"]
    assert read_cache(project.root / "cache" / "v0_wan_te.safetensors", ("t5",))[1]["t5"].shape == (2, 6)


def test_equal_captions_are_encoded_once_and_the_longest_first(project):
    project.videos(["a dog", "longer text", "a dog", "a cat", "a dog"])
    seen = []

    def encode(jobs):
        seen.append([job.item.caption for job in jobs])
        return encode_text(jobs)

    assert project.cache_text(encode) == 5
    assert seen == [["longer text"], ["a cat", "a dog"]]
    tensors = [read_cache(project.root / "cache" / f"v{i}_wan_te.safetensors", ("t5",)) for i in (0, 2, 4)]
    assert all(torch.equal(tensor["t5"], tensors[0][1]["t5"]) for _, tensor in tensors)
    assert [header.metadata["source"] for header, _ in tensors] == ["v0.mp4", "v2.mp4", "v4.mp4"]


def test_the_empty_caption_is_cached_where_captions_are_dropped(project):
    project.videos(["a dog"])
    project.cache_text()
    assert project.caches() == ["v0_wan_te.safetensors"]
    groups = [
        replace(group, entry=entry, items=tuple(replace(item, entry=entry) for item in group.items))
        for group in project.groups
        for entry in [replace(group.entry, caption_dropout_rate=0.1)]
    ]

    def cache(groups):
        return run_caching(plan_caching(groups, TextCaching({"t5": "t5 bf16"}), skip_existing=True), encode_text)

    assert cache(groups) == 1 and cache(groups) == 0
    header = read_header(project.root / "cache" / "~empty_wan_te.safetensors")
    assert header.metadata["caption1"] == "" and "t5" in header.keys
    cache(project.groups)
    assert project.caches() == ["v0_wan_te.safetensors"], "it is ours, and wanted no more"
