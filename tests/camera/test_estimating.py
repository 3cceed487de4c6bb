"""The unit that estimated translations are given."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camera.estimating import in_subject_distances, known_intrinsics
from camera.intrinsics import default_intrinsics
from camera.language import Move
from camera.trajectory import compile as compile_moves

ORBIT = compile_moves([Move(0, 2, 1.0, "right")], 17, 8.0)


def subject(depth, count=64, seed=0):
    """Points round the optical axis at about a depth, which is their median."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count + 1, 3, generator=generator, dtype=torch.float64) * 0.2 - 0.1
    points[:, 2] -= points[:, 2].median()
    return (points + torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)) * depth


@given(st.floats(1e-3, 1e3))
def test_an_orbit_in_any_unit_is_the_planners_again(unit):
    track, told = in_subject_distances(ORBIT.scaled(unit), subject(unit).float())
    assert told == "median depth"
    torch.testing.assert_close(track.c2w, ORBIT.c2w, rtol=0, atol=1e-5)
    torch.testing.assert_close(track.intrinsics, ORBIT.intrinsics)


def test_only_what_the_first_frame_shows_counts():
    behind, beside = subject(1.0), subject(1.0)
    behind[:, 2] *= -1
    beside[:, 0] += 5
    nowhere = torch.full((20, 3), torch.nan, dtype=torch.float64)
    track, _ = in_subject_distances(ORBIT, torch.cat((subject(2.0), behind, beside * 7, nowhere)))
    torch.testing.assert_close(track.c2w[-1, :3, 3], ORBIT.c2w[-1, :3, 3] / 2)


def test_without_points_the_path_has_length_one_and_a_turn_stays():
    track, told = in_subject_distances(ORBIT.scaled(7), torch.zeros(3, 3))
    assert told == "path length"
    assert float(track.c2w[:, :3, 3].diff(dim=0).norm(dim=1).sum()) == pytest.approx(1)
    pan = compile_moves([Move(0, 2, 1.0, "stay", "left")], 17, 8.0)
    turned, told = in_subject_distances(pan, torch.zeros(0, 3))
    assert told == "none" and torch.equal(turned.c2w, pan.c2w)


def test_metres_stay_metres():
    metric = replace(ORBIT.scaled(3), scale="metric")
    track, told = in_subject_distances(metric, subject(9.0))
    assert told == "metres" and track is metric


def test_a_lens_is_a_field_of_view_or_numbers():
    torch.testing.assert_close(known_intrinsics(70, 1.5), default_intrinsics(1.5, 70))
    assert known_intrinsics((1, 2, 0.5, 0.4), 1.5).tolist() == [1, 2, 0.5, 0.4]
