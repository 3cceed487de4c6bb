"""TensorBoard and wandb: which are asked for, how they are set up, and what they are told of the run."""

import dataclasses
import importlib
import importlib.util
import sys
from typing import Any

from accelerate import Accelerator

from common.files import require_file
from training.config import TrainingConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

PROJECT = "network_train"
_SECRETS = ("key", "token")
_PLACES = ("_dir", "_file", "_config", "_prompts", "weights", "resume", "camera_adapter")


def tracker_names(config: TrainingConfig) -> list[str]:
    """The trackers that are asked for.

    Raises:
        ValueError: one of them is not installed.
    """
    wanted = config.log_with or ("tensorboard" if config.logging_dir is not None else None)
    names = ["tensorboard", "wandb"] if wanted == "all" else [wanted] if wanted is not None else []
    for name in names:
        if importlib.util.find_spec(name) is None:
            asked = f"--log_with {config.log_with}" if config.log_with else "--logging_dir"
            raise ValueError(f"{asked} needs the package {name}; pip install {name}, or leave the flag out")
    return names


def start_trackers(config: TrainingConfig, accelerator: Accelerator) -> None:
    """Open the trackers of the first process.

    Raises:
        FileNotFoundError: the file of `--log_tracker_config` is not there.
        ValueError: it is no TOML.
    """
    if config.wandb_api_key is not None and accelerator.is_main_process and "wandb" in tracker_names(config):
        importlib.import_module("wandb").login(key=config.wandb_api_key)
    accelerator.init_trackers(
        config.log_tracker_name or PROJECT,
        config=told_config(config) if config.log_config else None,
        init_kwargs=_settings(config),
    )


def told_config(config: TrainingConfig) -> dict[str, Any]:
    """The flags without keys, tokens and paths, as trackers take them: numbers, booleans and texts."""
    told = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        private = any(part in field.name for part in _SECRETS) or field.name.endswith(_PLACES)
        if value is not None and not private:
            told[field.name] = value if isinstance(value, bool | int | float | str) else str(value)
    return told


def _settings(config: TrainingConfig) -> dict[str, Any]:
    if config.log_tracker_config is not None:
        file = require_file(config.log_tracker_config, "--log_tracker_config")
        try:
            return tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"--log_tracker_config {file}: no TOML ({error})") from None
    return {"wandb": {"name": config.wandb_run_name}} if config.wandb_run_name is not None else {}
