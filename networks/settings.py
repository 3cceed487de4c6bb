"""`--network_args`: what they are, and which modules they choose, with which rank and alpha; imports nothing heavy.

Names and meanings are kohya-ss/musubi-tuner's; `rank_pattern` and `alpha_pattern` are peft's `LoraConfig`, and the rest
LyCORIS' (`lycoris.kohya`).
"""

import ast
import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from common.logs import get_logger

log = get_logger("lora")

LYCORIS_ONLY = ("algo", "factor", "decompose_both", "full_matrix", "dora_wd", "wd_on_output")
"""Arguments that only networks made by LyCORIS know."""
_CONVOLUTIONS = ("conv_dim", "conv_alpha")
_SWITCHES = ("verbose", "decompose_both", "full_matrix", "dora_wd", "wd_on_output")
_KINDS = {bool: "True or False", int: "a whole number", str | None: "a name"}


@dataclass(frozen=True)
class NetworkSettings:
    """What `--network_args` may hold; the field's name is the key."""

    rank_dropout: float = 0.0
    """Chance that a rank channel is dropped for a whole clip, 0 <= p < 1."""
    module_dropout: float = 0.0
    """Chance that a module's whole change is left out of a training step, 0 <= p < 1."""
    loraplus_lr_ratio: float | None = None
    """LoRA+ (Hayou et al. 2024, arXiv 2402.12354): the up matrices learn so many times faster."""
    exclude_patterns: Sequence[str] = ()
    """Regular expressions; modules whose whole dotted path fits one get no LoRA."""
    include_patterns: Sequence[str] = ()
    """The same; these modules keep theirs though they are excluded."""
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    """{regular expression for a path or the end of one, after a dot: rank}; the first that fits counts."""
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    """The same for alpha, which does not follow the rank by itself."""
    conv_dim: int | None = None
    """Accepted for musubi-tuner's sake: the blocks have no convolutions."""
    conv_alpha: float | None = None
    """As `conv_dim`."""
    verbose: bool = False
    """List every module with its rank and alpha in the log."""
    algo: str | None = None
    """LyCORIS: lora, loha or lokr."""
    factor: int = -1
    """LoKr: size of the smaller factor; -1 is the most even one."""
    decompose_both: bool = False
    """LoKr: the smaller factor is a product too."""
    full_matrix: bool = False
    """LoKr: neither factor is a product."""
    dora_wd: bool = False
    """LyCORIS: DoRA, lengths and directions of the weights learn apart."""
    wd_on_output: bool = True
    """DoRA: a length for each row; otherwise for each column."""

    def __post_init__(self) -> None:
        for key in ("rank_dropout", "module_dropout"):
            if not 0.0 <= _number(key, getattr(self, key)) < 1.0:
                raise ValueError(f"--network_args {key}={getattr(self, key)}: a chance from 0 to below 1 is needed")
        if self.loraplus_lr_ratio is not None and not _number("loraplus_lr_ratio", self.loraplus_lr_ratio) > 0:
            raise ValueError(f"--network_args loraplus_lr_ratio={self.loraplus_lr_ratio}: a positive number is needed")
        for key in ("exclude_patterns", "include_patterns"):
            value = getattr(self, key)
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise ValueError(f"--network_args {key}={value!r}: a list is needed, such as ['.*ffn.*']")
            for pattern in value:
                _compiled(key, pattern)
        for key in ("rank_pattern", "alpha_pattern"):
            value = getattr(self, key)
            if not isinstance(value, Mapping):
                raise ValueError(f"--network_args {key}={value!r}: a table is needed, such as {{'ffn.0': 8}}")
            for pattern, number in value.items():
                _compiled(key, pattern)
                whole = key == "alpha_pattern" or isinstance(number, int)
                if not whole or not _number(key, number) > 0:
                    raise ValueError(f"--network_args {key}: {pattern!r}: {number!r}; a positive number is needed")
        for key, kind in (*((key, bool) for key in _SWITCHES), ("factor", int), ("algo", str | None)):
            if not isinstance(getattr(self, key), kind):
                raise ValueError(f"--network_args {key}={getattr(self, key)!r}: expected {_KINDS[kind]}")
        for key in _CONVOLUTIONS:
            if getattr(self, key) is not None:
                log.warning("--network_args %s is not used: the DiT's blocks have no convolutions", key)


