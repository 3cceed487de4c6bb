from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection

from camera.language import Move, parse
from camera.plot import _figure, plot_trajectory
from camera.plot_views import _perspective, round_step, subject_of
from camera.trajectory import compile
from common.media import read_image
from tests.camera.test_language import README_PROMPT


def panels(track, other=None):
    """The axes of the figure: perspective, top, side, then the curves; without the colour bar."""
    return [axes for axes in _figure(track, None, other).axes if axes.get_label() != "<colorbar>"]


def path_of(axes):
    """Where the camera is drawn, frame by frame: the first collection of a view."""
    lines = next(item for item in axes.collections if isinstance(item, LineCollection))
    return np.array([segment[0] for segment in lines.get_segments()] + [lines.get_segments()[-1][1]])


def test_a_trajectory_becomes_a_picture(tmp_path):
    file = tmp_path / "path.png"
    plot_trajectory(compile(parse(README_PROMPT), 81, 16.0), file, title=f"$ {README_PROMPT} é")
    picture = read_image(file)
    assert picture.shape == (960, 1200, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    assert [item.name for item in tmp_path.iterdir()] == ["path.png"]


def test_the_views_show_the_axes_they_name():
    track = compile([Move(0, 1, 1.0, "forward"), Move(1, 2, 1.0, "right"), Move(2, 3, 1.0, "up")], 49, 16.0)
    _, top, side, moving, turning, heading = panels(track)
    centres = track.c2w[:, :3, 3].numpy()
    np.testing.assert_allclose(path_of(top), centres[:, [0, 2]])
    np.testing.assert_allclose(path_of(side), centres[:, [2, 1]] * [1, -1])
    assert path_of(top)[16, 1] > 0.19 and path_of(side)[-1, 1] > 0.1  # forward is up in one, up is up in the other
    for view in (top, side):
        assert view.get_aspect() == 1
        assert "(units)" in view.get_xlabel() and "(units)" in view.get_ylabel()
    assert "forward" in top.get_ylabel() and "up" in side.get_ylabel()
    assert "(units/s)" in moving.get_title() and "(deg/s)" in turning.get_title()
    assert "(deg)" in heading.get_title()


def test_the_curves_have_the_signs_they_name():
    track = compile(
        [Move(0, 1, 1.0, "right", "stay"), Move(1, 2, 1.0, "up"), Move(2, 3, 1.0, "forward", "clockwise")], 49, 16.0
    )
    *_, moving, turning, _ = panels(track)
    curves = {patch.get_label(): patch.get_data().values for axes in (moving, turning) for patch in axes.patches}
    arc = 1.003 * np.deg2rad(20)
    assert curves["right"][8] == pytest.approx(arc, rel=1e-2) and curves["pan right"][8] == pytest.approx(-20)
    assert curves["up"][24] > 0.2 and curves["tilt up"][24] == pytest.approx(-15)
    assert curves["forward"][40] == pytest.approx(0.2006) and curves["roll clockwise"][40] == pytest.approx(20)


def test_the_heading_is_that_of_the_camera():
    """Right for 1 s turns it 20 degrees left; then it pans 40 right, more than half a turn in all, and rolls."""
    moves = [Move(0, 1, 1.0, "right"), Move(1, 3, 1.0, "stay", "right100"), Move(3, 4, 1.0, "stay", "clockwise")]
    heading = panels(compile(moves, 65, 16.0))[-1]
    curves = {line.get_label(): line.get_ydata() for line in heading.lines}
    assert curves["yaw right"][16] == pytest.approx(-20) and curves["yaw right"][48] == pytest.approx(180)
    assert curves["yaw right"][40] == pytest.approx(130)
    assert curves["roll clockwise"][-1] == pytest.approx(20) and np.abs(curves["pitch up"]).max() < 1e-6


def test_the_perspective_keeps_right_up_and_forward_apart():
    """Seen from behind, right of and above the start: right goes right, up goes up, forward goes away to the left."""
    origin = torch.zeros(3, dtype=torch.float64)
    right, up, forward = (_perspective(origin + 0.3 * axis) for axis in torch.eye(3, dtype=torch.float64))
    assert right[0] > 0.1 and up[1] > 0.1 and abs(up[0]) < 1e-9
    assert forward[1] > 0.05 and forward[0] > 0.05
    near, far = (_perspective(torch.tensor([[0.0, 0.0, z], [0.1, 0.0, z]]).double()) for z in (-1.0, 1.0))
    assert (near[1] - near[0]).norm() > 1.1 * (far[1] - far[0]).norm()


def test_the_subject_is_marked_only_where_it_is_known():
    track = compile([Move(0, 2, 1.0, "right")], 33, 16.0)
    assert subject_of(track).tolist() == [0, 0, 1.003]
    assert subject_of(replace(track, scale="metric")) is None
    assert subject_of(replace(track, times=track.times + 1)) is None  # a clip from later in the video
    marked = [axes.get_legend_handles_labels()[1] for axes in panels(track)[:3]]
    assert all("subject" in names for names in marked)


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_the_field_of_view_has_a_panel_when_it_changes(ratio):
    focal = torch.linspace(0.5, 0.5 * ratio, 33, dtype=torch.float64)
    lens = torch.stack((focal, focal * 16 / 9, focal * 0 + 0.5, focal * 0 + 0.5), dim=1)
    *_, last = panels(compile([], 33, 16.0, lens))
    assert ("Field of view" in last.get_title()) == (ratio != 1)
    if ratio != 1:
        horizontal = last.lines[0].get_ydata()
        assert horizontal[0] == pytest.approx(90) and horizontal[-1] == pytest.approx(53.1301, abs=1e-3)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 5e4])
