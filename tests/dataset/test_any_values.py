"""Whatever stands in a dataset file or a jsonl line, a mistake is an error that names its place."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset.config import DatasetConfig, DatasetEntry, load_config
from dataset.jsonl import RECORD_KEYS
from dataset.schema import KEYS, REFUSED, WITHOUT_EFFECT
from dataset.sources import load_items
from tests.dataset.test_sources import touch

TEXTS = ["videos", "m.jsonl", "auto", "full", "~", "${HOME}", "${", ".", "/", "a\0b", "\ud800", "v" * 300]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 40)
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        ["videos", "m.jsonl", "auto", "full", "~", "${HOME}", "${", ".", "/", "a\0b", "\ud800", "v" * 300]
    )
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=2), SCALARS, max_size=1)
NAMES = st.sampled_from([*KEYS, *REFUSED, *WITHOUT_EFFECT, "other"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("any")
    touch(root / "videos" / "a.mp4")
    touch(root / "m.jsonl")
    return root


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, VALUES, max_size=3), st.dictionaries(NAMES, VALUES, max_size=3))
def test_any_dataset_file(folder, general, entry):
    base = {"video_directory": "videos", "caption_extension": ".txt"}
    file = folder / "any.json"
    file.write_text(json.dumps({"general": general, "datasets": [{**base, **entry}]}), encoding="utf-8")
    try:
        config = load_config(file)
    except (ValueError, FileNotFoundError) as error:
        assert "any.json" in str(error)
    else:
        (read,) = config.datasets
        assert read.resolution[0] >= 16 and all(count % 4 == 1 for count in read.target_frames)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*RECORD_KEYS, "image_path_0", "control_path_1", "other"]), VALUES, max_size=4))
def test_any_jsonl_line(folder, record):
    file = folder / "line.jsonl"
    file.write_text(json.dumps({"video_path": "videos/a.mp4", "caption": "x", **record}), encoding="utf-8")
    for media in ("video", "image"):
        entry = DatasetEntry("here", media, folder / "cache", jsonl_file=file, resolution=(64, 64))
        try:
            (group,) = load_items(DatasetConfig(file, (entry,)), check_media=media == "video")
        except (ValueError, FileNotFoundError) as error:
            assert "line 1" in str(error)
        else:
            (item,) = group.items
            assert item.key and item.where.endswith("line 1")
