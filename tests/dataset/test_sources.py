import logging
import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset.keys import media_keys
from dataset.sources import load_items
from tests.dataset.helpers import Project, make_image, make_video

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
        ('{"video_path": "videos/a.mp4"}', ValueError, ["no 'caption'", "expected a text"]),
        ('{"video_path": "videos/a.mp4", "caption": null}', ValueError, ["caption = None"]),
        ('{"video_path": "videos/a.mp4", "caption": 7}', ValueError, ["caption = 7", "expected a text"]),
        ('{"video_path": ["a"], "caption": "x"}', ValueError, ["video_path = ['a']", "expected a path"]),
        ('{"video_path": "${NO_SUCH}/a.mp4", "caption": "x"}', ValueError, ["video_path", "${NO_SUCH}", "not set"]),
        ('{"video_path": "videos", "caption": "x"}', ValueError, ["videos", "a folder of images"]),
        ('{"video_path": "%s.mp4", "caption": "x"}' % ("v" * 300), FileNotFoundError, ["vvv", "is not there"]),
        (
            '{"video_path": "videos/a.mp4", "caption": "x", "camera_file": "%s"}' % ("v" * 300),
            FileNotFoundError,
            ["vvv"],
        ),
        ('{"video_path": "videos/a.mp4", "caption": "x", "fps": 0}', ValueError, ["fps = 0", "above 0"]),
        ('{"video_path": "videos/a.mp4", "caption": "x", "fps": NaN}', ValueError, ["fps = nan", "above 0"]),
        ('{"video_path": "videos/a.mp4", "caption": "x", "fps": %s}' % ("9" * 5000), ValueError, ["line 2"]),
        ('{"video_path": "videos/a.mp4", "caption": "x", "contol_path": "p"}', ValueError, ["'control_path'"]),
        ('{"caption": "x"}', ValueError, ["no 'video_path'"]),
        ('{"video_path": "videos/z.mp4", "caption": "x"}', FileNotFoundError, ["videos/z.mp4"]),
        ('{"video_path": "notes.txt", "caption": "x"}', ValueError, ["notes.txt", "a folder of images"]),
        ('{"video_path": "videos/a.mp4", "caption": "x", "camera_flie": "y"}', ValueError, ["'camera_file'"]),
        ('{"video_path": "videos/a.mp4", "caption": "x", "camera_file": "y"}', FileNotFoundError, ["camera_file"]),
        (
            '{"video_path": "videos/a.mp4", "caption": "x", "control_path": "y"}',
            FileNotFoundError,
            ["control_path 'y'"],
        ),
        (
            '{"video_path": "videos/a.mp4", "caption": "x", "control_path": "notes.txt"}',
            ValueError,
            ["control_path", "notes.txt"],
        ),
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


def test_equal_stems_get_keys_of_their_own(project):
    paths = ["one/a.mp4", "two/a.mp4", "a.mov", "b.mp4"]
    for path in paths:
        touch(project.root / path)
    project.write(JSONL, *({"video_path": path, "caption": path} for path in paths))
    keys = {item.caption: item.key for item in project.groups[0].items}
    assert keys["b.mp4"] == "b"
    assert len(set(keys.values())) == 4
    for path in paths[:3]:
        assert re.fullmatch("a~[0-9a-f]{8}", keys[path])
    # neither order nor spelling nor place matter, nor who else is there
    moved = shutil.copytree(project.root, project.root.parent / "moved")
    records = [{"video_path": str(moved / "two" / "a.mp4"), "caption": "two/a.mp4"}]
    records += [{"video_path": "./x/../one/a.mp4", "caption": "one/a.mp4"}]
    (moved / "x").mkdir()
    other = Project(moved).write(JSONL, *records)
    assert {item.caption: item.key for item in other.groups[0].items} == {path: keys[path] for path in paths[1::-1]}


def test_the_hash_of_a_key_stays_what_it_was():
    base = Path("/data")
    paths = [base / "one" / "a.mp4", base / "two" / "a.mp4"]
    assert media_keys(paths, base) == ["a~20a5c29f", "a~8a85b9d9"]


