import json
import logging

import pytest

from dataset.config import DatasetEntry, load_config

ENTRY = "[[datasets]]\nvideo_directory = 'videos'\ncaption_extension = '.txt'\n"


@pytest.fixture
def read(tmp_path, monkeypatch):
    (tmp_path / "toml" / "videos").mkdir(parents=True)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def read(text, name="data.toml"):
        file = tmp_path / "toml" / name
        file.write_text(text, encoding="utf-8")
        return load_config(file)

    read.folder = tmp_path / "toml"
    read.cwd = tmp_path / "cwd"
    return read


def test_lookup_goes_entry_general_default(read):
    config = read("[general]\nresolution = 64\nbatch_size = 3\n" + ENTRY + "batch_size = 2\nsource_fps = 30\n")
    (entry,) = config.datasets
    assert entry.batch_size == 2
    assert entry.resolution == (64, 64)
    assert entry.num_repeats == 1
    assert entry.source_fps == 30.0
    assert entry.target_frames == (1,)
    assert entry.media == "video"
    assert entry.cache_directory == entry.directory == read.folder / "videos"


def test_json_means_the_same(read):
    content = {"datasets": [{"video_directory": "videos", "caption_extension": ".txt", "resolution": [96, 64]}]}
    assert read(json.dumps(content), "data.json").datasets[0].resolution == (96, 64)


def test_every_default_is_the_one_of_the_dataclass(read):
    (entry,) = read(ENTRY).datasets
    defaults = {name: field.default for name, field in DatasetEntry.__dataclass_fields__.items()}
    for name in ("resolution", "batch_size", "frame_extraction", "frame_stride", "frame_sample", "max_frames"):
        assert getattr(entry, name) == defaults[name]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ENTRY + "cache_directory = 'data.toml'", ["cache_directory", "data.toml", "is a file"]),
        (ENTRY + "camera_directory = 'data.toml'", ["camera_directory", "data.toml", "not a folder"]),
        (ENTRY + "traget_frames = [5]", ["number 1", "'traget_frames'", "'target_frames'"]),
        ("[general]\nresolutoin = 64\n" + ENTRY, ["[general]", "'resolutoin'", "'resolution'"]),
        ("[general]\ntarget_frames = [5]\n" + ENTRY, ["[general]", "target_frames", "[[datasets]]"]),
        ("[extra]\na = 1\n" + ENTRY, ["'extra'", "[general]"]),
        ("[general]\nbatch_size = 1\n", ["[[datasets]]"]),
        (ENTRY + "control_directory = 'x'", ["control_directory", "not supported yet"]),
        (ENTRY + "fp_latent_window_size = 9", ["fp_latent_window_size", "not supported yet"]),
        ("[[datasets]]\nvideo_directry = 'videos'", ["'video_directry'", "'video_directory'"]),
        ("[[datasets]]\nresolution = 64", ["exactly one of", "found none"]),
        (ENTRY + "video_jsonl_file = 'a.jsonl'", ["exactly one of", "video_jsonl_file"]),
        (ENTRY + "image_directory = 'videos'", ["exactly one of", "image_directory"]),
        ("[[datasets]]\nvideo_directory = 'videos'", ["caption_extension"]),
        (ENTRY + "batch_size = 0", ["batch_size = 0", "1 or more"]),
        (ENTRY + "batch_size = true", ["batch_size = True", "whole number"]),
        (ENTRY + "resolution = [64]", ["resolution", "[width, height]"]),
        (ENTRY + "target_frames = 5", ["target_frames = 5", "list"]),
        (ENTRY + "frame_extraction = 'tail'", ["'tail'", "head, chunk"]),
        (ENTRY + "source_fps = '30'", ["source_fps", "frames per second"]),
        (ENTRY + "enable_bucket = 1", ["enable_bucket", "true or false"]),
        (ENTRY + "image_jsonl_file", ["cannot be parsed"]),
        (ENTRY + ENTRY, ["number 2", "number 1", "same cache_directory"]),
        ("[[datasets]]\nimage_directory='videos'\ncaption_extension='.txt'\nresolution=[100, 64]", ["multiples of 16"]),
        ("[[datasets]]\nimage_directory='videos'\ntarget_frames=[5]", ["target_frames", "video data sets"]),
    ],
)
def test_mistakes_name_file_table_and_key(read, text, words):
    with pytest.raises(ValueError) as error:
        read(text)
    for word in ["data.toml", *words]:
        assert word in str(error.value)


def test_a_missing_folder_says_where_it_was_looked_for(read):
    with pytest.raises(FileNotFoundError) as error:
        read("[[datasets]]\nvideo_directory = 'clips'\ncaption_extension = '.txt'")
    for word in ("video_directory", "clips", str(read.folder), str(read.cwd)):
        assert word in str(error.value)


def test_frame_counts_become_4n_plus_1_with_a_warning(read, caplog):
    with caplog.at_level(logging.WARNING, "omnicam"):
        (entry,) = read(ENTRY + "target_frames = [34, 20, 17, 33, 1]").datasets
    assert entry.target_frames == (1, 17, 33)
    assert "[34, 20, 17, 33, 1] becomes [1, 17, 33]" in caplog.text


@pytest.mark.parametrize(
    ("line", "warns"),
    [
        ("frame_extraction = 'uniform'", True),
        ("frame_extraction = 'uniform'\nframe_sample = 2", False),
        ("frame_extraction = 'full'\ntarget_frames = [5]", True),
        ("target_frames = [5, 9]", False),
        ("frame_stride = 2", True),
        ("frame_extraction = 'slide'\nframe_stride = 2", False),
        ("frame_sample = 3", True),
        ("max_frames = 9", True),
        ("bucket_no_upscale = true\nenable_bucket = true", True),
    ],
)
def test_settings_without_effect_are_warned_of(read, caplog, line, warns):
    with caplog.at_level(logging.WARNING, "omnicam"):
        read(ENTRY + line)
    assert bool(caplog.records) == warns


def test_brackets_without_end_are_no_traceback(read):
    with pytest.raises(ValueError, match=r"deep\.json.*nested"):
        read("[" * 100_000, "deep.json")


def test_relative_paths_are_looked_up_from_the_cwd_then_from_the_toml(read):
    entry = ENTRY + "cache_directory = 'cache'\n"
    assert read(entry).datasets[0].cache_directory == read.folder / "cache"
    (read.cwd / "videos").mkdir()
    (config,) = read(entry).datasets
    assert config.directory is not None and config.directory.resolve() == read.cwd / "videos"
    assert config.cache_directory.resolve() == read.cwd / "cache"
