"""The camera of a generation, from a reference video or a file, with a backend that knows the answer."""

from dataclasses import replace

import pytest
import torch

from camera.language import Move
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves
from common.media import write_video
from common.weights import read_tensors
from tests.cameras_found import LENS, FakeBackend, install
from tests.scripts.test_main_job import generate
from tests.scripts.world import FRAMES, caption, moving_picture

RIGHT = [Move(0, 0.5, 1.0, "right")]


@pytest.fixture
def backend(monkeypatch):
    made = FakeBackend(RIGHT)
    made.opened = install(monkeypatch, made)
    return made


@pytest.fixture
def clip(tmp_path):
    write_video(tmp_path / "reference.mp4", moving_picture(3), 16)
    return tmp_path / "reference.mp4"


@pytest.fixture
def made(models, weights, photo, tmp_path):
    def make(*flags, prompt="A grey room."):
        target = tmp_path / "v.mp4"
        assert generate(models, weights, photo, target, prompt, "--output_type", "latent", *flags) == 0
        return read_tensors(tmp_path / "v_latent.safetensors")["latent"]

    return make


@pytest.fixture
def poses(tmp_path):
    """The camera that the backend finds, as a file; in float32, as files are."""
    track = compile_moves(RIGHT, FRAMES, 16.0, LENS)
    track.save(tmp_path / "poses.safetensors")
    return tmp_path / "poses.safetensors"


def test_a_video_makes_what_its_poses_in_a_file_make(made, clip, poses, backend, monkeypatch):
    known = CameraTrack.load(poses)

    def estimate(video, intrinsics=None):
        return replace(FakeBackend.estimate(backend, video, intrinsics), track=known)

    monkeypatch.setattr(backend, "estimate", estimate)
    of_video = made("--camera_video", clip)
    assert backend.opened == [("auto", None, "cpu")]
    assert torch.equal(of_video, made("--camera_file", poses))
    assert torch.equal(of_video, made(prompt=f"A grey room. #trajectory {{{poses}}}"))
    assert (of_video - made("--camera_file", poses, "--camera_translation", 2)).abs().max() > 1e-4


def test_the_lens_of_the_image_can_be_found(made, poses, backend):
    found = made("--camera_file", poses, "--intrinsics", "estimate")
    assert len(backend.lenses) == 1 and not backend.asked
    assert torch.equal(found, made("--camera_file", poses, "--intrinsics", ",".join(map(str, LENS))))


@pytest.mark.parametrize(
    ("flags", "prompt", "word"),
    [
        (["--camera_video", "{clip}", "--camera_file", "{poses}"], "A.", "--camera_file and --camera_video each"),
        (["--camera_video", "{clip}"], caption("right"), "--camera_video and tags in the prompt each say"),
        (["--camera_file", "{poses}"], "A. #trajectory {{x.txt}}", "--camera_file and #trajectory in the prompt"),
        (["--camera_file", "{poses}", "--no_camera"], "A.", "contradict each other"),
        (["--camera_file", "gone.txt"], "A.", "Check --camera_file"),
        (["--camera_video", ""], "A.", "--camera_video is empty"),
        (["--camera_video", "{clip}", "--camera_translation", 0], "A.", "--camera_translation 0"),
        (["--camera_video", "{clip}", "--dust3r", "gone.pth"], "A.", "gone.pth"),
    ],
)
def test_contradictions_are_refused(models, weights, photo, tmp_path, clip, poses, capsys, flags, prompt, word):
    given = [str(flag).format(clip=clip, poses=poses) for flag in flags]
    prompt = prompt.replace("{{", "{").replace("}}", "}")
    assert generate(models, weights, photo, tmp_path / "v.mp4", prompt, *given) == 2
    said = capsys.readouterr().err
    assert word in said and "encoding" not in said


def test_a_video_in_which_nothing_is_found_ends_before_anything_slow(
    models, weights, photo, tmp_path, clip, backend, capsys
):
    backend.fails = ("reference",)
    assert generate(models, weights, photo, tmp_path / "v.mp4", "A.", "--camera_video", clip) == 2
    said = capsys.readouterr().err
    assert "no texture was seen" in said and "encoding" not in said


def test_flags_without_effect_are_named(made, capsys):
    made("--camera_fit", "stretch", "--pose_backend", "colmap", prompt=caption("right"))
    said = capsys.readouterr().err
    assert "--camera_fit is not used" in said and "--pose_backend is not used" in said
