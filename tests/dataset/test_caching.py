"""Latent caches: which clips, in which batches, with which metadata; and what is refused."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.weights import read_tensors
from dataset.cache import read_cache, read_camera
from dataset.caching import plan_caching, run_caching
from dataset.kinds import LatentCaching, crop_text
from tests.dataset.helpers import I2V, camera_caption, encode_latents, make_image, make_video


def test_clips_are_cached_with_their_own_frames_and_metadata(project):
    project.videos(["x"], entry="target_frames = [5]\nframe_extraction = 'chunk'", frames=12)
    assert project.cache_latents(kind=LatentCaching(I2V, {"vae": "v1", "clip": "c1"})) == 2
    assert project.caches() == ["v0_00000-005_0064x0048_wan.safetensors", "v0_00005-005_0064x0048_wan.safetensors"]
    header, tensors = read_cache(project.root / "cache" / project.caches()[1], I2V)
    assert header.metadata["source"] == "v0.mp4"
    assert header.metadata["start_frame"] == "5"
    assert header.metadata["vae"] == "v1" and header.metadata["clip"] == "c1"
    assert header.frame_times == tuple(round(i / 16, 6) for i in range(5, 10))
    assert header.source_info.frames == 12 and header.source_info.fps == 16
    # frame i has level 40 + 5 i; the fake encoder keeps frames 0 and 4 of the clip
    np.testing.assert_allclose(tensors["latents"][0, :, 0, 0].float(), [40 + 25, 40 + 45], atol=4)


def test_source_fps_drops_frames_and_keeps_their_times(project):
    project.videos(["x"], entry="target_frames = [5]\nsource_fps = 32", frames=12, fps=32)
    project.cache_latents()
    header, tensors = read_cache(project.root / "cache" / project.caches()[0], ("latents",))
    assert header.frame_times == tuple(index / 32 for index in (0, 2, 4, 6, 8))
    np.testing.assert_allclose(tensors["latents"][0, :, 0, 0].float(), [40, 80], atol=4)


def test_an_awkward_name_in_an_awkward_folder(project):
    folder = project.root / "a_te_b"
    make_video(folder / "my_test.mp4")
    (folder / "my_test.txt").write_text(camera_caption(), encoding="utf-8")
    project.write(
        "[general]\nresolution = [64, 48]\n[[datasets]]\nvideo_directory = 'a_te_b'\ncaption_extension = '.txt'\n"
        "target_frames = [5]\n"
    )
    project.cache_all()
    assert sorted(path.name for path in folder.glob("*.safetensors")) == [
        "my_test_00000-005_0064x0048_wan.safetensors",
        "my_test_wan_camera.safetensors",
        "my_test_wan_te.safetensors",
    ]
    training_set = project.training_set()
    batch = training_set[training_set.batch_order(0, 0)[0]]
    assert batch["item_keys"] == ["my_test_00000-005"]
    assert batch["camera"].rays.shape == (1, 2, 24, 6, 8)


def test_batches_are_of_one_bucket_and_size_can_only_shrink(project):
    project.videos(["x"] * 5, extra="batch_size = 3", entry="target_frames = [5, 9]")
    sizes = []

    def encode(clips):
        assert len({decoded.frames.shape for decoded in clips}) == 1
        sizes.append(len(clips))
        return encode_latents(clips)

    assert project.cache_latents(encode, batch_size=8) == 10
    assert sorted(sizes) == [2, 2, 3, 3]
    sizes.clear()
    project.cache_latents(encode, batch_size=2)
    assert max(sizes) == 2


def test_media_of_other_shapes_are_scaled_and_cropped(project):
    make_video(project.root / "videos" / "tall.mp4", width=48, height=96)
    toml = "[[datasets]]\nvideo_jsonl_file='meta.jsonl'\ncache_directory='cache'\nresolution=[64,64]\ntarget_frames=[5]"
    project.write(toml, {"video_path": "videos/tall.mp4", "caption": "x"})
    (plan,) = [plan_caching(project.groups, LatentCaching(), skip_existing=False)]
    (job,) = plan.todo
    loaded = plan.kind.load(job)
    assert job.span.size == (48, 80)
    assert loaded.frames.shape == (5, 80, 48, 3) and loaded.frames.dtype == np.uint8


def test_images_carry_their_original_size_in_the_name(project):
    make_image(project.root / "pictures" / "a.png", 100, 50)
    project.write(
        "[[datasets]]\nimage_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\nresolution = [64, 48]\n",
        {"image_path": "pictures/a.png", "caption": "x"},
    )
    project.cache_all()
    assert project.caches() == [
        "a_0100x0050_wan.safetensors",
        "a_wan_camera.safetensors",
        "a_wan_te.safetensors",
    ]
    assert "latents_1x6x8_bfloat16" in read_tensors(project.root / "cache" / "a_0100x0050_wan.safetensors")
    assert torch.equal(
        read_camera(project.root / "cache" / "a_wan_camera.safetensors")[1].c2w[0], torch.eye(4).double()
    )
    batch = project.training_set()[(0,)]
    assert batch["camera"].rays.shape == (1, 1, 24, 6, 8) and batch["item_keys"] == ["a"]


def test_nan_from_an_encoder_is_refused_by_name(project):
    project.videos(["x"])
    with pytest.raises(ValueError, match=r"v0_00000-005_0064x0048_wan\.safetensors.*'latents'"):
        project.cache_latents(lambda clips: encode_latents(clips, float("nan")))
    assert project.caches() == []


def test_too_short_videos_are_left_out_by_name(project, caplog):
    project.videos(["x", "x"], entry="target_frames = [9]")
    make_video(project.root / "videos" / "v1.mp4", frames=4)
    with caplog.at_level(logging.WARNING, "omnicam"):
        assert project.cache_latents() == 1
    assert "v1.mp4" in caplog.text and "v0.mp4" not in caplog.text
    make_video(project.root / "videos" / "v0.mp4", frames=4)
    with pytest.raises(ValueError, match=r"shorter.*v0\.mp4"):
        project.cache_latents()


def test_unreadable_media_are_all_named_before_anything_is_encoded(project):
    project.videos(["x"] * 3)
    for number in (0, 2):
        (project.root / "videos" / f"v{number}.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError) as error:
        project.cache_latents()
    assert "2 of 3 items" in str(error.value)
    assert "v0.mp4" in str(error.value) and "v2.mp4" in str(error.value)
    assert not (project.root / "cache").exists()


def test_a_rate_other_than_the_stated_is_warned_of(project, caplog):
    project.videos(["x"], fps=24)
    with caplog.at_level(logging.WARNING, "omnicam"):
        plan_caching(project.groups, LatentCaching(), skip_existing=False)
    assert "1 of 1 videos" in caplog.text and "v0.mp4" in caplog.text


def test_control_is_cached_beside_the_clip_and_known_by_its_content(project):
    project.videos(["x"])
    control = make_video(project.root / "control.mp4", seed=3)
    groups = [
        replace(group, items=tuple(replace(item, control=control) for item in group.items)) for group in project.groups
    ]
    kind = LatentCaching(I2V)

    def cache():
        plan = plan_caching(groups, kind, skip_existing=True)
        return run_caching(
            plan, lambda clips: [{**r, "latents_control": r["latents"] * 2} for r in encode_latents(clips)]
        )

    project.cache_latents()
    assert cache() == 1, "the cache without control is not enough"
    header, tensors = read_cache(project.root / "cache" / project.caches()[0], ("latents", "latents_control"))
    assert header.keys["latents_control"] == "latents_control_2x6x8_bfloat16"
    assert torch.equal(tensors["latents_control"], tensors["latents"] * 2)
    assert cache() == 0
    make_video(control, seed=4)
    assert cache() == 1


@given(
    st.tuples(st.integers(64, 4000), st.integers(64, 4000)),
    st.tuples(st.sampled_from([64, 480, 832]), st.sampled_from([64, 480, 832])),
)
def test_the_crop_is_a_centred_part_of_the_source_with_the_clips_shape(source, target):
    left, top, width, height = json.loads(crop_text(source, target))
    assert 0 <= left < 1 and 0 <= top < 1 and max(width, height) == 1
    assert left + width <= 1 + 1e-5 and top + height <= 1 + 1e-5
    pixels = width * source[0], height * source[1]
    # the scaled sides are whole pixels
    assert pixels[0] / pixels[1] == pytest.approx(target[0] / target[1], rel=1 / min(target))
    # and so is the crop's offset
    assert left + width / 2 == pytest.approx(0.5, abs=1 / target[0])
    assert top + height / 2 == pytest.approx(0.5, abs=1 / target[1])


def test_an_image_below_the_grid_is_named_by_file_and_line(project):
    make_image(project.root / "dot.png", width=8, height=8)
    toml = "[[datasets]]\nimage_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\n"
    project.write(
        toml + "enable_bucket = true\nbucket_no_upscale = true\n", {"image_path": "dot.png", "caption": "a dot"}
    )
    with pytest.raises(ValueError, match=r"meta\.jsonl line 1: dot\.png: a picture of 8x8 is too small"):
        project.cache_latents()
