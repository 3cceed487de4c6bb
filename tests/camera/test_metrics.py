import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera.metrics import (
    ate,
    auc,
    cam_mc,
    evaluate,
    fov_error,
    horizontal_fov_deg,
    jerk,
    rotation_error,
    rpe,
    rpe_rotation,
    static_score,
    translation_error,
)
from camera.protocols import CAMI2V_ABS, CAMI2V_REL, MEAN_DEG, PROTOCOLS, Protocol
from tests.camera.paths import panning, path, random_paths, scales, straight, transformed, vectors, wavy_pair

STEP = math.radians(1)

# evo 1.38.1 (APE translation part; RPE with all pairs at delta 1 and 3, translation part and angle in degrees; root
# mean square) on wavy_pair() with both paths relative to frame 0: align(), align(correct_scale), correct_only_scale
EVO = {
    "metric": (0.623046495949984, 0.1138604633769509, 2.813024241390064, 0.2916377668010054, 3.49956479092117),
    "se3": (0.39205929249197347, 0.11386046337695081, 2.8130242413900635, 0.2916377668010052, 3.4995647909211693),
    "sim3": (0.06063224066739343, 0.08321917537905492, 2.8130242413900635, 0.09394210111449139, 3.4995647909211693),
    "scale": (0.07350926041329015, 0.08321917537905493, 2.813024241390064, 0.09394210111449144, 3.49956479092117),
}


@pytest.mark.parametrize("name", EVO)
def test_ate_and_rpe_are_those_of_evo(name):
    estimated, true = wavy_pair()
    wider = replace(PROTOCOLS[name], rpe_delta=3)
    measured = (
        ate(estimated, true, name),
        rpe(estimated, true, name),
        rpe_rotation(estimated, true, name),
        rpe(estimated, true, wider),
        rpe_rotation(estimated, true, wider),
    )
    assert measured == pytest.approx(EVO[name], rel=1e-9)


def test_rotation_errors_add_up_in_radians_or_average_in_degrees():
    # 16 frames; the estimate pans 1 degree a frame, the truth stands: errors 0, 1, ... 15 degrees
    estimated, true = panning(16, STEP), panning(16, 0)
    assert rotation_error(estimated, true, CAMI2V_REL) == pytest.approx(math.radians(120))
    assert rotation_error(estimated, true, "cameractrl") == pytest.approx(math.radians(120))
    assert rotation_error(estimated, true, MEAN_DEG) == pytest.approx(120 / 15)
    # a known turn about another axis: 90 degrees at frame 1 of 2
    assert rotation_error(panning(2, math.pi / 2, axis=2), panning(2, 0), "mean_deg") == pytest.approx(90)
    # opposite pans are twice as far apart
    assert rotation_error(panning(16, -STEP), panning(16, STEP), "mean_deg") == pytest.approx(16)


def test_sums_of_long_clips_run_over_16_even_frames():
    # 81 frames at 0, 5, 11, 16 ... 80: 80 k / 15 rounded
    estimated, true = panning(81, STEP), panning(81, 0)
    sampled = sum(round(80 * k / 15) for k in range(16))
    assert rotation_error(estimated, true, CAMI2V_REL) == pytest.approx(math.radians(sampled))
    assert rotation_error(estimated, true, replace(CAMI2V_REL, frames=None)) == pytest.approx(math.radians(40 * 81))
    assert evaluate(estimated, true, CAMI2V_REL).frames == 16
    assert evaluate(estimated[:10], true[:10], CAMI2V_REL).frames == 10


def test_translation_errors_by_the_way_they_are_scaled():
    # truth: 0, 1, 2 to the right (x); estimate: twice as far in another unit, or half, or the other way
    true, double, back = straight(3, 1, axis=0), straight(3, 2, axis=0), straight(3, -1, axis=0)
    # each by its own largest |t|: the length is lost
    assert translation_error(double, true, "cami2v_rel") == pytest.approx(0)
    # 0, -0.5, -1 against 0, 0.5, 1
    assert translation_error(back, true, "cami2v_rel") == pytest.approx(3)
    # both by the true largest |t| = 2: 0, 1, 2 against 0, 0.5, 1
    assert translation_error(double, true, "cami2v_abs") == pytest.approx(1.5)
    halved = replace(CAMI2V_ABS, estimated_depth_scale=0.5)
    assert translation_error(double, true, halved) == pytest.approx(0)
    # depth scales of 0.5 for both: the same path in another unit, the same quotient
    both = replace(CAMI2V_ABS, estimated_depth_scale=0.5, true_depth_scale=0.5)
    assert translation_error(double, true, both) == pytest.approx(1.5)
    # the best scale is 0.5; a path the other way gets 0 and not -1: 0 + 1 + 2
    assert translation_error(double, true, "cameractrl") == pytest.approx(0)
    assert translation_error(back, true, "cameractrl") == pytest.approx(3)
    # in the unit of the poses: (1 + 2) / 2
    assert translation_error(double, true, "metric") == pytest.approx(1.5)
    assert translation_error(double, true, "mean_deg") == pytest.approx(0)


