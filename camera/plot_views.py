"""Views of a track's frusta on matplotlib axes: from above, from the right, and in perspective.

Drawing coordinates are right, up, forward of the first frame's camera: OpenCV's x, -y, z.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Colormap, ListedColormap, to_rgba
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from camera.track import CameraTrack
from camera.trajectory import START_DISTANCE

OTHER_COLOUR = "#d1495b"
FRUSTA = 13
STILL = 1e-10
"""Smaller movements, in any unit, are rounding."""
_DEPTH_OF_EXTENT = 0.17
_DEPTH_OF_STILL_CAMERA = 0.1
_IDENTITY = 1e-6
_SAME = 1e-3
_TO_DRAWN = (1.0, -1.0, 1.0)
# corners of the picture (u, v), clockwise from the upper left, and the edges between them and the centre (point 0)
_CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
_EDGES = ((1, 2), (0, 1), (0, 2), (0, 3), (0, 4), (2, 3), (3, 4), (4, 1))
_WIDTHS = (2.6, *[0.9] * 7)
# where the viewer of the perspective stands from the middle of the scene, and how far, in half extents
_VIEWER = (0.62, 0.62, -1.0)
_VIEWER_DISTANCE = 5.0

_Project = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Scene:
    """What the views draw of one track."""

    frusta: Float64[Tensor, "F 5 3"]
    """Centre and picture corners of every frame, as right, up, forward."""
    shown: list[int]
    """Frames whose frustum is drawn; all are on the path."""
    subject: Float64[Tensor, "3"] | None
    """Where the planner's subject stands; None for a track that has none."""
    colours: list[tuple[float, ...]]
    """RGBA of every frame."""
    name: str

    def points(self) -> Float64[Tensor, "P 3"]:
        """Everything that must be in the picture."""
        subject = [] if self.subject is None else [self.subject[None]]
        return torch.cat([self.frusta[:, 0], self.frusta[self.shown].flatten(0, 1), *subject])


def time_colours() -> Colormap:
    """Colours of time: viridis without its last, too bright part."""
    return ListedColormap(colormaps["viridis"]([0.93 * index / 255 for index in range(256)]))


def subject_of(track: CameraTrack) -> Float64[Tensor, "3"] | None:
    """The planner's subject in the first camera (OpenCV axes), or None where none is known.

    Known it is for a track in the planner's unit that starts as the planner does: at time 0 with the identity.
    """
    starts = float(track.times[0]) == 0 and (track.c2w[0] - torch.eye(4, dtype=torch.float64)).abs().max() < _IDENTITY
    if track.scale != "relative" or not starts:
        return None
    return torch.tensor([0.0, 0.0, START_DISTANCE], dtype=torch.float64)


def scene_of(track: CameraTrack, shade: ScalarMappable | str, name: str, depth: float) -> Scene:
    """A re-based track made ready to draw; one colour for all frames, or a mapping of time to colours."""
    subject = subject_of(track)
    colours = [to_rgba(shade)] * len(track) if isinstance(shade, str) else shade.to_rgba(track.times.numpy()).tolist()
    frusta = frusta_of(track, depth)
    return Scene(
        frusta,
        _distinct(frusta, depth),
        None if subject is None else subject * torch.tensor(_TO_DRAWN, dtype=torch.float64),
        [tuple(colour) for colour in colours],
        name,
    )


def _distinct(frusta: Float64[Tensor, "F 5 3"], depth: float) -> list[int]:
    """Evenly spread frames, without those that look like the one before."""
    spread = torch.linspace(0, len(frusta) - 1, min(FRUSTA, len(frusta))).round().long().tolist()
    kept = spread[:1]
    for frame in spread[1:]:
        if float((frusta[frame] - frusta[kept[-1]]).abs().max()) > _SAME * depth:
            kept.append(frame)
    return kept


def frustum_depth(tracks: list[CameraTrack]) -> float:
    """Depth at which the frusta of re-based tracks are cut off: a share of how far all of them reach."""
    points = [track.c2w[:, :3, 3] for track in tracks]
    points += [subject[None] for subject in map(subject_of, tracks) if subject is not None]
    all_points = torch.cat(points)
    extent = float((all_points.amax(dim=0) - all_points.amin(dim=0)).max())
    return _DEPTH_OF_EXTENT * extent if extent > STILL else _DEPTH_OF_STILL_CAMERA


