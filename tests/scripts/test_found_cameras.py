"""Cameras found in videos, through the real cache script, with a backend that knows the answer."""

import json

import pytest
import torch

from camera.language import Move, parse
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves
from common.weights import read_metadata
from tests.cameras_found import LENS, FakeBackend, install
from tests.scripts.world import FRAMES, caption, moving_picture

SCRIPT = "wan_cache_camera_encoder_outputs"
RIGHT = [Move(0, 0.5, 1.0, "right")]


@pytest.fixture
def backend(monkeypatch):
    made = FakeBackend(RIGHT, unit=3.0)
    made.opened = install(monkeypatch, made)
    return made


@pytest.fixture
def four(world):
    """A camera of each kind: a file, a clause, tags, and none."""
    world.lines.clear()
    for name, direction in (("file", "left"), ("clause", "up"), ("tags", "forward"), ("none", "right")):
        world.add_video(f"{name}.mp4", caption(direction) if name == "tags" else "A grey room.")
        track = compile_moves(parse(caption(direction)), FRAMES, 16.0)
        track.save(world.root / f"{name}.safetensors")
    world.lines[0]["camera_file"] = "file.safetensors"
    world.lines[1]["caption"] = "A grey room. #trajectory {clause.safetensors}"
    world.write_config()
    return world


def cached(world, stem):
    path = world.cache / f"{stem}_wan_camera.safetensors"
    return CameraTrack.load(path), read_metadata(path)


def test_each_place_is_looked_at_in_its_order(four, backend, capsys):
    assert four.call(SCRIPT, "--estimate_trajectory") == 0
    for stem, direction, source in (
        ("file", "left", "file"),
        ("clause", "up", "file"),
        ("tags", "forward", "caption"),
        ("none", "right", "estimated"),
    ):
        track, said = cached(four, stem)
        wanted = compile_moves(parse(caption(direction)), FRAMES, 16.0)
        # the backend's unit is a third of the subject's distance, which the points tell
        torch.testing.assert_close(track.c2w, wanted.c2w, rtol=0, atol=1e-6)
        assert said["source"] == source
    assert len(backend.asked) == 1 and backend.opened == [("auto", None, "cpu")]
    said = cached(four, "none")[1]
    assert (said["backend"], said["confidence"], said["unit"]) == ("colmap", "0.9000", "median depth")
    assert json.loads(said["remarks"]) == ["32 points."]
    shown = capsys.readouterr().err
    assert "1 from camera files, 1 from #trajectory clauses, 1 from tags in captions, 1 found in their videos" in shown
    assert "1 by colmap" in shown


def test_nothing_is_opened_when_nothing_is_to_be_found(four, backend, capsys):
    four.lines.pop()
    four.write_config()
    assert four.call(SCRIPT, "--estimate_trajectory", "--t5", "gone.pth") == 0
    assert not backend.opened and "--t5 is not needed" in capsys.readouterr().err


def test_without_the_flag_a_video_without_a_camera_is_an_error_that_names_it(four, backend, capsys):
    assert four.call(SCRIPT) == 2
    assert "1 of 4 videos have no camera: none.mp4" in (said := capsys.readouterr().err)
    assert "--estimate_trajectory" in said and not backend.opened


def test_the_clause_is_not_text_for_the_encoder_and_its_file_must_be_there(four, capsys):
    from dataset.config import load_config
    from dataset.sources import load_items

    (group,) = load_items(load_config(four.toml))
    assert [item.caption for item in group.items][1] == "A grey room."
    four.lines[1]["caption"] = "A grey room. #trajectory {gone.safetensors}"
    four.write_config()
    assert four.call(SCRIPT) == 2
    said = capsys.readouterr().err
    assert "line 2" in said and "#trajectory {gone.safetensors}" in said and "prepare_omnicam" in said


