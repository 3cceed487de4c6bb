import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera.poses import assemble, invert, turn
from Dust3rP.alignment import align
from Dust3rP.similarity import fit_similarity
from Dust3rP.spanning_tree import spanning_poses
from tools.bench.alignment_cases import all_pairs, focal_error, open_case, path_errors
from tools.procedural_world.pair_points import GUIDE_NOISE, PERFECT

SMALL = (18, 32)


def aligned(source, pairs, **known):
    return align(pairs, *source.points(pairs), middle_px=source.middle_px, **known)


@pytest.mark.parametrize(
    ("path", "frames", "reach"), [("arc", 5, None), ("arc", 12, None), ("dolly", 12, 3), ("corners", 8, 2)]
)
def test_perfect_pairs_give_the_exact_path(path, frames, reach):
    source = open_case(path, frames, size=SMALL)
    found = aligned(source, all_pairs(frames, reach))
    errors = path_errors(found.c2w, source.track)
    # the gates of the project; what is measured is float32's rounding of the points
    assert errors.worst_deg <= 0.002 and errors.ate_share <= 2e-4
    assert focal_error(found.focal_px, source.track, SMALL[1]) < 1e-5 and found.focal_spread < 1e-5
    assert found.converged and found.loss <= found.initial_loss < 1e-5
    assert torch.equal(found.c2w[0], torch.eye(4, dtype=torch.float64))


def test_depths_and_points_are_the_scene_in_one_unit():
    source = open_case("arc", 6, size=SMALL)
    found = aligned(source, all_pairs(6))
    ratio = found.depth / source.depth
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-5, atol=0)
    centres = source.track.c2w[:, :3, 3] * ratio.mean()
    torch.testing.assert_close(found.c2w[:, :3, 3], centres, rtol=0, atol=1e-5)
    # the last picture's points seen from there
    seen = (found.points[5] - found.c2w[5, :3, 3]) @ found.c2w[5, :3, :3]
    torch.testing.assert_close(seen[..., 2], found.depth[5], rtol=1e-9, atol=0)


@pytest.mark.parametrize("path", ["arc", "dolly"])
def test_noisy_keyframes_meet_the_gates(path):
    source = open_case(path, 17, GUIDE_NOISE, seed=1, size=(24, 42))
    found = aligned(source, all_pairs(17))
    errors = path_errors(found.c2w, source.track)
    assert errors.turn_deg <= 0.2 and errors.ate_share <= 0.003
    assert focal_error(found.focal_px, source.track, source.size[1]) < 0.005
    assert 0.01 < found.focal_spread < 0.03, "the lens of each pair was off by 2 %"
    assert found.loss <= found.initial_loss


@pytest.mark.parametrize(("frames", "most_deg"), [(5, 0.8), (8, 0.5), (12, 0.35)])
def test_fewer_noisy_keyframes(frames, most_deg):
    source = open_case("arc", frames, GUIDE_NOISE, seed=2, size=SMALL)
    errors = path_errors(aligned(source, all_pairs(frames)).c2w, source.track)
    assert errors.turn_deg <= most_deg and errors.ate_share <= 0.004


def test_the_optimisation_improves_on_the_spanning_tree():
    source = open_case("arc", 12, replace(GUIDE_NOISE, depth=0.0, pixel=0.0, focal=0.0), size=SMALL)
    found = aligned(source, all_pairs(12))
    assert found.loss < 0.9 * found.initial_loss


def test_a_picture_that_is_never_first_needs_no_reversed_pair():
    source = open_case("arc", 6, size=SMALL)
    found = aligned(source, [(i, j) for i, j in all_pairs(6) if i < j])
    errors = path_errors(found.c2w, source.track)
    assert errors.worst_deg <= 0.002 and errors.ate_share <= 2e-4