def test_cam_mc_is_the_norm_of_the_difference_of_twelve_numbers():
    # 90 degrees about y turns two columns: |R - I|_F^2 = 2 (1 - cos) * 2 = 4; with |t| = 3 apart: sqrt(4 + 9)
    turned = path([[0, 0, 0], [0, 0, 4]], [[0, 0, 0], [0, math.pi / 2, 0]])
    assert cam_mc(turned, straight(2, 1), "metric") == pytest.approx(math.sqrt(13))
    assert cam_mc(turned, straight(2, 1), "cami2v_rel") == pytest.approx(2)
    assert cam_mc(turned, straight(2, 1), "cami2v_abs") == pytest.approx(math.sqrt(13))


def test_ate_by_hand():
    # the truth goes forward 1 a frame, the estimate 2: errors 0, 1, 2, 3 from a common start
    true, fast = straight(4, 1), straight(4, 2)
    assert ate(fast, true, "metric") == pytest.approx(math.sqrt(14 / 4))
    # rigidly aligned the middles meet: 1.5, 0.5, 0.5, 1.5
    assert ate(fast, true, "se3") == pytest.approx(math.sqrt(5 / 4))
    assert ate(fast, true, "sim3") == pytest.approx(0, abs=1e-12)
    assert ate(fast, true, "scale") == pytest.approx(0, abs=1e-12)
    # every step is 1 too long, every third frame 3
    assert rpe(fast, true, "se3") == pytest.approx(1)
    assert rpe(fast, true, replace(PROTOCOLS["se3"], rpe_delta=3)) == pytest.approx(3)
    assert rpe_rotation(panning(5, 2 * STEP), panning(5, STEP), "se3") == pytest.approx(1)


def test_auc_by_hand():
    # three frames: the pairs turn 2 degrees too far between neighbours, 4 between the first and the last
    estimated, true = panning(3, 2 * STEP), panning(3, 0)
    # the truth does not travel: judged by rotation alone. Errors 2, 2, 4
    # @3: below k = 3 two of three, below 1 and 2 none; @10: (2/3 for k = 3, 4) + (1 for k = 5 ... 10)
    assert auc(estimated, true, 3) == pytest.approx(2 / 3 / 3)
    assert auc(estimated, true, 10) == pytest.approx((2 * 2 / 3 + 6) / 10)
    assert auc(estimated, true, 30) == pytest.approx((2 * 2 / 3 + 26) / 30)
    assert "rotation alone" in evaluate(estimated, true, "auc").reasons["AUC@3"]


def test_auc_knows_left_from_right_and_vggt_does_not():
    right, left = straight(5, 1, axis=0), straight(5, -1, axis=0)
    assert auc(right, right, 3) == 1
    assert auc(left, right, 30) == 0
    assert auc(left, right, 30, "auc_vggt") == 1
    # 5.5 degrees off in direction, whatever the scale: below k = 6 ... 10
    oblique = transformed(right, (0, 0, 0), (0, 0, 0), 7.0)
    oblique[:, 1, 3] = oblique[:, 0, 3] * math.tan(math.radians(5.5))
    assert auc(oblique, right, 10) == pytest.approx(0.5)
    # a camera that stands where it should travel shows no direction: 90 degrees
    assert auc(panning(5, 0), right, 30) == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=40)
@given(true=random_paths(), first=vectors, second=vectors)
def test_equal_paths_have_no_error_in_whatever_worlds(protocol, true, first, second):
    report = evaluate(transformed(true, first, second), transformed(true, second, first), protocol)
    perfect = 1.0 if "auc" in protocol else 0.0
    assert report.values == pytest.approx(dict.fromkeys(report.protocol.metrics, perfect), abs=1e-6)
    assert report.reasons == {}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=40)
