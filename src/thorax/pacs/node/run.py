"""Runs a node until it is asked to end: receiver, worker, senders, and what is around them."""

import sqlite3
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from thorax.atomic_io import exclusive_lock
from thorax.bundle import Bundle
from thorax.errors import ServiceError
from thorax.pacs.node.dimse import DimseOutlet
from thorax.pacs.node.health import HealthServer
from thorax.pacs.node.ledger import Ledger
from thorax.pacs.node.log import NodeLog, read_salt
from thorax.pacs.node.makers import Makers
from thorax.pacs.node.metrics import Counters, metrics_text
from thorax.pacs.node.monitoring import keep_model
from thorax.pacs.node.monitoring_metrics import LiveMonitoring
from thorax.pacs.node.peers import Destination
from thorax.pacs.node.queue import DATABASE, Queue
from thorax.pacs.node.receiver import Receiver
from thorax.pacs.node.retention import remove_old_files
from thorax.pacs.node.rules import load_rules
from thorax.pacs.node.schema import errors_named
from thorax.pacs.node.sender import Outlet, Sender
from thorax.pacs.node.settings import NodeSettings
from thorax.pacs.node.stow import StowOutlet
from thorax.pacs.node.tls import for_destinations
from thorax.pacs.node.worker import Worker

__all__ = ["NodeAddress", "run_node"]

_ENDING: Final = 60.0
"""Seconds for the objects and the results in progress when the node ends."""

_SOME: Final = 1_000_000
"""Bytes that an object takes at least."""

