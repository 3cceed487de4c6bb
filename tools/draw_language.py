"""Draw a small picture of every word of the trajectory language and of every preset, for docs/trajectory-language.md.

Each picture shows the camera's path (from above, or from the right when it goes up or down) and what the camera sees in
the first, the middle and the last frame: a box, the subject, on a floor of squares in front of a wall.
"""

import io
import math
import sys
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from camera.intrinsics import default_intrinsics
from camera.language import Move
from camera.poses import invert
from camera.presets import PRESETS, preset_from_text
from camera.rates import START_DISTANCE
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves
from camera.words import DIRECTIONS, EASES, ROTATIONS, ZOOMS
from common.arguments import make_parser
from common.files import atomic_path
from common.logs import get_logger, setup_logging

logger = get_logger("draw_language")

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "images" / "language"
DIAGONAL = "rightup30"
"""The diagonal that is drawn."""

# so much that the subject stays in the picture, and that the tremble of a hand is seen in a small one
_PRESET_OPTIONS = {
    "pan-left": "degrees=20",
    "pan-right": "degrees=20",
    "tilt-up": "degrees=20",
    "tilt-down": "degrees=20",
    "roll": "degrees=40",
    "handheld": "speed=8",
}
_FPS = 24.0
_ASPECT = 16 / 9
_ROUND_S = 6
"""In which the presets that go round get all the way round."""
_FRUSTUM = 0.22
_NEAR = 0.02
_BOX, _FLOOR, _WALL, _FRONT = "#1f6fb4", "#b9b9b9", "#d9a441", "#c8372d"
_PATH, _START = "#333333", "#2a9d4a"
_SHOWN = 7
_COLOURS = 64
_HALF_WIDTH, _HALF_HEIGHT, _HALF_DEPTH = 0.12, 0.2, 0.08
Segments = Float64[np.ndarray, "S 2 3"]


def pictures() -> dict[str, tuple[str, list[Move]]]:
    """Title and moves of every picture, by its file name without the suffix."""
    words = {f"direction-{word}": Move(0, 2, 1.0, word) for word in (*DIRECTIONS, DIAGONAL) if word != "stay"}
    words |= {f"rotate-{word}": Move(0, 1, 1.0, "stay", word) for word in ROTATIONS if word != "stay"}
    words |= {f"zoom-{word}": Move(0, 2, 1.0, "stay", "stay", word) for word in ZOOMS if word != "stay"}
    words |= {f"ease-{word}": Move(0, 2, 2.0, "right", ease=word) for word in EASES}
    words["stay"] = Move(0, 1, 1.0, "stay")
    titled = {name: (f"{name.replace('-', ' ')}, {move.end:g} s", [move]) for name, move in words.items()}
    for name, found in PRESETS.items():
        seconds = _ROUND_S if name in ("orbit", "spiral") else 4 if "degrees" in found.options else 2
        text = f"{name} seconds={seconds} {_PRESET_OPTIONS.get(name, '')}".rstrip()
        titled[f"preset-{name}"] = f"preset {text}", preset_from_text(text)
    return titled


