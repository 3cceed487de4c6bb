"""The course of a run for people: a table of every step, and its picture at the end."""

import csv
from pathlib import Path

from common.files import atomic_path

COLUMNS = ("step", "epoch", "loss", "learning_rate", "gradient_norm", "seconds")


class LossTable:
    """NAME_loss.csv: one row per optimizer step, on disk as soon as the step is done.

    Args:
        path: the file.
        step: steps done already; rows of later steps, which a resumed run takes again, are dropped, and at 0 the
            table begins anew.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [row for row in _read(path) if int(row["step"]) <= step] if step > 0 else []
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            table.writerows([row[column] for column in COLUMNS] for row in kept)

    def add(
        self, step: int, epoch: int, loss: float, learning_rate: float, gradient_norm: float, seconds: float
    ) -> None:
        """Append one row; the loss keeps its full precision, so that runs can be compared exactly."""
        numbers = (repr(loss), f"{learning_rate:.6g}", f"{gradient_norm:.6g}", f"{seconds:.3f}")
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow((step, epoch, *numbers))

    def draw(self, path: Path) -> None:
        """Write a PNG of the loss over the steps, and of its running mean."""
        from matplotlib.figure import Figure

        rows = _read(self.path)
        steps, losses = [int(row["step"]) for row in rows], [float(row["loss"]) for row in rows]
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(steps, losses, color="tab:blue", alpha=0.3, linewidth=0.8, label="each step")
        axes.plot(steps, _running_mean(losses, max(1, len(losses) // 20)), color="tab:blue", label="running mean")
        axes.set(xlabel="optimizer step", ylabel="loss (mean squared error of the velocity)", title=self.path.stem)
        axes.legend()
        axes.grid(alpha=0.3)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=120)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # a run that was killed may have left half a last line
    return [row for row in rows if None not in row and all(row.get(column) for column in COLUMNS)]


def _running_mean(values: list[float], window: int) -> list[float]:
    """Mean over the last `window` values, over fewer at the start."""
    means, total = [], 0.0
    for i, value in enumerate(values):
        total += value - (values[i - window] if i >= window else 0.0)
        means.append(total / min(i + 1, window))
    return means