_LOOK: Final = 0.5
_CLEANING: Final = 60.0


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node answers.

    Attributes:
        ae_title: Its AE title.
        address: The address that it listens on.
        port: Its port.
        health_port: Port on this machine for /health and /metrics.
        note: Why its results have no maps, a sentence without its period; "" if they have.
    """

    ae_title: str
    address: str
    port: int
    health_port: int
    note: str


def run_node(
    bundle: Bundle,
    settings: NodeSettings,
    *,
    stop: threading.Event,
    ready: Callable[[NodeAddress], None],
    device: str = "auto",
) -> None:
    """Receive images, predict them and send the results, until `stop` is set.

    It then takes no more associations, finishes what is in progress, and leaves the rest in the queue, from
    which the next start goes on. Killed at any moment, it loses nothing, and sends nothing under two UIDs.

    Args:
        bundle: The model, which is opened in processes of the node's.
        settings: How it is reached, and whom it serves.
        stop: Ends the call.
        ready: Called once it listens.
        device: The device of the model and the maps.

    Raises:
        BundleError: The model cannot be opened.
        ServiceError: A port, a certificate or the queue cannot be used.
        RecipeError: The rules cannot be read.
        DataError: Another node uses the queue.
    """
    warnings.simplefilter("ignore")  # a library's warning may quote a data set, and the log must not
    rules = load_rules(settings.rules)
    queue = Queue(settings.queue)
    with errors_named(settings.queue / DATABASE), ExitStack() as stack:
        stack.callback(queue.close)
        stack.enter_context(exclusive_lock(settings.queue, doing="running a node with"))
        queue.remove_unknown_files()
        queue.refuse_other_destinations([destination.name for destination in settings.destinations])
        makers = stack.enter_context(Makers(bundle, rules, device=device))
        keep_model(queue, bundle)
        node = _Node(settings, queue, makers, bundle)
        stack.enter_context(_errors_of_threads_in(node.log))
        node.begin()
        stack.callback(node.end)
        ready(node.address)
        node.stand_by(stop)


@contextmanager
def _errors_of_threads_in(log: NodeLog) -> Iterator[None]:
    """Write the errors that end threads into the log, by kind alone: their texts may quote a data set.

    A thread of pynetdicom may end so where a peer goes away in the middle of an answer.
    """

    def write(ended: threading.ExceptHookArgs) -> None:
        log.write("thread ended", error=ended.exc_type.__name__)

    before, threading.excepthook = threading.excepthook, write
    try:
        yield
    finally:
        threading.excepthook = before


class _Node:
    """The parts of a running node."""

    def __init__(self, settings: NodeSettings, queue: Queue, makers: Makers, bundle: Bundle) -> None:
        self._settings = settings
        self._queue = queue
        self._makers = makers
        self._bundle = bundle
        self.log = NodeLog(read_salt(settings.queue))
        self._ledger = Ledger(queue, self.log, Counters())
        self._ending = False
        encryption = for_destinations(settings)
        self._senders = [
            Sender(destination, self._outlet(destination, encryption), self._ledger)
            for destination in settings.destinations
        ]
        self._worker = Worker(
            self._ledger,
            makers,
            destinations=[destination.name for destination in settings.destinations],
            ready=self._wake_senders,
        )
        self._receiver = Receiver(settings, self._ledger, stored=self._worker.wake, committed=self._committed)
        self._health: HealthServer | None = None
        self._monitoring = LiveMonitoring(settings.queue, bundle)

    def _outlet(self, destination: Destination, encryption: ssl.SSLContext) -> Outlet:
        if destination.kind == "stow":
            return StowOutlet(destination, encryption)
        return DimseOutlet(
            destination,
            self._settings.ae_title,
            encryption,
            asking=self._queue.asking,
            committed=self._committed,
        )

    def _committed(self, transaction: str, whole: bool) -> bool:  # noqa: FBT001  (an answer)
        return bool(transaction) and self._queue.committed(transaction, whole=whole)

    def _wake_senders(self) -> None:
        for sender in self._senders:
            sender.wake()

    def begin(self) -> None:
        """Listen, and begin to work.

        Raises:
            ServiceError: A port cannot be used.
        """
        self._receiver.start()
        try:
            self._health = HealthServer(self._settings.health_port, self._how_it_is, self._metrics)
        except ServiceError:
            self._receiver.stop()
            raise
        self._worker.start()
        for sender in self._senders:
            sender.start()

    @property
    def address(self) -> NodeAddress:
        """Where it answers."""
        return NodeAddress(
            self._settings.ae_title,
            self._settings.address,
            self._receiver.port,
            self._health.port if self._health else 0,
            self._makers.note,
        )

    def stand_by(self, stop: threading.Event) -> None:
        """Remove old files now and then, until the event is set."""
        cleaned = -_CLEANING
        while not stop.wait(_LOOK):
            if time.monotonic() - cleaned >= _CLEANING:
                cleaned = time.monotonic()
                self._clean()

    def _clean(self) -> None:
        try:
            removed = remove_old_files(self._queue, self._settings)
        except (OSError, sqlite3.DatabaseError) as error:  # a full disk, or a database that is held
            self.log.write("files not removed", error=type(error).__name__)
        else:
            if removed:
                self.log.write("files removed", objects=removed)

    def end(self) -> None:
        """Take nothing more, finish what is in progress, and end."""
        self._ending = True
        self.log.write("ending")
        self._receiver.stop()
        until = time.monotonic() + _ENDING
        self._worker.stop(_ENDING)
        for sender in self._senders:
            sender.stop(max(0.0, until - time.monotonic()))
        if self._health:
            self._health.stop()
        self.log.write("ended")

    def _how_it_is(self) -> tuple[bool, dict[str, Any]]:
        """Return whether all is well, and what /health says."""
        try:
            counts = self._queue.counts()
        except sqlite3.DatabaseError:
            return False, {"status": "the queue cannot be read"}
        works = self._receiver.is_running and self._worker.is_alive
        works = works and all(sender.is_alive for sender in self._senders)
        has_space = self._settings.has_space(_SOME)
        is_well = works and has_space and not self._ending
        problem = "ending" if self._ending else "a part has ended" if not works else "the disk is full"
        return is_well, {
            "status": "ok" if is_well else problem,
            "waiting": counts["received"] + counts["predicted"],
            "dead_letters": counts["failed"],
            "destinations": {sender.name: sender.is_reached for sender in self._senders},
        }

    def _metrics(self) -> str:
        bundle = self._bundle
        return metrics_text(
            self._ledger.counters,
            self._queue,
            associations=self._receiver.associations,
            model=bundle.manifest.name,
            sha256=bundle.sha256,
            monitoring=self._monitoring.lines(),
        )
