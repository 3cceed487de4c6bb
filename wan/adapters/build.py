"""A new adapter of any design, by its configuration."""

import ast
from collections.abc import Sequence
from dataclasses import fields, replace

import torch

from wan.adapters.cross import CrossAdapter
from wan.adapters.fork import ForkAdapter
from wan.adapters.interface import CameraAdapter
from wan.adapters.patch import PluckerAdapter
from wan.adapters.relative import RelativeAdapter
from wan.config import AdapterConfig, CrossConfig, ForkConfig, PluckerConfig, RelativeConfig


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
    known = {field.name: getattr(config, field.name) for field in fields(config)}
    changes: dict[str, object] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or key not in known:
            raise ValueError(
                f"--adapter_args {argument!r}: expected KEY=VALUE with KEY one of {', '.join(known)} ({config.design})"
            )
        value = _value(text)
        if isinstance(known[key], float) and type(value) is int:
            value = float(value)
        if type(value) is not type(known[key]):
            raise ValueError(
                f"--adapter_args {argument!r}: expected a value like that of {key}={known[key]!r} ({config.design})"
            )
        changes[key] = value
    return replace(config, **changes)


def _value(text: str) -> object:
    first, colon, last = text.partition(":")
    if colon and first.isdigit() and last.isdigit():
        return tuple(range(int(first), int(last)))
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)
    return tuple(value) if isinstance(value, list) else value