@given(st.lists(st.text("ab~/", min_size=1, max_size=6), min_size=1, max_size=20))
def test_keys_are_unique_and_independent_of_order(names):
    base = Path("/data")
    paths = list(dict.fromkeys(base / name.strip("/") / "a.mp4" for name in names))
    keys = dict(zip(paths, media_keys(paths, base), strict=True))
    assert len(set(keys.values())) == len(paths)
    assert dict(zip(paths[::-1], media_keys(paths[::-1], base), strict=True)) == keys


def test_equal_short_hashes_become_long_ones():
    base = Path("/data")
    paths = [base / f"{number}" / "a.mp4" for number in (18373, 21687)]
    keys = media_keys(paths, base)
    assert len(set(keys)) == 2 and all(len(key) == 2 + 32 for key in keys)
    assert all(re.fullmatch("a~[0-9a-f]{8}", key) for key in media_keys([paths[0], base / "a.mp4"], base))


def test_a_folder_with_two_files_of_one_stem(project):
    for name in ("a.mp4", "a.mov", "b.mp4"):
        touch(project.root / "clips" / name)
    for name in ("a.txt", "b.txt"):
        (project.root / "clips" / name).write_text(name, encoding="utf-8")
    project.write("[[datasets]]\nvideo_directory = 'clips'\ncaption_extension = '.txt'\n")
    mov, mp4, other = project.groups[0].items
    assert (mov.path.suffix, mp4.path.suffix, other.key) == (".mov", ".mp4", "b")
    assert mov.key != mp4.key and mov.caption == mp4.caption == "a.txt"


def test_a_repeated_line_counts_once_and_a_contradiction_is_refused(project, caplog):
    touch(project.root / "a.mp4")
    line = {"video_path": "a.mp4", "caption": "x"}
    project.write(JSONL, line, {**line, "video_path": str(project.root / "a.mp4")})
    with caplog.at_level(logging.WARNING, "omnicam"):
        assert [item.key for item in project.groups[0].items] == ["a"]
    assert "1 lines repeat" in caplog.text and "line 2" in caplog.text
    project.write(JSONL, line, {**line, "caption": "y"})
    with pytest.raises(ValueError, match=r"line 2.*a\.mp4.*listed before.*line 1"):
        _ = project.groups


def test_a_repeat_among_namesakes(project):
    for path in ("one/a.mp4", "two/a.mp4"):
        touch(project.root / path)
    project.write(JSONL, *({"video_path": f"{name}/a.mp4", "caption": name} for name in ("one", "two", "one")))
    assert [item.caption for item in project.groups[0].items] == ["one", "two"]


def test_a_folder_of_images_is_a_video(project):
    make_image(project.root / "frames" / "a.v1" / "000.png")
    project.write(JSONL, {"video_path": "frames/a.v1", "caption": "x", "fps": 30})
    (item,) = project.groups[0].items
    assert (item.path, item.key, item.fps) == (project.root / "frames" / "a.v1", "a", 30.0)
    shutil.rmtree(project.root / "frames")
    with pytest.raises(FileNotFoundError, match=r"line 1.*frames/a\.v1"):
        _ = project.groups
    assert load_items(project.config, check_media=False)[0].items == (item,)


def test_variables_bom_crlf_and_empty_lines_in_a_jsonl(project, monkeypatch):
    touch(project.root / "a.mp4")
    touch(project.root / "b.mp4")
    monkeypatch.setenv("SET", str(project.root))
    project.write(JSONL)
    text = (
        '\ufeff\r\n{"video_path": "${SET}/a.mp4", "caption": "x\u2028y"}\r\n \t\r\n'
        '{"video_path": "b.mp4", "caption": ""}'
    )
    (project.root / "meta.jsonl").write_bytes(text.encode())
    first, second = project.groups[0].items
    assert (first.path, first.caption) == (project.root / "a.mp4", "x\u2028y")
    assert (second.caption, second.where.rpartition(" ")[2]) == ("", "4")


