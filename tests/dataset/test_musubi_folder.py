"""A folder of caches that musubi-tuner wrote is a training set here, key by key."""

import json

import pytest
import torch

from dataset.cache import read_cache
from tests.dataset import musubi_folder as musubi
from tests.dataset.helpers import I2V

FUN = (*I2V, "latents_control")


def describe(project, keys, media="video", suffix="mp4", entry="target_frames = [5]"):
    """A dataset file of media that are not there."""
    source = f"{media}_jsonl_file"
    lines = [{f"{media}_path": f"media/{key}.{suffix}", "caption": f"a picture of {key}"} for key in keys]
    (project.root / "meta.jsonl").write_text("\n".join(map(json.dumps, lines)))
    toml = f"[general]\nresolution = [64, 48]\n[[datasets]]\n{source} = 'meta.jsonl'\ncache_directory = 'cache'\n"
    project.toml.write_text(f"{toml}{entry}\n")
    for key in keys:
        musubi.write_text(project.root / "cache", key, f"a picture of {key}")
    return project.root / "cache"


def values(training_set, name="latents"):
    batches = (training_set[(number,)] for number in range(len(training_set.clips)))
    return {batch["item_keys"][0]: round(float(batch[name].float().mean()), 1) for batch in batches}


AWKWARD = ["my_test", "a_wan_te", "x_00000-005_0064x0048", "b_0064x0048_wan", "dots.and~tilde", "Größe 1"]


def test_stems_with_underscores_sizes_and_our_own_endings(project):
    cache = describe(project, AWKWARD)
    for number, stem in enumerate(AWKWARD):
        musubi.write_clip(cache, stem, value=number)
    found = values(project.training_set(("latents",), camera=False))
    assert found == {f"{stem}_00000-005": number for number, stem in enumerate(AWKWARD)}


def test_every_tensor_of_an_image_to_video_control_clip(project):
    cache = describe(project, ["v"])
    musubi.write_clip(cache, "v", value=3.0, i2v=True, control=True)
    batch = project.training_set(FUN, camera=False)[(0,)]
    assert batch["latents"].shape == (1, 16, 2, 6, 8) and batch["latents"].dtype == torch.bfloat16
    assert batch["latents_image"].shape == (1, 20, 2, 6, 8)
    assert batch["latents_image"][0, :4, :, 0, 0].tolist() == [[1, 0]] * 4
    means = [float(batch[name].float().mean()) for name in ("latents", "control")]
    assert means == pytest.approx([3.0, 5.0], abs=0.05)
    assert float(batch["latents_image"][:, 4:].float().mean()) == pytest.approx(4.0, abs=0.05)
    # the key says bfloat16, the tensor is float16 and stays so
    assert batch["clip"].shape == (1, 5, 8) and batch["clip"].dtype == torch.float16
    assert [text.shape for text in batch["t5"]] == [(4, 6)]
    plain = project.training_set(("latents",), camera=False)[(0,)]
    assert plain["control"] is None and plain["latents_image"] is None


def test_images_have_their_original_size_in_the_name_and_the_buckets_in_the_key(project):
    cache = describe(project, ["p", "wide_2"], "image", "png", "enable_bucket = true")
    musubi.write_image(cache, "p", (1234, 925), (64, 48), 1.0)
    musubi.write_image(cache, "wide_2", (4000, 1000), (96, 32), 2.0)
    training_set = project.training_set(("latents",), camera=False)
    assert [clip.shape for clip in training_set.clips] == [(1, 6, 8), (1, 4, 12)]
    assert values(training_set) == {"p": 1.0, "wide_2": 2.0}


def test_images_in_a_set_without_buckets_have_the_one_size(project):
    cache = describe(project, ["p"], "image", "png", "")
    musubi.write_image(cache, "p", (500, 500), (48, 48), i2v=True)
    with pytest.raises(ValueError, match="latent caches of 1 of 1 items are out of date"):
        project.training_set(camera=False)
    musubi.write_image(cache, "p", (500, 500), (64, 48), i2v=True)
    assert project.training_set(camera=False)[(0,)]["latents_image"].shape == (1, 20, 1, 6, 8)


