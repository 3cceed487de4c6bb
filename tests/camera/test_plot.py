import numpy as np
import pytest
from matplotlib.collections import LineCollection

from camera.language import Move, parse
from camera.plot import _figure, plot_trajectory
from camera.trajectory import compile
from common.media import read_image
from tests.camera.test_language import README_PROMPT


def path_of(axes):
    """Where the camera is drawn, frame by frame: the first collection of a view."""
    lines = next(item for item in axes.collections if isinstance(item, LineCollection))
    return np.array([segment[0] for segment in lines.get_segments()] + [lines.get_segments()[-1][1]])


def test_a_trajectory_becomes_a_picture(tmp_path):
    file = tmp_path / "path.png"
    plot_trajectory(compile(parse(README_PROMPT), 81, 16.0), file, title=f"$ {README_PROMPT} é")
    picture = read_image(file)
    assert picture.shape[0] > 800 and picture.shape[1] > 1000
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    assert [item.name for item in tmp_path.iterdir()] == ["path.png"]


def test_the_views_show_the_axes_they_name():
    track = compile([Move(0, 1, 1.0, "forward"), Move(1, 2, 1.0, "right"), Move(2, 3, 1.0, "up")], 49, 16.0)
    top, side, moving, turning, _ = _figure(track, None).axes
    centres = track.c2w[:, :3, 3].numpy()
    np.testing.assert_allclose(path_of(top), centres[:, [0, 2]])
    np.testing.assert_allclose(path_of(side), centres[:, [2, 1]] * [1, -1])
    assert path_of(top)[16, 1] > 0.19 and path_of(side)[-1, 1] > 0.1  # forward is up in one, up is up in the other
    for view in (top, side):
        assert view.get_aspect() == 1
        assert "(units)" in view.get_xlabel() and "(units)" in view.get_ylabel()
    assert "forward" in top.get_ylabel() and "up" in side.get_ylabel()
    assert moving.get_ylabel() == "velocity (units/s)" and turning.get_ylabel() == "turning rate (deg/s)"


def test_the_curves_have_the_signs_they_name():
    track = compile(
        [Move(0, 1, 1.0, "right", "stay"), Move(1, 2, 1.0, "up"), Move(2, 3, 1.0, "forward", "clockwise")], 49, 16.0
    )
    _, _, moving, turning, _ = _figure(track, None).axes
    curves = {patch.get_label(): patch.get_data().values for axes in (moving, turning) for patch in axes.patches}
    arc = 1.003 * np.deg2rad(20)
    assert curves["right"][8] == pytest.approx(arc, rel=1e-2) and curves["pan right"][8] == pytest.approx(-20)
    assert curves["up"][24] > 0.2 and curves["tilt up"][24] == pytest.approx(-15)
    assert curves["forward"][40] == pytest.approx(0.2006) and curves["roll clockwise"][40] == pytest.approx(20)


@pytest.mark.parametrize("frames", [1, 2, 33])
def test_a_still_camera_can_be_drawn(tmp_path, frames):
    plot_trajectory(compile([], frames, 16.0), tmp_path / "still.png")
    assert (tmp_path / "still.png").stat().st_size > 1000


def test_only_png_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"path\.jpg: .*\.png"):
        plot_trajectory(compile([], 5, 16.0), tmp_path / "path.jpg")
