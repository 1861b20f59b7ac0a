"""What applies to every request: hosts, security headers, unexpected errors, and places for uploads."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thorax.service.refusals import Refused, error_answer
from thorax.service.settings import ServiceSettings

__all__ = ["Admission", "Guard"]

_LOG: Final = logging.getLogger("thorax.service")

_FIXED: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "X-Robots-Tag": "noindex",
}

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; require-trusted-types-for 'script'; frame-ancestors "
)
"""Content-Security-Policy: everything is from here, no inline script or style, no form, no HTML from text."""


class Guard:
    """ASGI middleware that refuses foreign hosts and origins, and completes every answer's headers.

    Args:
        app: The application.
        settings: Which hosts are answered, and which sites may frame the page.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app = app
        self._settings = settings
        self._headers = _FIXED | {
            "Content-Security-Policy": _POLICY + (" ".join(settings.frame_ancestors) or "'none'")
        }
        if not settings.frame_ancestors:
            self._headers["X-Frame-Options"] = "DENY"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        try:
            await (refusal or self._app)(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001  (whatever it is, its text may name a patient)
            _LOG.error("%s at %s", type(error).__name__, _place(error))
            if not started:
                answer = error_answer(500, "InternalError", "the service failed; its log says where")
                await answer(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        """Return the answer to a request for another host, or from another site's page; None for others."""
        host = _name_in(f"//{headers.get('host', '')}")
        if not self._settings.accepts_host(host):
            return error_answer(
                421,
                "WrongHost",
                f"this service does not answer to the name {host[:100]!r}; start it with thorax serve "
                "--allow-host NAME if the name is its own",
            )
        origin = headers.get("origin")
        if origin is not None and not self._settings.accepts_host(_name_in(origin)):
            return error_answer(403, "WrongOrigin", "pages of other sites may not use this service")
        return None


def _name_in(address: str) -> str:
    """Return the host name of an address, lower-case and without port; "" if it has none."""
    try:
        return (urlsplit(address).hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _place(error: Exception) -> str:
    """Return file and line of an error, the same for every image."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


class Admission:
    """The places of a service: some compute, a few more read their upload or wait for a turn.

    Args:
        at_once: How many images are computed at the same time.
        waiting: How many more uploads may be read or wait.
    """

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self.turn = asyncio.Semaphore(at_once)
        self._free = at_once + waiting

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one of the places, from before an upload is read until it is answered.

        Raises:
            Refused: There is no free place; the request is to come back.
        """
        if self._free == 0:
            raise Refused(503, "Busy", "the service is busy; try again in a moment", retry_after=2)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
