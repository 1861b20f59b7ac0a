"""What Ctrl-C does while `predict` starts: the process ends, with the exit code of an interrupted command."""

import os
import signal
from types import FrameType
from typing import Final

__all__ = ["INTERRUPTED", "end_at_once", "raise_again"]

INTERRUPTED: Final = 130
"""Exit code of a command that Ctrl-C ended: 128 and the number of the signal."""


def end_at_once() -> None:
    """Let Ctrl-C end the process without unwinding, until `raise_again`.

    An exception within the import of a library such as NumPy leaves that half initialized, and it then fails
    with an error and a traceback of its own.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, as Python does by itself."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