@pytest.mark.parametrize(
    ("precisions", "dtype", "value"),
    [
        ({"bfloat16": 0.5}, torch.bfloat16, 0.5),
        ({"float16": 0.25, "bfloat16": 0.5}, torch.bfloat16, 0.5),
        ({"bfloat16": 0.5, "float32": 0.75, "float16": 0.25}, torch.float32, 0.75),
    ],
)
def test_of_a_text_cache_in_several_precisions_the_finest_is_read(project, precisions, dtype, value):
    path = musubi.write_text(project.root, "v", "two words", precisions=precisions)
    _, tensors = read_cache(path, ("t5",))
    assert tensors["t5"].dtype == dtype and tensors["t5"].tolist() == [[value] * 6] * 2


def test_buckets_and_lengths_of_one_data_set_are_batched_apart(project):
    cache = describe(project, ["a", "b", "c"], entry="target_frames = [5, 9]\nbatch_size = 4")
    for stem, size in (("a", (64, 48)), ("b", (48, 64)), ("c", (64, 48))):
        for frames in (5, 9):
            musubi.write_clip(cache, stem, frames=frames, size=size)
    training_set = project.training_set(("latents",), camera=False)
    shapes = [tuple(training_set[batch]["latents"].shape) for batch in training_set.batch_order(0, 0)]
    assert sorted(shapes) == [(1, 16, 2, 8, 6), (1, 16, 3, 8, 6), (2, 16, 2, 6, 8), (2, 16, 3, 6, 8)]


@pytest.mark.parametrize(("extraction", "starts"), [("chunk", [0, 5]), ("slide\nframe_stride = 5", [0, 5])])
def test_clips_of_a_cut_video_have_the_text_of_their_video(project, extraction, starts):
    name, _, more = extraction.partition("\n")
    cache = describe(project, ["v_1"], entry=f"target_frames = [5]\nframe_extraction = '{name}'\n{more}")
    for start in (0, 5):
        musubi.write_clip(cache, "v_1", start, value=start)
    training_set = project.training_set(("latents",), camera=False)
    assert [clip.name.start for clip in training_set.clips] == starts
    assert all(len(training_set[(number,)]["t5"][0]) == 4 for number in range(2))


def test_all_caches_are_used_when_asked_whatever_the_file_says(project, caplog):
    cache = describe(project, ["v"])
    musubi.write_clip(cache, "v", value=0)
    musubi.write_clip(cache, "v", 5, 9, (96, 80), value=1)
    musubi.write_clip(cache, "left_long_ago", value=2)
    musubi.write_text(cache, "left_long_ago", "an old caption")
    musubi.write_clip(cache, "no_text", value=3)
    (project.root / "meta.jsonl").write_text('{"video_path": "media/another.mp4", "caption": "x"}')
    found = values(project.training_set(("latents",), camera=False, use_all_caches=True))
    assert found == {"v_00000-005": 0, "v_00005-009": 1, "left_long_ago_00000-005": 2}
    assert "1 latent caches have no text cache and are left out: no_text_00000-005_0064x0048" in caplog.text
    with pytest.raises(ValueError, match="latent caches of 1 of 1"):
        project.training_set(("latents",), camera=False)


def test_all_caches_still_need_what_the_task_reads(project):
    cache = describe(project, ["v", "w"])
    musubi.write_clip(cache, "v", i2v=True)
    musubi.write_clip(cache, "w")
    with pytest.raises(ValueError, match=r"latent caches of 1 of 2 items do not hold all of .*latents_image.*: w"):
        project.training_set(camera=False, use_all_caches=True)
    with pytest.raises(ValueError, match=r"camera caches of 2 of 2 items are missing: v, w\n.*--no_camera"):
        project.training_set(("latents",), use_all_caches=True)
    (project.root / "empty").mkdir()
    project.toml.write_text(project.toml.read_text().replace("'cache'", "'empty'"))
    with pytest.raises(ValueError, match="--use_all_caches found no latent cache"):
        project.training_set(use_all_caches=True)


def test_a_set_without_control_is_told_where_to_name_it(project):
    cache = describe(project, ["v"])
    musubi.write_clip(cache, "v", i2v=True)
    with pytest.raises(ValueError, match=r"hold no control, and the items name none.*control_path"):
        project.training_set(FUN, camera=False)


def test_nan_of_another_program_is_refused_by_name(project):
    cache = describe(project, ["v"])
    path = musubi.write_clip(cache, "v", value=float("nan"))
    training_set = project.training_set(("latents",), camera=False)
    with pytest.raises(ValueError, match=f"{path.name}: the tensor 'latents' holds NaN"):
        _ = training_set[(0,)]
