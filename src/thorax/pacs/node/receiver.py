"""The receiving side of a node: a DICOM application entity that answers C-ECHO and C-STORE."""

import logging
import socketserver
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from thorax.errors import ServiceError
from thorax.pacs.node.connections import MAX_PDU, BoundedHandler, BoundedServer, Flows
from thorax.pacs.node.ledger import Ledger
from thorax.pacs.node.peers import is_loopback
from thorax.pacs.node.settings import NodeSettings
from thorax.pacs.node.storing import BUSY, FAILED, STORED, TOO_LARGE, Answer, Arrival, store
from thorax.pacs.node.tls import for_senders
from thorax.pacs.radiography import SOP_CLASSES, TRANSFER_SYNTAXES

__all__ = ["Receiver", "quiet_pynetdicom"]

_ENDING: Final = 20.0
"""Seconds for associations that are under way when the node ends."""

_REJECTED: Final = (0x01, 0x01, 0x03)
"""Permanently, by the service user: the calling AE title is not recognized (PS3.8 9.3.4)."""


class Receiver:
    """Listens for associations; `start` begins and `stop` ends it.

    Args:
        settings: How it is reached, and whom it serves.
        ledger: Gets what is stored, and what peers heard.
        stored: Called when an object was added to the queue.
        committed: Called with a transaction UID and whether a destination commits itself to all that it was
            asked for; returns whether that is known.

    Raises:
        ServiceError: The certificate cannot be used.
    """

    def __init__(
        self,
        settings: NodeSettings,
        ledger: Ledger,
        *,
        stored: Callable[[], None],
        committed: Callable[[str, bool], bool],
    ) -> None:
        self._settings = settings
        self._queue, self._log, self._counters = ledger.queue, ledger.log, ledger.counters
        self._on_stored = stored
        self._committed = committed
        self._senders = settings.senders
        self._flows = Flows(settings)
        self._encryption = for_senders(settings)
        self._server: BoundedServer | None = None
        self._ending = threading.Event()

    @property
    def is_running(self) -> bool:
        """Whether it takes associations."""
        return self._server is not None and not self._ending.is_set()

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before `start`."""
        return int(self._server.server_address[1]) if self._server else 0

    @property
    def associations(self) -> int:
        """How many associations there are."""
        return len(self._server.active_associations) if self._server else 0

    def start(self) -> None:
        """Listen.

        Raises:
            ServiceError: The port is in use, or this user may not use it.
        """
        quiet_pynetdicom()
        settings, entity = self._settings, AE(self._settings.ae_title)
        entity.require_called_aet = True
        entity.maximum_associations = settings.associations
        entity.maximum_pdu_size = MAX_PDU
        entity.network_timeout = settings.network_timeout
        entity.acse_timeout = settings.network_timeout / 3
        entity.dimse_timeout = settings.network_timeout
        entity.add_supported_context(Verification)
        for sop_class in SOP_CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        # A destination that reports whether it keeps results opens the association, and is the provider.
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        handlers: list[Any] = [
            *self._flows.handlers(),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_ECHO, self._echoed),
            (evt.EVT_C_STORE, self._stored),
            (evt.EVT_N_EVENT_REPORT, self._reported),
        ]
        self._server = self._listening(entity, handlers)
        self._server.most = settings.associations
        self._server.pause = settings.network_timeout / 3
        self._server.is_allowed = self._is_known
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="receiver", daemon=True
        ).start()

    def _listening(self, entity: AE, handlers: list[Any]) -> BoundedServer:
        settings = self._settings
        try:
            server = entity.make_server(
                (settings.address, settings.port),
                ssl_context=self._encryption,
                evt_handlers=handlers,
                server_class=BoundedServer,
                request_handler=BoundedHandler,
            )
        except OSError as error:
            raise ServiceError.of_port(settings.address, settings.port, error) from error
        assert isinstance(server, BoundedServer)
        return server

    def stop(self) -> None:
        """Take no more associations; let those that are under way end, for up to 20 seconds."""
        self._ending.set()
        server = self._server
        if server is None:
            return
        socketserver.BaseServer.shutdown(server)
        server.server_close()
        until = time.monotonic() + _ENDING
        while server.active_associations and time.monotonic() < until:
            time.sleep(0.05)
        for association in server.active_associations:
            association.abort()

    # ---- what peers do -----------------------------------------------------------------------------

    def _is_known(self, address: str) -> bool:
        if not self._senders:
            return is_loopback(address)
        return any(sender.at(address) for sender in self._senders)

    def _requested(self, event: evt.Event) -> None:
        """Reject the association of a sender that may not send."""
        association = event.assoc
        request: Any = association.requestor.primitive
        title, address = request.calling_ae_title, str(association.requestor.address)
        known = not self._senders or any(
            sender.ae_title == title and sender.at(address) for sender in self._senders
        )
        if known:
            return
        self._counters.answer("association rejected")
        self._log.write("association rejected", calling=title, address=address)
        association.acse.send_reject(*_REJECTED)
        association.is_rejected = True
        association.kill()

    def _echoed(self, event: evt.Event) -> int:
        self._flows.handled(event.assoc)
        self._counters.answer("echo")
        return 0x0000

    def _stored(self, event: evt.Event) -> Dataset:
        """Store an object; the answer is sent when this returns."""
        request: Any = event.request
        began = time.monotonic()
        cut = self._flows.take(event.assoc)
        try:
            answer = {"too large": TOO_LARGE, "busy": BUSY, "gone": FAILED}.get(cut) or self._taken(event)
        finally:
            self._flows.handled(event.assoc)
        if answer is STORED:
            self._on_stored()
        seconds = time.monotonic() - began
        self._counters.answer(answer.event, seconds)
        self._log.write(
            answer.event,
            uid=str(request.AffectedSOPInstanceUID or ""),
            calling=str(event.assoc.requestor.ae_title),
            status=f"0x{answer.status:04X}",
            seconds=round(seconds, 4),
        )
        response = Dataset()
        response.Status = answer.status
        if answer.comment:
            response.ErrorComment = answer.comment
        return response

    def _taken(self, event: evt.Event) -> Answer:
        request: Any = event.request
        try:
            head = b"".join((bytes(128), b"DICM", encode_file_meta(event.file_meta)))
        except Exception:  # noqa: BLE001  (UIDs that cannot be written)
            return Answer(0xC000, "the UIDs of the request are not valid", "not understood")
        with request.DataSet.getbuffer() as content:
            return store(
                self._queue,
                self._settings,
                Arrival(
                    head,
                    content,
                    str(request.AffectedSOPClassUID),
                    str(request.AffectedSOPInstanceUID),
                    str(event.assoc.requestor.ae_title),
                ),
            )

    def _reported(self, event: evt.Event) -> int:
        """Note whether a destination commits itself to keep results."""
        information = event.event_information
        transaction = str(information.get("TransactionUID", ""))
        whole = event.event_type == 1 and not information.get("FailedSOPSequence")
        known = self._committed(transaction, whole)
        self._counters.answer("commitment" if whole else "commitment refused")
        self._log.write("commitment", whole=whole, known=known, calling=str(event.assoc.requestor.ae_title))
        return 0x0000


def quiet_pynetdicom() -> None:
    """Let pynetdicom log nothing: its lines quote data sets, and with them patients."""
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
