"""Files of prompts, as musubi-tuner's `--sample_prompts` reads them: .txt, .toml or .json, and our cameras in them.

a red chair ; Camera: <starttime>0</starttime> ... --w 832 --h 480 --f 81 --d 42 --s 20 --i chair.png
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from common.files import require_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]


@dataclass(frozen=True)
class PromptRequest:
    """One line of a file of prompts; None where the line leaves something to the task."""

    prompt: str
    """With the camera in tags, or as a clause `#trajectory {path}`, where it has one."""
    where: str
    """File and line, for messages."""
    width: int = 256
    height: int = 256
    frames: int | None = None
    seed: int | None = None
    steps: int = 20
    flow_shift: float | None = None
    guidance_scale: float | None = None
    """Of classifier-free guidance."""
    negative_prompt: str | None = None
    image: str | None = None
    end_image: str | None = None
    control: str | None = None
    camera_file: str | None = None
    """A trajectory file of any format."""


# option of a line: (field, type)
_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "w": ("width", int),
    "h": ("height", int),
    "f": ("frames", int),
    "d": ("seed", int),
    "s": ("steps", int),
    "fs": ("flow_shift", float),
    "l": ("guidance_scale", float),
    "n": ("negative_prompt", str),
    "i": ("image", str),
    "ei": ("end_image", str),
    "cn": ("control", str),
    "cf": ("camera_file", str),
}
# key of a TOML or JSON table: field
_KEYS = {
    "prompt": "prompt",
    "width": "width",
    "height": "height",
    "frame_count": "frames",
    "seed": "seed",
    "sample_steps": "steps",
    "discrete_flow_shift": "flow_shift",
    "cfg_scale": "guidance_scale",
    "negative_prompt": "negative_prompt",
    "image_path": "image",
    "end_image_path": "end_image",
    "control_video_path": "control",
    "camera_file": "camera_file",
}
# accepted and without effect for Wan2.1, as in musubi-tuner: the embedded guidance of HunyuanVideo
_IGNORED_OPTION, _IGNORED_KEY = "g", "guidance_scale"
_OPTION = re.compile(r"\s--(?=[A-Za-z]+(?:\s|$))")
_PATHS = ("image", "end_image", "control", "camera_file")
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("width", "height", "frames", "seed", "steps"), (int,)),
    **dict.fromkeys(("flow_shift", "guidance_scale"), (int, float)),
}


def read_prompts(path: str | Path) -> list[PromptRequest]:
    """The requests of a file, in order. Paths in it are taken from the working directory, or else beside the file.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no such file, has no prompt, or an option of it is unknown or of another type; names the line.
    """
    file = require_file(path, "--sample_prompts")
    readers = {".txt": _from_lines, ".toml": _from_toml, ".json": _from_json}
    if file.suffix.lower() not in readers:
        raise ValueError(f"--sample_prompts {file}: expected a .txt, .toml or .json file")
    try:
        found = readers[file.suffix.lower()](file, file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"--sample_prompts {file}: unreadable ({error})") from None
    if not found:
        raise ValueError(f"--sample_prompts {file}: has no prompt")
    return [_checked(where, values, file.parent) for where, values in found]


def _from_lines(file: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    """Lines that are empty or begin with # are left out."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        # a clause `#trajectory {path}` may begin a line only after words
        if stripped and not stripped.startswith("#"):
            found.append((f"{file}:{number}", _parse_line(f"{file}:{number}", stripped)))
    return found


def _parse_line(where: str, line: str) -> dict[str, Any]:
    prompt, *options = _OPTION.split(f" {line}")
    values: dict[str, Any] = {"prompt": prompt.strip()}
    for option in options:
        name, _, text = option.partition(" ")
        if name == _IGNORED_OPTION:
            continue
        if name not in _OPTIONS:
            raise ValueError(f"{where}: --{name} is not known; expected one of --{', --'.join(_OPTIONS)}")
        field, kind = _OPTIONS[name]
        try:
            values[field] = kind(text.strip())
        except ValueError:
            raise ValueError(f"{where}: --{name} {text.strip()!r}: expected a number") from None
        if kind is str and not text.strip() and field != "negative_prompt":
            raise ValueError(f"{where}: --{name} needs a value")
    return values


def _from_toml(file: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    """A table [prompt] of common values, and a [[prompt.subset]] for each prompt."""
    table = tomllib.loads(text)
    shared = table.get("prompt")
    if not isinstance(shared, dict) or not isinstance(shared.get("subset"), list):
        raise ValueError(f"--sample_prompts {file}: expected a table [prompt] and tables [[prompt.subset]]")
    common = {key: value for key, value in shared.items() if key != "subset"}
    return _from_tables(file, [{**common, **subset} for subset in shared["subset"]])


def _from_json(file: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    tables = json.loads(text)
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"--sample_prompts {file}: expected a list of objects")
    return _from_tables(file, tables)


def _from_tables(file: Path, tables: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for number, table in enumerate(tables, 1):
        where = f"{file}, prompt {number}"
        values = {}
        for key, value in table.items():
            if key in (_IGNORED_KEY, "enum"):
                continue
            if key not in _KEYS:
                raise ValueError(f"{where}: {key} is not known; expected one of {', '.join(_KEYS)}")
            kinds = _TYPES.get(_KEYS[key], (str,))
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise ValueError(f"{where}: {key} = {value!r}: expected a {'number' if kinds != (str,) else 'text'}")
            values[_KEYS[key]] = value
        found.append((where, values))
    return found


def _checked(where: str, values: Mapping[str, Any], folder: Path) -> PromptRequest:
    known = {field.name for field in fields(PromptRequest)}
    assert set(values) <= known, values
    if not values.get("prompt"):
        raise ValueError(f"{where}: has no prompt")
    placed = {name: _placed(values[name], folder) for name in _PATHS if values.get(name) is not None}
    request = PromptRequest(**{**values, **placed, "where": where})
    if not 1 <= request.steps <= 1000:
        raise ValueError(f"{where}: {request.steps} steps; expected 1 to 1000")
    if request.seed is not None and not 0 <= request.seed < 2**63:
        raise ValueError(f"{where}: seed {request.seed}; expected 0 or more, below 2**63")
    return request


def _placed(path: str, folder: Path) -> str:
    beside = folder / path
    return str(beside) if not Path(path).exists() and beside.exists() else path
