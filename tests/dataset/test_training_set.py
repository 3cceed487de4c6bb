import json
import logging
import shutil
from collections import Counter

import pytest
import torch
from torch.utils.data import DataLoader

from camera.language import parse
from camera.plucker import group_frames, plucker_map
from camera.trajectory import compile as compile_moves
from common.weights import read_metadata, read_tensors, write_tensors
from dataset.batch import Sample, collate
from dataset.cache import read_camera
from tests.dataset.helpers import I2V, camera_caption, make_image, make_video

MUSUBI = {"architecture", "width", "height", "format_version", "frame_count", "caption1"}


def rays(track, times, height=6, width=8):
    clip = track.at(times).rebased()
    return group_frames(plucker_map(clip.c2w, clip.intrinsics, height, width)).float()


def forget_our_metadata(project):
    for path in (project.root / "cache").glob("*_wan.safetensors"):
        metadata = {key: value for key, value in read_metadata(path).items() if key in MUSUBI}
        write_tensors(path, read_tensors(path), metadata)


def keys_of(training_set, order):
    return Counter(training_set.clips[index].name.clip_key() for batch in order for index in batch)


def test_a_batch_holds_what_its_type_says(project):
    project.videos([camera_caption(), camera_caption("left", "a very small dog")], extra="batch_size = 2").cache_all()
    training_set = project.training_set()
    batch = training_set[(1, 0)]
    assert batch["item_keys"] == ["v1_00000-005", "v0_00000-005"]
    assert batch["latents"].shape == (2, 16, 2, 6, 8) and batch["latents"].dtype == torch.bfloat16
    assert batch["latents_image"].shape == (2, 20, 2, 6, 8)
    assert batch["clip"].shape == (2, 5, 8)
    assert batch["camera"].rays.shape == (2, 2, 24, 6, 8) and batch["camera"].rays.dtype == torch.float32
    words = [len(clip.split()) for clip in (camera_caption("left", "a very small dog"), camera_caption())]
    assert [len(text) for text in batch["t5"]] == words
    plain = project.training_set(("latents",), camera=False)[(0,)]
    assert plain["camera"] is None and plain["latents_image"] is None and plain["clip"] is None


def test_each_item_of_a_batch_keeps_its_own_camera(project):
    directions = ["left", "right", "up", "forward"]
    project.videos([camera_caption(direction) for direction in directions], extra="batch_size = 4").cache_all()
    batch = project.training_set()[(2, 0, 3, 1)]
    for row, index in enumerate((2, 0, 3, 1)):
        _, track = read_camera(project.root / "cache" / f"v{index}_wan_camera.safetensors")
        torch.testing.assert_close(batch["camera"].rays[row], rays(track, torch.arange(5) / 16), rtol=0, atol=1e-5)
        for other in range(row):
            assert (batch["camera"].rays[row] - batch["camera"].rays[other]).abs().max() > 1e-2


def test_a_clip_at_an_offset_has_the_poses_of_its_own_frames(project):
    caption = camera_caption("right", end=1)
    entry = "target_frames = [5]\nframe_extraction = 'chunk'\nsource_fps = 32"
    project.videos([caption], entry=entry, frames=24, fps=32).cache_all()
    training_set = project.training_set()
    assert [clip.name.start for clip in training_set.clips] == [0, 5]
    track = compile_moves(parse(caption), 24, 32.0, (0.8660254, 0.8660254 * 64 / 48, 0.5, 0.5))
    times = torch.tensor([10, 12, 14, 16, 18]) / 32
    got = training_set[(1,)]["camera"].rays[0]
    torch.testing.assert_close(got, rays(track, times), rtol=0, atol=1e-5)
    # its first frame is the origin: no moment at all, though the camera had moved by then
    assert got[0, :3].abs().max() < 1e-6
    moved = track.at(times).c2w[0, :3, 3].norm()
    assert moved > 0.05


def test_a_camera_file_on_its_own_grid_is_cut_by_time(project):
    track = compile_moves(parse(camera_caption("leftup30")), 11, 10.0)
    track.save(project.root / "own.safetensors")
    make_video(project.root / "videos" / "a.mp4", frames=12)
    project.videos([], entry="target_frames = [5]\nframe_extraction = 'chunk'")
    record = {"video_path": "videos/a.mp4", "caption": "x", "camera_file": "own.safetensors"}
    project.write(project.toml.read_text(), record).cache_all()
    expected = rays(track, torch.arange(5, 10) / 16)
    torch.testing.assert_close(project.training_set()[(1,)]["camera"].rays[0], expected, rtol=0, atol=1e-5)


