"""Camera caches: tracks of whole videos, from captions and camera files."""

import pytest
import torch

from camera.language import parse
from camera.trajectory import compile as compile_moves
from dataset.cache import read_camera
from tests.dataset.helpers import camera_caption, make_video


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