def test_a_video_that_fails_does_not_stop_the_rest_and_is_tried_again(four, backend, capsys):
    four.add_video("bare wall.mp4", "A wall.")
    four.add_video("broken.mp4", "A wall.").write_bytes(b"no video")
    four.add_video("zebra.mp4", "A zebra.")
    four.write_config()
    backend.fails = ("bare wall",)
    assert four.call(SCRIPT, "--estimate_trajectory") == 2
    said = capsys.readouterr().err
    assert "bare wall.mp4 (" in said and "no texture was seen" in said and "broken.mp4 (" in said
    assert "error: 2 items have no camera cache (bare wall.mp4, broken.mp4" in said and "stopped after" not in said
    made = {path.name for path in four.cache.iterdir()}
    assert "zebra_wan_camera.safetensors" in made and "bare wall_wan_camera.safetensors" not in made
    backend.fails = ()
    backend.asked.clear()
    assert four.call(SCRIPT, "--estimate_trajectory", "--skip_existing") == 2
    assert [name.rsplit("/")[-1] for name, *_ in backend.asked] == ["bare wall.mp4"]
    assert (four.cache / "bare wall_wan_camera.safetensors").exists()


def test_training_lists_what_could_not_be_found(world, backend, capsys):
    world.add_video("bare wall.mp4", "A wall.")
    world.write_config()
    backend.fails = ("bare wall",)
    for script in ("wan_cache_latents", "wan_cache_text_encoder_outputs"):
        assert world.call(script) == 0
    assert world.call(SCRIPT, "--estimate_trajectory") == 2
    assert world.train("--max_train_steps", 1) == 2
    said = capsys.readouterr().err
    assert "camera caches of 1 of 4 items are missing: bare wall.mp4" in said


def test_an_estimate_is_made_again_only_when_something_that_matters_has_changed(four, backend):
    flags = ["--estimate_trajectory", "--skip_existing"]

    def asked(*more):
        backend.asked.clear()
        assert four.call(SCRIPT, *flags, *more) == 0
        return len(backend.asked)

    assert asked() == 1 and asked() == 0
    four.lines[3]["caption"] = "Another word for the room."
    four.write_config()
    assert asked() == 0 and asked("--min_confidence", 0.1) == 0
    assert asked("--pose_backend", "colmap") == 1 and asked("--pose_backend", "colmap") == 0
    assert asked("--estimate_frames", 3) == 1
    from common.media import write_video

    write_video(four.root / "none.mp4", moving_picture(99), 16)
    assert asked("--estimate_frames", 3) == 1 and asked("--estimate_frames", 3) == 0
    # a camera of its own goes before what was found
    four.lines[3]["camera_file"] = "none.safetensors"
    four.write_config()
    assert asked("--estimate_frames", 3) == 0 and cached(four, "none")[1]["source"] == "file"


def test_training_takes_an_estimate_until_the_item_has_a_camera_of_its_own(four, backend):
    from dataset.config import load_config
    from dataset.judging import judge_camera
    from dataset.sources import load_items

    assert four.call(SCRIPT, "--estimate_trajectory") == 0

    def judged():
        (group,) = load_items(load_config(four.toml))
        return judge_camera(four.cache / "none_wan_camera.safetensors", group.items[3])

    assert judged() is None
    four.lines[3]["camera_file"] = "none.safetensors"
    four.write_config()
    assert judged() == "stale"
    del four.lines[3]["camera_file"]
    four.lines[3]["caption"] = caption("left")
    four.write_config()
    assert judged() == "stale"


def test_few_frames_are_looked_at_and_the_camera_between_them_is_interpolated(four, backend):
    assert four.call(SCRIPT, "--estimate_trajectory", "--estimate_frames", 3) == 0
    ((_, shape, times, known),) = backend.asked
    assert shape == (3, 32, 48, 3) and times == (0.0, 0.25, 0.5) and known is None
    track, _ = cached(four, "none")
    wanted = compile_moves(RIGHT, FRAMES, 16.0)
    torch.testing.assert_close(track.at(wanted.times).c2w[4], wanted.c2w[4], rtol=0, atol=1e-6)


