"""Places for requests with files: those that find none are asked to come back."""

from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thorax.service.refusals import busy
from thorax.service.settings import ServiceSettings
from thorax.service.uploads import discard_upload

__all__ = ["Admission", "Places"]


@dataclass(slots=True)
class Places:
    """What is taken at the moment.

    Attributes:
        requests: Requests with files on their way.
        upload_bytes: Bytes of their files that have arrived.
    """

    requests: int = 0
    upload_bytes: int = 0


class Admission:
    """ASGI middleware that gives each request with files a place until its answer was read.

    Args:
        app: The application.
        settings: How many places there are, and how much memory for their files.
        places: What is taken at the moment.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, places: Places) -> None:
        self._app = app
        self._settings = settings
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with 503."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
        elif self._places.requests >= self._settings.places:
            await discard_upload(receive, max_bytes=self._settings.max_bytes)
            await busy().answer()(scope, receive, send)
        else:
            await self._with_a_place(scope, receive, send)

    async def _with_a_place(self, scope: Scope, receive: Receive, send: Send) -> None:
        places, held = self._places, 0

        async def receive_counted() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            if places.upload_bytes + size > self._settings.upload_bytes:
                raise busy()
            held += size
            places.upload_bytes += size
            return message

        places.requests += 1
        try:
            await self._app(scope, receive_counted, _until_read(send))
        finally:
            places.requests -= 1
            places.upload_bytes -= held


def _until_read(send: Send) -> Send:
    """Return a `send` whose last call returns when the client has read the answer but for a little."""

    async def send_whole(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            last: dict[str, Any] = {"type": "http.response.body", "body": b"", "more_body": False}
            await send({**message, "more_body": True})
            await send(last)
        else:
            await send(message)

    return send_whole
