"""Dataclass fields that are command line flags: the name, type, default and help of a flag are written once."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


def option(
    default: Any,
    help: str,
    type: Callable[[str], Any] | None = None,
    choices: Sequence[str] | None = None,
    nargs: str | None = None,
    metavar: str | None = None,
) -> Any:
    """A dataclass field that `add_options` turns into the flag of the same name; a default of False makes a switch."""
    settings = {"help": help, "type": type, "choices": choices, "nargs": nargs, "metavar": metavar}
    given = {key: value for key, value in settings.items() if value is not None}
    if default is False:
        given["action"] = "store_true"
    return dataclasses.field(default=default, metadata=given)


def add_options(parser: argparse._ActionsContainer, config: type) -> None:
    """Add one flag for every field of the dataclass `config`."""
    for field in dataclasses.fields(config):
        parser.add_argument(f"--{field.name}", default=field.default, **field.metadata)


def read_options(config: type, arguments: argparse.Namespace) -> Any:
    """An instance of the dataclass `config` from the parsed flags of the same names; its own checks run."""
    values = vars(arguments)
    return config(**{field.name: values[field.name] for field in dataclasses.fields(config) if field.name in values})