def parse_settings(arguments: Sequence[str] | None) -> NetworkSettings:
    """Settings from ["rank_dropout=0.1", "exclude_patterns=['.*ffn.*']"]; values are Python literals or bare words.

    Raises:
        ValueError: an argument is unknown (the nearest known one is named), has no "=", or its value is out of range.
    """
    known = [entry.name for entry in fields(NetworkSettings)]
    parsed: dict[str, Any] = {}
    for argument in arguments or ():
        key, equals, text = argument.partition("=")
        if not equals:
            raise ValueError(f"--network_args {argument!r}: expected key=value, e.g. rank_dropout=0.1")
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"--network_args {key}: unknown; {hint}")
        if key in parsed:
            raise ValueError(f"--network_args {key}: given twice")
        parsed[key] = _value(key, text)
    return NetworkSettings(**parsed)


def chosen_modules(paths: Sequence[str], settings: NetworkSettings) -> list[str]:
    """Those of the dotted paths that get a LoRA: all but the excluded ones, with the included ones back.

    Raises:
        ValueError: a pattern fits no module, or none is left.
    """
    fitting = {
        key: [_fits(paths, key, pattern, settings) for pattern in getattr(settings, key)]
        for key in ("exclude_patterns", "include_patterns")
    }
    excluded, included = (set().union(*found) for found in fitting.values())
    if settings.include_patterns and not excluded & included:
        log.warning(
            "--network_args include_patterns bring back what exclude_patterns take out, and here that is nothing; "
            "to train these modules alone add exclude_patterns=['.*']"
        )
    left = [path for path in paths if path not in excluded or path in included]
    if not left:
        raise ValueError("--network_args exclude_patterns leave no module; see include_patterns")
    return left


def rank_and_alpha(path: str, rank: int, alpha: float, settings: NetworkSettings) -> tuple[int, float]:
    """Rank and alpha of one module, by the patterns, or the general ones."""

    def of(table: Mapping[str, Any], default: Any) -> Any:
        return next((value for pattern, value in table.items() if _ends_with(path, pattern)), default)

    return of(settings.rank_pattern, rank), float(of(settings.alpha_pattern, alpha))


def check_patterns(paths: Sequence[str], settings: NetworkSettings) -> None:
    """Refuse a `rank_pattern` or `alpha_pattern` that fits no module.

    Raises:
        ValueError: names the pattern.
    """
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(settings, key):
            if not any(_ends_with(path, pattern) for path in paths):
                raise ValueError(f"--network_args {key}: {pattern!r} {_no_module(paths)}")


def _ends_with(path: str, pattern: str) -> bool:
    """peft's rule for `rank_pattern`."""
    return re.fullmatch(rf"(.*\.)?({pattern})", path) is not None


def _fits(paths: Sequence[str], key: str, pattern: str, settings: NetworkSettings) -> set[str]:
    found = {path for path in paths if re.fullmatch(pattern, path)}
    if not found:
        raise ValueError(f"--network_args {key}: {pattern!r} {_no_module(paths)}")
    if settings.verbose:
        log.info("%s %r: %d modules", key, pattern, len(found))
    return found


def _no_module(paths: Sequence[str]) -> str:
    return f"fits none of the {len(paths)} modules, which look like {paths[0]!r} and {paths[-1]!r}"


def _value(key: str, text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        if re.fullmatch(r"[\w-]+", text):
            return {"true": True, "false": False}.get(text.lower(), text)
        raise ValueError(f"--network_args {key}={text}: not a Python literal such as 0.1, True or ['.*']") from None


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"--network_args {key}: {value!r} is no number")
    return value


def _compiled(key: str, pattern: Any) -> None:
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(f"--network_args {key}: {pattern!r} is no regular expression ({error})") from None