def draw(title: str, moves: list[Move], path: Path) -> None:
    """Write one picture, atomically."""
    seconds = max(move.end for move in moves)
    track = compile_moves(moves, round(seconds * _FPS) + 1, _FPS, default_intrinsics(_ASPECT))
    figure = Figure(figsize=(9.0, 2.05), dpi=72, layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=(1.0, 1.25, 1.25, 1.25))
    _draw_path(axes[0], track)
    last = len(track) - 1
    if moves[0].ease != "linear" or title.startswith("ease"):
        _draw_progress(axes[1], track)
        frames = {2: ("middle", last // 2), 3: ("last frame", last)}
    else:
        frames = {1: ("first frame", 0), 2: ("middle", last // 2), 3: ("last frame", last)}
    for place, (name, frame) in frames.items():
        _draw_view(axes[place], track, frame, name)
    figure.suptitle(title, fontsize=11)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    with atomic_path(path) as temporary, Image.open(drawn) as picture:
        # a few lines in a few colours: a third of the size
        picture.convert("RGB").quantize(_COLOURS).save(temporary, optimize=True)


def _draw_path(axes: Axes, track: CameraTrack) -> None:
    """Centres and frusta in the plane in which the camera moves most, and the subject."""
    c2w, lens = track.c2w.numpy(), track.intrinsics.numpy()
    tips = c2w[:, :3, 3] + 0.3 * c2w[:, :3, 2]
    side = np.ptp(tips[:, 1]) > np.ptp(tips[:, 0]) + 1e-9
    across, along = (2, 1) if side else (0, 2)
    signs = np.array([1.0, -1.0]) if side else np.array([1.0, 1.0])
    centres = c2w[:, (across, along), 3] * signs
    axes.plot(*centres.T, color=_PATH, linewidth=1.5)
    shown = np.unique(np.linspace(0, len(track) - 1, _SHOWN).round().astype(int))
    for frame in shown:
        half = 0.5 / lens[frame, 1 if side else 0]
        corners = np.array(
            [[0, 0, 0], [0, -half, 1], [0, half, 1]] if side else [[0, 0, 0], [-half, 0, 1], [half, 0, 1]]
        )
        world = (corners * _FRUSTUM) @ c2w[frame, :3, :3].T + c2w[frame, :3, 3]
        flat = world[(0, 1, 2, 0), :][:, (across, along)] * signs
        colour = _START if frame == 0 else _PATH
        axes.plot(*flat.T, color=colour, linewidth=1.6 if frame in {0, len(track) - 1} else 0.7)
    subject = np.array([0.0, 0.0, START_DISTANCE])[[across, along]] * signs
    axes.plot(*subject, "s", color=_BOX, markersize=8)
    axes.set_title("from the right" if side else "from above", fontsize=9)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.12)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(alpha=0.25)


def _draw_progress(axes: Axes, track: CameraTrack) -> None:
    """Share of the whole way made until each frame."""
    steps = torch.linalg.vector_norm(track.c2w[:, :3, 3].diff(dim=0), dim=1)
    way = torch.cat((steps.new_zeros(1), steps.cumsum(dim=0)))
    axes.plot(track.times.numpy(), (way / way[-1].clamp(min=1e-9)).numpy(), color=_FRONT, linewidth=2)
    axes.set_title("way made, over seconds", fontsize=9)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)


def _draw_view(axes: Axes, track: CameraTrack, frame: int, title: str) -> None:
    """The scene in one frame."""
    w2c = invert(track.c2w[frame]).numpy()
    fx, fy, cx, cy = track.intrinsics[frame].tolist()
    for segments, colour, width in _scene():
        local = _in_front(segments @ w2c[:3, :3].T + w2c[:3, 3])
        image = local[..., :2] / local[..., 2:] * (fx, fy) + (cx, cy)
        axes.add_collection(LineCollection(list(image), colors=colour, linewidths=width))
    axes.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[], aspect=1 / _ASPECT)
    axes.set_title(title, fontsize=9)


def _in_front(segments: Segments) -> Segments:
    """What of the segments (camera axes) lies before the near plane."""
    depth = segments[..., 2]
    kept = segments[(depth > _NEAR).any(axis=1)]
    behind, front = kept[:, 0].copy(), kept[:, 1].copy()
    for one, other in ((behind, front), (front, behind)):
        cut = one[:, 2] < _NEAR
        share = (_NEAR - one[cut, 2:]) / (other[cut, 2:] - one[cut, 2:])
        one[cut] += share * (other[cut] - one[cut])
    return np.stack((behind, front), axis=1)


def _scene() -> list[tuple[Segments, str, float]]:
    """The floor, the wall behind the subject, the subject's box, and its front with a mark on its upper edge."""
    ticks = np.linspace(-3, 3, 13)
    floor = [((x, 0.25, START_DISTANCE - 3), (x, 0.25, START_DISTANCE + 3)) for x in ticks]
    floor += [((-3, 0.25, START_DISTANCE + z), (3, 0.25, START_DISTANCE + z)) for z in ticks]
    back = START_DISTANCE + 1.5
    wall = [((x, -0.75, back), (x, 0.25, back)) for x in np.linspace(-1.5, 1.5, 7)]
    wall += [((-1.5, y, back), (1.5, y, back)) for y in (-0.75, -0.25, 0.25)]
    corners = [(x, y) for x in (-_HALF_WIDTH, _HALF_WIDTH) for y in (-_HALF_HEIGHT, _HALF_HEIGHT)]
    near, far = START_DISTANCE - _HALF_DEPTH, START_DISTANCE + _HALF_DEPTH
    box = [((x, y, near), (x, y, far)) for x, y in corners]
    faces = [_outline(depth) for depth in (near, far)]
    mark = [((0.0, -_HALF_HEIGHT, near), (0.0, -_HALF_HEIGHT / 2, near))]
    return [
        (np.array(floor, dtype=np.float64), _FLOOR, 0.6),
        (np.array(wall, dtype=np.float64), _WALL, 0.9),
        (np.array(box + faces[1], dtype=np.float64), _BOX, 1.4),
        (np.array(faces[0] + mark, dtype=np.float64), _FRONT, 1.8),
    ]


def _outline(depth: float) -> list[tuple[tuple[float, float, float], tuple[float, float, float]]]:
    wide, high = _HALF_WIDTH, _HALF_HEIGHT
    around = [(-wide, -high, depth), (wide, -high, depth), (wide, high, depth), (-wide, high, depth)]
    return list(zip(around, around[1:] + around[:1], strict=True))


def main(argv: list[str] | None = None) -> int:
    """Draw all pictures."""
    setup_logging()
    parser = make_parser("Draw the pictures of docs/trajectory-language.md.")
    parser.add_argument("--output", type=Path, default=PICTURES, help="folder of the pictures")
    args = parser.parse_args(argv)
    wanted = pictures()
    for name, (title, moves) in wanted.items():
        draw(title, moves, args.output / f"{name}.png")
    size = math.ceil(sum(file.stat().st_size for file in args.output.glob("*.png")) / 1024)
    logger.info("%d pictures, %d KiB, in %s", len(wanted), size, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
