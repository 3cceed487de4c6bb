import logging

import pytest

from tests.dataset.helpers import make_image, make_video

JSONL = "[[datasets]]\nvideo_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\n"


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_a_folder_of_videos_with_captions(project):
    for name in ("b.MP4", "a.mp4"):
        touch(project.root / "clips" / name)
    (project.root / "clips" / "a.txt").write_text(" a dog \n", encoding="utf-8")
    (project.root / "clips" / "b.txt").write_text("ein Hündchen", encoding="utf-8")
    project.write("[[datasets]]\nvideo_directory = 'clips'\ncaption_extension = '.txt'\n")
    ((first, second),) = (group.items for group in project.groups)
    assert (first.key, first.caption, first.camera_file) == ("a", "a dog", None)
    assert (second.key, second.caption) == ("b", "ein Hündchen")


def test_a_video_without_caption_is_named_and_an_image_left_out(project, caplog):
    touch(project.root / "clips" / "a.mp4")
    project.write("[[datasets]]\nvideo_directory = 'clips'\ncaption_extension = '.txt'\n")
    with pytest.raises(FileNotFoundError, match=r"a\.mp4.*a\.txt"):
        _ = project.groups
    make_image(project.root / "pictures" / "a.png")
    make_image(project.root / "pictures" / "b.png")
    (project.root / "pictures" / "a.txt").write_text("x", encoding="utf-8")
    project.write("[[datasets]]\nimage_directory = 'pictures'\ncaption_extension = '.txt'\nresolution = 64\n")
    with caplog.at_level(logging.WARNING, "omnicam"):
        assert [item.key for item in project.groups[0].items] == ["a"]
    assert "1 images" in caplog.text and "b.png" in caplog.text


def test_jsonl_with_relative_paths_and_cameras(project):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        make_video(project.root / "videos" / name, frames=2)
    touch(project.root / "own.safetensors")
    touch(project.root / "cameras" / "b.safetensors")
    project.write(
        JSONL + "camera_directory = 'cameras'\n",
        {"video_path": "videos/a.mp4", "caption": "A", "camera_file": "own.safetensors"},
        {"video_path": "videos/b.mp4", "caption": "B"},
        {"video_path": str(project.root / "videos" / "c.mp4"), "caption": "C"},
    )
    cameras = {item.key: item.camera_file for item in project.groups[0].items}
    assert cameras == {
        "a": project.root / "own.safetensors",
        "b": project.root / "cameras" / "b.safetensors",
        "c": None,
    }


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("{nonsense", ValueError, ["not JSON"]),
        ("[1]", ValueError, ["expected an object"]),
        ('{"video_path": "videos/a.mp4"}', ValueError, ["'caption'", "None"]),
        ('{"caption": "x"}', ValueError, ["'video_path'", "None"]),
        ('{"video_path": "videos/z.mp4", "caption": "x"}', FileNotFoundError, ["videos/z.mp4"]),
        ('{"video_path": "notes.txt", "caption": "x"}', ValueError, ["notes.txt", "no video"]),
        ('{"video_path": "videos/a.mp4", "caption": "x", "camera_flie": "y"}', ValueError, ["'camera_file'"]),
        ('{"video_path": "videos/a.mp4", "caption": "x", "camera_file": "y"}', FileNotFoundError, ["camera_file"]),
        ('{"video_path": "videos/a.mp4", "caption": "x", "control_path": "y"}', ValueError, ["not supported yet"]),
        ('{"video_path": "z", "video_path": "videos/a.mp4", "caption": "x"}', ValueError, ["video_path", "once"]),
        ('{"video_path": "videos/a.mp4", "caption": "x \\ud800"}', ValueError, ["half a character"]),
        ("[" * 100_000, ValueError, ["nested"]),
    ],
)
def test_jsonl_mistakes_name_file_and_line(project, line, error, words):
    make_video(project.root / "videos" / "a.mp4", frames=2)
    touch(project.root / "notes.txt")
    project.write(JSONL)
    (project.root / "meta.jsonl").write_text(f"\n{line}\n", encoding="utf-8")
    with pytest.raises(error) as caught:
        _ = project.groups
    for word in ["meta.jsonl line 2", *words]:
        assert word in str(caught.value)


def test_other_keys_are_reported_once(project, caplog):
    make_video(project.root / "videos" / "a.mp4", frames=2)
    project.write(JSONL, {"video_path": "videos/a.mp4", "caption": "x", "captions": ["y"], "score": 1})
    with caplog.at_level(logging.WARNING, "omnicam"):
        assert len(project.groups[0].items) == 1
    assert "captions, score" in caplog.text


def test_equal_stems_are_refused_naming_both(project):
    for folder in ("one", "two"):
        make_video(project.root / folder / "a.mp4", frames=2)
    project.write(JSONL, *({"video_path": f"{folder}/a.mp4", "caption": "x"} for folder in ("one", "two")))
    with pytest.raises(ValueError) as error:
        _ = project.groups
    for word in ("one/a.mp4", "two/a.mp4", "line 1", "line 2", "stem"):
        assert word in str(error.value)


def test_an_empty_set_is_refused(project):
    project.write(JSONL)
    (project.root / "meta.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no videos in"):
        _ = project.groups
