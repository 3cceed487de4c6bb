"""The flags of validation and previews. Imports nothing heavy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from training.options import option


@dataclass(frozen=True)
class WatchingOptions:
    """The part of `training.config.TrainingConfig` that is about looking at a run while it goes on."""

    validation_split: float = option(
        0.0, "share of the items, all clips of each, that is held out of training and validated on", type=float
    )
    validation_seed: int = option(0, "chooses the held-out items, and the noise they are validated with", type=int)
    validation_dataset_config: str | None = option(
        None, "dataset file (with caches) to validate on, instead of --validation_split", metavar="PATH"
    )
    validate_every_n_steps: int | None = option(None, "validate every n steps", type=int, metavar="N")
    validate_every_n_epochs: int | None = option(
        None, "validate every n epochs; default 1, if there is something to validate on", type=int, metavar="N"
    )
    max_validation_steps: int | None = option(None, "validate on the first n batches only", type=int, metavar="N")
    validation_sigmas: Sequence[float] = option(
        (0.1, 0.3, 0.5, 0.7, 0.9), "noise levels at which every held-out clip is tried", type=float, nargs="+"
    )

    sample_prompts: str | None = option(
        None, "file of prompts (.txt, .toml, .json) for previews; see docs/training.md", metavar="PATH"
    )
    sample_every_n_steps: int | None = option(None, "make previews every n steps", type=int, metavar="N")
    sample_every_n_epochs: int | None = option(None, "make previews every n epochs", type=int, metavar="N")
    sample_at_first: bool = option(False, "make previews before the first step, too")

    @property
    def validates(self) -> bool:
        """Whether there is something to validate on."""
        return self.validation_split > 0 or self.validation_dataset_config is not None

    @property
    def makes_previews(self) -> bool:
        """Whether previews are asked for at some time."""
        return bool(self.sample_every_n_steps or self.sample_every_n_epochs or self.sample_at_first)

    def check_watching(self) -> None:
        """Refuse numbers and combinations that cannot be.

        Raises:
            ValueError: names the flag.
        """
        if not 0.0 <= self.validation_split < 1.0:
            raise ValueError(f"--validation_split {self.validation_split}: a share from 0 to below 1 is needed")
        if self.validation_seed < 0:
            raise ValueError(f"--validation_seed {self.validation_seed}: must not be negative")
        for flag in (
            "validate_every_n_steps",
            "validate_every_n_epochs",
            "max_validation_steps",
            "sample_every_n_steps",
            "sample_every_n_epochs",
        ):
            value = getattr(self, flag)
            if value is not None and value < 1:
                raise ValueError(f"--{flag} {value}: at least 1 is needed")
        for sigma in self.validation_sigmas:
            if not (0.0 < sigma <= 1.0 and math.isfinite(sigma)):
                raise ValueError(f"--validation_sigmas {sigma}: noise levels above 0, at most 1, are needed")
        if self.validation_split > 0 and self.validation_dataset_config is not None:
            raise ValueError("--validation_split and --validation_dataset_config: leave one of the two out")
        if self.makes_previews and self.sample_prompts is None:
            raise ValueError(
                "--sample_every_n_steps, --sample_every_n_epochs and --sample_at_first need --sample_prompts"
            )

    def unused_watching_flags(self) -> list[str]:
        """What was given without effect, one sentence each."""
        said = []
        for flag in ("validate_every_n_steps", "validate_every_n_epochs", "max_validation_steps"):
            if getattr(self, flag) is not None and not self.validates:
                said.append(f"--{flag} is not used: give --validation_split or --validation_dataset_config")
        if self.sample_prompts is not None and not self.makes_previews:
            said.append("--sample_prompts is not used: give --sample_every_n_epochs, for instance")
        return said