def test_things_that_move_on_a_fifth_of_the_picture_do_not_move_the_camera():
    source = open_case("arc", 9, replace(PERFECT, movers=0.2, pixel=0.002), size=(36, 64))
    found = aligned(source, all_pairs(9))
    errors = path_errors(found.c2w, source.track)
    assert errors.turn_deg <= 0.05 and errors.ate_share <= 0.003
    # as second pictures they disagree there, as first ones they do not
    height, width = source.size
    inside, outside = found.weights[:, height * 3 // 4 :, width // 2], found.weights[:, : height // 2, width // 2]
    assert inside.median() < 0.75 * outside.median()


def test_a_known_focal_length_is_kept():
    source = open_case("arc", 5, replace(PERFECT, focal=0.05), size=SMALL)
    focal_px = float(source.track.intrinsics[0, 0]) * SMALL[1]
    found = aligned(source, all_pairs(5), focal_px=focal_px)
    assert found.focal_px == focal_px
    assert path_errors(found.c2w, source.track).turn_deg < 0.2


def test_scales_of_pairs_and_their_order_change_nothing():
    source = open_case("dolly", 5, size=SMALL)
    pairs = all_pairs(5)
    points = source.points(pairs)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    scale = torch.linspace(0.2, 5.0, len(pairs))[:, None, None, None]
    shuffled = [pairs[k] for k in order]
    moved = [(points.points_i * scale)[order], (points.points_j * scale)[order]]
    found = align(shuffled, *moved, points.confidence_i[order], points.confidence_j[order], middle_px=source.middle_px)
    assert path_errors(found.c2w, source.track).worst_deg <= 0.002
    assert path_errors(found.c2w, source.track).ate_share <= 2e-4


def test_points_that_are_not_numbers_are_left_out():
    source = open_case("arc", 4, size=SMALL)
    pairs = all_pairs(4)
    points = source.points(pairs)
    points.points_i[:, 3:6, 5] = math.nan
    points.points_j[2, 0] = math.inf
    points.confidence_j[1, 4] = math.nan
    found = align(pairs, *points, middle_px=source.middle_px)
    assert path_errors(found.c2w, source.track).worst_deg <= 0.002


def test_pictures_without_a_pair_are_an_error_that_names_them():
    source = open_case("arc", 4, size=SMALL)
    with pytest.raises(ValueError, match=r"picture 2 \(and 1 more\) of 4 has no usable pair"):
        aligned(source, [(0, 1), (1, 0), (2, 3), (3, 2)])


def test_points_behind_every_camera_are_an_error():
    source = open_case("arc", 3, size=SMALL)
    points = source.points(all_pairs(3))
    with pytest.raises(ValueError, match="no picture shows its focal length"):
        align(all_pairs(3), -points.points_i, points.points_j, points.confidence_i, points.confidence_j)


vectors = st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(lambda v: torch.tensor(v, dtype=torch.float64))


@given(vectors, vectors, st.floats(0.1, 10))
@settings(max_examples=30, deadline=None)
def test_a_similarity_is_found_again(axis, way, scale):
    source = torch.randn(2, 20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    target = scale * source @ turn(axis).mT + way
    weights = torch.ones(2, 20, dtype=torch.float64)
    # a wild point of weight 0 is as if it were not there
    target[:, 0] += 100
    weights[:, 0] = 0
    found = fit_similarity(source, target, weights)
    torch.testing.assert_close(found.scale, torch.full((2,), scale, dtype=torch.float64))
    torch.testing.assert_close(found.rotation[0], turn(axis))
    torch.testing.assert_close(found.apply(source)[:, 1:], target[:, 1:])


@given(st.integers(0, 2**32), st.integers(2, 8))
@settings(max_examples=20, deadline=None)
def test_a_spanning_tree_of_exact_pairs_is_exact_whatever_their_direction(seed, pictures):
    random = torch.Generator().manual_seed(seed)
    kind = {"generator": random, "dtype": torch.float64}
    c2w = assemble(turn(torch.randn(pictures, 3, **kind)), torch.randn(pictures, 3, **kind))
    pairs = [(k, int(torch.randint(0, k, (), generator=random))) for k in range(1, pictures)]
    pairs = [pair if torch.rand((), generator=random) < 0.5 else pair[::-1] for pair in pairs]
    relative = torch.stack([invert(c2w[i]) @ c2w[j] for i, j in pairs])
    found = spanning_poses(pairs, relative, torch.rand(len(pairs), **kind) + 0.1, pictures)
    torch.testing.assert_close(found, invert(c2w[0]) @ c2w)


def test_the_tree_takes_the_stronger_pairs():
    right, wrong = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    wrong[0, 3] = 9.0
    pairs, scores = [(0, 1), (1, 2), (0, 2)], torch.tensor([1.0, 1.0, 0.5])
    assert torch.equal(spanning_poses(pairs, torch.stack((right, right, wrong)), scores, 3)[2], right)
