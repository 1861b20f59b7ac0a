"""Bounds for what arrives over an association: connections, time, and bytes in memory."""

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from thorax.pacs.node.settings import NodeSettings

__all__ = ["MAX_PDU", "BoundedHandler", "BoundedServer", "Flow", "Flows"]

MAX_PDU: Final = 1 << 18
"""The most bytes of a PDU that peers are asked to send."""

_MOST: Final = 1 << 20
"""Bytes of a PDU that is read at all: requests for an association have no stated limit."""

_PDU_SECONDS: Final = 60.0
"""Seconds within which a PDU must be whole, however steadily its bytes come."""

_INVALID_PDU: Final = "Evt19"
"""The event of the upper layer's state machine that aborts (PS3.8 9.2)."""

_WAITING: Final = 2
"""Connections for each association: some have not asked for one yet, or are ending."""

_HELD: Final = 4
"""All associations together may hold so many times the largest object in memory."""


@dataclass(slots=True)
class Flow:
    """What one association has sent and nothing has handled yet.

    Attributes:
        held: Bytes of messages in memory.
        cut: What the message that arrives was cut for; "" if it is whole so far.
        done: The same for the messages that wait to be handled.
    """

    held: int = 0
    cut: str = ""
    done: "deque[str]" = field(default_factory=deque)


class Flows:
    """Bounds the messages of all associations; the bytes beyond a bound are dropped as they come.

    So the sender still gets an answer, which says why its object was not taken.

    Args:
        settings: The largest object.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._most = settings.max_bytes
        self._flows: WeakKeyDictionary[Association, Flow] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def handlers(self) -> "list[tuple[Any, Callable[[evt.Event], None]]]":
        """Return the handlers that watch an association."""
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_PDU_RECV, self._arrived),
            (evt.EVT_DIMSE_RECV, self._whole),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]

    def take(self, association: Association) -> str:
        """Return why the message that is handled next was cut; "" if it is whole, "gone" if its peer is."""
        done = self._of(association).done
        return done.popleft() if done else "gone"

    def handled(self, association: Association) -> None:
        """Note that a message was handled."""
        if association.dimse.msg_queue.empty():
            self._of(association).held = 0

    def _of(self, association: Association) -> Flow:
        with self._lock:
            return self._flows.setdefault(association, Flow())

    def _opened(self, event: evt.Event) -> None:
        self._of(event.assoc)

    def _closed(self, event: evt.Event) -> None:
        with self._lock:
            self._flows.pop(event.assoc, None)
        if event.assoc.requestor.primitive is None:
            # Its thread waits for the request of a peer that is gone: let it end at once, as after the time.
            queue: Any = event.assoc.dul.to_user_queue
            queue.put(None)

    def _arrived(self, event: evt.Event) -> None:
        """Count the bytes of a PDU, and drop those that are too many."""
        if not isinstance(event.pdu, P_DATA_TF):
            return
        flow = self._of(event.assoc)
        with self._lock:
            others = sum(other.held for other in self._flows.values() if other is not flow)
        for item in event.pdu.presentation_data_value_items:
            value = item.presentation_data_value or b""
            flow.held += len(value)
            if flow.held > self._most:
                flow.cut = "too large"
            elif others + flow.held > _HELD * self._most:
                flow.cut = "busy"
            if flow.cut:
                flow.held -= len(value) - 1
                item.presentation_data_value = value[:1]  # which says whether it is the last one

    def _whole(self, event: evt.Event) -> None:
        """Note whether a message that has arrived is whole, in the order in which they are handled."""
        flow = self._of(event.assoc)
        if type(event.message).__name__ == "C_STORE_RQ":
            flow.done.append(flow.cut)
        flow.cut = ""


class BoundedHandler(RequestHandler):
    """Begins an association whose PDUs are bounded."""

    server: "BoundedServer"

    def _create_association(self) -> Association:
        association = super()._create_association()
        connection = association.dul.socket
        assert connection is not None
        # Methods of these objects alone are replaced; setattr, since their types say that methods stay.
        setattr(connection, "recv", partial(_read, connection, self.server.pause))  # noqa: B010
        receive = partial(_receive, association, association.dimse.receive_primitive)
        setattr(association.dimse, "receive_primitive", receive)  # noqa: B010
        return association


def _receive(association: Association, receive: Callable[[Any], None], primitive: Any) -> None:
    """Take a part of a message; one that cannot be understood aborts the association, and nothing else."""
    try:
        receive(primitive)
    except Exception:  # noqa: BLE001  (whatever hostile bytes make a parser raise)
        association.dul.event_queue.put(_INVALID_PDU)


def _read(connection: AssociationSocket, pause: float, count: int) -> bytearray:
    """Read so many bytes, or fewer where the peer ends; raise OSError where they are too many or too slow."""
    if count > _MOST:
        raise OSError("the PDU is too large")
    assert connection.socket is not None
    received, read, until = bytearray(count), 0, time.monotonic() + _PDU_SECONDS
    view = memoryview(received)
    connection.socket.settimeout(pause)
    while read < count:
        if time.monotonic() > until:
            raise TimeoutError("the PDU takes too long")
        arrived = connection.socket.recv_into(view[read:])
        if not arrived:
            return received[:read]
        read += arrived
    return received


class BoundedServer(ThreadedAssociationServer):
    """Takes connections from allowed addresses, and not too many; TLS is negotiated beside the others.

    Attributes:
        pause: Seconds that a peer may pause within a PDU.
        most: The most associations.
        is_allowed: Whether an address may connect at all.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    pause: float = 10.0
    most: int = 16
    is_allowed: Callable[[str], bool] = staticmethod(lambda _address: False)

    def verify_request(self, _request: Any, client_address: Any) -> bool:
        """Return whether a connection is taken."""
        return self.is_allowed(client_address[0]) and len(self.active_associations) < _WAITING * self.most

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a connection; TLS is negotiated later, since a peer may take its time."""
        assert self.socket is not None
        connection, address = self.socket.accept()
        connection.settimeout(self.pause)
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Negotiate TLS, and begin the association; this runs in a thread of its own."""
        if isinstance(request, ssl.SSLSocket):
            request.do_handshake()
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a connection that does not become an association is its peer's business."""
