"""The rows of the evaluation: how each makes its videos, and against which command they are judged."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.segments import COMPONENTS, motion_steps
from camera.track import CameraTrack
from tools.camera_evaluation.held_out import HeldOutClip

Command = Literal["own", "shuffled", "mirrored"]
SHIPPED_ROWS = ("truth", "vae", "adapter", "scale0", "text", "shuffled", "mirrored")
"""The rows that need no option."""
AGAINST_OWN = "mirrored_vs_own"
"""The videos of `mirrored`, judged against the command before mirroring."""
DROPPED = "scale0"

_SHUFFLES = 400


@dataclass(frozen=True)
class Row:
    """How one row's videos come about."""

    name: str
    source: Literal["truth", "vae", "model"] = "model"
    """Rendered, rendered and passed through the VAE, or generated."""
    dit: Path | None = None
    adapter: Path | None = None
    """None: the DiT alone, and no camera is given."""
    command: Command = "own"
    """The trajectory that the model is given."""
    camera_scale: float = 1.0
    guidance: float = 1.0
    """Of the camera: 1 for none; above, away from the same model without a camera."""
    tags_in_text: bool = False
    """Whether the text ends in the camera tags."""

    @property
    def judgements(self) -> dict[str, Command]:
        """Names under which its videos are judged, and the command of each."""
        if self.command == "mirrored":
            return {self.name: "mirrored", AGAINST_OWN: "own"}
        return {self.name: "own"}


def rows_of(folder: Path, guidance: Sequence[float], extra: Sequence[str]) -> list[Row]:
    """All rows of a run.

    Args:
        folder: holds dit.safetensors and camera_adapter.safetensors.
        guidance: the first is that of the rows with a camera; each further one makes an adapter row of its own.
        extra: "NAME=DIT,ADAPTER", each a row of other weights and, as NAME_scale0, of these without their camera.

    Raises:
        ValueError: an extra row is not of that form, or a name is taken.
    """
    dit, adapter = folder / "dit.safetensors", folder / "camera_adapter.safetensors"
    own = Row("adapter", dit=dit, adapter=adapter, guidance=guidance[0])
    rows = [
        Row("truth", "truth"),
        Row("vae", "vae"),
        own,
        replace(own, name=DROPPED, camera_scale=0.0, guidance=1.0),
        Row("text", dit=dit, tags_in_text=True),
        replace(own, name="shuffled", command="shuffled"),
        replace(own, name="mirrored", command="mirrored"),
    ]
    rows += [replace(own, name=f"guidance{scale:g}", guidance=scale) for scale in guidance[1:]]
    for text in extra:
        name, dit, adapter = _parse_extra(text)
        row = Row(name, dit=dit, adapter=adapter, guidance=guidance[0])
        rows += [row, replace(row, name=f"{name}_{DROPPED}", camera_scale=0.0, guidance=1.0)]
    names = [row.name for row in rows]
    if twice := {name for name in names if names.count(name) > 1 or name == AGAINST_OWN}:
        raise ValueError(f"--row or --guidance: the name {sorted(twice)[0]} is taken; give every row a name of its own")
    return rows


def _parse_extra(text: str) -> tuple[str, Path, Path]:
    name, _, files = text.partition("=")
    dit, _, adapter = files.partition(",")
    if not (name.replace("_", "").isalnum() and dit and adapter):
        raise ValueError(f"--row {text}: expected NAME=DIT,ADAPTER with a name of letters, digits and _")
    return name, Path(dit), Path(adapter)


def commands_of(clips: Sequence[HeldOutClip], seed: int) -> dict[Command, list[CameraTrack]]:
    """For every kind of command the track of each clip, in the clip's own lens."""
    order = balanced_shuffle(clips, seed)
    return {
        "own": [clip.track for clip in clips],
        "shuffled": [
            replace(clips[other].track, intrinsics=clip.track.intrinsics)
            for clip, other in zip(clips, order, strict=True)
        ],
        "mirrored": [clip.track.mirrored() for clip in clips],
    }


def likeness(clips: Sequence[HeldOutClip]) -> Float64[Tensor, "N N"]:
    """Gain that the whole motion of clip j would have if it were judged against clip i's; NaN where i stands."""
    # degrees to radians; translations are in subject distances already
    unit = torch.tensor([torch.pi / 180] * 3 + [1.0] * (len(COMPONENTS) - 3), dtype=torch.float64)
    motion = torch.stack([motion_steps(clip.track).sum(dim=0) * unit for clip in clips])
    strength = motion.square().sum(dim=1, keepdim=True)
    return torch.where(strength > 1e-9, motion @ motion.mT / strength, torch.nan)


def balanced_shuffle(clips: Sequence[HeldOutClip], seed: int) -> list[int]:
    """Another clip for each clip; of many random orders the one whose commands are least alike on average.

    Chance alone would leave a gain that an obedient model then shows, whatever the video's own command was.
    """
    count, alike = len(clips), likeness(clips)
    rng = random.Random(f"shuffle/{seed}")
    best, least = [(index + 1) % count for index in range(count)], float("inf")
    for _ in range(_SHUFFLES):
        order = rng.sample(range(count), count)
        order = [(other + 1) % count if other == index else other for index, other in enumerate(order)]
        found = abs(_mean_likeness(alike, order))
        if found < least:
            best, least = order, found
    return best


def shuffled_gain(clips: Sequence[HeldOutClip], seed: int) -> float:
    """Mean gain of the shuffled commands themselves, which a model that obeys them shows."""
    return _mean_likeness(likeness(clips), balanced_shuffle(clips, seed))


def _mean_likeness(alike: Float64[Tensor, "N N"], order: Sequence[int]) -> float:
    return float(alike[torch.arange(len(order)), torch.tensor(order)].nanmean())
