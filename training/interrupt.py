"""Ctrl-C and polite kills wait for the end of the optimizer step, so that what is saved fits together."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from common.logs import get_logger

log = get_logger("training")


ECHO_SECONDS = 2.0
"""Launchers pass a key press on to processes that had it already; within this time it is the same request."""


class StopRequest:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self.asked = False
        self._first = 0.0

    def ask(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler: remember the first request; a second one, later, interrupts at once."""
        now = time.monotonic()
        if not self.asked:
            self.asked, self._first = True, now
            log.warning("stopping after this step; press Ctrl-C again to stop at once and lose it")
        elif now - self._first > ECHO_SECONDS:
            raise KeyboardInterrupt


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """While inside, SIGINT and SIGTERM only set a flag; the handlers from before come back afterwards."""
    request = StopRequest()
    # only the main thread may set handlers; elsewhere signals do not arrive anyway
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, request.ask) for number in signals}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_interrupts(worker: int) -> None:
    """For worker processes: the main process decides when they end, and ends them by SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
