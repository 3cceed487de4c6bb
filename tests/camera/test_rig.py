import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from camera.language import Move
from camera.rates import TURN
from camera.rig import own_turns
from camera.timeline import amounts, extreme_times, intensities, joints, timeline
from tests.camera.test_language import moves_of

spans = st.tuples(st.floats(0, 3), st.floats(0.2, 2)).map(lambda span: (span[0], span[0] + span[1]))
short_moves = moves_of(spans, st.floats(0.1, 5))


def integrated(line, last):
    """dO/dt = O [w]x from joint to joint by a solver of order 8."""
    state = np.eye(3).ravel()
    edges = joints(line, last)
    for begin, end in itertools.pairwise(edges):

        def slope(time, flat, begin=begin, end=end):
            inside = np.clip(time, begin + 1e-12, end - 1e-12)
            x, y, z = (intensities(line, np.array([inside])) @ line.rates[:, TURN])[0]
            return (flat.reshape(3, 3) @ np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])).ravel()

        state = solve_ivp(slope, (begin, end), state, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    return state.reshape(3, 3)


@pytest.mark.parametrize(
    "moves",
    [
        [Move(0, 2, 1, "stay", "left360", ease="in"), Move(0.5, 2, 1, "stay", "up360", ease="inout")],
        [Move(0, 1.5, 1, "stay", "left90", ease="out"), Move(0.2, 2, 1, "stay", "clockwise45")],
        [Move(0, 2, 20, "stay", axis, ease="inout") for axis in ("up", "right", "counterclockwise")],
    ],
)
def test_eased_turns_about_several_axes_are_integrated_to_1e_9(moves):
    line = timeline(moves)
    actual = own_turns(line, np.array([0.3, 1.1, 2.0]))
    np.testing.assert_allclose(actual[-1], integrated(line, 2.0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(own_turns(line, np.linspace(0, 2, 1001))[[150, 550, 1000]], actual, rtol=0, atol=1e-9)


def test_eased_turns_about_one_axis_are_exact():
    moves = [Move(0, 2, 1, "stay", "left50", ease="inout"), Move(1, 3, 1, "stay", "right20", ease="in")]
    times = np.linspace(0, 3, 7)
    angle = np.deg2rad(amounts(timeline(moves), times) @ [-50, 20])
    actual = own_turns(timeline(moves), times)
    np.testing.assert_allclose(actual[:, 0, 2], np.sin(angle), rtol=0, atol=1e-15)
    np.testing.assert_allclose(actual[:, 0, 0], np.cos(angle), rtol=0, atol=1e-15)


@given(st.lists(short_moves, min_size=1, max_size=4))
@settings(max_examples=50)
def test_amounts_are_the_integral_of_intensities(moves):
    line = timeline(moves)
    edges = joints(line, 6.0)
    nodes, weights = np.polynomial.legendre.leggauss(3)
    half = np.diff(edges)[:, None] / 2
    inside = edges[:-1, None] + half * (1 + nodes)
    parts = intensities(line, inside.ravel()).reshape(*inside.shape, len(moves))
    total = np.einsum("enm,n,e->m", parts, weights, half[:, 0])
    np.testing.assert_allclose(total, amounts(line, np.array([6.0]))[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(total, line.durations, rtol=1e-9, atol=1e-12)


@given(st.lists(short_moves, min_size=1, max_size=4), st.integers(0, 8))
@settings(max_examples=50)
def test_no_time_is_more_extreme_than_the_extreme_times(moves, column):
    line = timeline(moves)
    rates = line.rates[:, column]
    found = amounts(line, extreme_times(line, column, 6.0)) @ rates
    sampled = amounts(line, np.linspace(0, 6, 601)) @ rates
    slack = 1e-9 * (1 + np.abs(sampled).max())
    assert found.min() <= sampled.min() + slack and found.max() >= sampled.max() - slack
    assert math.isfinite(found.sum())
