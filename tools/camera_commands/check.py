"""Check camera texts: every mistake with its segment, tag, value and what is allowed, and what is legal but odd.

The exit code is 0 when all texts are right (warnings allowed), 2 when one is wrong.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common import arguments
from common.cli import EXIT_USER_ERROR
from common.files import require_file
from tools.camera_commands.output import say
from tools.trajectory_input import DEFAULT_FPS, DEFAULT_FRAMES, check_length

if TYPE_CHECKING:
    from camera.language import Move

SUMMARY = "find every mistake of camera texts"
_ELSEWHERE = ("camera_file", "image_path")


@dataclass(frozen=True)
class _Caption:
    where: str
    text: str | None
    """None: nothing to check (an image, or a camera of its own)."""
    wrong: str = ""
    """Why the line could not be read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts on the command line, or many in a file."""
    parser.add_argument("text", nargs="*", metavar="TEXT", help="camera text or whole caption")
    parser.add_argument(
        "--file",
        metavar="PATH",
        action="append",
        default=[],
        help="many captions: .jsonl with a key 'caption', or a text file with one caption a line",
    )
    parser.add_argument("--frames", type=int, default=DEFAULT_FRAMES, help="frames of the video")
    parser.add_argument("--fps", type=float, default=DEFAULT_FPS, help="frames per second of the video")
    parser.add_argument("--quiet", action="store_true", help="only mistakes, no warnings and no right texts")


def run(args: argparse.Namespace) -> int:
    """Report every text, then count them."""
    check_length(args.frames, args.fps)
    if not args.text and not args.file:
        raise ValueError("nothing to check: give a TEXT, or --file captions.jsonl")
    captions = [_Caption(f"text {index}", text) for index, text in enumerate(args.text, start=1)]
    for name in args.file:
        captions += _captions(require_file(arguments.named(name, "--file"), "--file"))
    counts = {"right": 0, "wrong": 0, "without a camera text": 0}
    for caption in captions:
        counts[_report(caption, args)] += 1
    say(", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "wrong"))
    return EXIT_USER_ERROR if counts["wrong"] else 0


def _report(caption: _Caption, args: argparse.Namespace) -> str:
    """Say what is to be said of one caption, and return what it counts as."""
    if caption.text is None:
        if caption.wrong:
            say(f"{caption.where}: wrong\n  {caption.wrong}")
        return "wrong" if caption.wrong else "without a camera text"
    try:
        moves, odd = _examined(caption.text, args)
    except ValueError as error:
        say(f"{caption.where}: wrong\n  {_indented(error)}")
        return "wrong"
    if not args.quiet:
        count = "1 segment" if len(moves) == 1 else f"{len(moves)} segments"
        say(f"{caption.where}: right, {count}, until {max(move.end for move in moves):g} s")
        for warning in odd:
            say(f"  warning: {warning}")
    return "right"


def _indented(error: ValueError) -> str:
    """The mistakes of a camera text one a line, anything else as it is."""
    from camera.language import CameraTextError

    lines = [str(mistake) for mistake in error.mistakes] if isinstance(error, CameraTextError) else [str(error)]
    return "\n  ".join(lines)


def _examined(text: str, args: argparse.Namespace) -> tuple[list["Move"], list[str]]:
    """The moves of a text that parses and compiles, and what is odd about them."""
    from camera.language import parse
    from camera.lint import lint
    from camera.trajectory import compile

    moves = parse(text)
    compile(moves, args.frames, args.fps)
    return moves, [str(warning) for warning in lint(moves, args.frames, args.fps)]


def _captions(path: Path) -> Iterator[_Caption]:
    """The captions of a file, with the line of each; empty lines are skipped."""
    raw = path.read_bytes()
    try:
        # not splitlines: a caption may hold U+2028 and the like, which JSON lets stand in a line
        lines = re.split(r"\r\n|\r|\n", raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"--file {path}, line {line}: not UTF-8 text ({error.reason}); save it as UTF-8") from None
    read = _from_json if path.suffix.lower() in (".jsonl", ".json") else _Caption
    for index, line in enumerate(lines, start=1):
        if line.strip():
            yield read(f"{path}:{index}", line)


def _from_json(where: str, line: str) -> _Caption:
    import json

    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _Caption(where, None, f"not JSON: {error}")
    caption = record.get("caption") if isinstance(record, dict) else None
    if not isinstance(caption, str):
        return _Caption(where, None, "expected an object with a key 'caption' that holds a text")
    from camera.captions import split_trajectory
    from camera.language import has_camera

    named = split_trajectory(caption)[1] is not None or any(key in record for key in _ELSEWHERE)
    if not has_camera(caption) and named:
        return _Caption(where, None)
    return _Caption(where, caption)
