import json
import logging

import pytest

from dataset.config import load_config
from dataset.schema import KEYS, SOURCE_KEYS

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


def test_the_defaults_are_those_of_musubi(read):
    # kohya-ss/musubi-tuner v0.3.4, dataset/config_utils.py
    musubi = {
        "resolution": (960, 544),
        "caption_extension": None,
        "batch_size": 1,
        "num_repeats": 1,
        "enable_bucket": False,
        "bucket_no_upscale": False,
        "control_directory": None,
        "target_frames": (1,),
        "frame_extraction": "head",
        "frame_stride": 1,
        "frame_sample": 1,
        "max_frames": 129,
        "source_fps": None,
    }
    ours = {"camera_directory": None, "horizontal_flip": False, "caption_dropout_rate": 0.0}
    (entry,) = read(ENTRY).datasets
    found = {name: getattr(entry, name) for name in musubi | ours}
    assert found == {**musubi, **ours, "caption_extension": ".txt"}
    assert set(found) | {"cache_directory", *SOURCE_KEYS} == set(KEYS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ENTRY + "cache_directory = 'data.toml'", ["cache_directory", "data.toml", "is a file"]),
        (ENTRY + "camera_directory = 'data.toml'", ["camera_directory", "data.toml", "not a folder"]),
        (ENTRY + "traget_frames = [5]", ["number 1", "'traget_frames'", "[5]", "'target_frames'"]),
        ("[general]\nresolutoin = 64\n" + ENTRY, ["[general]", "'resolutoin'", "'resolution'"]),
        ("[general]\ntarget_frames = [5]\n" + ENTRY, ["[general]", "target_frames", "[[datasets]]"]),
        ("[extra]\na = 1\n" + ENTRY, ["'extra'", "[general]"]),
        ("[general]\nbatch_size = 1\n", ["[[datasets]]"]),
        ("[dataset]\n" + ENTRY, ["'dataset'", "did you mean datasets"]),
        ("batch_size = 2\n" + ENTRY, ["'batch_size'", "[general]", "[[datasets]]"]),
        ("[datasets]\nvideo_directory = 'videos'", ["[datasets]", "double brackets"]),
        (ENTRY + "control_directory = 'videos'", ["control_directory", "its own control"]),
        (ENTRY + "control_directory = 'data.toml'", ["control_directory", "not a folder"]),
        (ENTRY + "fp_1f_target_index = 0", ["fp_1f_target_index = 0", "one-frame", "not supported"]),
        (ENTRY + "fp_1f_clean_indices = [0]", ["fp_1f_clean_indices = [0]", "one-frame"]),
        (ENTRY + "multiple_target = true", ["multiple_target = True", "several target"]),
        (ENTRY + "caption_dropout_rate = 1.5", ["caption_dropout_rate = 1.5", "from 0 to 1"]),
        (ENTRY + "caption_dropout_rate = true", ["caption_dropout_rate = True", "from 0 to 1"]),
        (ENTRY + "horizontal_flip = 1", ["horizontal_flip = 1", "true or false"]),
        (ENTRY + "source_fps = 'automatic'", ["source_fps = 'automatic'", '"auto"']),
        (ENTRY + "source_fps = nan", ["source_fps = nan", "above 0"]),
        (ENTRY + "source_fps = 1e-300", ["source_fps = 1e-300", "from 0.0001 to 10000"]),
        (ENTRY + "source_fps = 1e9", ["source_fps = 1000000000.0", "from 0.0001 to 10000"]),
        (ENTRY + "resolution = [1000000000, 64]", ["resolution = [1000000000, 64]", "at most 16384"]),
        ("[general]\ncaption_extension = '../a.txt'\n" + ENTRY, ["caption_extension = '../a.txt'", "without a folder"]),
        (
            ENTRY + "cache_directory = '${NO_SUCH_PLACE}/c'",
            ["cache_directory", "${NO_SUCH_PLACE}", "not set"],
        ),
        (ENTRY + "cache_directory = '${EMPTY}/c'", ["cache_directory", "${EMPTY}", "empty"]),
        (ENTRY + "cache_directory = '${a b}'", ["cache_directory", "'${a b}'", "no variable"]),
        (ENTRY + "cache_directory = '${HOME'", ["cache_directory", "'${HOME'", "no variable"]),
        (ENTRY + 'cache_directory = "a\\u0000b"', ["cache_directory", "a path in quotes"]),
        (ENTRY + "batch_size = " + "9" * 5000, ["data.toml"]),
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
def test_mistakes_name_file_table_and_key(read, text, words, monkeypatch):
    monkeypatch.setenv("EMPTY", "")
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


OTHER_MODELS = [
    "fp_latent_window_size = 9",
    "no_resize_control = true",
    "control_resolution = [64, 64]",
    "flux_kontext_no_resize_control = true",
    "qwen_image_edit_no_resize_control = true",
    "qwen_image_edit_control_resolution = 64",
    "skip_corrupted_cache = true",
    "multiple_target = false",
    "fp_1f_clean_indices = []",
    "fp_1f_no_post = false",
]


@pytest.mark.parametrize("line", OTHER_MODELS)
@pytest.mark.parametrize("place", ["general", "entry"])
def test_keys_of_other_models_are_read_over_with_a_warning(read, caplog, line, place):
    with caplog.at_level(logging.WARNING, "omnicam"):
        config = read(f"[general]\n{line}\n{ENTRY}" if place == "general" else ENTRY + line)
    assert config.datasets[0].resolution == (960, 544)
    assert line.split(" = ")[0] in caplog.text and "no effect" in caplog.text
    assert ("[general]" if place == "general" else "number 1") in caplog.text


def test_our_keys(read):
    (read.folder / "controls").mkdir()
    text = "[general]\nhorizontal_flip = true\ncaption_dropout_rate = 1\n"
    (entry,) = read(text + ENTRY + "source_fps = 'auto'\ncontrol_directory = 'controls'").datasets
    assert (entry.horizontal_flip, entry.caption_dropout_rate, entry.source_fps) == (True, 1.0, "auto")
    assert entry.control_directory == read.folder / "controls"
    (entry,) = read(text + ENTRY + "horizontal_flip = false\ncaption_dropout_rate = 0.1").datasets
    assert (entry.horizontal_flip, entry.caption_dropout_rate) == (False, 0.1)


def test_a_control_directory_beside_a_jsonl_does_nothing_as_in_musubi(read, caplog):
    (read.folder / "a.jsonl").touch()
    with caplog.at_level(logging.WARNING, "omnicam"):
        (entry,) = read("[[datasets]]\nvideo_jsonl_file='a.jsonl'\ncache_directory='c'\ncontrol_directory='x'").datasets
    assert entry.control_directory is None
    assert "control_directory has no effect" in caplog.text and "control_path" in caplog.text


def test_variables_and_home_in_paths(read, monkeypatch):
    monkeypatch.setenv("DATA", str(read.folder))
    monkeypatch.setenv("NAME", "videos")
    monkeypatch.setenv("HOME", str(read.folder))
    assert read(ENTRY.replace("'videos'", "'${DATA}/${NAME}'")).datasets[0].directory == read.folder / "videos"
    assert read(ENTRY.replace("'videos'", "'~/videos'")).datasets[0].directory == read.folder / "videos"
    for name in ("$${NAME}", "$NAME", "$$", "~nobody-of-this-name"):
        (entry,) = read(ENTRY + f"cache_directory = '{name}'").datasets
        assert entry.cache_directory == read.folder / name.replace("$${", "${")
