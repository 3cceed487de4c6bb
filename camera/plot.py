"""A trajectory as one picture: where the camera is, where it looks, how fast it moves, turns and zooms."""

import math
import textwrap
import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, FigureBase
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from camera.intrinsics import fov_deg_of
from camera.plot_views import (
    OTHER_COLOUR,
    STILL,
    UNITS,
    draw_perspective,
    draw_plane,
    frustum_depth,
    scene_of,
    time_colours,
)
from camera.poses import rotation_vector
from camera.track import CameraTrack
from common.files import atomic_path
from common.logs import get_logger

logger = get_logger("camera")

_TITLE_LINES = 3
_SHOWN_LETTERS = 10
_STYLES = (("-", "#1f6fb4"), ("--", "#e07b00"), ("-.", "#2e8b57"))
_ZOOMS = 1e-3
_Curves = list[tuple[str, Float64[Tensor, "N"]]]


def plot_trajectory(
    track: CameraTrack, path: str | Path, title: str | None = None, other: CameraTrack | None = None
) -> None:
    """Write a PNG (1200 pixels wide) of a track: perspective, top and side view, and how it moves over time.

    The path is shown in the camera of the first frame, from above (forward is up) and from the right (forward is
    right, up is up), with frusta coloured by time. The heavy edge of a frustum is the upper edge of its picture. The
    star is the planner's subject, where the track has one. The curves are the velocity and the turning rate along the
    camera's own axes, its heading, and the field of view where it changes.

    Args:
        track: any camera track.
        path: the PNG to write; whole or not there.
        title: text over the picture, before the number of frames and seconds; cut after three lines.
        other: a second track to compare with, drawn in red, with dotted curves.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: the picture of a trajectory is a .png file")
    figure = _figure(track.rebased(), title, None if other is None else other.rebased())
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing")
        figure.savefig(temporary, format="png")
    unknown = "".join(sorted({letter for letter in title or "" if not _is_in_the_font(letter)}))
    if unknown:
        logger.warning("%s: its font cannot draw %s of the title", path, " ".join(unknown[:_SHOWN_LETTERS]))


def draw_trajectory(track: CameraTrack, title: str | None = None) -> UInt8[np.ndarray, "960 1200 3"]:
    """The picture that `plot_trajectory` writes, as RGB."""
    canvas = FigureCanvasAgg(_figure(track.rebased(), title))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _figure(track: CameraTrack, title: str | None, other: CameraTrack | None = None) -> Figure:
    tracks = [track] if other is None else [track, other]
    figure = Figure(figsize=(12, 9.6), dpi=100, layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=(2.35, 1))
    upper, lower = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    colours = ScalarMappable(Normalize(*_time_range(tracks)), time_colours())
    _draw_views(upper, tracks, colours)
    _draw_curves(lower, tracks)
    figure.suptitle("\n".join(_title_lines(track, title)), fontsize=11, parse_math=False)
    return figure


def _title_lines(track: CameraTrack, title: str | None) -> list[str]:
    length = f"frames: {len(track)}, seconds: {float(track.times[-1] - track.times[0]):.2f}"
    # control characters and halves of broken ones (an argument that is no UTF-8) stop the drawing
    drawn = "".join(letter if letter.isprintable() or letter.isspace() else "\ufffd" for letter in title or "")
    wrapped = textwrap.wrap(drawn, 130, max_lines=_TITLE_LINES, placeholder=" …")
    return [*wrapped, length]


def _is_in_the_font(letter: str) -> bool:
    font = get_font(findfont(FontProperties()))
    return letter.isspace() or not letter.isprintable() or font.get_char_index(ord(letter)) != 0


def _time_range(tracks: list[CameraTrack]) -> tuple[float, float]:
    first = min(float(track.times[0]) for track in tracks)
    last = max(float(track.times[-1]) for track in tracks)
    return first, last if last > first else first + 1.0


def _draw_views(figure: FigureBase, tracks: list[CameraTrack], colours: ScalarMappable) -> None:
    axes = figure.subplot_mosaic([["perspective", "top"], ["perspective", "side"]], width_ratios=(1.45, 1))
    unit, depth = UNITS[tracks[0].scale], frustum_depth(tracks)
    names = [""] if len(tracks) == 1 else ["first", "second"]
    scenes = [
        scene_of(track, shade, name, depth)
        for track, shade, name in zip(tracks, [colours, OTHER_COLOUR][: len(tracks)], names, strict=True)
    ]
    draw_perspective(axes["perspective"], scenes)
    axes["perspective"].legend(loc="upper left", framealpha=0.8, fontsize=9)
    labels = [f"right, x ({unit})", f"up, -y ({unit})", f"forward, z ({unit})"]
    for name, across, along, heading in (("top", 0, 2, "From above"), ("side", 2, 1, "From the right")):
        draw_plane(axes[name], scenes, across, along)
        axes[name].set_title(heading, fontsize=10)
        axes[name].set(xlabel=labels[across], ylabel=labels[along])
    figure.colorbar(colours, ax=list(axes.values()), label="time (s)", shrink=0.85, aspect=40, pad=0.01)


def _draw_curves(figure: FigureBase, tracks: list[CameraTrack]) -> None:
    """Curves over time; of two tracks the second is dotted."""
    span, unit = _time_range(tracks), UNITS[tracks[0].scale]
    panels = {
        f"Moving, along its own axes ({unit}/s)": [_velocity(track) for track in tracks],
        "Turning, about its own axes (deg/s)": [_turning(track) for track in tracks],
        "Heading, from the first frame (deg)": [_heading(track) for track in tracks],
    }
    fovs = [_field_of_view(track) for track in tracks]
    if max(float(curve.max() - curve.min()) for fov in fovs for _, curve in fov) > _ZOOMS:
        panels["Field of view (deg)"] = fovs
    for axes, (title, curves) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for track, named, dotted in zip(tracks, curves, [False, True][: len(tracks)], strict=True):
            _draw_panel(axes, track, named, span, dotted=dotted)
        if max(float(curve.abs().max()) for named in curves for _, curve in named) < STILL:
            axes.set_ylim(-1, 1)
        axes.axhline(0, color="black", linewidth=0.6, zorder=1)
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="time (s)", xlim=span)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.grid(alpha=0.25)
        axes.legend(loc="best", framealpha=0.75, fontsize=8)


def _draw_panel(axes: Axes, track: CameraTrack, named: _Curves, span: tuple[float, float], *, dotted: bool) -> None:
    """Rates, one a frame interval, as steps; values, one a frame, as lines."""
    times = track.times if len(track) > 1 else torch.tensor(span, dtype=torch.float64)
    for (name, curve), (style, colour) in zip(named, _STYLES[: len(named)], strict=True):
        line = {"color": colour, "linestyle": ":" if dotted else style, "linewidth": 1.6, "alpha": 0.8 if dotted else 1}
        label = None if dotted else name
        if len(curve) == len(times):
            axes.plot(times.numpy(), curve.numpy(), label=label, **line)
        else:
            axes.stairs(curve.numpy(), times.numpy(), baseline=None, label=label, **line)


def _with_two_frames(track: CameraTrack) -> CameraTrack:
    """A lone frame made a short stand, so that it has curves."""
    return track.at([float(track.times[0]), _time_range([track])[1]]) if len(track) == 1 else track


def _velocity(track: CameraTrack) -> _Curves:
    """Units per second between frames, along the axes of the earlier frame's camera."""
    track = _with_two_frames(track)
    step = track.c2w[:, :3, 3].diff(dim=0)[..., None]
    velocity = (track.c2w[:-1, :3, :3].mT @ step)[..., 0] / track.times.diff()[:, None]
    right, down, forward = velocity.unbind(1)
    return [("right", right), ("up", -down), ("forward", forward)]


