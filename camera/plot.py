"""A trajectory as one picture: where the camera is, where it looks, how fast it moves and turns."""

import textwrap
from pathlib import Path

import matplotlib
import torch
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from camera.poses import rotation_vector
from camera.track import CameraTrack
from common.files import atomic_path

_FRUSTA = 13
_DEPTH_OF_EXTENT = 0.15
_DEPTH_OF_STILL_CAMERA = 0.1
_STILL = 1e-6
_COLOURS = "viridis"
_UNITS = {"metric": "m", "relative": "units", "unknown": "units"}
# corners of the picture (u, v), clockwise from the upper left, and the edges between them and the centre (point 0)
_CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
_EDGES = ((1, 2), (0, 1), (0, 2), (0, 3), (0, 4), (2, 3), (3, 4), (4, 1))
_WIDTHS = (2.5, *[1.0] * 7)


def plot_trajectory(track: CameraTrack, path: str | Path, title: str | None = None) -> None:
    """Write a PNG of a track: top and side view with frusta coloured by time, and its speeds.

    The path is shown in the camera of the first frame, from above (forward is up) and from the right (forward is
    right, up is up). The heavy edge of a frustum is the upper edge of its picture. The curves are the velocity and
    the turning rate along the camera's own axes.

    Args:
        track: any camera track.
        path: the PNG to write; whole or not there.
        title: text over the picture, before the number of frames and seconds.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: the picture of a trajectory is a .png file")
    with atomic_path(path) as temporary:
        _figure(track.rebased(), title).savefig(temporary, format="png")


def _figure(track: CameraTrack, title: str | None) -> Figure:
    figure = Figure(figsize=(11, 9), dpi=110, layout="constrained")
    (top, side), (moving, turning) = figure.subplots(2, 2, height_ratios=(1.55, 1))
    colours = ScalarMappable(Normalize(*_time_range(track)), matplotlib.colormaps[_COLOURS])
    _draw_views(top, side, track, colours)
    _draw_speeds(moving, turning, track)
    figure.colorbar(colours, ax=[top, side], label="time (s)", shrink=0.9)
    length = f"frames: {len(track)}, seconds: {float(track.times[-1] - track.times[0]):.2f}"
    lines = [textwrap.fill(title, 120), length] if title else [length]
    figure.suptitle("\n".join(lines), fontsize=11, parse_math=False)
    return figure


def _time_range(track: CameraTrack) -> tuple[float, float]:
    first, last = float(track.times[0]), float(track.times[-1])
    return first, max(last, first + 1e-3)


def _frusta(track: CameraTrack, depth: float) -> Float64[Tensor, "F 5 3"]:
    """Centre and the four picture corners at `depth` in front of each camera, as right, up, forward."""
    fx, fy, cx, cy = track.intrinsics[:, :, None].unbind(1)
    u, v = torch.tensor(_CORNERS, dtype=torch.float64).unbind(1)
    rays = torch.stack(((u - cx) / fx, (v - cy) / fy, torch.ones_like(fx * u)), dim=-1)
    points = torch.cat((torch.zeros_like(rays[:, :1]), rays * depth), dim=1)
    world = points @ track.c2w[:, :3, :3].mT + track.c2w[:, None, :3, 3]
    return world * torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)


def _draw_views(top: Axes, side: Axes, track: CameraTrack, colours: ScalarMappable) -> None:
    unit = _UNITS[track.scale]
    shown = torch.linspace(0, len(track) - 1, min(_FRUSTA, len(track))).round().long()
    centres = track.c2w[:, :3, 3]
    extent = float((centres.amax(dim=0) - centres.amin(dim=0)).max())
    frusta = _frusta(track, depth=_DEPTH_OF_EXTENT * extent if extent > _STILL else _DEPTH_OF_STILL_CAMERA)
    drawn = torch.cat((frusta[:, 0], frusta[shown].flatten(0, 1)))
    middle = (drawn.amax(dim=0) + drawn.amin(dim=0)) / 2
    half = 1.08 * float((drawn - middle).abs().max())
    for axes, (across, along), title in ((top, (0, 2), "From above"), (side, (2, 1), "From the right")):
        _draw_frusta(axes, frusta[:, :, (across, along)], shown, track.times, colours)
        names = [f"right, x ({unit})", f"up, -y ({unit})", f"forward, z ({unit})"]
        axes.set(title=title, xlabel=names[across], ylabel=names[along], aspect="equal")
        axes.set_xlim(float(middle[across]) - half, float(middle[across]) + half)
        axes.set_ylim(float(middle[along]) - half, float(middle[along]) + half)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    top.legend(loc="best", framealpha=0.7)


def _draw_frusta(
    axes: Axes,
    frusta: Float64[Tensor, "F 5 2"],
    shown: Tensor,
    times: Float64[Tensor, "F"],
    colours: ScalarMappable,
) -> None:
    """One view: the path of the centres, and frusta of the shown frames, the first and last also marked."""
    centres = frusta[:, 0]
    steps = torch.stack((centres[:-1], centres[1:]), dim=1)
    palette = colours.to_rgba(times.numpy())
    axes.add_collection(LineCollection(list(steps.numpy()), colors=palette[1:], linewidths=2))
    for frame in shown.tolist():
        edges = [frusta[frame][list(edge)].numpy() for edge in _EDGES]
        axes.add_collection(LineCollection(edges, colors=palette[frame : frame + 1], linewidths=_WIDTHS))
    for frame, marker, name in ((0, "o", "start"), (len(frusta) - 1, "s", "end")):
        x, y = centres[frame].tolist()
        axes.plot(x, y, marker, color=palette[frame], mec="black", ms=7, linestyle="none", label=name)


def _draw_speeds(moving: Axes, turning: Axes, track: CameraTrack) -> None:
    """Velocity and turning rate between frames, along the axes of the earlier frame's camera."""
    unit = _UNITS[track.scale]
    if len(track) == 1:
        track = track.at([float(track.times[0]), _time_range(track)[1]])
    times, steps = track.times.numpy(), track.times.diff()[:, None]
    rotation = track.c2w[:, :3, :3]
    velocity = (rotation[:-1].mT @ track.c2w[:, :3, 3].diff(dim=0)[..., None])[..., 0] / steps
    rate_deg = rotation_vector(rotation[:-1].mT @ rotation[1:]).rad2deg() / steps
    right, down, forward = velocity.unbind(1)
    tilt, pan, roll = rate_deg.unbind(1)
    curves = {
        moving: (("right", right), ("up", -down), ("forward", forward)),
        turning: (("pan right", pan), ("tilt up", tilt), ("roll clockwise", roll)),
    }
    for axes, named in curves.items():
        for (name, curve), style in zip(named, ("-", "--", "-."), strict=True):
            axes.stairs(curve.numpy(), times, baseline=None, linestyle=style, linewidth=1.6, label=name)
        if max(float(curve.abs().max()) for _, curve in named) < _STILL:
            axes.set_ylim(-1, 1)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set(xlabel="time (s)", xlim=_time_range(track))
        axes.grid(alpha=0.25)
        axes.legend(loc="best", framealpha=0.7)
    moving.set(title="Moving, along the camera's own axes", ylabel=f"velocity ({unit}/s)")
    turning.set(title="Turning, about the camera's own axes", ylabel="turning rate (deg/s)")