@given(estimated=random_paths(), true=random_paths(), first=vectors, second=vectors)
def test_the_worlds_do_not_matter(protocol, estimated, true, first, second):
    here = evaluate(estimated, true, protocol).values
    there = evaluate(transformed(estimated, first, second), transformed(true, second, first), protocol).values
    assert there == pytest.approx(here, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("protocol", ["cami2v_rel", "cameractrl", "mean_deg", "sim3", "scale", "auc", "auc_vggt"])
@settings(max_examples=40)
@given(estimated=random_paths(), true=random_paths(), scale=scales)
def test_the_unit_of_the_estimate_does_not_matter_where_scale_is_unknown(protocol, estimated, true, scale):
    scaled = transformed(estimated, (0, 0, 0), (0, 0, 0), scale)
    expected = evaluate(estimated, true, protocol).values
    assert evaluate(scaled, true, protocol).values == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(random_paths(), random_paths(), scales)
def test_the_common_unit_does_not_matter_for_cami2v_abs(estimated, true, scale):
    both = [transformed(each, (0, 0, 0), (0, 0, 0), scale) for each in (estimated, true)]
    unit = replace(CAMI2V_ABS, scene_depth=scale)
    assert translation_error(*both, unit) == pytest.approx(translation_error(estimated, true, CAMI2V_ABS), rel=1e-9)


@settings(max_examples=40)
@given(random_paths(), random_paths(), random_paths())
def test_symmetry_and_triangle_where_they_hold(a, b, c):
    for metric, protocol in (
        (rotation_error, "cami2v_rel"),
        (translation_error, "cami2v_rel"),
        (cam_mc, "mean_deg"),
        (ate, "metric"),
        (translation_error, "metric"),
    ):
        there = metric(a, b, protocol)
        assert there == pytest.approx(metric(b, a, protocol), rel=1e-9)
        assert there <= metric(a, c, protocol) + metric(c, b, protocol) + 1e-9
    # rigid alignment is symmetric and keeps the triangle; one with scale does neither
    assert ate(a, b, "se3") == pytest.approx(ate(b, a, "se3"), rel=1e-6, abs=1e-7)
    assert ate(a, b, "se3") <= ate(a, c, "se3") + ate(c, b, "se3") + 1e-9


@given(random_paths(), random_paths())
def test_more_freedom_never_makes_ate_worse(estimated, true):
    assert ate(estimated, true, "sim3") <= ate(estimated, true, "se3") + 1e-9
    assert ate(estimated, true, "se3") <= ate(estimated, true, "metric") + 1e-9


@pytest.mark.parametrize("true", [panning(20, STEP), panning(20, 0), straight(20, 4e-5)], ids=["pan", "still", "tiny"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_camera_that_does_not_travel_has_no_translation_error(true, protocol):
    report = evaluate(straight(20, 0.1), true, protocol)
    for name, value in report.values.items():
        if name in ("RotErr", "RPE_r") or name.startswith("AUC"):
            assert math.isfinite(value)
        else:
            assert math.isnan(value)
            assert "does not travel" in report.reasons[name]
            assert "0.001" in report.reasons[name]


def test_what_counts_as_travel_depends_on_the_scene():
    near = straight(21, 1e-4)
    assert math.isfinite(translation_error(near, near, "metric"))
    assert math.isnan(translation_error(near, near, replace(PROTOCOLS["metric"], scene_depth=10.0)))


def test_a_still_estimate_of_a_moving_camera_is_wrong_by_the_whole_way():
    true, still = straight(16, 1), panning(16, 0)
    # sum of k / 15 for k = 0 ... 15
    assert translation_error(still, true, "cami2v_rel") == pytest.approx(8)
    report = evaluate(still, true, "sim3")
    # the centres of the truth about their mean: sqrt((16^2 - 1) / 12)
    assert report.values["ATE"] == pytest.approx(math.sqrt(255 / 12))
    assert "still" in report.reasons["ATE"]


def test_units_are_those_of_the_protocol():
    estimated, true = wavy_pair()
    assert evaluate(estimated, true, "cami2v_rel").units == {"RotErr": "rad", "TransErr": "", "CamMC": ""}
    assert evaluate(estimated, true, "cameractrl").units == {"RotErr": "rad", "TransErr": "unit"}
    assert evaluate(estimated, true, "sim3").units == {"ATE": "unit", "RPE_t": "unit", "RPE_r": "deg"}
    assert set(evaluate(estimated, true, "auc").units.values()) == {""}


def test_single_precision_is_taken_too():
    estimated, true = wavy_pair()
    assert ate(estimated.float(), true.float(), "sim3") == pytest.approx(EVO["sim3"][0], rel=1e-4)


def test_wrong_input_is_named():
    here = straight(5, 1)
    with pytest.raises(ValueError, match="estimated path has 4 frames, the true one 5"):
        ate(here[:4], here, "sim3")
    with pytest.raises(ValueError, match="2 frames or more, found"):
        ate(here[:1], here[:1], "sim3")
    with pytest.raises(ValueError, match="true path: holds NaN"):
        ate(here, here * math.nan, "sim3")
    with pytest.raises(ValueError, match="protocol 'evo': expected one of cami2v_rel"):
        ate(here, here, "evo")
    with pytest.raises(ValueError, match="cami2v_rel has no ATE: it defines RotErr, TransErr, CamMC; ATE belongs to m"):
        ate(here, here, CAMI2V_REL)
    with pytest.raises(ValueError, match="AUC@7 belongs to no protocol"):
        auc(here, here, 7)
    report = evaluate(here, here, replace(PROTOCOLS["se3"], rpe_delta=5))
    assert math.isnan(report.values["RPE_t"])
    assert report.reasons["RPE_t"] == "5 frames have no pair 5 apart"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("reduction", "median"), ("angle", "grad"), ("frames", 1), ("scaling", "mine"), ("alignment", "so3")],
        *[("rpe_delta", 0), ("scene_depth", 0.0), ("estimated_depth_scale", math.inf), ("true_depth_scale", -1.0)],
    ],
)
def test_a_protocol_of_nonsense_is_refused(field, value):
    with pytest.raises(ValueError, match=f"protocol mine: {field} {value}|protocol mine: {field} '{value}'"):
        Protocol("mine", ("ATE",), **{field: value})


