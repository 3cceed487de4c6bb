"""Logging for the scripts: one handler, plain lines, tqdm-safe."""

import logging
import os
import sys

from tqdm import tqdm


class _TqdmHandler(logging.Handler):
    """Write records above a running progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record to standard error."""
        tqdm.write(self.format(record), file=sys.stderr)


class _LevelFormatter(logging.Formatter):
    """Plain text for information, "warning: ..." and "error: ..." for the rest."""

    def format(self, record: logging.LogRecord) -> str:
        """Prefix the level only where it matters."""
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


def get_logger(name: str) -> logging.Logger:
    """A logger below the project's own root, so that other libraries stay quiet."""
    return logging.getLogger(f"omnicam.{name}")


def setup_logging(level: int = logging.INFO) -> None:
    """Send the project's log lines to standard error; safe to call more than once.

    Of several processes started together only the first tells what happens; the others only warn.
    """
    root = logging.getLogger("omnicam")
    root.setLevel(level if os.environ.get("RANK", "0") == "0" else max(level, logging.WARNING))
    root.propagate = False
    if not root.handlers:
        handler = _TqdmHandler()
        handler.setFormatter(_LevelFormatter("%(message)s"))
        root.addHandler(handler)
