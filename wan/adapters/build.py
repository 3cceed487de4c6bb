"""A new adapter of any design, by its configuration."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TypeVar

import torch

from common.tensor_headers import short_name
from wan.adapters.cross import CrossAdapter
from wan.adapters.fork import ForkAdapter
from wan.adapters.interface import CameraAdapter
from wan.adapters.patch import PluckerAdapter
from wan.adapters.relative import RelativeAdapter
from wan.config import AdapterConfig, CrossConfig, ForkConfig, PluckerConfig, RelativeConfig

C = TypeVar("C", bound=AdapterConfig)


def build_adapter(
    config: AdapterConfig, dit_dim: int, layers: int, generator: torch.Generator | None = None
) -> CameraAdapter:
    """An adapter with fresh weights, which changes nothing yet.

    Args:
        config: its class is the design.
        dit_dim: width of the DiT it is made for.
        layers: blocks of that DiT.
        generator: decides the weights; None leaves them to torch's global one.

    Raises:
        ValueError: the config names a block that the DiT does not have.
    """
    if isinstance(config, RelativeConfig):
        adapter: CameraAdapter = RelativeAdapter(config, dit_dim, layers)
    elif isinstance(config, CrossConfig):
        adapter = CrossAdapter(config, dit_dim, layers)
    elif isinstance(config, PluckerConfig):
        adapter = PluckerAdapter(config, dit_dim, layers)
    else:
        assert isinstance(config, ForkConfig), config
        adapter = ForkAdapter(config, dit_dim, layers)
    if generator is not None:
        adapter.reset_parameters(generator)
    return adapter


def with_arguments(config: AdapterConfig, arguments: Sequence[str]) -> AdapterConfig:
    """A configuration with some fields changed.

    Args:
        config: of the design.
        arguments: KEY=VALUE as typed at `--adapter_args`; values are Python literals, a word is a string, and
            `blocks=a:b` means blocks a to b - 1.

    Raises:
        ValueError: an argument is not of that form, the design has no such field, or the value is of another type or
            out of range.
    """
    changes: dict[str, object] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals:
            raise ValueError(f"--adapter_args {argument!r}: expected KEY=VALUE")
        changes[key] = _value(text)
    try:
        return changed_config(config, changes)
    except ValueError as error:
        raise ValueError(f"--adapter_args {' '.join(arguments)}: {error} ({config.design})") from None


def changed_config(config: C, changes: Mapping[str, object]) -> C:
    """A configuration with some fields changed, each to a value of its own type; lists may stand for tuples.

    Raises:
        ValueError: there is no such field, or the value is of another type or out of range.
    """
    known = {field.name: getattr(config, field.name) for field in fields(config)}
    if unknown := set(changes) - set(known):
        raise ValueError(f"unknown {', '.join(map(short_name, sorted(unknown)))}; known are {', '.join(known)}")
    return replace(config, **{key: _like(known[key], value, key) for key, value in changes.items()})


def _like(old: object, value: object, name: str) -> object:
    """`value` as the type of `old`; whole numbers may stand for others."""
    if isinstance(old, tuple) and isinstance(value, list | tuple):
        return tuple(_like(old[0] if old else 0, item, name) for item in value)
    if type(value) is type(old) and not isinstance(old, tuple):
        return value
    if isinstance(old, float) and type(value) is int:
        return float(value)
    raise ValueError(f"{name} is {short_name(repr(value))}; expected the like of {old!r}")


def _value(text: str) -> object:
    first, colon, last = text.partition(":")
    if colon and first.isdigit() and last.isdigit():
        return tuple(range(int(first), int(last)))
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)
