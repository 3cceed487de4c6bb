import math

import pytest
import torch

from camera.language import Move
from camera.path_error import path_error
from camera.poses import assemble, turn
from camera.trajectory import compile

TRUE = compile([Move(0, 2, 1.0, "rightup30"), Move(2, 4, 1.0, "forward")], 33, 8.0).c2w


def test_scale_and_world_do_not_matter():
    elsewhere = assemble(turn(torch.tensor([0.3, -1.0, 0.2]).double()), torch.tensor([4.0, 5, 6]).double())
    scaled = assemble(TRUE[:, :3, :3], TRUE[:, :3, 3] * 7.5)
    found = path_error(elsewhere @ scaled, TRUE)
    assert max(found.rotation_max_deg, found.position_max_percent) < 1e-6


def test_a_known_error_is_measured_in_degrees_and_percent():
    length = float(TRUE[:, :3, 3].diff(dim=0).norm(dim=1).sum())
    spoilt = TRUE.clone()
    spoilt[-1, :3, :3] = spoilt[-1, :3, :3] @ turn(torch.tensor([0.0, 0.0, math.radians(3.0)]).double())
    centre = TRUE[-1, :3, 3]
    # at a right angle, so that no scale takes any of it away
    aside = torch.linalg.cross(centre, torch.tensor([0.0, 1.0, 0.0]).double())
    spoilt[-1, :3, 3] += aside / aside.norm() * 0.02 * length
    found = path_error(spoilt, TRUE)
    assert found.rotation_max_deg == pytest.approx(3.0) and found.rotation_deg == pytest.approx(3 / math.sqrt(33))
    assert found.position_max_percent == pytest.approx(2.0, rel=0.01)


def test_a_true_path_that_stands_is_no_division_by_zero():
    still = torch.eye(4).double().expand(5, 4, 4).clone()
    moved = still.clone()
    moved[4, 0, 3] = 1.0
    found = path_error(moved, still)
    assert found.position_percent == 0 and found.rotation_deg == 0