def test_the_lens_is_found_given_or_the_default(four, backend):
    def lens(stem, *more):
        backend.lenses.clear()
        assert four.call(SCRIPT, "--estimate_trajectory", *more) == 0
        return tuple(round(number, 4) for number in cached(four, stem)[0].intrinsics[0].tolist())

    assert lens("none") == LENS and lens("tags") == (0.866, 1.299, 0.5, 0.5)
    assert not backend.lenses
    assert lens("tags", "--intrinsics", "estimate") == LENS
    assert [name.rsplit("/")[-1] for name, _ in backend.lenses] == ["tags.mp4"], "the files say their own"
    assert cached(four, "tags")[1]["lens_confidence"] == "0.9000"
    for spelling in (["1,1.5,0.5,0.5"], [1, 1.5, 0.5, 0.5]):
        assert lens("tags", "--intrinsics", *spelling) == lens("none", "--intrinsics", *spelling) == (1, 1.5, 0.5, 0.5)
    assert lens("tags", "--intrinsics", "default") == lens("tags", "--fov_deg", 60) == (0.866, 1.299, 0.5, 0.5)


def test_a_mirrored_twin_has_the_mirrored_camera_and_is_looked_at_once(four, backend):
    four.write_config("horizontal_flip = true\n")
    assert four.call(SCRIPT, "--estimate_trajectory", "--intrinsics", "estimate") == 0
    assert len(backend.asked) == 1 and len(backend.lenses) == 1
    for stem in ("none", "tags", "file"):
        track, twin = cached(four, stem)[0], cached(four, f"{stem}~mirrored")[0]
        torch.testing.assert_close(twin.c2w, track.mirrored().c2w, rtol=0, atol=1e-6)


def test_low_confidence_is_said_and_none_at_all_is_a_failure(four, backend, capsys):
    backend.confidence = 0.3
    assert four.call(SCRIPT, "--estimate_trajectory") == 0
    assert "none.mp4: trajectory by colmap found with a confidence of 0.30, below 0.5" in capsys.readouterr().err
    assert cached(four, "none")[1]["confidence"] == "0.3000"
    assert four.call(SCRIPT, "--estimate_trajectory", "--min_confidence", 0.2) == 0
    assert "below" not in capsys.readouterr().err
    backend.confidence = 0.0
    (four.cache / "none_wan_camera.safetensors").unlink()
    assert four.call(SCRIPT, "--estimate_trajectory", "--skip_existing") == 2
    assert not (four.cache / "none_wan_camera.safetensors").exists()


def test_two_ranks_share_the_videos_and_write_what_one_writes(four, backend, monkeypatch):
    for number in range(3):
        four.add_video(f"more{number}.mp4", "A room.")
    four.write_config()
    assert four.call(SCRIPT, "--estimate_trajectory") == 0
    alone = {path.name: path.read_bytes() for path in four.cache.iterdir()}
    for path in four.cache.iterdir():
        path.unlink()
    shares = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    backend.fails = ("more1",)
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        backend.asked.clear()
        # one rank that ends with an error would make the launcher end the other
        assert four.call(SCRIPT, "--estimate_trajectory", "--skip_existing") == 0
        shares.append({name for name, *_ in backend.asked})
    assert shares[0] and shares[1] and not shares[0] & shares[1] and len(shares[0] | shares[1]) == 4
    assert {path.name for path in four.cache.iterdir()} == set(alone) - {"more1_wan_camera.safetensors"}
    assert all(path.read_bytes() == alone[path.name] for path in four.cache.iterdir())


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--intrinsics", "auto"], "--intrinsics auto: expected four numbers"),
        (["--intrinsics", "1", "2", "3"], "expected four numbers"),
        (["--intrinsics", "1,1,2,0.5"], "the optical axis must lie in the picture"),
        (["--dust3r", "gone.pth", "--estimate_trajectory"], "gone.pth"),
        (["--estimate_frames", "1"], "--estimate_frames 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(four, backend, capsys, flags, word):
    assert four.call(SCRIPT, *flags) == 2
    assert word in capsys.readouterr().err
