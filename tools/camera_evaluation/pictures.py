"""Pictures of the evaluation: strips of frames side by side, bars per class of motion, commanded and measured paths."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from camera.plot import plot_trajectory
from camera.track import CameraTrack
from common.files import atomic_path
from tools.camera_evaluation.held_out import HeldOutClip
from tools.camera_evaluation.measuring import MeasuredRow
from tools.camera_evaluation.summary import Summary

STRIP_ROWS = ("truth", "adapter", "scale0")
"""Rows of a strip, from above; the judged row takes the place of `adapter`."""
_BAR_ROWS = ("vae", "scale0")
_GAP = 4
_WIDTH = 0.25


def choose_examples(clips: Sequence[HeldOutClip], count: int) -> list[int]:
    """Numbers of clips to show: of every class in turn one at high speed, programs too; holds never."""
    fast = [clip for clip in clips if clip.speed == "high" or clip.kind == "program"]
    turns: dict[str, int] = {}
    ranked = []
    for clip in fast:
        turns[clip.kind] = turns.get(clip.kind, 0) + 1
        ranked.append((turns[clip.kind], clip.number))
    return sorted(number for _, number in sorted(ranked)[:count])


def write_png(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write RGB as a PNG; whole or not there."""
    written, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert written
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def strip(rows: Sequence[UInt8[np.ndarray, "S H W 3"]]) -> UInt8[np.ndarray, "height width 3"]:
    """One line of frames for each row, with thin white gaps."""
    lines = []
    for frames in rows:
        across = [piece for frame in frames for piece in (frame, np.full((frame.shape[0], _GAP, 3), 255, np.uint8))]
        line = np.concatenate(across[:-1], axis=1)
        lines += [line, np.full((_GAP, line.shape[1], 3), 255, np.uint8)]
    return np.concatenate(lines[:-1])


def write_strips(
    folder: Path,
    clips: Sequence[HeldOutClip],
    examples: Sequence[int],
    measured: Mapping[str, MeasuredRow],
    judged: str,
) -> list[Path]:
    """A PNG for each example, with the lines of STRIP_ROWS that were measured."""
    names = [name for name in (STRIP_ROWS[0], judged, STRIP_ROWS[2]) if name in measured]
    paths = []
    for place, number in enumerate(examples):
        path = folder / f"{number:04d}_{_file_name(clips[number])}.png"
        write_png(path, strip([measured[name].strips[place].numpy() for name in names]))
        paths.append(path)
    return paths


def write_paths(
    folder: Path, clips: Sequence[HeldOutClip], examples: Sequence[int], row: MeasuredRow, name: str
) -> list[Path]:
    """A PNG for each example: the commanded path, and in red the measured one of a row."""
    paths = []
    for number in examples:
        clip, path = clips[number], folder / f"{number:04d}_{_file_name(clips[number])}_{name}.png"
        measured: CameraTrack = replace(clip.track, c2w=row.c2w[number])
        plot_trajectory(
            clip.track, path, f"{clip.motion} {clip.speed}: commanded (first) and {name} (second)", measured
        )
        paths.append(path)
    return paths


def _file_name(clip: HeldOutClip) -> str:
    return "_".join(f"{clip.motion} {clip.speed}".replace(",", "").split())


def write_bars(path: Path, summaries: Mapping[str, Summary], judged: str) -> None:
    """A PNG with gain and rotation error for each class of motion, with their 95 % intervals.

    Args:
        path: of the picture.
        summaries: by row.
        judged: the row in the middle.
    """
    names = [name for name in (_BAR_ROWS[0], judged, _BAR_ROWS[1]) if name in summaries]
    figure = Figure(figsize=(12, 6.4), dpi=100, layout="constrained")
    gain, rotation = figure.subplots(2, 1, sharex=True)
    _draw_bars(gain, summaries, names, "gain")
    gain.axhspan(0.85, 1.15, color="green", alpha=0.12, zorder=0)
    gain.set_ylabel("gain (1: as told)")
    _draw_bars(rotation, summaries, names, "rotation_last_deg")
    rotation.set_ylabel("rotation error,\nlast frame (deg)")
    gain.legend(loc="upper right", ncols=len(names), fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_bars(axes: Axes, summaries: Mapping[str, Summary], names: Sequence[str], metric: str) -> None:
    kinds = list(summaries[names[0]].by_kind) if names else []
    for place, name in enumerate(names):
        means = [summaries[name].by_kind[kind][metric].mean for kind in kinds]
        heights = [0.0 if math.isnan(mean.value) else mean.value for mean in means]
        errors = [
            [
                0.0 if math.isnan(mean.value) else max(0.0, abs(mean.value - end))
                for mean, end in zip(means, ends, strict=True)
            ]
            for ends in ([mean.low for mean in means], [mean.high for mean in means])
        ]
        across = np.arange(len(kinds)) + (place - (len(names) - 1) / 2) * _WIDTH
        axes.bar(across, heights, _WIDTH, yerr=errors, label=name, capsize=2)
    axes.set_xticks(np.arange(len(kinds)), kinds)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.grid(axis="y", alpha=0.25)
