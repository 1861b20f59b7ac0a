"""Ctrl-C and SIGTERM: the run stops between two steps, where its state is whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from thorax.errors import ThoraxError

__all__ = ["StopSignal", "TrainingInterrupted", "stop_signal"]


class TrainingInterrupted(ThoraxError):  # noqa: N818  (it says what happened; nothing went wrong)
    """The run was stopped by Ctrl-C or SIGTERM, and can be resumed."""

    exit_code = 130


class StopSignal:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal; the second one ends the process at once."""
        if self._asked:
            raise SystemExit(128 + number)
        self._asked = True

    def check(self) -> None:
        """Stop here if asked to: called where the state of the run is whole.

        Raises:
            KeyboardInterrupt: Somebody asked.
        """
        if self._asked:
            raise KeyboardInterrupt


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Catch SIGINT and SIGTERM until the end; outside the main thread, where Python cannot, catch nothing."""
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
