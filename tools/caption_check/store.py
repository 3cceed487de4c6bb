"""The scores that are there already: a file of one line per item, to which a run adds as it goes.

A line is whole or, when the process was killed in the middle of it, the last one and of no use; it is cut off when the
file is opened to go on. Of several lines with one fingerprint the last counts.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from common.logs import get_logger
from tools.caption_check.scoring import PhraseScore

logger = get_logger("captions")


@dataclass(frozen=True)
class Scores:
    """The scores of one item."""

    frames: tuple[int, ...]
    """Numbers of the frames that were looked at."""
    phrases: tuple[PhraseScore, ...]
    """Of the caption, then of the labels; `frame` is a place in `frames`."""


class Keep(Protocol):
    """Adds the scores of an item to the file; they are there when it returns."""

    def __call__(self, fingerprint: str, scores: Scores) -> None:
        """Add them."""
        ...


def read_scores(path: Path) -> dict[str, Scores]:
    """All scores of the file by fingerprint; none when there is no such file.

    Raises:
        ValueError: a line is not one of ours; names it.
    """
    found: dict[str, Scores] = {}
    if not path.exists():
        return found
    *whole, rest = path.read_bytes().split(b"\n")
    if rest:
        logger.info(f"{path}: the last line was not finished; its item is scored again")
    for number, line in enumerate(whole, start=1):
        try:
            record = json.loads(line)
            found[record["fingerprint"]] = _parsed(record)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} line {number}: not a line of scores ({error}); remove it, and its item is scored again"
            ) from None
    return found


def _parsed(record: dict[str, Any]) -> Scores:
    phrases = tuple(PhraseScore(str(p["phrase"]), float(p["score"]), int(p["frame"])) for p in record["phrases"])
    frames = tuple(int(number) for number in record["frames"])
    if any(not 0 <= phrase.frame < len(frames) for phrase in phrases):
        raise ValueError("names a frame that was not looked at")
    return Scores(frames, phrases)


@contextmanager
def scores_file(path: Path) -> Iterator[Keep]:
    """The file opened to go on, which is made when needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        whole = path.read_bytes().rfind(b"\n") + 1
        file.truncate(whole)

        def keep(fingerprint: str, scores: Scores) -> None:
            line = json.dumps({"fingerprint": fingerprint, **asdict(scores)}, ensure_ascii=False)
            file.write(line.encode() + b"\n")
            file.flush()

        yield keep
        os.fsync(file.fileno())