def frusta_of(track: CameraTrack, depth: float) -> Float64[Tensor, "F 5 3"]:
    """Centre and the four picture corners at `depth` in front of each camera, as right, up, forward."""
    fx, fy, cx, cy = track.intrinsics[:, :, None].unbind(1)
    u, v = torch.tensor(_CORNERS, dtype=torch.float64).unbind(1)
    rays = torch.stack(((u - cx) / fx, (v - cy) / fy, torch.ones_like(fx * u)), dim=-1)
    # a wide lens would fill the page: the frustum's slanted edges keep their length instead of its height
    rays = rays / rays.norm(dim=-1, keepdim=True).amax(dim=1, keepdim=True).clamp(min=1.3) * 1.3
    points = torch.cat((torch.zeros_like(rays[:, :1]), rays * depth), dim=1)
    world = points @ track.c2w[:, :3, :3].mT + track.c2w[:, None, :3, 3]
    return world * torch.tensor(_TO_DRAWN, dtype=torch.float64)


def draw_plane(axes: Axes, scenes: list[Scene], across: int, along: int) -> None:
    """A view along an axis: coordinate `across` of (right, up, forward) to the right, `along` upwards."""
    points = torch.cat([scene.points() for scene in scenes])[:, (across, along)]
    for scene in scenes:
        _draw_scene(axes, scene, scene.frusta[:, :, (across, along)], flat=True)
        if scene.subject is not None:
            _mark_subject(axes, scene.subject[[across, along]])
    _fit(axes, points, margin=0.09)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6))
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def draw_perspective(axes: Axes, scenes: list[Scene]) -> None:
    """The scene seen from behind, right of and above the start, over a ground grid with the shadow of the path."""
    points = torch.cat([scene.points() for scene in scenes])
    low, high = points.amin(dim=0), points.amax(dim=0)
    middle, half = (low + high) / 2, float((high - low).max()) / 2 or 1.0
    ground = float(low[1]) - 0.12 * half

    def project(world: Float64[Tensor, "*batch 3"]) -> Float64[Tensor, "*batch 2"]:
        return _perspective((world - middle) / half)

    seen = [project(points), _draw_ground(axes, low, high, ground, project)]
    for scene in scenes:
        centres = scene.frusta[:, 0].clone()
        centres[:, 1] = ground
        axes.plot(*project(centres).T.numpy(), color="#8a8f98", linewidth=1.4, alpha=0.55, zorder=1)
        feet = torch.stack((scene.frusta[scene.shown, 0], centres[scene.shown]), dim=1)
        if scene.subject is not None:
            foot = scene.subject * torch.tensor([1.0, 0.0, 1.0]) + torch.tensor([0.0, ground, 0.0])
            feet = torch.cat((feet, torch.stack((scene.subject, foot))[None]))
        axes.add_collection(LineCollection(list(project(feet).numpy()), colors="#8a8f98", linewidths=0.6, alpha=0.6))
        _draw_scene(axes, scene, project(scene.frusta), flat=False)
        if scene.subject is not None:
            _mark_subject(axes, project(scene.subject))
    _fit(axes, torch.cat(seen), margin=0.03)
    axes.set_axis_off()


def _perspective(scaled: Float64[Tensor, "*batch 3"]) -> Float64[Tensor, "*batch 2"]:
    """Points about the origin, of size about 1, as the viewer sees them."""
    towards = -torch.tensor(_VIEWER, dtype=torch.float64)
    towards = towards / towards.norm()
    right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), towards)
    right = right / right.norm()
    up = torch.linalg.cross(towards, right)
    distance = _VIEWER_DISTANCE + scaled @ towards
    return torch.stack((scaled @ right, scaled @ up), dim=-1) / distance[..., None] * _VIEWER_DISTANCE


