"""The sending side of a node: a thread for each destination, which sends results until it has all of them."""

import threading
import time
from typing import Final, Protocol, Self

from thorax.pacs.node.ledger import Ledger
from thorax.pacs.node.peers import Destination
from thorax.pacs.node.records import Delivery, back_off

__all__ = ["NotReached", "Outlet", "Refused", "Sender", "refuse_missing"]

_AT_ONCE: Final = 50
_POLL: Final = 0.5
_MOST_REFUSALS: Final = 8
_DELAY: Final = 60.0


class NotReached(Exception):  # noqa: N818  (an event)
    """A destination cannot be reached or has no room: everything for it waits.

    Args:
        reason: Why, without patient data.
    """


class Refused(Exception):  # noqa: N818  (an event)
    """A destination refuses an object.

    Args:
        reason: Why, without patient data.
        is_final: Whether it would refuse it again.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


def refuse_missing(delivery: Delivery) -> None:
    """Refuse results whose files are gone.

    Raises:
        Refused: They are.
    """
    if not delivery.files:
        raise Refused("its results are kept no longer", is_final=True)


class Outlet(Protocol):
    """How results get to one destination; connected from `__enter__` to `__exit__`."""

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            NotReached: It cannot be reached.
        """

    def __exit__(self, *_error: object) -> None:
        """Disconnect."""

    def send(self, delivery: Delivery) -> None:
        """Send the results of an object.

        Raises:
            NotReached: The destination went away, or has no room.
            Refused: It refuses one of them.
        """


class Sender:
    """A thread that sends to one destination.

    Args:
        destination: The destination.
        outlet: How results get there.
        ledger: Has what waits, and gets what was sent.

    Attributes:
        name: Name of the destination.
    """

    def __init__(self, destination: Destination, outlet: Outlet, ledger: Ledger) -> None:
        self.name = destination.name
        self._outlet = outlet
        self._queue, self._log, self._counters = ledger.queue, ledger.log, ledger.counters
        self._failures = 0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sender {self.name}", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread works."""
        return self._thread.is_alive()

    @property
    def is_reached(self) -> bool:
        """Whether the latest attempt, if there was any, reached the destination."""
        return self._failures == 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue at once, unless the destination was not reached: it is left alone a while."""
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """Finish what is being sent and end; wait for so long."""
        self._stop.set()
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = _POLL
            try:
                if self.work():
                    continue
            except NotReached as error:
                self._failures += 1
                pause = back_off(self._failures)
                self._counters.delivery(self.name, "not reached")
                self._log.write("not reached", destination=self.name, reason=str(error), pause=pause)
            except Exception as error:  # noqa: BLE001  (a full disk, or a database that another program holds)
                self._log.write("sender failed", destination=self.name, error=type(error).__name__)
            if self._failures:
                self._stop.wait(pause)
            else:
                self._wake.wait(pause)
                self._wake.clear()

    def work(self) -> int:
        """Send what waits, and return how much that was.

        Raises:
            NotReached: The destination cannot be reached, or went away.
        """
        deliveries = self._queue.due(self.name, _AT_ONCE)
        if not deliveries:
            return 0
        with self._outlet as outlet:
            self._failures = 0
            for delivery in deliveries:
                if self._stop.is_set():
                    break
                self._send(outlet, delivery)
        return len(deliveries)

    def _send(self, outlet: Outlet, delivery: Delivery) -> None:
        began = time.monotonic()
        try:
            outlet.send(delivery)
        except NotReached:
            # Perhaps it ends the association because of this object: the others must not wait behind it.
            self._queue.delay(delivery, _DELAY)
            raise
        except Refused as error:
            most = 1 if error.is_final else _MOST_REFUSALS
            dead = self._queue.refused(delivery, str(error), pause=back_off(delivery.attempts + 3), most=most)
            outcome = "given up" if dead else "refused"
            self._counters.delivery(self.name, outcome)
            self._log.write(outcome, uid=delivery.sop_uid, destination=self.name, reason=str(error))
        else:
            self._queue.sent(delivery)
            self._counters.delivery(self.name, "sent")
            self._counters.step("send", time.monotonic() - began)
            self._log.write("sent", uid=delivery.sop_uid, destination=self.name)
