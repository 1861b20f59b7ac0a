"""Connections that cannot be held for ever: a request must begin, and an answer must be read, in time."""

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import is_ssl

from thorax.service.refusals import cut_off

__all__ = ["BoundedConnection"]

_MOST: Final = 512
"""Connections at once; each needs a file descriptor, of which a process often has 1,024."""

_HEAD_SECONDS: Final = 15.0
_READ_SECONDS: Final = 60.0


class BoundedConnection(H11Protocol):
    """An HTTP/1.1 connection that ends if no whole request head arrives, or if its answer is not read.

    Uploads have a time limit of their own, in `read_uploads`. A request that is cut off gets the service's
    own form of failure, if the client still reads.
    """

    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > _MOST:
            transport.abort()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        _stop(self._timer)
        _stop(self._unread)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take data; the time is over once they have completed the head of a request."""
        super().data_received(data)
        if self.has_request:
            _stop(self._timer)

    @property
    def has_request(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def eof_received(self) -> bool:  # type: ignore[override]
        """Refuse a request that the client ended too early; keep the connection to answer a whole one.

        Clients may close their side as soon as they have sent everything.
        """
        if not self.has_request:
            return False
        if self.cycle.more_body:
            self.send_400_response("")
            return False
        self.cycle.keep_alive = False
        return not is_ssl(self.transport)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  (uvicorn's text, which is not JSON)
        """Answer what is not a whole request in the service's own form, and end the connection."""
        if self.has_request:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:  # an answer has begun
            self.transport.abort()
            return
        answer = cut_off().answer()
        head = h11.Response(
            status_code=answer.status_code, headers=[*answer.raw_headers, (b"connection", b"close")]
        )
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._await_head()

    def pause_writing(self) -> None:
        """Begin to wait until the client reads."""
        super().pause_writing()
        _stop(self._unread)
        self._unread = self.loop.call_later(_READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        _stop(self._unread)

    def _await_head(self) -> None:
        _stop(self._timer)
        self._timer = self.loop.call_later(_HEAD_SECONDS, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if not self.has_request:
            self.transport.abort()


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
