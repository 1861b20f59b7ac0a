"""Connections that cannot be held for ever: a request must begin, and an answer must be read, in time."""

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["BoundedConnection"]

_MOST: Final = 512
"""Connections at once; each needs a file descriptor, of which a process often has 1,024."""

_HEAD_SECONDS: Final = 15.0
_READ_SECONDS: Final = 60.0


class BoundedConnection(H11Protocol):
    """An HTTP/1.1 connection that ends if no whole request head arrives, or if its answer is not read.

    Uploads have a time limit of their own, in `read_uploads`.
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
        if self.cycle is not None and not self.cycle.response_complete:
            _stop(self._timer)

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
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
