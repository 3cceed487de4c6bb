"""Warnings that are worth one line for a whole data set, not one for each of its files."""

from common.logs import get_logger

logger = get_logger("media")

_told: set[str] = set()


def remark_once(kind: str, message: str) -> None:
    """Warn with `message`, unless this process has already warned of this `kind`."""
    if kind not in _told:
        _told.add(kind)
        logger.warning(f"{message} (said of the first such file only)")
