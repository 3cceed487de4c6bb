"""What every preparation tool leaves behind: jsonl files, a list of what was left out, dataset.toml, the next commands.

OUTPUT_DIR/
    metadata.jsonl        one line a video, as `dataset.sources` reads it
    without_camera.jsonl  the same for videos that cannot be trained on yet, where there are any
    left-out.jsonl        {"item": ..., "reason": ...} for everything that could not be used
    dataset.toml          ready for the three cache scripts
    videos/ safetensors/ cache/
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from common.files import atomic_path
from common.logs import get_logger
from common.progress import progress
from tools.demo_folder import DATASET_FILE, block, write_lines
from tools.preparation.archives import summary_of
from tools.preparation.options import Common

logger = get_logger("prepare")

T = TypeVar("T")
METADATA = "metadata.jsonl"
WITHOUT_CAMERA = "without_camera.jsonl"
LEFT_OUT = "left-out.jsonl"
_SHOWN = 5
_HEAD = """\
# Written by a preparation tool; change it as you like: a file that you changed is not written again.
# Relative paths are looked up from the current directory first, then from this file's folder.

"""


@dataclass(frozen=True)
class Sought:
    """What a tool looked for, and where; for the message when there is nothing of it."""

    expected: str
    """The layout."""
    folders: Sequence[Path]
    """That were looked through."""


@dataclass(frozen=True)
class Prepared:
    """A video that was prepared."""

    record: Mapping[str, str | float]
    """Its line of a jsonl file."""
    jsonl: str = METADATA
    """The file that lists it."""
    kept: bool = False
    """It was there already."""


@dataclass
class Outcome:
    """What became of all entries of a data set."""

    prepared: list[Prepared] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    """`item` and `reason` of each."""

    def names(self) -> list[str]:
        """The jsonl files that data sets are made of, in order of appearance."""
        return list(dict.fromkeys(each.jsonl for each in self.prepared if each.jsonl != WITHOUT_CAMERA))


def prepare_each(
    entries: Sequence[T],
    prepare: Callable[[T], Iterable[Prepared]],
    name: Callable[[T], str],
    common: Common,
    unit: str = "video",
) -> Outcome:
    """Prepare one entry after the other; what cannot be used is listed, or with `strict` stops everything.

    Args:
        entries: of the source.
        prepare: makes the files of one; ValueError and FileNotFoundError mean that it cannot be used.
        name: what an entry is called in the report.
        common: of the tool.
        unit: what an entry is, for the progress bar.

    Raises:
        ValueError, FileNotFoundError: with `strict`, of the first that cannot be used.
    """
    outcome = Outcome()
    for entry in progress(entries, "preparing", unit, disable=not entries):
        try:
            outcome.prepared.extend(prepare(entry))
        except (ValueError, FileNotFoundError) as error:
            if common.strict:
                raise
            outcome.left_out.append({"item": name(entry), "reason": str(error)})
    return outcome


def finish(outcome: Outcome, common: Common, found: str, sought: Sought) -> int:
    """Write the lists and dataset.toml, tell the counts, and print the next commands.

    Args:
        outcome: of `prepare_each`.
        common: of the tool.
        found: what was looked through, and how many entries it had.
        sought: what was expected there.

    Returns:
        0, an exit code.

    Raises:
        ValueError: nothing could be used; says what was expected and what is there. Earlier lists are left as they are.
    """
    _tell_left_out(outcome, common)
    if common.dry_run and not outcome.prepared and not outcome.left_out:
        logger.info(f"{found}: nothing is there yet that could be prepared")
        return 0
    if not outcome.prepared:
        listed = outcome.left_out and not common.dry_run
        reasons = f"; the reasons are in {common.folder / LEFT_OUT}" if listed else ""
        places = " and ".join(map(str, sought.folders)) or "what was unpacked"
        raise ValueError(
            f"{found}: nothing of it could be used{reasons}. Expected {sought.expected}; found below {places}: "
            f"{summary_of(sought.folders)}. If the set is packed in another way, arrange it so (tools/README.md)"
        )
    kept = sum(each.kept for each in outcome.prepared)
    ready = [each for each in outcome.prepared if each.jsonl != WITHOUT_CAMERA]
    logger.info(
        f"{len(ready)} videos ready{', would be' if common.dry_run else ''} listed in {common.folder} "
        f"({kept} were there already), {len(outcome.prepared) - len(ready)} without a camera, "
        f"{len(outcome.left_out)} left out"
    )
    if common.dry_run:
        return 0
    names = outcome.names()
    for name in (*names, WITHOUT_CAMERA):
        listed = [each.record for each in outcome.prepared if each.jsonl == name]
        _write_or_remove(common.folder / name, listed)
    if ready:
        config = write_dataset_file(common, names)
        sys.stdout.write(next_commands(config))
    return 0


def _tell_left_out(outcome: Outcome, common: Common) -> None:
    for each in outcome.left_out[:_SHOWN]:
        item, reason = each["item"], each["reason"]
        logger.warning(f"left out: {reason}" if item in reason else f"left out: {item}: {reason}")
    if len(outcome.left_out) > _SHOWN:
        logger.warning(f"... and {len(outcome.left_out) - _SHOWN} more, listed in {common.folder / LEFT_OUT}")
    if not common.dry_run:
        _write_or_remove(common.folder / LEFT_OUT, outcome.left_out)


def _write_or_remove(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    if records:
        write_lines(path, records)
    else:
        path.unlink(missing_ok=True)


def write_dataset_file(common: Common, names: Sequence[str]) -> Path:
    """dataset.toml with an entry for each jsonl file, all paths relative; one that was changed by hand is kept."""
    path = common.folder / DATASET_FILE
    text = _HEAD + "\n".join(_block(common, name) for name in names)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        logger.warning(f"{path} is there with other content and is kept; remove it to have it written anew")
        return path
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _block(common: Common, name: str) -> str:
    cache = "cache" if name == METADATA else f"cache/{Path(name).stem}"
    (common.folder / cache).mkdir(parents=True, exist_ok=True)
    return block(
        {
            "video_jsonl_file": name,
            "cache_directory": cache,
            "resolution": list(common.resolution),
            "target_frames": list(common.target_frames),
            "frame_extraction": "head",
            "batch_size": 1,
        }
    )


def next_commands(config: Path) -> str:
    """The three cache scripts for a dataset file, as lines to type."""
    flag = f"--dataset_config {shlex.quote(str(config))}"
    scripts = ("wan_cache_latents.py", "wan_cache_text_encoder_outputs.py", "wan_cache_camera_encoder_outputs.py")
    return "next:\n" + "".join(f"  python {script} {flag}\n" for script in scripts)


def relative_path(path: Path, folder: Path) -> str:
    """A path as it is written in a jsonl file of `folder`."""
    return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
