import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dataset.kinds
from camera.language import parse
from camera.trajectory import compile as compile_moves
from common.weights import read_metadata, read_tensors, write_tensors
from dataset.cache import read_cache, read_camera, read_header
from dataset.caching import plan_caching, run_caching
from dataset.kinds import LatentCaching, TextCaching, crop_text
from tests.dataset.helpers import I2V, camera_caption, encode_latents, encode_text, make_image, make_video


@pytest.fixture
def count_reads(monkeypatch):
    """How often pictures were decoded and media opened."""
    calls = {"decode": 0, "probe_item": 0}
    for name in calls:
        original = getattr(dataset.kinds, name)

        def counted(argument, name=name, original=original):
            calls[name] += 1
            return original(argument)

        monkeypatch.setattr(dataset.kinds, name, counted)
    return calls


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


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_caching_resumes(project, error, caplog):
    project.videos(["x"] * 5)
    seen = []

    def break_off(clips):
        if len(seen) == 2:
            raise error
        seen.append(clips[0].clip.item.key)
        return encode_latents(clips)

    with caplog.at_level(logging.WARNING, "omnicam"), pytest.raises(error):
        project.cache_latents(break_off)
    assert "stopped after 2 of 5" in caplog.text
    assert len(list((project.root / "cache").iterdir())) == 2
    done = {path: path.stat().st_mtime_ns for path in (project.root / "cache").iterdir()}
    seen.clear()

    def rest(clips):
        seen.extend(decoded.clip.item.key for decoded in clips)
        return encode_latents(clips)

    assert project.cache_latents(rest, skip_existing=True) == 3
    assert seen == ["v2", "v3", "v4"]
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_a_finished_cache_is_neither_opened_nor_decoded(project, count_reads):
    project.videos(["x"] * 3)
    project.cache_latents()
    assert count_reads == {"decode": 3, "probe_item": 3}
    assert project.cache_latents(skip_existing=True) == 0
    assert count_reads == {"decode": 3, "probe_item": 3}
    assert project.cache_latents() == 3


def test_what_has_changed_is_made_again(project):
    project.videos([camera_caption(), camera_caption("left")])
    kind = LatentCaching(I2V, {"vae": "v1"})
    project.cache_latents(kind=kind)
    project.cache_text()
    project.cache_cameras()
    assert project.cache_latents(kind=kind, skip_existing=True) == 0
    assert project.cache_text(skip_existing=True) == project.cache_cameras(skip_existing=True) == 0

    assert project.cache_latents(kind=LatentCaching(I2V, {"vae": "v2"}), skip_existing=True) == 2
    assert project.cache_cameras(skip_existing=True, lens=50.0) == 2
    records = [json.loads(line) for line in (project.root / "meta.jsonl").read_text().splitlines()]
    records[0]["caption"] = camera_caption("right")
    project.write(project.toml.read_text(), *records)
    assert project.cache_text(skip_existing=True) == 1
    assert project.cache_cameras(skip_existing=True, lens=50.0) == 1
    make_video(project.root / "videos" / "v1.mp4", frames=7, seed=9)
    assert project.cache_latents(kind=LatentCaching(I2V, {"vae": "v2"}), skip_existing=True) == 1
    assert project.cache_cameras(skip_existing=True, lens=50.0) == 1


def test_caches_without_the_image_condition_are_not_enough_for_it(project):
    project.videos(["x"])
    project.cache_latents(
        lambda clips: [{"latents": r["latents"]} for r in encode_latents(clips)], kind=LatentCaching()
    )
    assert project.cache_latents(skip_existing=True) == 1


def test_a_cache_of_musubi_is_taken_as_it_is(project):
    project.videos(["x"])
    project.cache_latents()
    file = project.root / "cache" / project.caches()[0]
    kept = {"architecture", "width", "height", "format_version", "frame_count"}
    metadata = {key: value for key, value in read_metadata(file).items() if key in kept}
    write_tensors(file, read_tensors(file), metadata)
    assert project.cache_latents(skip_existing=True, kind=LatentCaching(I2V, {"vae": "v1"})) == 0