def test_text_that_is_not_utf_8_is_named(project):
    touch(project.root / "clips" / "a.mp4")
    caption = project.root / "clips" / "a.txt"
    caption.write_bytes("Hündchen".encode("latin-1"))
    project.write("[[datasets]]\nvideo_directory = 'clips'\ncaption_extension = '.txt'\n")
    with pytest.raises(ValueError, match=r"a\.txt.*UTF-8"):
        _ = project.groups
    caption.write_bytes("\ufeffa dog\r\n".encode())
    assert project.groups[0].items[0].caption == "a dog"
    project.write(JSONL)
    (project.root / "meta.jsonl").write_bytes('{"video_path": "a"}'.encode("utf-16"))
    with pytest.raises(ValueError, match=r"meta\.jsonl.*UTF-8"):
        _ = project.groups


def test_an_empty_set_is_refused(project):
    project.write(JSONL)
    (project.root / "meta.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no videos in"):
        _ = project.groups


def test_a_clause_of_a_caption_file_names_a_camera_beside_it_unless_there_is_another(project):
    for name in ("a", "b"):
        touch(project.root / "media" / f"{name}.mp4")
        (project.root / "media" / f"{name}.txt").write_text(f"A room. #trajectory {{poses/{name}.txt#cam01}}")
        touch(project.root / "media" / "poses" / f"{name}.txt")
    touch(project.root / "cameras" / "b.safetensors")
    folder = "video_directory = 'media'\ncaption_extension = '.txt'\n"
    project.write(f"[general]\n[[datasets]]\n{folder}camera_directory = 'cameras'\n")
    first, second = project.groups[0].items
    assert (first.caption, first.by_clause) == ("A room.", True)
    assert first.camera_file == project.root / "media" / "poses" / "a.txt#cam01"
    assert (second.caption, second.by_clause) == ("A room.", False)
    assert second.camera_file == project.root / "cameras" / "b.safetensors"
    (project.root / "media" / "a.txt").write_text("A room. #trajectory {${NOWHERE_AT_ALL}/a.txt}")
    with pytest.raises(ValueError, match=r"a\.txt: #trajectory .*NOWHERE_AT_ALL.* is not set"):
        _ = project.groups


@pytest.mark.parametrize("key", ["video_path", "control_path", "camera_file", "caption"])
def test_a_pipe_is_refused_by_name_and_not_waited_for(project, key):
    make_video(project.root / "videos" / "a.mp4", frames=2)
    os.mkfifo(project.root / "pipe.mp4")
    line = {"video_path": "videos/a.mp4", "caption": "x"}
    named = "A room. Camera: #trajectory {pipe.mp4}" if key == "caption" else "pipe.mp4"
    project.write(JSONL, line | {key: named})
    with pytest.raises(ValueError, match=r"line 1.*pipe\.mp4 is a pipe or device"):
        load_items(project.config)


def test_no_medium_shares_the_text_cache_of_the_empty_caption(project):
    project.videos(["x"], entry="caption_dropout_rate = 0.5")
    (project.root / "videos" / "v0.mp4").rename(project.root / "videos" / "~empty.mp4")
    jsonl = project.root / "meta.jsonl"
    jsonl.write_text(jsonl.read_text().replace("v0.mp4", "~empty.mp4"))
    with pytest.raises(ValueError, match=r"line 1: ~empty\.mp4 has the name of the cache of the empty caption"):
        load_items(project.config)
    project.toml.write_text(project.toml.read_text().replace("caption_dropout_rate = 0.5", ""))
    assert [item.key for item in load_items(project.config)[0].items] == ["~empty"]


def test_a_cache_folder_that_is_a_broken_link_is_named(project):
    project.videos(["x"])
    (project.root / "cache").symlink_to("nowhere")
    with pytest.raises(ValueError, match="cache_directory = 'cache' is a link that leads nowhere"):
        load_items(project.config)
