"""Looking at caches: what they hold, whether they are up to date, and their pictures beside their camera."""

import json
import random
import re

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import wan_cache_latents
from camera.intrinsics import default_intrinsics
from camera.language import parse
from camera.poses import invert
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves
from common import cli
from common.media import probe_image, probe_video, read_image, read_video, write_video
from common.weights import read_metadata, write_tensors
from dataset.clips import decode
from dataset.kinds import LatentCaching
from tests.dataset import musubi_folder
from tests.dataset.helpers import Project, camera_caption, make_video
from tools.inspect_cache import main
from tools.procedural_world.clips import ClipPlan, render_clip
from tools.procedural_world.rooms import build_world

HEIGHT, WIDTH = 96, 128
MOVES = "<starttime>0</starttime> <endtime>2</endtime> <speed>1.0</speed> <direction>{}</direction> <rotate>{}</rotate>"
LATENTS = "v{}_00000-005_0064x0048_wan.safetensors"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


@pytest.fixture
def cached(project):
    return project.videos([camera_caption("right"), camera_caption("left")]).cache_all()


@pytest.fixture
def look(capsys):
    """Run the tool with --json; returns exit code and what it found, by file name."""

    def runner(*words):
        capsys.readouterr()
        code = cli.run(lambda: main([str(word) for word in words] + ["--json"]))
        lines = capsys.readouterr().out.splitlines()
        return code, {json.loads(line)["path"].rsplit("/", 1)[-1]: json.loads(line) for line in lines}

    return runner


def statuses(found):
    return {name: fact["status"] for name, fact in found.items()}


def test_everything_in_a_folder_is_listed_with_what_made_it(cached, look):
    code, found = look(cached.root / "cache")
    assert code == 0 and set(statuses(found).values()) == {"sound"} and len(found) == 6
    latents = found[LATENTS.format(0)]
    assert latents["kind"] == "latent" and latents["made_by"] == "OmniCam-Wan"
    assert latents["tensors"]["latents_2x6x8_bfloat16"] == ["bfloat16", [16, 2, 6, 8]]
    assert latents["metadata"]["source"] == "v0.mp4"
    assert found["v0_wan_te.safetensors"]["kind"] == "text"
    assert found["v0_wan_camera.safetensors"]["tensors"]["c2w"] == ["float32", [9, 4, 4]]


def test_a_dataset_file_tells_fresh_from_stale_missing_and_stray(cached, look):
    _, found = look("--dataset_config", cached.toml)
    assert set(statuses(found).values()) == {"fresh"} and len(found) == 6
    make_video(cached.root / "videos" / "v1.mp4", seed=77)
    (cached.root / "cache" / "v0_wan_te.safetensors").unlink()
    musubi_folder.write_clip(cached.root / "cache", "gone")
    code, found = look("--dataset_config", cached.toml)
    assert code == 0 and statuses(found) == {
        LATENTS.format(0): "fresh",
        "v0_wan_camera.safetensors": "fresh",
        "v0_wan_te.safetensors": "missing",
        LATENTS.format(1): "stale",
        "v1_wan_camera.safetensors": "stale",
        "v1_wan_te.safetensors": "fresh",
        "gone_00000-005_0064x0048_wan.safetensors": "stray",
    }
    assert found["gone_00000-005_0064x0048_wan.safetensors"]["made_by"].startswith("musubi-tuner")


def test_other_settings_and_captions_make_caches_stale_without_any_medium(cached, look):
    project = cached.videos([camera_caption("up"), camera_caption("left")], entry="target_frames = [9]")
    for path in (project.root / "videos").iterdir():
        path.unlink()
    _, found = look("--dataset_config", project.toml)
    assert statuses(found) == {
        LATENTS.format(0): "stale",
        LATENTS.format(1): "stale",
        "v0_wan_camera.safetensors": "stale",
        "v0_wan_te.safetensors": "stale",
        "v1_wan_camera.safetensors": "fresh",
        "v1_wan_te.safetensors": "fresh",
    }


def test_nothing_cached_yet_is_all_missing_and_limit_limits(project, look):
    project.videos([camera_caption()] * 3)
    code, found = look("--dataset_config", project.toml)
    assert code == 0 and set(statuses(found).values()) == {"missing"} and len(found) == 9
    project.cache_all()
    assert len(look("--dataset_config", project.toml, "--limit", 4)[1]) == 4
    assert len(look(project.root / "cache", "--limit", 2)[1]) == 2


