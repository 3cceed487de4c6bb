"""The course of a run for people: tables of every step and every validation, and their picture at the end."""

import csv
from collections.abc import Sequence
from pathlib import Path

from common.files import atomic_path
from training.validation import ValidationResult

COLUMNS = ("step", "epoch", "loss", "learning_rate", "gradient_norm", "seconds")
_LEADING = ("step", "epoch", "loss")


class StepTable:
    """A csv file with a row per event of a run, on disk as soon as it happens; `step` is its first column.

    Args:
        path: the file.
        columns: names, `step` first.
        step: steps done already; rows of later steps, which a resumed run takes again, are dropped, and at 0 the
            table begins anew.
    """

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        self.path, self.columns = path, tuple(columns)
        kept = [row for row in self.rows() if int(row["step"]) <= step] if step > 0 else []
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(self.columns)
            table.writerows([row[column] for column in self.columns] for row in kept)

    def append(self, values: Sequence[object]) -> None:
        """Append one row."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(values)

    def rows(self) -> list[dict[str, str]]:
        """The rows that are on disk; of a table with other columns none."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        # a run that was killed may have left half a last line
        return [row for row in rows if None not in row and all(row.get(column) for column in self.columns)]


class LossTable(StepTable):
    """NAME_loss.csv: one row per optimizer step."""

    def __init__(self, path: Path, step: int) -> None:
        super().__init__(path, COLUMNS, step)

    def add(
        self, step: int, epoch: int, loss: float, learning_rate: float, gradient_norm: float, seconds: float
    ) -> None:
        """Append one row; the loss keeps its full precision, so that runs can be compared exactly."""
        numbers = (repr(loss), f"{learning_rate:.6g}", f"{gradient_norm:.6g}", f"{seconds:.3f}")
        self.append((step, epoch, *numbers))

    def draw(self, path: Path, validation: "ValidationTable | None" = None) -> None:
        """Write a PNG of the loss over the steps, its running mean, and what validation found."""
        from matplotlib.figure import Figure

        rows = self.rows()
        steps, losses = [int(row["step"]) for row in rows], [float(row["loss"]) for row in rows]
        found = [] if validation is None else validation.rows()
        figure = Figure(figsize=(8, 8 if found else 4.5), layout="constrained")
        axes, *below = figure.subplots(2 if found else 1, 1, sharex=True, squeeze=False)[:, 0]
        axes.plot(steps, losses, color="tab:blue", alpha=0.3, linewidth=0.8, label="each step")
        axes.plot(steps, _running_mean(losses, max(1, len(losses) // 20)), color="tab:blue", label="running mean")
        axes.set(xlabel="optimizer step", ylabel="loss (mean squared error of the velocity)", title=self.path.stem)
        if validation is not None and found:
            tried = [int(row["step"]) for row in found]
            axes.plot(tried, [float(row["loss"]) for row in found], "o-", color="tab:red", label="validation")
            for column in validation.columns[len(_LEADING) :]:
                below[0].plot(tried, [float(row[column]) for row in found], ".-", label=column.replace("_", " "))
            below[0].set(xlabel="optimizer step", ylabel="validation loss at each noise level")
        for drawn in (axes, *below):
            drawn.legend()
            drawn.grid(alpha=0.3)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=120)


class ValidationTable(StepTable):
    """NAME_validation.csv: one row per validation, with the loss at each noise level."""

    def __init__(self, path: Path, sigmas: Sequence[float], step: int) -> None:
        super().__init__(path, (*_LEADING, *(f"sigma_{sigma:g}" for sigma in sigmas)), step)

    def add(self, step: int, epoch: int, result: ValidationResult) -> None:
        """Append one row, in full precision."""
        self.append((step, epoch, repr(result.loss), *(repr(loss) for _, loss in result.by_sigma)))


def _running_mean(values: list[float], window: int) -> list[float]:
    """Mean over the last `window` values, over fewer at the start."""
    means, total = [], 0.0
    for i, value in enumerate(values):
        total += value - (values[i - window] if i >= window else 0.0)
        means.append(total / min(i + 1, window))
    return means
