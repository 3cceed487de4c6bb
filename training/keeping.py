"""What a run keeps of its older checkpoints and states, and the remains of killed runs.

Retention is musubi-tuner's: `--save_last_n_epochs 3` keeps the newest three checkpoints of epochs, and
`--save_last_n_steps 500` those of the last 500 steps (steps, not files); a state is kept as long as its checkpoint
unless `--save_last_n_*_state` says otherwise.
"""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from common.files import is_running, remove_leftovers
from common.logs import get_logger
from training.config import TrainingConfig

log = get_logger("training")

STATE_SUFFIX = "-state"
_FILE_ENDS = ("", "_camera", "_dit")
_FOLDER_REMAINS = re.compile(r"\.(?P<name>.+-state)\.(?P<kind>new|old)-(?P<pid>\d+)")


def state_folders(output_dir: str | Path, output_name: str) -> list[Path]:
    """The state folders of a run of this name, in no order."""
    found = Path(output_dir).glob(f"*{STATE_SUFFIX}")
    pattern = re.compile(rf"{re.escape(output_name)}(-\d{{6}}|-step\d{{8}})?{STATE_SUFFIX}")
    return [path for path in found if pattern.fullmatch(path.name) and path.is_dir()]


def prune(config: TrainingConfig, unit: str, done: int) -> None:
    """Remove the checkpoints and states that are too old, after the one at `done` was written.

    Args:
        config: of the run; says how many are kept.
        unit: "epoch" or "step": which kind of checkpoint was just written.
        done: epochs or steps completed.
    """
    keep_epochs, keep_steps = config.save_last_n_epochs, config.save_last_n_steps
    if unit == "epoch":
        files, states = keep_epochs, config.save_last_n_epochs_state or keep_epochs
        every, digits = config.save_every_n_epochs or 1, r"-(\d{6})"
        oldest = [None if count is None else done - every * (count - 1) for count in (files, states)]
    else:
        files, states = keep_steps, config.save_last_n_steps_state or keep_steps
        digits = r"-step(\d{8})"
        oldest = [None if count is None else done - count for count in (files, states)]
    folder, name = Path(config.output_dir), re.escape(config.output_name)
    ends = "|".join(_FILE_ENDS)
    if oldest[0] is not None:
        _remove(_older(folder, re.compile(rf"{name}{digits}(?:{ends})\.safetensors"), oldest[0]))
    if oldest[1] is not None:
        _remove(_older(folder, re.compile(rf"{name}{digits}{STATE_SUFFIX}"), oldest[1]))


def clean_up(output_dir: str | Path, output_name: str) -> list[str]:
    """Remove what a killed run left half written in its folder: temporary files, and state folders not yet in place.

    A former state that was moved aside when its process was killed comes back, if the new one did not take its place.
    To be called before this process writes anything itself: remains of its own number are those of a former process,
    as the program in a restarted container has the number that it had.

    Returns:
        the names of what was removed or put back.
    """
    folder = Path(output_dir)
    named = remove_leftovers(folder)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _FOLDER_REMAINS.fullmatch(path.name)
        if match is None or not path.is_dir() or not match["name"].startswith(output_name):
            continue
        if int(match["pid"]) != os.getpid() and is_running(int(match["pid"])):
            continue
        place = folder / match["name"]
        if match["kind"] == "old" and not place.exists():
            path.rename(place)
        else:
            shutil.rmtree(path)
        named.append(path.name)
    if named:
        log.info("removed what a killed run left half written: %s", ", ".join(named))
    return named


def _older(folder: Path, pattern: re.Pattern[str], oldest: int) -> Iterable[Path]:
    for path in sorted(folder.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is not None and int(match[1]) < oldest:
            yield path


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            # out of its name first: half a folder must not look like a state
            hidden = path.with_name(f".{path.name}.new-{os.getpid()}")
            path.rename(hidden)
            shutil.rmtree(hidden, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        log.info("removed %s", path)
