"""Controls are paired by stem or named in the jsonl; all items of a data set have one, or none."""

import pytest

from tests.dataset.helpers import make_image
from tests.dataset.test_sources import JSONL, touch

VIDEOS = "[[datasets]]\nvideo_directory = 'clips'\ncaption_extension = '.txt'\ncontrol_directory = 'controls'\n"
IMAGES = VIDEOS.replace("video_", "image_") + "resolution = 64\n"


def media(project, *names):
    for name in names:
        path = touch(project.root / "clips" / name)
        path.with_suffix(".txt").write_text("x", encoding="utf-8")


def found(project):
    controls = {item.path.name: item.control for item in project.groups[0].items}
    return {
        name: control and control.relative_to(project.root / "controls").as_posix()
        for name, control in controls.items()
    }


def test_the_control_of_a_video_is_found_in_the_order_of_musubi(project):
    media(project, "a.mp4")
    project.write(VIDEOS)
    (project.root / "controls").mkdir()
    with pytest.raises(ValueError, match=r"1 of 1 videos have no control in .*controls: a\.mp4"):
        _ = project.groups
    # each of these is preferred to the ones before
    for name in ("a.png", "a.mkv", "a.webm", "a", "a.mp4"):
        if name == "a":
            make_image(project.root / "controls" / "a" / "0.png")
        else:
            touch(project.root / "controls" / name)
        touch(project.root / "controls" / "a_0.mp4")
        assert found(project) == {"a.mp4": name}


def test_the_control_of_an_image(project):
    media(project, "a.png", "a_1.jpg", "b.png")
    for name in ("a.jpg", "a_1.png", "b_0.png"):
        touch(project.root / "controls" / name)
    project.write(IMAGES)
    assert found(project) == {"a.png": "a.jpg", "a_1.jpg": "a_1.png", "b.png": "b_0.png"}
    touch(project.root / "controls" / "b_1.png")
    with pytest.raises(ValueError, match=r"several control images for b\.png: b_0\.png, b_1\.png.*Qwen"):
        _ = project.groups


def test_controls_of_a_jsonl_are_for_all_lines_or_none(project):
    for name in ("a.mp4", "b.mp4", "c.mp4", "depth.mp4", "mask.png"):
        touch(project.root / name)
    make_image(project.root / "poses" / "0.png")
    lines = [
        {"video_path": "a.mp4", "caption": "x", "control_path": "depth.mp4"},
        {"video_path": "b.mp4", "caption": "x", "control_path": "poses"},
        {"video_path": "c.mp4", "caption": "x", "control_path": "mask.png"},
    ]
    project.write(JSONL, *lines)
    assert [item.control for item in project.groups[0].items] == [
        project.root / name for name in ("depth.mp4", "poses", "mask.png")
    ]
    project.write(JSONL, *lines[:2], {"video_path": "c.mp4", "caption": "x", "control_path": None})
    with pytest.raises(ValueError, match=r"1 of 3 videos have no control: c\.mp4 .*line 3"):
        _ = project.groups


IMAGE_JSONL = "[[datasets]]\nimage_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\nresolution = 64\n"


def test_numbered_keys_of_musubi_stand_for_the_plain_ones_while_there_is_one(project):
    touch(project.root / "a.png")
    touch(project.root / "c.png")
    line = {"image_path_0": "a.png", "caption": "x", "control_path_0": "c.png"}
    project.write(IMAGE_JSONL, line)
    (item,) = project.groups[0].items
    assert (item.path.name, item.control) == ("a.png", project.root / "c.png")
    for more in ("image_path_1", "control_path_1", "control_path"):
        project.write(IMAGE_JSONL, {**line, more: "c.png"})
        with pytest.raises(ValueError, match=rf"line 1: the key '{more}'.*Qwen-Image"):
            _ = project.groups


def test_an_image_has_no_video_as_control(project):
    for name in ("a.png", "c.mp4"):
        touch(project.root / name)
    project.write(IMAGE_JSONL, {"image_path": "a.png", "caption": "x", "control_path": "c.mp4"})
    with pytest.raises(ValueError, match=r"line 1: control_path .*c\.mp4 is not of the kind"):
        _ = project.groups