def test_any_size_of_a_path_fills_the_views(scale):
    """A path of nanometres and one of kilometres look alike: all points are in, and none of it is a dot."""
    track = compile([Move(0, 2, 1.0, "right"), Move(0, 2, 1.0, "up")], 33, 16.0)
    c2w = track.c2w.clone()
    c2w[:, :3, 3] *= scale
    for axes in panels(replace(track, c2w=c2w, scale="unknown"))[1:3]:
        axes.figure.figure.draw_without_rendering()
        drawn, (low, high) = path_of(axes), (np.array(axes.get_xlim()), np.array(axes.get_ylim()))
        assert low[0] <= drawn[:, 0].min() and drawn[:, 0].max() <= low[1]
        assert high[0] <= drawn[:, 1].min() and drawn[:, 1].max() <= high[1]
        assert np.ptp(drawn, axis=0).max() > 0.3 * min(np.ptp(low), np.ptp(high))


def test_two_tracks_are_told_apart(tmp_path):
    first, second = compile([Move(0, 2, 1.0, "right")], 33, 16.0), compile([Move(0, 1, 1.0, "left")], 17, 16.0)
    perspective, top, *_ = panels(first, second)
    names = perspective.get_legend_handles_labels()[1]
    assert {"first: start", "first: end", "second: start", "second: end", "subject"} == set(names)
    paths = [item for item in top.collections if isinstance(item, LineCollection) and item.get_zorder() == 3]
    assert paths[0].get_segments()[-1][1][0] > 0.3 and paths[1].get_segments()[-1][1][0] < -0.3
    plot_trajectory(first, tmp_path / "both.png", other=second)
    red = read_image(tmp_path / "both.png").astype(int)
    assert ((red[..., 0] - red[..., 1] > 100) & (red[..., 0] - red[..., 2] > 60)).sum() > 500


@given(st.floats(1e-9, 1e9))
def test_the_steps_of_the_grid_are_round(rough):
    step = round_step(rough)
    assert 0.39 * rough <= step <= rough * 1.001
    assert f"{step:e}"[0] in "125" and float(f"{step:.0e}") == pytest.approx(step, rel=1e-9)


@pytest.mark.parametrize("frames", [1, 2, 33])
def test_a_still_camera_can_be_drawn(tmp_path, frames):
    plot_trajectory(compile([], frames, 16.0), tmp_path / "still.png")
    assert (tmp_path / "still.png").stat().st_size > 1000


def test_only_png_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"path\.jpg: .*\.png"):
        plot_trajectory(compile([], 5, 16.0), tmp_path / "path.jpg")
