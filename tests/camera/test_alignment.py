import math

import pytest
import torch
from hypothesis import given

from camera.alignment import STILL_ESTIMATE, STILL_TRUTH, STRAIGHT, align, fitted_scale, umeyama
from camera.poses import rotation_angle, turn
from tests.camera.paths import panning, random_paths, scales, straight, transformed, vectors, wavy_pair

CORNERS = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], dtype=torch.float64)


def close(actual, expected, tolerance=1e-9):
    actual, expected = (torch.as_tensor(value, dtype=torch.float64) for value in (actual, expected))
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@given(random_paths(), vectors, vectors, scales)
def test_a_known_transformation_is_found(source, rotation_vector, translation, scale):
    target = transformed(source, rotation_vector, translation, scale)
    found = align(source, target, "sim3")
    close(found.rotation, turn(torch.tensor(rotation_vector, dtype=torch.float64)), 1e-7)
    assert found.scale == pytest.approx(scale, rel=1e-9)
    close(found.apply(source), target, 1e-7)
    assert found.degenerate == ""
    rigid = transformed(source, rotation_vector, translation)
    close(align(source, rigid, "se3").apply(source), rigid, 1e-7)


def test_the_example_of_umeyama():
    # the worked example of the paper (section IV): a triangle and its mirrored, turned copy
    source = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 2, 0]], dtype=torch.float64)
    target = torch.tensor([[0, 0, 0], [-1, 0, 0], [0, 2, 0]], dtype=torch.float64)
    found = umeyama(source, target, with_scale=True)
    # in space the mirrored triangle is the triangle turned over, so that the fit is exact
    close(source @ (found.scale * found.rotation.mT) + found.translation, target)
    close(torch.linalg.det(found.rotation), 1.0)


def test_a_mirrored_path_is_not_mirrored_back():
    mirrored = CORNERS * torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    found = umeyama(CORNERS, mirrored, with_scale=True)
    close(torch.linalg.det(found.rotation), 1.0)
    residual = CORNERS @ (found.scale * found.rotation.mT) + found.translation - mirrored
    assert float(residual.norm()) > 0.5
    # eq. 43 gives up the weakest axis: no small turn away from the solution is better
    for axis in torch.eye(3, dtype=torch.float64):
        for angle in (-0.05, 0.05):
            other = turn(angle * axis) @ found.rotation
            shift = mirrored.mean(dim=0) - found.scale * other @ CORNERS.mean(dim=0)
            assert (CORNERS @ (found.scale * other.mT) + shift - mirrored).norm() > residual.norm()


def test_a_straight_path_is_turned_by_no_more_than_it_must():
    forward = straight(5, 0.2)
    sideways = straight(5, 0.4, axis=0)
    found = align(forward, sideways, "sim3")
    assert found.degenerate == STRAIGHT
    assert found.scale == pytest.approx(2)
    # z to x is a turn of 90 degrees about +y
    close(found.rotation, turn(torch.tensor([0, math.pi / 2, 0], dtype=torch.float64)))
    close(found.apply(forward)[:, :3, 3], sideways[:, :3, 3])
    backward = align(forward, straight(5, -0.2), "se3")
    close(backward.apply(forward)[:, :3, 3], straight(5, -0.2)[:, :3, 3])
    assert float(rotation_angle(backward.rotation)) == pytest.approx(math.pi)


def test_still_paths_are_moved_but_neither_turned_nor_scaled():
    still, moving = panning(6, 0.1), straight(6, 0.1)
    lost = align(still, moving, "sim3")
    assert (lost.degenerate, lost.scale) == (STILL_ESTIMATE, 1.0)
    close(lost.rotation, torch.eye(3))
    close(lost.apply(still)[:, :3, 3], moving[:, :3, 3].mean(dim=0).expand(6, 3))
    collapsed = align(moving, still, "sim3")
    assert collapsed.degenerate == STILL_TRUTH
    assert collapsed.scale == pytest.approx(0, abs=1e-12)
    assert align(still, moving, "scale").degenerate == STILL_ESTIMATE


def test_scale_alone_turns_and_moves_nothing():
    estimated, true = wavy_pair()
    found, full = align(estimated, true, "scale"), align(estimated, true, "sim3")
    assert found.scale == full.scale
    close(found.rotation, torch.eye(3))
    close(found.translation, torch.zeros(3))
    close(align(estimated, true, "none").apply(estimated), estimated)
    # a straight path leaves a turn free but not the scale
    assert align(straight(4, 1), straight(4, 2), "scale").degenerate == ""


@given(random_paths(), random_paths())
def test_no_other_alignment_is_better(source, target):
    best = float((align(source, target, "sim3").apply(source) - target)[:, :3, 3].square().sum())
    rigid = float((align(source, target, "se3").apply(source) - target)[:, :3, 3].square().sum())
    nothing = float((source - target)[:, :3, 3].square().sum())
    assert best <= rigid + 1e-9 <= nothing + 2e-9
    found = align(source, target, "sim3")
    for factor in (0.9, 1.1):
        bent = found.scale * factor * (source[:, :3, 3] - source[:, :3, 3].mean(dim=0)) @ found.rotation.mT
        assert best <= float((bent + target[:, :3, 3].mean(dim=0) - target[:, :3, 3]).square().sum()) + 1e-9


def test_a_fitted_scale_is_never_negative():
    forward = straight(5, 0.5)[:, :3, 3]
    assert fitted_scale(forward, 3 * forward) == pytest.approx(3)
    assert fitted_scale(forward, -forward) == 0
    assert fitted_scale(torch.zeros_like(forward), forward) == 1
    # <(1,0),(3,4)> / <(1,0),(1,0)> = 3: only the part along the estimate can be fitted
    one, other = torch.tensor([[1.0, 0, 0]], dtype=torch.float64), torch.tensor([[3.0, 4, 0]], dtype=torch.float64)
    assert fitted_scale(one, other) == 3


def test_an_unknown_alignment_is_named():
    with pytest.raises(ValueError, match="alignment 'rigid': expected one of none, scale, se3, sim3"):
        align(straight(3, 1), straight(3, 1), "rigid")
