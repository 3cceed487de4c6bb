"""Showing a data set instead of encoding it: --debug_mode."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

import wan_cache_latents
from camera.agreement import agreement_of
from common.media import probe_image, probe_video, read_video, write_video
from dataset import preview
from dataset.clips import decode
from dataset.kinds import LatentCaching
from dataset.preview import show_clips
from tests.dataset.helpers import Project, camera_caption, make_image, make_video


@pytest.fixture
def videos(project):
    captions = [camera_caption("right"), "a still life, no camera told"]
    return project.videos(captions, entry="target_frames = [5]\nframe_extraction = 'chunk'", frames=11)


def shown(project):
    return sorted(path.name for path in (project.root / "cache" / "preview").iterdir())


def run(project, *flags):
    return wan_cache_latents.main(["--dataset_config", str(project.toml), *map(str, flags)])


def test_image_mode_writes_a_sheet_for_every_clip_and_needs_no_weights(videos):
    assert run(videos, "--debug_mode", "image") == 0
    names = [f"v{video}_0000{start}-005_0064x0048_wan.png" for video in (0, 1) for start in (0, 5)]
    assert shown(videos) == names
    sizes = [probe_image(videos.root / "cache" / "preview" / name) for name in names]
    assert sizes[0][1] > 960, "the plot of the camera is below the frames"
    assert sizes[2][1] < 300, "a clip without camera is its frames alone"
    assert videos.caches("*.safetensors") == [], "nothing was encoded"


def test_video_mode_shows_the_frames_as_they_would_be_encoded(videos):
    assert run(videos, "--debug_mode", "video", "--console_num_images", 2) == 0
    assert len(shown(videos)) == 4 and all(name.endswith("_wan.mp4") for name in shown(videos))
    plain = videos.root / "cache" / "preview" / "v1_00005-005_0064x0048_wan.mp4"
    assert probe_video(plain).fps == 16 and probe_video(plain).frames == 5
    clip = LatentCaching().jobs(videos.groups[0].items[1], [])[1]
    assert np.abs(read_video(plain).astype(int) - decode(clip).frames).mean() < 3
    beside = probe_video(videos.root / "cache" / "preview" / "v0_00000-005_0064x0048_wan.mp4")
    assert beside.frames == 5 and beside.width > 2 * beside.height * 64 / 48


def test_previews_in_a_folder_of_media_are_not_taken_for_media(project):
    (project.root / "media").mkdir()
    make_video(project.root / "media" / "v.mp4", frames=5)
    (project.root / "media" / "v.txt").write_text(camera_caption())
    project.write(
        "[[datasets]]\nvideo_directory = 'media'\ncaption_extension = '.txt'\nresolution = [64, 48]\n"
        "target_frames = [5]\n"
    )
    assert run(project, "--debug_mode", "video") == 0
    assert run(project, "--debug_mode", "video") == 0
    assert [item.path.name for item in project.groups[0].items] == ["v.mp4"]


def test_an_image_is_one_picture_in_both_modes(project):
    make_image(project.root / "images" / "a.png")
    (project.root / "images" / "a.txt").write_text("a grey wall")
    project.write(
        "[[datasets]]\nimage_directory = 'images'\ncaption_extension = '.txt'\ncache_directory = 'cache'\n"
        "resolution = [64, 48]\n"
    )
    for mode in ("image", "video"):
        assert run(project, "--debug_mode", mode) == 0
        assert shown(project) == ["a_0064x0048_wan.png"]


def test_the_count_is_of_items_of_each_data_set(videos):
    assert show_clips(videos.groups, "image", 1) == 2
    assert [name[:2] for name in shown(videos)] == ["v0", "v0"]


def test_a_wrong_camera_is_told_and_the_pictures_are_shown_all_the_same(project, capsys):
    project.videos([camera_caption("sideways-up")])
    assert run(project, "--debug_mode", "image") == 0
    assert len(shown(project)) == 1
    said = capsys.readouterr().err
    assert "v0.mp4 is shown without its camera" in said and "sideways-up" in said


def test_the_camera_of_the_cache_is_taken_for_it_knows_the_lens(videos):
    decoded = decode(LatentCaching().jobs(videos.groups[0].items[0], [])[0])
    wide = preview._camera_of(decoded.clip)
    project = Project(videos.root).videos([camera_caption("right")], frames=11)
    project.cache_cameras(lens=20.0)
    narrow = preview._camera_of(decoded.clip)
    assert narrow.intrinsics[0, 0] > 3 * wide.intrinsics[0, 0]
    assert torch.allclose(narrow.c2w, wide.c2w, atol=1e-6)


@pytest.fixture
def ascii_magic(monkeypatch):
    """What is used of the package: the mean level of a picture, and the arguments."""
    from enum import Enum

    module = ModuleType("ascii_magic")

    class Art:
        def __init__(self, picture):
            self.picture = picture

        def to_ascii(self, columns, back):
            return f"<{np.asarray(self.picture).mean():.0f} {columns} {back and back.name}>"

    module.from_pillow_image = Art
    module.Back = Enum("Back", ["BLACK", "RED"])
    monkeypatch.setitem(sys.modules, "ascii_magic", module)


def test_console_mode_draws_the_first_picture_of_each_clip(videos, ascii_magic, capsys):
    flags = ("--console_width", 33, "--console_back", "red", "--console_num_images", 1)
    assert run(videos, "--debug_mode", "console", *flags) == 0
    first, art, second, other_art = capsys.readouterr().out.splitlines()
    assert first.startswith("v0.mp4: 5 frames, 0.00 to 0.25 s, 64x48: Object: a room ; Camera:")
    assert second.startswith("v0.mp4: 5 frames, 0.31 to 0.56 s")
    levels = [int(drawn.strip("<>").split()[0]) for drawn in (art, other_art)]
    assert 38 <= levels[0] <= 44 and 63 <= levels[1] <= 69, "grey 40 + 5 a frame"
    assert art.endswith(" 33 RED>") and not (videos.root / "cache" / "preview").exists()


def test_somebody_at_the_console_is_asked_and_can_stop(videos, ascii_magic, capsys, monkeypatch):
    class Terminal:
        answers = iter(["\n", "q\n"])

        def isatty(self):
            return True

        def __iter__(self):
            return self.answers

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert run(videos, "--debug_mode", "console") == 0
    assert capsys.readouterr().out.count("q and Enter") == 2


def test_what_is_missing_for_the_console_is_told(videos, ascii_magic, monkeypatch):
    with pytest.raises(ValueError, match="--console_back mauve: expected one of BLACK, RED"):
        run(videos, "--debug_mode", "console", "--console_back", "mauve")
    monkeypatch.setitem(sys.modules, "ascii_magic", None)
    with pytest.raises(ValueError, match="pip install ascii-magic"):
        run(videos, "--debug_mode", "console")


def test_only_the_first_of_several_processes_shows(videos, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(videos, "--debug_mode", "image") == 0
    assert not (videos.root / "cache" / "preview").exists()


def test_flags_without_effect_are_warned_of(videos, capsys):
    run(videos, "--debug_mode", "image", "--console_back", "red", "--console_num_images", 1)
    said = capsys.readouterr().err
    assert "--console_back has no effect" in said and "--console_num_images has" not in said


def test_a_damaged_video_is_named(videos):
    path = videos.root / "videos" / "v0.mp4"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"v0\.mp4"):
        run(videos, "--debug_mode", "image")


def test_titles_are_no_orders_to_a_terminal(project, ascii_magic, capsys):
    write_video(project.root / "a.mp4", np.full((5, 48, 64, 3), 9, np.uint8), 16)
    toml = "[[datasets]]\nvideo_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\nresolution = [64, 48]\n"
    project.write(toml + "target_frames = [5]\n", {"video_path": "a.mp4", "caption": "x\x1b[2J\nend"})
    run(project, "--debug_mode", "console")
    assert "x\\x1b[2J end" in capsys.readouterr().out


def test_a_still_clip_fits_every_camera_alike(videos):
    decoded = decode(LatentCaching().jobs(videos.groups[0].items[0], [])[0])
    flat = np.full_like(decoded.frames, 80)
    found = agreement_of(flat, preview._camera_of(decoded.clip))
    assert found.camera == found.still == found.inverted == 0
    assert found.in_words().startswith("no camera fits better")
