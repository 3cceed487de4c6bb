"""`--config_file`: a TOML file of flags, as musubi-tuner reads it; the command line wins. Imports nothing heavy."""

import argparse
import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.files import require_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]


def parse_with_config_file(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line, with the flags of its `--config_file` before it.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it is no TOML, or a key of it is no flag or of another type.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config_file")
    path = first.parse_known_args(given)[0].config_file
    return parser.parse_args(given if path is None else [*arguments_of(parser, path), *given])


def arguments_of(parser: argparse.ArgumentParser, path: str) -> list[str]:
    """The flags of a config file as a command line.

    Args:
        parser: knows the flags.
        path: the file, with or without `.toml`; sections are only for order in the file.

    Raises:
        FileNotFoundError, ValueError: as `parse_with_config_file`.
    """
    named = Path(path)
    if not named.exists() and named.suffix != ".toml":
        named = named.with_name(f"{named.name}.toml")
    file = require_file(named, "--config_file")
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"--config_file {file}: no TOML ({error})") from None
    flags = {action.dest: action for action in parser._actions if action.option_strings}
    arguments: list[str] = []
    for key, value in _flattened(table):
        if key not in flags or key in ("help", "config_file"):
            near = difflib.get_close_matches(key, flags, 1)
            meant = f"; {near[0]} is one" if near else ""
            raise ValueError(f"--config_file {file}: {key} is no flag of this script{meant}")
        arguments += _as_arguments(flags[key], value, file)
    return arguments


def _flattened(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flattened(value)
        else:
            yield key, value


def _as_arguments(action: argparse.Action, value: Any, file: Path) -> list[str]:
    flag, wants_list = action.option_strings[-1], action.nargs in ("*", "+") or isinstance(action.nargs, int)
    where = f"--config_file {file}: {action.dest} = {value!r}"
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"{where}: expected true or false")
        return [flag] if value else []
    if isinstance(value, bool):
        raise ValueError(f"{where}: expected a value, not true or false")
    if wants_list:
        return [flag, *map(str, value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        raise ValueError(f"{where}: expected one value, not a list")
    if action.type in (int, float) and isinstance(value, str):
        raise ValueError(f"{where}: expected a number without quotes")
    return [f"{flag}={value}"]