def test_static_score_adds_the_turn_and_the_parallax_at_the_scene():
    assert static_score(panning(4, 0)) == 0
    # turned 1, 2, 3 degrees
    assert static_score(panning(4, STEP)) == pytest.approx(2)
    # moved by the depth of the scene: 45 degrees; by half of it in a scene twice as deep
    assert static_score(straight(2, 1)) == pytest.approx(45)
    assert static_score(straight(2, 1), scene_depth=2.0) == pytest.approx(math.degrees(math.atan(0.5)))
    with pytest.raises(ValueError, match="scene_depth 0"):
        static_score(panning(4, 0), scene_depth=0)


@given(st.lists(st.floats(0.05, 1), min_size=8, max_size=8), vectors)
def test_jerk_is_exact_for_cubic_paths_at_any_times(gaps, cubic):
    times = torch.tensor(gaps, dtype=torch.float64).cumsum(dim=0)
    third = torch.tensor(cubic, dtype=torch.float64)
    t = times[:, None]
    centres = third * t**3 / 6 - 2 * t**2 + 3 * t + 1
    assert jerk(path(centres), times) == pytest.approx(float(third.norm()), abs=1e-5)


def test_jerk_needs_four_frames_and_their_times():
    assert math.isnan(jerk(straight(3, 1), torch.arange(3, dtype=torch.float64)))
    assert jerk(straight(9, 1), torch.arange(9, dtype=torch.float64)) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="expected 5 increasing seconds"):
        jerk(straight(5, 1), torch.zeros(5, dtype=torch.float64))


def test_the_field_of_view_of_a_zoom():
    # f/W = 0.5 sees 90 degrees, 0.5 / tan 30 sees 60
    wide = torch.tensor([[0.5, 0.9, 0.5, 0.5]], dtype=torch.float64)
    tele = torch.tensor([[0.5 / math.tan(math.pi / 6), 0.9, 0.5, 0.5]], dtype=torch.float64)
    assert float(horizontal_fov_deg(wide)) == pytest.approx(90)
    assert fov_error(tele, wide) == pytest.approx(30)
    assert fov_error(torch.cat((wide, tele)), torch.cat((wide, wide))) == pytest.approx(15)
    # with the axis at the left edge: 0 and atan(1 / 0.5)
    aside = torch.tensor([[0.5, 0.9, 0.0, 0.5]], dtype=torch.float64)
    assert float(horizontal_fov_deg(aside)) == pytest.approx(math.degrees(math.atan(2)))
    with pytest.raises(ValueError, match="1 estimated and 2 true"):
        fov_error(wide, torch.cat((wide, wide)))
