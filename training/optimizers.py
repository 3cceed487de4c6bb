"""Optimizers by the names users type (`--optimizer_type`, any case), with `--optimizer_args`."""

import ast
import importlib
from collections.abc import Sequence
from typing import Any

import torch

from common.logs import get_logger

log = get_logger("training")


def make_optimizer(
    name: str, groups: list[dict[str, Any]], learning_rate: float, arguments: Sequence[str] | None, device: torch.device
) -> torch.optim.Optimizer:
    """The optimizer `name` over parameter groups.

    Args:
        name: `AdamW8bit` (bitsandbytes), the name of any class of torch.optim in any case, or a dotted class path.
        groups: as torch.optim takes them.
        learning_rate: where a group states none.
        arguments: further arguments, each "key=value" with a Python literal as value.
        device: where the parameters lie. On a CPU, AdamW8bit becomes AdamW with a warning: its 8-bit states only
            save memory of a GPU.

    Raises:
        ValueError: an unknown name or argument, a value that is no literal, or bitsandbytes is missing.
    """
    keywords = parse_arguments(arguments)
    kind = _optimizer_class(name, device)
    try:
        return kind(groups, lr=learning_rate, **keywords)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--optimizer_type {name} --optimizer_args {' '.join(arguments or ())}: {error}") from None


def parse_arguments(arguments: Sequence[str] | None, flag: str = "optimizer_args") -> dict[str, Any]:
    """{"betas": (0.9, 0.99)} from ["betas=(0.9,0.99)"], as `flag` gives them.

    Raises:
        ValueError: no "=", or the value is no Python literal (a string needs quotes).
    """
    parsed: dict[str, Any] = {}
    for argument in arguments or ():
        key, equals, text = argument.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"--{flag} {argument!r}: expected key=value, e.g. weight_decay=0.01")
        try:
            parsed[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise ValueError(
                f"--{flag} {argument!r}: {text!r} is not a Python literal such as 0.01, True or (0.9,0.99)"
            ) from None
    return parsed


def _optimizer_class(name: str, device: torch.device) -> Any:
    if "." in name:
        return _dotted_class(name)
    if name.lower() == "adamw8bit":
        return _adamw_8bit(device)
    known = {
        key.lower(): value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    if name.lower() not in known:
        names = ", ".join(sorted(value.__name__ for value in known.values()))
        raise ValueError(f"--optimizer_type {name!r} is unknown; use AdamW8bit, a dotted class path, or one of {names}")
    return known[name.lower()]


def _adamw_8bit(device: torch.device) -> Any:
    if device.type == "cpu":
        log.warning("--optimizer_type AdamW8bit: no GPU memory to save on a CPU; AdamW is used instead")
        return torch.optim.AdamW
    try:
        return importlib.import_module("bitsandbytes.optim").AdamW8bit
    except ImportError as error:
        raise ValueError(
            f"--optimizer_type AdamW8bit needs bitsandbytes ({error}); pip install bitsandbytes, or use AdamW"
        ) from None


def _dotted_class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--optimizer_type {path}: {error}; expected the dotted path of a class") from None
