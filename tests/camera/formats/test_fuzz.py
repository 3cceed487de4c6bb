"""Whatever a file holds, reading it ends in a track or in an error of ours. OMNICAM_FUZZ sets the number of cases."""

import json
import logging
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from camera.conventions import CONVENTIONS
from camera.formats import FORMATS, load_trajectory, save_trajectory
from camera.track import CameraTrack
from tests.camera.formats.tracks import random_track

CASES = int(os.environ.get("OMNICAM_FUZZ", "60"))
OURS = (ValueError, FileNotFoundError)
fuzz = settings(max_examples=CASES, suppress_health_check=list(HealthCheck), database=None)
NAMES = st.none() | st.sampled_from(sorted(FORMATS))
SIZES = st.none() | st.tuples(st.integers(-1, 2000), st.integers(-1, 2000))
WORDS = st.sampled_from(
    ["nan", "inf", "-1e308", "1e400", "0", "-0", "1", "x", "[", "}", '"', ",", "#", "null", "\x00", "é"]
)


def read(file, name, size=None, fps=None, convention=None):
    try:
        track = load_trajectory(file, format=name, size=size, fps=fps, convention=convention)
    except OURS as error:
        assert file.name in str(error) or "size" in str(error) or "fps" in str(error)
    else:
        assert isinstance(track, CameraTrack) and len(track) >= 2


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """A whole file of each format, as bytes."""
    folder = tmp_path_factory.mktemp("seeds")
    track = random_track(1, 3, zoom=False, even_fps=6.0, centred=True)
    found = []
    for name, each in FORMATS.items():
        if each.write is not None:
            save_trajectory(track, folder / f"{name}.safetensors", name, size=(480, 640))
            found.append((folder / f"{name}.safetensors").read_bytes())
    typed = [
        "w-3,iw-2",
        "right-2, w-1",
        "0 10\n0 -5 3\n0 0\n",
        json.dumps({"d_phi": 30, "nframe": 5, "traj_type": "custom"}),
    ]
    return found + [text.encode() for text in typed]


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@fuzz
@given(
    content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode),
    suffix=st.sampled_from(("txt", "npz", "safetensors")),
    name=NAMES,
)
def test_any_bytes(tmp_path_factory, content, suffix, name):
    file = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    file.write_bytes(content)
    read(file, name)


@fuzz
@given(data=st.data())
def test_whole_files_that_were_damaged(tmp_path_factory, seeds, data):
    content = data.draw(st.sampled_from(seeds))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from((0, 1, 1, 5, 40)))
        put = data.draw(WORDS.map(str.encode) | st.binary(max_size=3))
        content = content[:at] + put + content[at + length :]
    file = tmp_path_factory.getbasetemp() / f"damaged.{data.draw(st.sampled_from(('txt', 'safetensors')))}"
    file.write_bytes(content)
    read(
        file,
        data.draw(NAMES),
        data.draw(SIZES),
        data.draw(st.none() | st.floats(width=32)),
        data.draw(st.none() | st.sampled_from(CONVENTIONS)),
    )


KEYS = st.sampled_from(
    ["frames", "transform_matrix", "fl_x", "camera_angle_x", "w", "h", "0", "1", "extrinsic", "K", "frame0", "frame1"]
    + ["cam01", "intrinsic", "height", "width", "d_phi", "nframe", "traj_type", "applied_transform", "applied_scale"]
)
MATRIX = st.lists(st.lists(st.sampled_from([0, 1, -1, 1e200, 10**400, "a", None]), min_size=3, max_size=4), max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["[1 0 0 0] [0 1 0 0]", "custom", ""])
    | MATRIX | st.just([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@fuzz
@given(document=st.dictionaries(KEYS, VALUES, max_size=6) | VALUES, name=NAMES)
def test_json_of_wrong_types(tmp_path_factory, document, name):
    file = tmp_path_factory.getbasetemp() / "types.json"
    file.write_text(json.dumps(document))
    read(file, name)


@fuzz
@given(rows=st.lists(st.lists(WORDS | st.floats().map(str), min_size=1, max_size=20), max_size=5), name=NAMES)
def test_tables_of_odd_words(tmp_path_factory, rows, name):
    file = tmp_path_factory.getbasetemp() / "words.txt"
    file.write_text("\n".join(" ".join(row) for row in rows))
    read(file, name)
