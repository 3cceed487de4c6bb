"""What a training of the tiny model leaves behind: weights with their story, loss curves, pictures."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor

from common.files import atomic_path
from wan.pixels import to_frames

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LOSS_EVERY = 20
"""Steps whose mean is one line of a loss file."""
STRIP_FRAMES = 6


def to_video(frames: Tensor) -> Tensor:
    """[B, F, H, W, 3] uint8 -> [B, 3, F, H, W] in [-1, 1]."""
    return frames.movedim(-1, 1).float() / 127.5 - 1


def half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same in bfloat16, as the weights are shipped."""
    return {key: tensor.detach().bfloat16() for key, tensor in tensors.items()}


def strip(video: Tensor) -> np.ndarray:
    """[3, F, H, W] in [-1, 1] to one row of frames, uint8 RGB."""
    picked = torch.linspace(0, video.shape[1] - 1, STRIP_FRAMES).round().long()
    return np.concatenate(list(to_frames(video[:, picked.to(video.device)].float())), axis=1)


def write_losses(path: Path, losses: Sequence[float], first_step: int = 0) -> None:
    """A table of mean losses and, beside it, the curve as a picture (.png).

    Args:
        path: of the table (.csv); lines of earlier runs up to `first_step` are kept.
        losses: of every step of this run.
        first_step: steps of the runs before.
    """
    kept = [line for line in _lines(path) if int(line.split(",")[0]) <= first_step]
    blocks = [losses[start : start + LOSS_EVERY] for start in range(0, len(losses), LOSS_EVERY)]
    steps = (first_step + LOSS_EVERY * number for number in range(1, len(blocks) + 1))
    lines = kept + [f"{step},{sum(block) / len(block):.5f}" for step, block in zip(steps, blocks, strict=True)]
    with atomic_path(path) as temporary:
        temporary.write_text("step,loss\n" + "\n".join(lines) + "\n", encoding="utf-8")
    _plot(path.with_suffix(".png"), np.array([[float(part) for part in line.split(",")] for line in lines]))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []


def _plot(path: Path, points: np.ndarray) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.5), constrained_layout=True)
    axes.plot(points[:, 0], points[:, 1], color="#bbbbbb", linewidth=0.8)
    width = max(1, len(points) // 60)
    smooth = np.convolve(points[:, 1], np.ones(width) / width, mode="valid")
    axes.plot(points[width - 1 :, 0], smooth, color="#1f4e9c", linewidth=1.5)
    low, high = np.quantile(points[len(points) // 50 :, 1], (0.0, 0.98))
    axes.set(xlabel="step", ylabel="loss", ylim=(0.95 * low, 1.05 * high + 1e-9))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)