def change(path, **tensors):
    """Rewrite a cache with other tensors, by the beginning of their keys, and its metadata."""
    metadata, content = read_metadata(path), load_file(path)
    for name, tensor in tensors.items():
        (key,) = [key for key in content if re.fullmatch(name + r"(_\d+x\d+x\d+)?(_[a-z]+\d+)?", key)]
        content[key] = tensor
    save_file(content, path, metadata)


def test_damaged_and_foreign_files_are_named(cached, look):
    folder = cached.root / "cache"
    whole = (folder / LATENTS.format(0)).read_bytes()
    (folder / LATENTS.format(0)).write_bytes(whole[: len(whole) // 2])
    change(folder / LATENTS.format(1), latents=torch.full((16, 2, 6, 8), torch.nan).bfloat16())
    (folder / "v0_wan_te.safetensors").write_text("words")
    change(folder / "v1_wan_camera.safetensors", c2w=torch.zeros(9, 4, 4))
    fork = {"intrinsics": torch.ones(4), "extrinsics": torch.eye(4).repeat(9, 1, 1)}
    write_tensors(folder / "v0_wan_camera.safetensors", fork, {"architecture": "wan"})
    write_tensors(folder / "x_hv_te.safetensors", {"varlen_t5_float32": torch.ones(2, 3)}, {"architecture": "hunyuan"})
    write_tensors(folder / "model.safetensors", {"weight": torch.ones(2)})
    flat = {"latents_1x6x8_bfloat16": torch.ones(6, 8).bfloat16()}
    write_tensors(folder / "v3_00000-005_0064x0048_wan.safetensors", flat, {"architecture": "wan"})
    times = {"architecture": "wan", "frame_times": '["a"]'}
    odd = {"latents_1x6x8_bfloat16": torch.ones(16, 1, 6, 8).bfloat16()}
    write_tensors(folder / "v4_00000-001_0064x0048_wan.safetensors", odd, times)
    for words in ([folder], ["--dataset_config", cached.toml]):
        code, found = look(*words)
        assert code == cli.EXIT_USER_ERROR
        bad = {name: fact["status"] for name, fact in found.items() if fact["status"] in ("damaged", "foreign")}
        assert bad == {
            LATENTS.format(0): "damaged",
            LATENTS.format(1): "damaged",
            "v0_wan_te.safetensors": "damaged",
            "v1_wan_camera.safetensors": "damaged",
            "v3_00000-005_0064x0048_wan.safetensors": "damaged",
            "v4_00000-001_0064x0048_wan.safetensors": "damaged",
            "v0_wan_camera.safetensors": "foreign",
            "x_hv_te.safetensors": "foreign",
            "model.safetensors": "foreign",
        }
        assert all(fact["path"] in fact["fault"] for fact in found.values() if fact["status"] == "damaged")
        assert "NaN" in found[LATENTS.format(1)]["fault"] and "fork" in found["v0_wan_camera.safetensors"]["fault"]


def test_words_for_a_person_and_no_orders_to_the_terminal(cached, capsys):
    path = cached.root / "cache" / "v0_wan_te.safetensors"
    save_file(load_file(path), path, {**read_metadata(path), "evil": "\x1b[2J\n  text cache, fresh"})
    assert main([str(path)]) == 0
    said = capsys.readouterr().out
    assert "  text cache, sound\n" in said and "varlen_t5_bfloat16  bfloat16 [" in said
    assert "\x1b" not in said and "\n  text cache, fresh" not in said


def test_what_cannot_be_looked_at_is_told(project, capsys):
    for words in ([], [str(project.root / "nothing")]):
        assert cli.run(lambda words=words: main(words)) == cli.EXIT_USER_ERROR
        assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    from tools.make_tiny_weights import main as make

    folder = tmp_path_factory.mktemp("weights")
    assert make(["--output_dir", str(folder), "--seed", "0"]) == 0
    return ["--task", "i2v-tiny", "--vae", str(folder / "vae.safetensors"), "--device", "cpu"]


@pytest.fixture(scope="module")
def rendered():
    """A room filmed with a known camera for 2 s at 24 frames per second: first to the left and round, then right."""
    text = MOVES.format("leftup45", "clockwise").replace("2<", "0.8<")
    text += " <sep> " + MOVES.format("right", "stay").replace(">0<", ">0.8<") + " <sep>"
    moves = parse(text)
    track = compile_moves(moves, 49, 24.0, default_intrinsics(WIDTH / HEIGHT, 60.0))
    world = build_world(random.Random(8), track.c2w[:, :3, 3].numpy(), 60.0)
    return track, render_clip(ClipPlan(tuple(moves), track, world), HEIGHT, WIDTH).frames.numpy()


@pytest.fixture
def filmed(project, rendered, vae):
    """The room as a data set of two clips of 13 frames, cached by the real VAE's code with tiny weights."""
    track, frames = rendered
    write_video(project.root / "room.mp4", frames, 24, crf=10)
    track.save(project.root / "camera.safetensors")
    project.write(
        "[[datasets]]\nvideo_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\nresolution = [128, 80]\n"
        "frame_extraction = 'chunk'\ntarget_frames = [13]\nsource_fps = 'auto'\n",
        {"video_path": "room.mp4", "caption": "a room", "camera_file": "camera.safetensors"},
    )
    project.cache_cameras()
    clip = vae[3].replace("vae.safetensors", "clip.safetensors")
    assert wan_cache_latents.main(["--dataset_config", str(project.toml), "--clip", clip, *vae]) == 0
    return project


def test_a_decoded_clip_agrees_with_the_camera_of_its_own_frames(filmed, look, vae, tmp_path):
    code, found = look("--dataset_config", filmed.toml, "--decode", *vae, "--output_dir", tmp_path / "out")
    decoded = {name: fact["decoded"] for name, fact in found.items() if fact["kind"] == "latent" and "decoded" in fact}
    assert code == 0 and len(decoded) == 2
    clips = LatentCaching().jobs(filmed.groups[0].items[0], [])
    for clip, (name, told) in zip(clips, sorted(decoded.items()), strict=True):
        agreement = told["agreement"]
        assert agreement["camera"] < 0.9 * min(agreement["still"], agreement["inverted"]), (name, agreement)
        assert told["camera"].startswith("the camera fits best")
        info = probe_video(told["video"])
        assert info.frames == 13 and info.fps == pytest.approx(16, rel=0.02)
        assert probe_image(told["sheet"])[1] > 960
        shown = read_video(told["video"])[-1]
        likeness = [likeness_of(shown, decode(other).frames[-1]) for other in clips]
        assert likeness[clips.index(clip)] > max(0.7, 0.05 + min(likeness)), "the frames are those of the clip"


def likeness_of(shown, truth):
    """Correlation of the left panel of a video's frame, in which dots are drawn, with a frame of the clip."""
    left = shown[:, : round(truth.shape[1] * shown.shape[0] / truth.shape[0])]
    small = cv2.resize(left, truth.shape[1::-1], interpolation=cv2.INTER_AREA)
    return np.corrcoef(small.ravel(), truth.ravel())[0, 1]


def test_a_camera_that_does_not_belong_is_seen(filmed, look, vae, tmp_path):
    path = filmed.root / "cache" / "room_wan_camera.safetensors"
    metadata = read_metadata(path)
    track = CameraTrack.load(path)
    own = ("format_version", "convention", "scale")
    extra = {name: value for name, value in metadata.items() if name not in own}
    wrong = CameraTrack(invert(track.c2w), track.intrinsics, track.times, track.scale)
    wrong.save(path, extra)
    _, found = look(filmed.root / "cache", "--decode", *vae, "--output_dir", tmp_path / "out", "--limit", 1)
    (told,) = [fact["decoded"] for fact in found.values()]
    assert told["camera"].startswith("the inverted camera fits better")


def test_a_clip_with_a_damaged_camera_is_shown_without(filmed, look, vae, tmp_path):
    (filmed.root / "cache" / "room_wan_camera.safetensors").write_text("words")
    _, found = look(filmed.root / "cache", "--decode", *vae, "--output_dir", tmp_path / "out", "--limit", 1)
    (told,) = [fact["decoded"] for fact in found.values()]
    assert told["camera"].startswith("not drawn: ") and "room_wan_camera" in told["camera"]
    assert read_image(told["sheet"]).shape[0] < 400 and "agreement" not in told


def test_latents_of_another_vae_are_named(tmp_path, look, vae):
    latents = {"latents_1x4x4_bfloat16": torch.ones(5, 1, 4, 4).bfloat16()}
    write_tensors(tmp_path / "a_0032x0032_wan.safetensors", latents, {"architecture": "wan"})
    code, found = look(tmp_path / "a_0032x0032_wan.safetensors", "--decode", *vae, "--output_dir", tmp_path / "out")
    (fact,) = found.values()
    assert code == cli.EXIT_USER_ERROR and fact["status"] == "damaged" and "decoded" not in fact
    assert "a_0032x0032_wan" in fact["fault"] and "[5, 1, 4, 4], expected [16, 1, 4, 4]" in fact["fault"]