def _turning(track: CameraTrack) -> _Curves:
    """Degrees per second between frames, about the axes of the earlier frame's camera."""
    track = _with_two_frames(track)
    rotation = track.c2w[:, :3, :3]
    rates = rotation_vector(rotation[:-1].mT @ rotation[1:]).rad2deg() / track.times.diff()[:, None]
    tilt, pan, roll = rates.unbind(1)
    return [("pan right", pan), ("tilt up", tilt), ("roll clockwise", roll)]


def _heading(track: CameraTrack) -> _Curves:
    """Yaw to the right, pitch up and roll clockwise, in degrees, of R = R_y(yaw) R_x(pitch) R_z(roll)."""
    rotation = _with_two_frames(track).c2w[:, :3, :3]
    yaw = torch.atan2(rotation[:, 0, 2], rotation[:, 2, 2])
    pitch = torch.asin((-rotation[:, 1, 2]).clamp(-1, 1))
    roll = torch.atan2(rotation[:, 1, 0], rotation[:, 1, 1])
    return [("yaw right", _unwrapped(yaw)), ("pitch up", pitch.rad2deg()), ("roll clockwise", _unwrapped(roll))]


def _unwrapped(angle: Float64[Tensor, "F"]) -> Float64[Tensor, "F"]:
    """Radians without jumps of a whole turn, as degrees."""
    turns = torch.round(angle.diff() / math.tau).cumsum(dim=0)
    return (angle - math.tau * torch.cat((turns.new_zeros(1), turns))).rad2deg()


def _field_of_view(track: CameraTrack) -> _Curves:
    """Degrees that the width and the height of the picture span."""
    lens = _with_two_frames(track).intrinsics
    return [(side, fov_deg_of(lens, side)) for side in ("horizontal", "vertical")]
