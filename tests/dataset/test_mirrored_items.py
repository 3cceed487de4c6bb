"""horizontal_flip: every item has a twin whose caption and camera have left and right exchanged."""

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camera.track import CameraTrack
from common.media import VideoInfo
from dataset.cameras import item_track
from dataset.config import load_config
from dataset.sources import load_items
from tests.dataset.helpers import camera_caption
from tests.dataset.test_sources import JSONL, touch

INFO = VideoInfo(64, 48, 16.0, 33)
LENS = (0.9, 1.2, 0.4, 0.55)
FLIP = JSONL + "horizontal_flip = true\n"


def twins(project, **record):
    touch(project.root / "a.mp4")
    project.write(FLIP, {"video_path": "a.mp4", "caption": camera_caption("rightup30"), **record})
    return project.groups[0].items


def same(found, expected):
    torch.testing.assert_close(found.c2w, expected.c2w, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.intrinsics, expected.intrinsics, rtol=0, atol=1e-12)
    assert torch.equal(found.times, expected.times)


def test_the_twin_follows_its_original(project):
    item, twin = twins(project, fps=25)
    assert (item.key, twin.key) == ("a", "a~mirrored")
    assert (item.mirrored, twin.mirrored) == (False, True)
    assert "leftup30" in twin.caption and twin.caption.replace("left", "right") == item.caption
    assert (twin.path, twin.fps, twin.where) == (item.path, 25.0, item.where)


@pytest.mark.parametrize("lens", [60.0, LENS])
def test_a_camera_from_the_tags_is_mirrored(project, lens):
    item, twin = twins(project)
    track, mirrored = item_track(item, INFO, lens), item_track(twin, INFO, lens)
    same(mirrored, track.mirrored())
    # to the right in the original, which is x; to the left in the twin
    assert track.c2w[-1, 0, 3] > 0.1 and mirrored.c2w[-1, 0, 3] < -0.1


@given(st.floats(-1, 1), st.floats(0.3, 0.7))
def test_a_camera_from_a_file_is_mirrored(tmp_path_factory, step, centre):
    root = tmp_path_factory.mktemp("flip")
    touch(root / "a.mp4")
    c2w = torch.eye(4, dtype=torch.float64).repeat(33, 1, 1)
    c2w[:, 0, 3] = step * torch.arange(33)
    lens = torch.tensor([0.9, 1.2, centre, 0.5], dtype=torch.float64).repeat(33, 1)
    CameraTrack(c2w, lens, torch.arange(33, dtype=torch.float64) / 16).save(root / "t.safetensors")
    (root / "data.toml").write_text(FLIP.replace("'meta", f"'{root}/meta"), encoding="utf-8")
    (root / "meta.jsonl").write_text('{"video_path": "a.mp4", "caption": "x", "camera_file": "t.safetensors"}')
    item, twin = load_items(load_config(root / "data.toml"))[0].items
    track, mirrored = item_track(item, INFO), item_track(twin, INFO)
    same(mirrored, track.mirrored())
    assert float(mirrored.intrinsics[0, 2]) == pytest.approx(1 - centre)
    assert float(mirrored.c2w[-1, 0, 3]) == pytest.approx(-32 * step, abs=1e-5)


def test_words_of_the_scene_are_warned_of(project, caplog):
    with caplog.at_level(logging.WARNING, "omnicam"):
        twins(project)
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING, "omnicam"):
        _, twin = twins(project, caption=camera_caption("left", scene="a man on the Left"))
    assert "1 captions: a.mp4" in caplog.text
    assert "a man on the Left" in twin.caption and "<direction>right<" in twin.caption


def test_the_name_of_the_twin_must_be_free(project):
    for name in ("a.mp4", "a~mirrored.mp4"):
        touch(project.root / name)
    project.write(FLIP, *({"video_path": name, "caption": "x"} for name in ("a.mp4", "a~mirrored.mp4")))
    with pytest.raises(ValueError, match=r"a~mirrored.*twin.*rename"):
        _ = project.groups


def test_twins_have_caches_of_their_own_and_train_with_their_own_camera(project):
    project.videos([camera_caption("right")], extra="horizontal_flip = true").cache_all()
    assert project.caches("*_camera*") == ["v0_wan_camera.safetensors", "v0~mirrored_wan_camera.safetensors"]
    original, twin = (CameraTrack.load(project.root / "cache" / name) for name in project.caches("*_camera*"))
    torch.testing.assert_close(twin.c2w, original.mirrored().c2w, rtol=0, atol=1e-6)
    assert [clip.name.stem for clip in project.training_set().clips] == ["v0", "v0~mirrored"]