def _draw_ground(axes: Axes, low: Tensor, high: Tensor, ground: float, project: _Project) -> Float64[Tensor, "P 2"]:
    """A grid of round steps under the scene and the three directions at its corner; returns what it covers."""
    step = round_step(float((high - low).max()) / 6)
    first = [math.floor(float(low[axis]) / step - 0.25) * step for axis in (0, 2)]
    last = [math.ceil(float(high[axis]) / step + 0.25) * step for axis in (0, 2)]
    lines = _grid_lines(first, last, ground, step)
    drawn = project(torch.tensor(lines, dtype=torch.float64))
    axes.add_collection(LineCollection(list(drawn.numpy()), colors="#c9ced6", linewidths=0.7, zorder=0))
    axes.set_title(f"In perspective; squares of {step:g}", fontsize=10)
    corner = torch.tensor([first[0], ground, first[1]], dtype=torch.float64)
    length = 0.22 * float((high - low).max())
    directions = {"right": (1.0, 0.0, 0.0), "up": (0.0, 1.0, 0.0), "forward": (0.0, 0.0, 1.0)}
    start = project(corner)
    tips = []
    for (name, direction), colour in zip(directions.items(), ("#c0392b", "#2e8b57", "#2f6fb5"), strict=True):
        tip = project(corner + length * torch.tensor(direction, dtype=torch.float64))
        tips.append(start + 1.35 * (tip - start))
        axes.annotate("", _pair(tip), _pair(start), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.8})
        axes.text(*_pair(start + 1.22 * (tip - start)), name, color=colour, fontsize=9, ha="center", va="center")
    return torch.cat((drawn.flatten(0, 1), torch.stack(tips)))


def _grid_lines(first: list[float], last: list[float], ground: float, step: float) -> list[list[tuple[float, ...]]]:
    """Ends of lines along forward, then along right, that cover first to last (right, forward) at a height."""
    counts = [round((end - start) / step) for start, end in zip(first, last, strict=True)]
    places = [[start + index * step for index in range(count + 1)] for start, count in zip(first, counts, strict=True)]
    along_forward = [[(right, ground, first[1]), (right, ground, last[1])] for right in places[0]]
    along_right = [[(first[0], ground, forward), (last[0], ground, forward)] for forward in places[1]]
    return [*along_forward, *along_right]


def round_step(rough: float) -> float:
    """The number 1, 2 or 5 times a power of ten that is nearest below or at `rough` (above 0)."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor for factor in (5, 2, 1) if factor * power <= rough * (1 + 1e-9)) * power


def _draw_scene(axes: Axes, scene: Scene, drawn: Float64[Tensor, "F 5 2"], *, flat: bool) -> None:
    """The path of the centres, and frusta of the shown frames, the first and last also marked."""
    centres = drawn[:, 0]
    steps = torch.stack((centres[:-1], centres[1:]), dim=1)
    path = LineCollection(list(steps.numpy()), colors=scene.colours[1:], linewidths=2.2, zorder=3, capstyle="round")
    axes.add_collection(path)
    for order, frame in enumerate(scene.shown):
        colour = scene.colours[frame]
        layer = 2 + order / (FRUSTA + 1)
        picture = PolyCollection([drawn[frame, 1:].numpy()], facecolors=[(*colour[:3], 0.10 if flat else 0.16)])
        picture.set_zorder(layer)
        axes.add_collection(picture)
        edges = [drawn[frame][list(edge)].numpy() for edge in _EDGES]
        axes.add_collection(LineCollection(edges, colors=[colour], linewidths=_WIDTHS, zorder=layer))
    prefix = f"{scene.name}: " if scene.name else ""
    for frame, marker, size, name in ((0, "o", 10, "start"), (len(drawn) - 1, "s", 6, "end")):
        x, y = _pair(centres[frame])
        style = {"color": scene.colours[frame], "mec": "black", "ms": size, "linestyle": "none", "zorder": 5}
        axes.plot(x, y, marker, label=prefix + name, **style)


def _pair(place: Float64[Tensor, "2"]) -> tuple[float, float]:
    return float(place[0]), float(place[1])


def _mark_subject(axes: Axes, place: Float64[Tensor, "2"]) -> None:
    x, y = _pair(place)
    known = "subject" in axes.get_legend_handles_labels()[1]
    axes.plot(
        x, y, "*", color="#f2a541", mec="black", ms=13, mew=0.7, linestyle="none", label=None if known else "subject"
    )


def _fit(axes: Axes, points: Float64[Tensor, "P 2"], margin: float) -> None:
    """Equal axes that show all points; what the shape of the axes leaves over goes to the longer side."""
    low, high = points.amin(dim=0), points.amax(dim=0)
    pad = margin * (float((high - low).max()) or 1.0)
    axes.set_aspect("equal", adjustable="datalim")
    # auto: the shape of the axes may widen the limits
    axes.set_xlim(float(low[0]) - pad, float(high[0]) + pad, auto=True)
    axes.set_ylim(float(low[1]) - pad, float(high[1]) + pad, auto=True)