def test_what_training_takes_for_foreign_is_made_again(project):
    """Else it could be neither trained on nor cached: --skip_existing would leave it."""
    project.videos([camera_caption()]).cache_all()
    for name in project.caches():
        file = project.root / "cache" / name
        write_tensors(file, read_tensors(file), read_metadata(file) | {"format_version": "9.0"})
    with pytest.raises(ValueError, match="are of another program or version"):
        project.training_set()
    made = [project.cache_latents, project.cache_text, project.cache_cameras]
    assert [cache(skip_existing=True) for cache in made] == [1, 1, 1]
    assert len(project.training_set()) == 1


def test_a_damaged_cache_is_made_again(project, caplog):
    project.videos(["x"])
    project.cache_latents()
    file = project.root / "cache" / project.caches()[0]
    file.write_bytes(file.read_bytes()[:50])
    with caplog.at_level(logging.WARNING, "omnicam"):
        assert project.cache_latents(skip_existing=True) == 1
    assert file.name in caplog.text
    read_header(file)


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


def test_cameras_are_compiled_on_the_videos_own_frames(project):
    caption = camera_caption("right", end=1)
    project.videos([caption], frames=9, fps=8)
    project.cache_cameras()
    header, track = read_camera(project.root / "cache" / "v0_wan_camera.safetensors")
    expected = compile_moves(parse(caption), 9, 8.0)
    torch.testing.assert_close(track.c2w, expected.c2w, rtol=0, atol=1e-6)
    torch.testing.assert_close(track.times, torch.arange(9).double() / 8, rtol=0, atol=1e-6)
    assert header.metadata["source"] == "caption" and header.metadata["caption"] == caption
    # 60 degrees across a picture of 64 x 48
    assert track.intrinsics[0].tolist() == pytest.approx([0.8660254, 0.8660254 * 64 / 48, 0.5, 0.5], abs=1e-6)


def test_a_camera_file_goes_before_the_caption(project):
    track = compile_moves(parse(camera_caption("up")), 9, 16.0)
    track.save(project.root / "up.safetensors")
    make_video(project.root / "videos" / "v0.mp4")
    project.videos([])
    project.write(
        project.toml.read_text(),
        {"video_path": "videos/v0.mp4", "caption": camera_caption("down"), "camera_file": "up.safetensors"},
    )
    project.cache_cameras()
    header, cached = read_camera(project.root / "cache" / "v0_wan_camera.safetensors")
    torch.testing.assert_close(cached.c2w, track.c2w, rtol=0, atol=1e-5)
    assert header.metadata["source"] == "file"


def test_captions_without_a_camera_are_named_together(project):
    project.videos(["a room", camera_caption(), "a dog"])
    with pytest.raises(ValueError) as error:
        project.cache_cameras()
    for word in ("2 of 3", "v0.mp4", "v2.mp4", "line 1", "<starttime>", "camera_file"):
        assert word in str(error.value)
    assert "v1.mp4" not in str(error.value)


def test_wrong_tags_are_named_with_their_item(project):
    project.videos([camera_caption("sideways"), camera_caption()])
    with pytest.raises(ValueError) as error:
        project.cache_cameras()
    for word in ("1 of 2", "v0.mp4", "sideways", "segment 1"):
        assert word in str(error.value)


def test_moves_into_the_subject_name_the_item(project):
    project.videos([camera_caption("forward", end=30)], frames=100, fps=16)
    project.write(
        project.toml.read_text(),
        {"video_path": "videos/v0.mp4", "caption": camera_caption().replace("high", "9")},
    )
    with pytest.raises(ValueError, match=r"v0\.mp4.*subject"):
        project.cache_cameras()
