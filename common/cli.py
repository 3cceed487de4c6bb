"""The shell around every script: exit codes, one clear message, logging. Imports nothing heavy."""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
_LONGEST_VALUE = 160


def run(main: Callable[[], int]) -> int:
    """Call a script's `main` and turn what can go wrong into an exit code and one line.

    Returns:
        what `main` returned; 2 after a user's mistake (ValueError, OSError, no memory: the message alone is shown, the
        traceback with OMNICAM_TRACEBACK=1); 130 after Ctrl-C or SIGTERM. Any other exception is a defect of ours
        and keeps its traceback.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    _make_streams_writable()
    try:
        return main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; finished files are kept\n")
        return EXIT_INTERRUPTED
    except (ValueError, OSError) as error:
        if os.environ.get("OMNICAM_TRACEBACK"):
            raise
        return report(error)
    except MemoryError as error:
        if os.environ.get("OMNICAM_TRACEBACK"):
            raise
        sys.stderr.write(f"error: out of memory; use smaller sizes, lengths or batches. {error}".rstrip() + "\n")
        return EXIT_USER_ERROR


def report(error: ValueError | OSError) -> int:
    """Show a user's mistake in one line, as `run` does; for scripts that go on after it. Returns its exit code."""
    sys.stderr.write(f"error: {printable(_describe(error))}\n")
    return EXIT_USER_ERROR


def printable(text: str) -> str:
    """Text without what a terminal would obey: names come from files that others wrote."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def printed_lines(lines: Iterable[str]) -> str:
    """Lines for standard output; one of a name that holds line ends stays one, and cannot look like words of ours."""
    return "".join(printable(line.replace("\n", "\\n")) + "\n" for line in lines)


def shortened(text: str) -> str:
    """A text in one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_VALUE else f"{line[:_LONGEST_VALUE]}... ({len(text)} characters)"


def _describe(error: ValueError | OSError) -> str:
    """The message; what the operating system says gets the file to the front and its error number away."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    reason = f"{error.strerror}; make room on the disk" if error.errno == errno.ENOSPC else error.strerror
    target = error.filename2 or error.filename
    return reason if target is None else f"{target}: {reason}"


def _make_streams_writable() -> None:
    """A stream that the shell has closed takes all and shows nothing; what the locale cannot spell is escaped."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        narrow = isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8"
        if isinstance(stream, io.TextIOWrapper) and (narrow or stream.errors == "strict"):
            stream.reconfigure(errors="backslashreplace")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Treat a polite kill like Ctrl-C, so that half-written files are removed."""
    raise KeyboardInterrupt
