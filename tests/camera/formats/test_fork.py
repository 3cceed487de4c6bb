import logging

import pytest
import torch
from hypothesis import given

from camera.conventions import from_opencv_c2w
from camera.formats import save_trajectory
from camera.formats.core import Request
from camera.formats.fork import FORMATS
from camera.formats.sample import Sample
from camera.language import Move
from camera.track import CameraTrack
from camera.trajectory import compile
from common.weights import read_tensors, write_tensors
from tests.camera.formats.array_tracks import (
    W2C,
    assert_known_path,
    assert_same,
    fuzz,
    load,
    mutated,
    mutations,
    tracks,
)

(FORK,) = FORMATS
LENS = torch.tensor([0.5, 2 / 3, 0.5, 0.5])


def planner_w2c(direction):
    """What the fork's planner would write: w2c in PyTorch3D axes of a camera that looks at a subject in the origin."""
    track = compile([Move(0, 1, 1.0, direction)], 9, 8.0)
    c2w = track.c2w.clone()
    c2w[:, 2, 3] -= 1.003
    return from_opencv_c2w(c2w, "pytorch3d_w2c").float()


@pytest.fixture
def file(tmp_path):
    def write(extrinsics, intrinsics=LENS, name="a.safetensors"):
        write_tensors(tmp_path / name, {"intrinsics": intrinsics, "extrinsics": extrinsics})
        return tmp_path / name

    return write


def test_an_opencv_file_moves_and_turns_right(file):
    track = load(FORK, file(torch.tensor(W2C).float()), convention="opencv_w2c", fps=16.0)
    assert_known_path(track)
    assert track.intrinsics[2].tolist() == pytest.approx([0.5, 2 / 3, 0.5, 0.5])
    assert track.times.tolist() == [0, 1 / 16, 2 / 16] and track.scale == "unknown"


def test_the_older_rows_are_a_rotation_and_a_translation(file):
    w2c = torch.tensor(W2C).float()
    rows = torch.cat((w2c[:, :3, :3].flatten(1), w2c[:, :3, 3]), dim=1)[None]
    assert_known_path(load(FORK, file(rows), convention="opencv_w2c", fps=16.0))


def test_a_planner_file_orbits_to_the_right_at_8_hz(file, caplog):
    path = file(planner_w2c("right"))
    with caplog.at_level(logging.WARNING, "omnicam"):
        track = load(FORK, path, convention="pytorch3d_w2c").rebased()
    # it goes to its right and turns left, 20 degrees in the second that 9 poses at 8 Hz take
    assert track.times[-1] == 1 and track.scale == "relative"
    assert track.c2w[-1, 0, 3] == pytest.approx(1.003 * 0.342020, abs=1e-5)
    assert track.c2w[-1, 0, 2] == pytest.approx(-0.342020, abs=1e-5)
    assert "8 poses a second" in caplog.text


def test_without_a_convention_the_evidence_is_shown(file):
    with pytest.raises(ValueError, match=r"a\.safetensors.*translation is constant.*planner.*--convention.*opencv_w2c"):
        load(FORK, file(planner_w2c("right")))
    with pytest.raises(ValueError, match="no translation has an x, as in files of the fork's planner"):
        load(FORK, file(planner_w2c("forward")))
    with pytest.raises(
        ValueError, match=r"the translations have an x, up to 1, which files of the fork's planner do not"
    ):
        load(FORK, file(torch.tensor(W2C).float()))


@given(tracks(zoom=False))
def test_written_and_read_it_is_the_same(tmp_path_factory, track):
    path = tmp_path_factory.mktemp("fork") / "a.safetensors"
    save_trajectory(track, path, "fork")
    assert {key: tuple(value.shape) for key, value in read_tensors(path).items()} == {
        "intrinsics": (4,),
        "extrinsics": (len(track), 4, 4),
    }
    assert FORK.recognise(Sample(path))
    assert_same(load(FORK, path, convention="opencv_w2c", fps=16.0), track, FORK.precision)


def test_what_it_cannot_hold_is_refused_or_told(tmp_path, caplog):
    track = compile([Move(0, 1, 1.0, "right")], 9, 8.0)
    zoom = CameraTrack(track.c2w, track.intrinsics * torch.linspace(1, 2, 9)[:, None].double(), track.times)
    with pytest.raises(ValueError, match=r"a\.safetensors: this format has one lens.*changes at frame 1"):
        save_trajectory(zoom, tmp_path / "a.safetensors", "fork")
    uneven = CameraTrack(track.c2w, track.intrinsics, track.times**2)
    with pytest.raises(ValueError, match="has no times, and those of the track are not even"):
        save_trajectory(uneven, tmp_path / "a.safetensors", "fork")
    assert not list(tmp_path.iterdir())
    with caplog.at_level(logging.WARNING, "omnicam"):
        save_trajectory(track, tmp_path / "a.safetensors", "fork")
    assert "--fps 8" in caplog.text and "the track is relative" in caplog.text


@pytest.mark.parametrize(
    "extrinsics, intrinsics, words",
    [
        (torch.eye(4), LENS, r"extrinsics: expected floats \[T, 4, 4\]"),
        (torch.eye(4).expand(5, 4, 4).int(), LENS, "extrinsics: expected floats"),
        (torch.zeros(2, 5, 12), LENS, "extrinsics: expected floats"),
        (torch.eye(4).expand(5, 4, 4), torch.ones(5, 4), r"intrinsics: expected \[4\]"),
        (torch.eye(4).expand(1, 4, 4), LENS, "1 pose; a trajectory has 2 or more"),
        (torch.eye(4).expand(3, 4, 4) * torch.nan, LENS, "pose 0 .* holds NaN"),
        (torch.eye(4).expand(3, 4, 4), LENS * torch.nan, "intrinsics: holds NaN"),
        (torch.diag(torch.tensor([1.0, -1, 1, 1])).expand(3, 4, 4), LENS, "mirror image"),
        (torch.diag(torch.tensor([2.0, 2, 2, 1])).expand(3, 4, 4), LENS, "no rigid pose"),
    ],
)
def test_a_damaged_file_is_named(file, extrinsics, intrinsics, words):
    path = file(extrinsics.contiguous(), intrinsics)
    with pytest.raises(ValueError, match=rf"a\.safetensors: .*{words}"):
        load(FORK, path, convention="opencv_w2c")


def test_other_keys_and_no_file(tmp_path):
    write_tensors(tmp_path / "b.safetensors", {"x": torch.ones(1)})
    assert FORK.recognise(Sample(tmp_path / "b.safetensors")) is None
    with pytest.raises(ValueError, match=r"b\.safetensors: not a camera file.*no key extrinsics, intrinsics \(x\)"):
        FORK.read(tmp_path / "b.safetensors", Request())
    with pytest.raises(FileNotFoundError, match=r"c\.safetensors"):
        FORK.read(tmp_path / "c.safetensors", Request())


@fuzz
@given(mutations().map(lambda change: [change]))
def test_damage_raises_nothing_but_our_errors(tmp_path_factory, changes):
    folder = tmp_path_factory.getbasetemp()
    good, bad = folder / "good.safetensors", folder / "bad.safetensors"
    if not good.exists():
        write_tensors(good, {"intrinsics": LENS, "extrinsics": torch.tensor(W2C).float()})
    bad.write_bytes(mutated(good.read_bytes(), changes))
    FORK.recognise(Sample(bad))
    try:
        load(FORK, bad, convention="opencv_w2c")
    except (ValueError, OSError) as error:
        assert "bad.safetensors" in str(error)
