"""What a data set lacks before it can be trained on, told once, with the commands that make it."""

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dataset.sources import shorten

Kind = Literal["latent", "text", "camera"]
Reason = Literal["missing", "stale", "poor", "foreign", "damaged", "alien", "unsound", "uncontrolled", "parted"]

_SCRIPTS: dict[Kind, str] = {
    "latent": "wan_cache_latents.py",
    "text": "wan_cache_text_encoder_outputs.py",
    "camera": "wan_cache_camera_encoder_outputs.py",
}
_REASONS: dict[Reason, str] = {
    "missing": "are missing",
    "stale": "are out of date (made for other frames, another size, rate, camera or caption, or of another medium)",
    "poor": "do not hold all of {tensors}",
    "foreign": "are of another program or version of the format",
    "damaged": "cannot be read",
    "alien": "are of another encoder: their features have another width than the task reads",
    "unsound": "hold shapes or metadata that such a cache cannot have",
    "uncontrolled": "hold no control, and the items name none (control_path in the jsonl, or control_directory)",
    "parted": "are of another version of the medium than other caches of the item (it or its rate changed in between)",
}


@dataclass(frozen=True)
class Shortfall:
    """One kind of cache that one item lacks."""

    kind: Kind
    reason: Reason
    name: str
    """Of the item."""


@dataclass(frozen=True)
class Demand:
    """What training wants of the caches."""

    tensors: tuple[str, ...]
    """That a latent cache must hold."""
    camera: bool
    """Whether every item must have a camera."""
    task: str | None = None
    """`--task`, for the commands."""
    widths: Mapping[str, int] = field(default_factory=dict)
    """Of the features that the network reads, by name: t5, clip; those not named may have any."""


def refuse_shortfalls(shortfalls: Sequence[Shortfall], items: int, config: Path, demand: Demand) -> None:
    """Raise ValueError when anything is lacking: how many of what and why, the first names, and the commands.

    Args:
        shortfalls: what was found.
        items: how many items the data set has.
        config: the dataset file.
        demand: what was asked for.
    """
    if not shortfalls:
        return
    names: dict[Kind, dict[Reason, list[str]]] = defaultdict(lambda: defaultdict(list))
    for shortfall in shortfalls:
        names[shortfall.kind][shortfall.reason].append(shortfall.name)
    lines = [f"{config}: caches are missing or out of date; make them with"]
    for kind in _SCRIPTS:
        if kind not in names:
            continue
        lines.append(f"  {_command(kind, config, demand)}")
        for reason, of in names[kind].items():
            why = _REASONS[reason].format(tensors=", ".join(demand.tensors))
            lines.append(f"    {kind} caches of {len(of)} of {items} items {why}: {shorten(of)}")
        if kind == "camera":
            lines.append("    (or train without cameras: --no_camera)")
    raise ValueError("\n".join(lines))


def _command(kind: Kind, config: Path, demand: Demand) -> str:
    task = f" --task {demand.task}" if demand.task is not None and kind != "camera" else ""
    return f"python {_SCRIPTS[kind]} --dataset_config {shlex.quote(str(config))}{task} --skip_existing"
