"""What an evaluation leaves behind: evaluation.json, index.html, pictures, and a summary on the console."""

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from common.files import atomic_path
from tools.camera_commands.output import say, table
from tools.camera_evaluation.held_out import HeldOutClip
from tools.camera_evaluation.measuring import MeasuredRow
from tools.camera_evaluation.page import COLUMNS, MEDIANS, number, write_evaluation_page
from tools.camera_evaluation.pictures import write_bars, write_paths, write_strips
from tools.camera_evaluation.scores import ClipScore
from tools.camera_evaluation.summary import Summary
from tools.camera_evaluation.targets import Target


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found."""

    settings: dict[str, Any]
    clips: Sequence[HeldOutClip]
    examples: Sequence[int]
    """Numbers of the clips whose pictures are shown."""
    measured: Mapping[str, MeasuredRow]
    """By row."""
    scores: Mapping[str, Sequence[ClipScore]]
    """By judgement; a row may be judged twice."""
    summaries: Mapping[str, Summary]
    targets: Sequence[Target]
    judged: str
    """The row that is held to the targets."""


def versions(device: torch.device) -> dict[str, str]:
    """Of the machine and the libraries that decide the numbers."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
    }


def write_report(folder: Path, found: Evaluation) -> None:
    """Write all files of an evaluation into a folder."""
    content = {
        "settings": found.settings,
        "targets": [{**asdict(target), "met": target.met, "miss": target.miss} for target in found.targets],
        "rows": {name: asdict(summary) for name, summary in found.summaries.items()},
        "clips": [_clip(clip) for clip in found.clips],
        "scores": {
            name: [{**score.values, "moves": [asdict(check) for check in score.checks]} for score in scores]
            for name, scores in found.scores.items()
        },
    }
    with atomic_path(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(_known(content), indent=1, allow_nan=False), encoding="utf-8")
    judged = found.judged if found.judged in found.measured else next(iter(found.measured))
    bars = folder / "classes.png"
    write_bars(bars, found.summaries, judged)
    lines = ", ".join(name for name in ("truth", judged, "scale0") if name in found.measured)
    pictures = {
        "Classes of motion": [bars],
        f"Strips, from above: {lines}": write_strips(
            folder / "strips", found.clips, found.examples, found.measured, judged
        ),
        "Commanded and measured paths": write_paths(
            folder / "paths", found.clips, found.examples, found.measured[judged], judged
        ),
    }
    write_evaluation_page(folder / "index.html", found.settings, found.summaries, found.targets, found.judged, pictures)


def say_summary(found: Evaluation) -> None:
    """The rows and the targets as tables on standard output."""
    rows = [["row", *(name for name, *_ in COLUMNS), "speed ratio"]]
    for name, summary in found.summaries.items():
        cells = []
        for _, metric, factor, digits in COLUMNS:
            stats = summary.overall[metric]
            median = f" / {number(factor * stats.median.value, digits)}" if metric in MEDIANS else ""
            cells.append(number(factor * stats.mean.value, digits) + median)
        rows.append([name, *cells, number(summary.speed_ratio.value)])
    say(table(rows))
    say("(two numbers: mean / median)\n")
    wanted = [["target", "wanted", "found", "95 %", ""]]
    for target in found.targets:
        interval = f"[{number(target.found.low, 3)}, {number(target.found.high, 3)}]"
        verdict = "met" if target.met else f"missed by {number(target.miss, 3)}"
        wanted.append([target.name, target.wanted, number(target.found.value, 3), interval, verdict])
    say(table(wanted))


def _clip(clip: HeldOutClip) -> dict[str, Any]:
    named = {name: getattr(clip, name) for name in ("number", "scene", "kind", "motion", "speed", "text")}
    return {**named, "camera": clip.camera_text}


def _known(value: Any) -> Any:
    """The same for JSON, which has no NaN and no infinity: null stands for them."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
