"""`--show_timesteps`: the noise levels that a run would train on, as a picture or in the console."""

from pathlib import Path

import torch
from torch import Tensor

from common.files import atomic_path
from sampling.solvers import TRAIN_TIMESTEPS
from training.config import TrainingConfig
from training.noise_levels import loss_weights, sample_sigmas
from training.objective import noise_law

_DRAWS = 100_000
_BAR = 60
_ROWS = 20


def draw_levels(config: TrainingConfig, latent_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Many noise levels of the run, and the weight of each in the loss, both float32 [100000]."""
    sigmas = sample_sigmas(noise_law(config), _DRAWS, torch.Generator().manual_seed(config.seed or 0), latent_size)
    weights = loss_weights(config.weighting_scheme, sigmas)
    return sigmas, torch.ones_like(sigmas) if weights is None else weights


def console_lines(sigmas: Tensor, weights: Tensor) -> list[str]:
    """A line for each twentieth of the timesteps: share of the draws as a number and a bar, mean weight."""
    part = (sigmas * _ROWS).long().clamp(0, _ROWS - 1)
    counts = torch.bincount(part, minlength=_ROWS)
    totals = torch.bincount(part, weights=weights.double(), minlength=_ROWS)
    width = TRAIN_TIMESTEPS // _ROWS
    lines = ["timesteps    share   weight"]
    for row in range(_ROWS):
        count, share = int(counts[row]), int(counts[row]) / len(sigmas)
        weight = f"{float(totals[row]) / count:8.3g}" if count else "       -"
        bar = "#" * round(_BAR * count / int(counts.max()))
        lines.append(f"{row * width:4d} - {(row + 1) * width:4d} {100 * share:6.2f} % {weight}  {bar}".rstrip())
    return lines


def draw_picture(path: Path, sigmas: Tensor, weights: Tensor, title: str) -> None:
    """Write a PNG with the density of the timesteps, and that of their weight in the loss."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    density, weighed = figure.subplots(2, 1, sharex=True)
    timesteps = (TRAIN_TIMESTEPS * sigmas).numpy()
    bounds = (0, TRAIN_TIMESTEPS)
    density.hist(timesteps, bins=100, range=bounds, density=True, color="tab:blue")
    density.set(ylabel="density", title=title)
    weighed.hist(timesteps, bins=100, range=bounds, density=True, weights=weights.numpy(), color="tab:orange")
    weighed.set(xlabel="timestep (1000: pure noise)", ylabel="share of the loss's weight")
    for axes in (density, weighed):
        axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
