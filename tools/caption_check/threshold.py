"""The score below which a phrase is taken for wrong, chosen on a labelled sample.

What is looked for, the positives, are phrases whose thing is absent; a phrase is called absent when its score is below
the threshold. The best threshold has the highest F1, 2·P·R / (P + R) with precision P and recall R, or the highest
Youden's J, recall + specificity - 1 (Youden 1950, "Index for rating diagnostic tests").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from common.files import atomic_path

Criterion = Literal["f1", "youden"]
COLUMNS = (
    *("threshold", "true_positives", "false_positives", "false_negatives", "true_negatives"),
    *("precision", "recall", "false_positive_rate", "f1", "youden"),
)
"""Of the table of operating points."""


@dataclass(frozen=True)
class Point:
    """What a threshold does to the labelled phrases."""

    threshold: float
    found: int
    """Absent and called absent (true positives)."""
    wronged: int
    """Present and called absent (false positives)."""
    missed: int
    """Absent and called present (false negatives)."""
    spared: int
    """Present and called present (true negatives)."""

    @property
    def precision(self) -> float:
        """Share of absent ones among those called absent; 1 where none is."""
        called = self.found + self.wronged
        return self.found / called if called else 1.0

    @property
    def recall(self) -> float:
        """Share of the absent ones that are found."""
        return self.found / (self.found + self.missed)

    @property
    def false_positive_rate(self) -> float:
        """Share of the present ones that are called absent."""
        return self.wronged / (self.wronged + self.spared)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.found / (2 * self.found + self.wronged + self.missed)

    @property
    def youden(self) -> float:
        """Recall minus false positive rate."""
        return self.recall - self.false_positive_rate


def operating_points(scores: Sequence[float], present: Sequence[bool]) -> list[Point]:
    """Every way in which a threshold can part the sample, from calling none absent to calling all absent.

    Args:
        scores: of the labelled phrases.
        present: whether each one's thing is there.

    Returns:
        points of rising threshold; between two scores it is their mean, beyond all of them 0.1 away.

    Raises:
        ValueError: all of the things are present, or all are absent.
    """
    values, is_there = np.asarray(scores, float), np.asarray(present, bool)
    if is_there.all() or not is_there.any():
        which = "present" if is_there.all() else "absent"
        raise ValueError(
            f"--labels: all {len(values)} labelled phrases are {which}; a threshold needs examples of both"
        )
    distinct = np.unique(values)
    thresholds = [distinct[0] - 0.1, *((distinct[1:] + distinct[:-1]) / 2), distinct[-1] + 0.1]
    points = []
    for threshold in thresholds:
        called = values < threshold
        found, wronged = int((called & ~is_there).sum()), int((called & is_there).sum())
        points.append(
            Point(float(threshold), found, wronged, int((~is_there).sum()) - found, int(is_there.sum()) - wronged)
        )
    return points


def best_point(points: Sequence[Point], criterion: Criterion) -> Point:
    """The point with the highest F1 or J; of equals the lowest threshold, which takes the fewest phrases away."""
    return max(points, key=lambda point: (getattr(point, criterion), -point.threshold))


def area_under_roc(points: Sequence[Point]) -> float:
    """Chance that a present thing scores higher than an absent one, ties counted half: 0.5 is guessing, 1 perfect."""
    x = np.array([point.false_positive_rate for point in points])
    y = np.array([point.recall for point in points])
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())


def table_rows(points: Sequence[Point]) -> list[list[str]]:
    """The points as text, in the order of `COLUMNS`."""
    rows = []
    for point in points:
        counts = (point.found, point.wronged, point.missed, point.spared)
        shares = (point.precision, point.recall, point.false_positive_rate, point.f1, point.youden)
        rows.append([f"{point.threshold:.4f}", *map(str, counts), *(f"{share:.4f}" for share in shares)])
    return rows


def write_table(path: Path, points: Sequence[Point]) -> None:
    """All points as a CSV file with the `COLUMNS`."""
    lines = [",".join(row) + "\n" for row in (COLUMNS, *table_rows(points))]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def roc_picture(points: Sequence[Point], best: Point) -> str:
    """The ROC curve as an SVG element: recall over false positive rate, the chosen point marked."""
    side, margin = 260, 40

    def place(point: Point) -> str:
        return f"{margin + side * point.false_positive_rate:.1f},{10 + side * (1 - point.recall):.1f}"

    x, y = place(best).split(",")
    right, bottom = margin + side, 10 + side
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 20} {bottom + 40}" width="{right + 20}" '
        f'height="{bottom + 40}" font-family="sans-serif" font-size="12">'
        f'<rect x="{margin}" y="10" width="{side}" height="{side}" fill="#fff" stroke="#888"/>'
        f'<path d="M{margin},{bottom} L{right},10" stroke="#bbb" stroke-dasharray="4"/>'
        f'<polyline points="{" ".join(map(place, points))}" fill="none" stroke="#06c" stroke-width="2"/>'
        f'<circle cx="{x}" cy="{y}" r="5" fill="#c30"/>'
        f'<text x="{margin + side / 2}" y="{bottom + 32}" text-anchor="middle">false positive rate</text>'
        f'<text x="14" y="{10 + side / 2}" text-anchor="middle" transform="rotate(-90 14 {10 + side / 2})">recall'
        f'</text><text x="{margin}" y="{bottom + 16}" text-anchor="middle">0</text>'
        f'<text x="{right}" y="{bottom + 16}" text-anchor="middle">1</text>'
        f'<text x="{margin - 10}" y="16" text-anchor="middle">1</text>'
        f'<text x="{right - 8}" y="{bottom - 10}" text-anchor="end">area {area_under_roc(points):.3f}, threshold '
        f"{best.threshold:.2f}</text></svg>"
    )
