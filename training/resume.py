"""Where `--resume` begins, and what of the command line does not fit the run that it goes on with."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.logs import get_logger
from training.config import TrainingConfig
from training.keeping import state_folders
from training.order import Layout
from training.state import read_counters, read_settings

log = get_logger("training")

LATEST = "latest"
_REFUSED = ("network_module", "network_alpha", "optimizer_type")
_COMPARED = (
    *_REFUSED,
    "network_dropout",
    "camera_dropout",
    "optimizer_args",
    "max_grad_norm",
    "lr_scheduler",
    "lr_scheduler_type",
    "lr_warmup_steps",
    "lr_decay_steps",
    "mixed_precision",
    "timestep_sampling",
    "discrete_flow_shift",
    "sigmoid_scale",
    "weighting_scheme",
    "logit_mean",
    "logit_std",
    "mode_scale",
    "min_timestep",
    "max_timestep",
    "timestep_reading",
    "preserve_distribution_shape",
    "num_timestep_buckets",
)
_BATCHES = "batches_per_step"


def newest_state(config: TrainingConfig) -> Path | None:
    """The state of this run with the most steps, or None: what `--resume latest` means.

    Unreadable ones are passed over with a warning.
    """
    best: tuple[int, str] | None = None
    for folder in state_folders(config.output_dir, config.output_name):
        try:
            steps = read_counters(folder).step
        except (ValueError, FileNotFoundError) as error:
            log.warning("%s is passed over: %s", folder, error)
            continue
        best = max(best, (steps, str(folder))) if best is not None else (steps, str(folder))
    return None if best is None else Path(best[1])


def with_resume(config: TrainingConfig) -> TrainingConfig:
    """The run with `--resume latest` replaced by the state that it means, or by none where there is none."""
    if config.resume != LATEST:
        return config
    newest = newest_state(config)
    log.info("--resume latest: %s", newest or f"no state in {config.output_dir} yet, so the run begins anew")
    return replace(config, resume=None if newest is None else str(newest))


def settings_of(config: TrainingConfig, layout: Layout) -> dict[str, Any]:
    """What a state folder says about its run: the flags that change what is computed, and batches a step."""
    settings = {flag: getattr(config, flag) for flag in _COMPARED}
    settings["optimizer_args"] = list(config.optimizer_args or ())
    return {**settings, _BATCHES: layout.stride}


def compare_settings(folder: str | Path, config: TrainingConfig, layout: Layout) -> None:
    """Refuse flags that a resumed run cannot have, and warn of those that make it another one from here on.

    Raises:
        ValueError: names the flag, what it was, and what it is now.
    """
    stored, now = read_settings(folder), settings_of(config, layout)
    for flag in _REFUSED:
        if flag in stored and _differ(stored[flag], now[flag]):
            raise ValueError(
                f"--resume {folder}: that run had --{flag} {_shown(stored[flag])}, and --{flag} {_shown(now[flag])} "
                "is asked for now; give the same, or begin anew from its LoRA (--network_weights)"
            )
    for flag in _COMPARED:
        if flag not in _REFUSED and flag in stored and _differ(stored[flag], now[flag]):
            log.warning(
                "--%s is %s, and was %s in the resumed run: from here on it is another run than that one",
                *(flag, _shown(now[flag]), _shown(stored[flag])),
            )
    _compare_batches(stored, layout)


def _compare_batches(stored: Mapping[str, Any], layout: Layout) -> None:
    """Processes times accumulation may be shared out anew; their product is the size of a step."""
    before = stored.get(_BATCHES, layout.stride)
    if before != layout.stride:
        log.warning(
            "%d process(es) with --gradient_accumulation_steps %d take %d batches a step, and the resumed run took %s: "
            "its steps, learning rate and schedule now mean something else",
            *(layout.processes, layout.accumulation, layout.stride, before),
        )


def _differ(before: Any, now: Any) -> bool:
    if isinstance(before, str) and isinstance(now, str):
        return before.lower() != now.lower()
    return before != now


def _shown(value: Any) -> str:
    return "(not given)" if value is None else str(value)
