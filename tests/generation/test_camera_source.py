"""The camera of a file or reference video on the frames of a new video: its times, its lens, its unit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from camera.formats import save_trajectory
from camera.intrinsics import default_intrinsics, fov_deg_of
from camera.language import Move, format
from camera.trajectory import compile as compile_moves
from common.media import write_video
from Dust3rP.estimators import estimators_of
from generation.camera_source import choose_source, fit_times, make_track
from generation.pictures import Pictures
from tests.cameras_found import LENS, FakeBackend

TRUCK = [Move(0, 2, 1.0, "truckright")]
NEW = Pictures(frames=17, height=32, width=48, source_size=(64, 96))


def at_8(moves=TRUCK, frames=17, lens=LENS):
    return compile_moves(moves, frames, 8.0, lens)


def test_by_time_a_second_is_a_second_whatever_the_rate(caplog):
    found = fit_times(at_8(), 17, 16.0, "time", "x")
    wanted = compile_moves(TRUCK, 17, 16.0, LENS)
    torch.testing.assert_close(found.c2w, wanted.c2w, rtol=0, atol=1e-12)
    assert torch.equal(found.times, wanted.times)


def test_after_the_end_of_a_shorter_one_the_camera_stands_and_that_is_said(caplog):
    caplog.set_level("INFO", "omnicam")
    found = fit_times(at_8(frames=5), 17, 16.0, "time", "short.mp4")
    assert "short.mp4: its camera ends at 0.50 s of 1.00 s" in caplog.text
    assert (found.c2w[8:] == found.c2w[8]).all() and not torch.equal(found.c2w[7], found.c2w[8])


def test_stretched_it_goes_from_its_first_to_its_last_pose_at_another_speed():
    whole = at_8()
    for frames in (9, 33):
        found = fit_times(whole, frames, 16.0, "stretch", "x")
        assert len(found) == frames and float(found.times[-1]) == (frames - 1) / 16
        torch.testing.assert_close(found.c2w[[0, -1]], whole.c2w[[0, -1]], rtol=0, atol=1e-12)
        torch.testing.assert_close(found.c2w[frames // 2], whole.c2w[8], rtol=0, atol=1e-12)


def test_a_track_that_begins_later_begins_at_once():
    late = replace(at_8(), times=at_8().times + 40)
    assert torch.equal(fit_times(late, 17, 16.0, "time", "x").c2w, fit_times(at_8(), 17, 16.0, "time", "x").c2w)


@pytest.fixture
def clip(tmp_path):
    write_video(tmp_path / "r.mp4", np.full((25, 32, 48, 3), 90, np.uint8), 8)
    return tmp_path / "r.mp4"


@pytest.mark.parametrize("unit", [1.0, 0.02, 50.0])
def test_the_unit_of_the_backend_does_not_matter_and_the_factor_does(clip, unit):
    source = choose_source("A room.", None, str(clip), False)
    backend = FakeBackend(TRUCK, unit=unit)
    track = make_track(source, NEW, 16.0, estimators_of(backend))
    wanted = compile_moves(TRUCK, 17, 16.0)
    torch.testing.assert_close(track.c2w, wanted.c2w, rtol=0, atol=1e-5)
    far = make_track(replace(source, translation=2.5), NEW, 16.0, estimators_of(backend))
    torch.testing.assert_close(far.c2w[:, :3, 3], 2.5 * wanted.c2w[:, :3, 3], rtol=0, atol=1e-5)
    # a second of it is wanted, so no more is looked at; stretched, all of it
    assert backend.asked[0][2] == tuple(index / 8 for index in range(9))
    make_track(replace(source, fit="stretch"), NEW, 16.0, estimators_of(backend))
    assert len(backend.asked[-1][2]) == 25


def test_the_lens_is_the_references_cut_to_the_new_shape_and_zooms_with_it(tmp_path):
    zoom = [Move(0, 1, 1.0, "stay", zoom="in50")]
    lens = default_intrinsics(1.0, 50)
    reference = compile_moves(zoom, 17, 16.0, lens)
    reference.save(tmp_path / "z.safetensors")
    source = choose_source("A room.", str(tmp_path / "z.safetensors"), None, False)
    own = make_track(source, NEW, 16.0).intrinsics
    # of a square picture, the width stays in a wider one
    assert fov_deg_of(own[0]).item() == pytest.approx(50, abs=1e-4)
    assert float(own[0, 1] / own[0, 0]) == pytest.approx(48 / 32)
    assert float(own[-1, 0] / own[0, 0]) == pytest.approx(1.5, abs=1e-5)
    stated = make_track(replace(source, lens=80.0), NEW, 16.0).intrinsics
    assert fov_deg_of(stated[0]).item() == pytest.approx(80)
    assert float(stated[-1, 0] / stated[0, 0]) == pytest.approx(1.5, abs=1e-5)


def test_a_file_without_a_lens_has_the_default_and_one_that_is_unclear_names_the_command(tmp_path):
    save_trajectory(at_8(), tmp_path / "c.tum", "tum")
    track = make_track(choose_source("A.", str(tmp_path / "c.tum"), None, False), NEW, 16.0)
    torch.testing.assert_close(track.intrinsics[0], default_intrinsics(1.5, 60))
    save_trajectory(at_8(), tmp_path / "fork.safetensors", "fork")
    by_flag = choose_source("A.", str(tmp_path / "fork.safetensors"), None, False)
    with pytest.raises(
        ValueError, match=r"convert .*fork\.safetensors OUT\.safetensors --convention NAME, with --fps 8"
    ):
        make_track(by_flag, NEW, 8.0)
    # the fork itself passes such a file on for a clause, so there it is known
    clause = choose_source(f"A. #trajectory {{{tmp_path / 'fork.safetensors'}}}", None, None, False)
    found = make_track(clause, NEW, 8.0)
    assert clause.prompt == "A."
    torch.testing.assert_close(found.c2w, at_8().c2w, rtol=0, atol=1e-5)


def test_tags_may_look_through_a_lens_that_is_found(tmp_path):
    from common.media import write_image

    write_image(tmp_path / "photo.png", np.zeros((64, 96, 3), np.uint8))
    source = choose_source(f"A room. ; Camera: {format(TRUCK)}", None, None, False)
    source = replace(source, lens="estimate", image=str(tmp_path / "photo.png"))
    backend = FakeBackend()
    assert source.needs_estimator
    track = make_track(source, NEW, 16.0, estimators_of(backend))
    assert track.intrinsics[0].tolist() == pytest.approx(list(LENS)) and not backend.asked
    torch.testing.assert_close(track.c2w, compile_moves(TRUCK, 17, 16.0).c2w)


def test_what_no_camera_can_be_found_in_is_refused(tmp_path, clip):
    write_video(tmp_path / "one.mp4", np.zeros((1, 32, 48, 3), np.uint8), 8)
    one = choose_source("A.", None, str(tmp_path / "one.mp4"), False)
    with pytest.raises(ValueError, match="has one frame"):
        make_track(one, NEW, 16.0, estimators_of(FakeBackend(TRUCK)))
    useless = choose_source("A.", None, str(clip), False)
    with pytest.raises(ValueError, match=r"r\.mp4: what was found is not to be used\. 32 points\."):
        make_track(useless, NEW, 16.0, estimators_of(FakeBackend(TRUCK, confidence=0.0)))


def test_one_new_frame_stands_at_the_start(clip):
    still = replace(NEW, frames=1)
    for fit in ("time", "stretch"):
        source = replace(choose_source("A.", None, str(clip), False), fit=fit)
        track = make_track(source, still, 16.0, estimators_of(FakeBackend(TRUCK)))
        assert len(track) == 1 and torch.equal(track.c2w[0], torch.eye(4, dtype=torch.float64))
