"""A process that works on the cells of a study, one at a time.

Run as `python -m thorax.studies.worker ORDERS REPLIES DEVICE` by `over_devices` alone; the first two are the
descriptors of pipes. When the pipe of orders closes, because the study ends or its process has died, training
stops as it does for SIGTERM: it writes a checkpoint, from which the next process continues.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from thorax.studies.cells import Cell
from thorax.studies.engines import INTERRUPTED
from thorax.studies.work import Step, do_step, of_cell

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """Work on cells until no more orders can come.

    Args:
        arguments: The descriptors to read orders from and write replies to, and the device.
    """
    orders = Connection(int(arguments[0]), writable=False)
    replies = Connection(int(arguments[1]), readable=False)
    arrived: SimpleQueue[tuple[Cell, Step] | None] = SimpleQueue()

    def listen() -> None:
        with suppress(EOFError, OSError):
            while True:
                arrived.put(orders.recv())
        arrived.put(None)
        os.kill(os.getpid(), signal.SIGTERM)

    def say(reply: Any) -> None:
        with suppress(OSError):  # of a study that has died, which the thread learns as well
            replies.send(reply)

    threading.Thread(target=listen, daemon=True).start()
    while (order := arrived.get()) is not None:
        say(_done(*order, device=arguments[2], say=say))


def _done(cell: Cell, step: Step, *, device: str, say: Any) -> Any:
    """Return the outcome of a step, or that it was stopped."""
    from thorax.training import TrainingInterrupted  # noqa: PLC0415  (torch, once the thread listens)

    try:
        return do_step(cell, step, device=device, progress=of_cell(cell, say))
    except (KeyboardInterrupt, TrainingInterrupted):
        return INTERRUPTED


if __name__ == "__main__":
    main(sys.argv[1:])