def test_intrinsics_follow_the_crop(project):
    project.videos([camera_caption()], width=96, height=48).cache_all()
    (clip,) = project.training_set().clips
    assert clip.shape == (2, 6, 8)
    # of 96 x 48 pixels, 64 x 48 are kept
    fx = 0.8660254
    track = compile_moves(parse(camera_caption()), 9, 16.0, (fx * 96 / 64, fx * 2, 0.5, 0.5))
    expected = rays(track, torch.arange(5) / 16)
    torch.testing.assert_close(project.training_set()[(0,)]["camera"].rays[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("fps", "source_fps"), [(16, ""), (24, ""), (24, "source_fps = 24"), (16, "source_fps = 16.0")]
)
def test_a_folder_of_musubi_trains_with_the_same_cameras(project, fps, source_fps):
    entry = f"target_frames = [5]\nframe_extraction = 'chunk'\n{source_fps}"
    project.videos(
        [camera_caption("left"), camera_caption("up")], entry=entry, frames=19, fps=fps, width=96
    ).cache_all()
    ours = project.training_set()
    wanted = [ours[(index,)]["camera"] for index in range(len(ours.clips))]
    forget_our_metadata(project)
    theirs = project.training_set()
    assert len(theirs.clips) == len(wanted) == (4 if source_fps == "source_fps = 24" else 6)
    for index, camera in enumerate(wanted):
        torch.testing.assert_close(theirs[(index,)]["camera"].rays, camera.rays, rtol=0, atol=1e-5)


def test_of_a_musubi_folder_only_clips_the_set_asks_for_are_taken(project):
    project.videos(["x"], entry="target_frames = [5]\nframe_extraction = 'chunk'", frames=12)
    project.cache_latents()
    project.cache_text()
    forget_our_metadata(project)
    project.toml.write_text(project.toml.read_text().replace("'chunk'", "'head'"))
    assert [clip.name.start for clip in project.training_set(camera=False).clips] == [0]
    project.toml.write_text(project.toml.read_text().replace("[64, 48]", "[128, 96]"))
    with pytest.raises(ValueError, match="latent caches of 1 of 1"):
        project.training_set(camera=False)


def test_order_is_a_function_of_seed_and_epoch_alone(project):
    project.videos([camera_caption()] * 7, extra="batch_size = 2\nnum_repeats = 3").cache_all()
    training_set, again = project.training_set(), project.training_set()
    order = training_set.batch_order(seed=1, epoch=0)
    assert order == again.batch_order(seed=1, epoch=0) == training_set.batch_order(seed=1, epoch=0)
    others = [training_set.batch_order(seed=1, epoch=1), training_set.batch_order(seed=2, epoch=0)]
    assert order not in others and others[0] != others[1]
    assert len(order) == len(training_set) == 11
    assert sorted(map(len, order)) == [1] + [2] * 10


def test_every_clip_comes_exactly_num_repeats_times(project):
    for number in range(5):
        make_video(project.root / "videos" / f"v{number}.mp4", width=[64, 48][number % 2], height=[48, 64][number % 2])
        make_image(project.root / "pictures" / f"p{number}.png")
    project.toml.write_text("")
    captions = {"caption": camera_caption()}
    lines = [json.dumps({"video_path": f"videos/v{number}.mp4"} | captions) for number in range(5)]
    (project.root / "videos.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"image_path": f"pictures/p{number}.png"} | captions) for number in range(5)]
    (project.root / "images.jsonl").write_text("\n".join(lines))
    project.write(
        "[general]\nresolution = [64, 48]\nbatch_size = 2\n"
        "[[datasets]]\nvideo_jsonl_file = 'videos.jsonl'\ncache_directory = 'cache'\ntarget_frames = [5, 9]\n"
        "[[datasets]]\nimage_jsonl_file = 'images.jsonl'\ncache_directory = 'cache2'\nnum_repeats = 2\n"
    ).cache_all()
    training_set = project.training_set()
    for epoch in range(3):
        order = training_set.batch_order(0, epoch)
        counts = keys_of(training_set, order)
        assert {key: count for key, count in counts.items() if key.startswith("v")} == {
            f"v{number}_00000-{frames:03d}": 1 for number in range(5) for frames in (5, 9)
        }
        assert {key: count for key, count in counts.items() if key.startswith("p")} == {f"p{n}": 2 for n in range(5)}
        for batch in order:
            assert len({(training_set.clips[i].entry, training_set.clips[i].shape) for i in batch}) == 1
            assert training_set[batch]["latents"].shape[0] == len(batch)


@pytest.mark.parametrize("workers", [0, 2])
def test_worker_processes_see_the_same_batches(project, workers):
    project.videos([camera_caption()] * 5, extra="batch_size = 2").cache_all()
    training_set = project.training_set()
    for epoch in range(2):
        order = training_set.batch_order(3, epoch)
        loader = DataLoader(training_set, sampler=order, batch_size=None, num_workers=workers)
        keys = [batch["item_keys"] for batch in loader]
        assert keys == [[training_set.clips[i].name.clip_key() for i in batch] for batch in order]


def test_training_needs_the_caches_only(project):
    project.videos([camera_caption()]).cache_all()
    shutil.rmtree(project.root / "videos")
    assert len(project.training_set()) == 1


def test_missing_caches_are_listed_with_their_commands(project):
    project.videos([camera_caption()] * 3).cache_all()
    cache = project.root / "cache"
    (cache / "v0_00000-005_0064x0048_wan.safetensors").unlink()
    (cache / "v1_wan_te.safetensors").unlink()
    (cache / "v2_wan_camera.safetensors").unlink()
    assert _lines_of(project, task="i2v-14B") == [
        f"  python wan_cache_latents.py --dataset_config {project.toml} --task i2v-14B --skip_existing",
        "    latent caches of 1 of 3 items are missing: v0.mp4",
        f"  python wan_cache_text_encoder_outputs.py --dataset_config {project.toml} --task i2v-14B --skip_existing",
        "    text caches of 1 of 3 items are missing: v1.mp4",
        f"  python wan_cache_camera_encoder_outputs.py --dataset_config {project.toml} --skip_existing",
        "    camera caches of 1 of 3 items are missing: v2.mp4",
        "    (or train without cameras: --no_camera)",
    ]
    assert "camera" not in "".join(_lines_of(project, camera=False))


def _lines_of(project, **options):
    with pytest.raises(ValueError) as error:
        project.training_set(**options)
    first, *lines = str(error.value).splitlines()
    assert first.startswith(f"{project.toml}: ")
    return lines


def test_why_caches_do_not_count_is_said(project):
    project.videos([camera_caption()] * 13, entry="target_frames = [5]").cache_all()
    cache = project.root / "cache"
    for number in range(11):
        (cache / f"v{number}_wan_te.safetensors").unlink()
    latents = [cache / f"v{number}_00000-005_0064x0048_wan.safetensors" for number in range(4)]
    latents[0].write_bytes(b"{")
    write_tensors(latents[1], read_tensors(latents[1]), read_metadata(latents[1]) | {"format_version": "2.0.0"})
    tensors = {key: value for key, value in read_tensors(latents[2]).items() if not key.startswith("clip")}
    write_tensors(latents[2], tensors, read_metadata(latents[2]))
    write_tensors(latents[3], read_tensors(latents[3]), read_metadata(latents[3]) | {"frame_times": "[0, 1, 2, 3, 4]"})
    lines = [line.strip() for line in _lines_of(project) if "python" not in line]
    assert lines == [
        "latent caches of 1 of 13 items cannot be read: v0.mp4",
        "latent caches of 1 of 13 items are of another program or version of the format: v1.mp4",
        "latent caches of 1 of 13 items do not hold all of latents, latents_image, clip: v2.mp4",
        "latent caches of 1 of 13 items are out of date (made for other frames, another size, rate, camera or caption, "
        "or of another medium): v3.mp4",
        "text caches of 11 of 13 items are missing: " + ", ".join(f"v{n}.mp4" for n in range(10)) + " and 1 more",
    ]


def test_caches_of_two_versions_of_a_video_are_refused_with_both_commands(project):
    project.videos([camera_caption()], frames=12).cache_all()
    make_video(project.root / "videos" / "v0.mp4", frames=10, seed=5)
    project.cache_latents()
    _assert_parted(project)
    project.cache_cameras(skip_existing=True)
    assert len(project.training_set()) == 1
    make_video(project.root / "videos" / "v0.mp4", frames=11, seed=6)
    project.cache_cameras(skip_existing=True)
    _assert_parted(project)
    project.cache_latents(skip_existing=True)
    assert len(project.training_set()) == 1


def _assert_parted(project):
    text = "\n".join(_lines_of(project))
    for kind, script in (("latent", "wan_cache_latents.py"), ("camera", "wan_cache_camera_encoder_outputs.py")):
        assert f"{kind} caches of 1 of 1 items are of another version of the medium" in text
        assert script in text


def test_an_interrupted_cache_of_a_video_is_incomplete(project):
    project.videos([camera_caption()], entry="target_frames = [5]\nframe_extraction = 'chunk'", frames=15).cache_all()
    (project.root / "cache" / "v0_00010-005_0064x0048_wan.safetensors").unlink()
    with pytest.raises(ValueError, match=r"latent caches of 1 of 1 .*v0\.mp4"):
        project.training_set()


@pytest.mark.parametrize(
    ("old", "new"),
    [("[5]", "[9]"), ("[64, 48]", "[128, 96]"), ("frames = [5]", "frames = [5]\nsource_fps = 24")],
)
def test_caches_of_other_settings_are_not_trained_on(project, old, new):
    project.videos([camera_caption()], frames=24).cache_all()
    project.toml.write_text(project.toml.read_text().replace(old, new))
    with pytest.raises(ValueError, match="latent caches of 1 of 1"):
        project.training_set()


def test_caches_of_another_caption_are_not_trained_on(project):
    project.videos([camera_caption("left")]).cache_all()
    project.write(project.toml.read_text(), {"video_path": "videos/v0.mp4", "caption": camera_caption("right")})
    with pytest.raises(ValueError) as error:
        project.training_set()
    assert "text caches of 1" in str(error.value) and "camera caches of 1" in str(error.value)
    project.cache_text(skip_existing=True)
    project.cache_cameras(skip_existing=True)
    assert len(project.training_set()) == 1


def test_kept_caches_of_an_older_video_do_no_harm(project):
    project.videos([camera_caption()], entry="target_frames = [5]\nframe_extraction = 'chunk'", frames=15).cache_all()
    make_video(project.root / "videos" / "v0.mp4", frames=10, seed=5)
    project.cache_latents(skip_existing=True, keep_cache=True)
    project.cache_cameras()
    assert len(project.caches("*0048_wan.safetensors")) == 3
    assert [clip.name.start for clip in project.training_set().clips] == [0, 5]
    # whoever takes everything takes the older video's clip too, and its camera is not there any more
    project.cache_text()
    with pytest.raises(ValueError, match="camera caches of 1 of 1 items are of another version of the medium"):
        project.training_set(use_all_caches=True)


def test_too_short_videos_are_not_missing(project):
    project.videos([camera_caption()] * 2, entry="target_frames = [9]")
    make_video(project.root / "videos" / "v1.mp4", frames=4)
    project.cache_all()
    assert [clip.name.stem for clip in project.training_set().clips] == ["v0"]


def test_a_camera_cache_of_the_fork_is_not_taken_for_ours(project):
    project.videos([camera_caption()]).cache_all()
    tensors = {"intrinsics": torch.ones(4), "extrinsics": torch.eye(4).expand(25, 4, 4)}
    write_tensors(project.root / "cache" / "v0_wan_camera.safetensors", tensors)
    with pytest.raises(ValueError, match="camera caches of 1 of 1"):
        project.training_set()
    assert project.cache_cameras(skip_existing=True) == 1


@pytest.mark.parametrize(("pattern", "tensor"), [("*0048_wan.safetensors", "latents"), ("*_te.safetensors", "t5")])
def test_a_cache_with_nan_is_refused_by_name(project, pattern, tensor):
    project.videos([camera_caption()]).cache_all()
    (file,) = (project.root / "cache").glob(pattern)
    tensors = read_tensors(file)
    key = next(key for key in tensors if key.startswith((f"{tensor}_2", "varlen")))
    tensors[key].view(-1)[3] = float("nan")
    write_tensors(file, tensors, read_metadata(file))
    training_set = project.training_set()
    with pytest.raises(ValueError) as error:
        _ = training_set[(0,)]
    assert file.name in str(error.value) and f"'{tensor}'" in str(error.value)


def test_a_camera_with_nan_is_refused_by_name(project):
    project.videos([camera_caption()]).cache_all()
    file = project.root / "cache" / "v0_wan_camera.safetensors"
    tensors, metadata = read_tensors(file), read_metadata(file)
    tensors["c2w"][3, 0, 3] = float("nan")
    write_tensors(file, tensors, metadata)
    with pytest.raises(ValueError, match="v0_wan_camera"):
        _ = project.training_set()[(0,)]


def test_a_set_describes_itself_in_json(project):
    project.videos([camera_caption()] * 3, extra="batch_size = 2\nnum_repeats = 2").cache_all()
    said = json.loads(json.dumps(project.training_set().describe()))
    assert said["num_train_items"] == 6 and said["num_batches_per_epoch"] == 3
    assert said["datasets"][0]["buckets"] == {"64x48x5": 3}
    assert said["datasets"][0]["resolution"] == [64, 48]


def test_samples_of_two_shapes_are_no_batch():
    samples = [Sample("a", {"latents": torch.zeros(16, 1, 4, size)}, torch.zeros(1, 2), None) for size in (4, 6)]
    with pytest.raises(RuntimeError):
        collate(samples)


def test_nothing_is_logged_when_all_is_well(project, caplog):
    project.videos([camera_caption()]).cache_all()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "omnicam"):
        project.training_set(I2V)
    assert caplog.text == ""


def test_repeats_that_no_epoch_could_hold_are_refused_before_they_are_counted_out(project):
    project.videos([camera_caption()] * 2, extra="num_repeats = 1000000000").cache_all()
    with pytest.raises(ValueError, match=r"number 1: num_repeats = 1000000000 makes an epoch of 2,000,000,000 clips"):
        project.training_set()
    assert len(project.write(project.toml.read_text().replace("1000000000", "2500000")).training_set()) == 5_000_000
