"""What applies to every request: hosts, token, rate, security headers, counting, and unexpected errors."""

import asyncio
import hashlib
import hmac
import logging
import math
import time
import traceback
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thorax.service.clients import RateLimit, client_address
from thorax.service.metrics import Metrics
from thorax.service.refusals import Refused, ending
from thorax.service.settings import ServiceSettings
from thorax.service.uploads import discard_upload

__all__ = ["Guard"]

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
    "worker-src 'self'; form-action 'none'; base-uri 'none'; require-trusted-types-for 'script'; "
    "frame-ancestors "
)
"""Content-Security-Policy: everything is from here, no inline script or style, no form, no HTML from text."""

_CALLS: Final = ("/v1/", "/metrics")
"""What needs the token begins so. The page has nothing to hide, and must load before it can ask for one."""


class Guard:
    """ASGI middleware that refuses foreign hosts, pages and clients, and completes every answer's headers.

    Args:
        app: The application.
        settings: Who is answered, and which sites may frame the page.
        metrics: Counts the answers.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._rate = RateLimit(settings.per_minute)
        self._token = _digest(settings.token) if settings.token else None
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
        began, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal and scope["method"] == "POST":
                await discard_upload(receive, max_bytes=self._settings.max_bytes)
            await (refusal.answer() if refusal else self._app)(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            # At the end of the service: after some time, or at once if it was asked twice.
            if status:
                raise
            await ending().answer()(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001  (whatever it is, its text may name a patient)
            _LOG.error("%s at %s", type(error).__name__, _place(error))
            if not status:
                failure = Refused(500, "InternalError", "the service failed; its log says where")
                await failure.answer()(scope, receive, send_with_headers)
        finally:
            self._metrics.answered(_call(scope["path"]), status, time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> Refused | None:
        """Return why a request is not answered; None for others."""
        headers = Headers(scope=scope)
        host = _name_in(f"//{headers.get('host', '')}")
        if not self._settings.accepts_host(host):
            return Refused(
                421,
                "WrongHost",
                f"this service does not answer to the name {host[:100]!r}; start it with thorax serve "
                "--allow-host NAME if the name is its own",
            )
        origin = headers.get("origin")
        if origin is not None and not self._settings.accepts_host(_name_in(origin)):
            return Refused(403, "WrongOrigin", "pages of other sites may not use this service")
        if self._token and scope["path"].startswith(_CALLS):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(_digest(given.strip()), self._token):
                return Refused(
                    401,
                    "WrongToken",
                    "this call needs the service's token; send it as Authorization: Bearer TOKEN",
                )
        return self._too_often(scope) if scope["method"] == "POST" else None

    def _too_often(self, scope: Scope) -> Refused | None:
        wait = self._rate.seconds_to_wait(client_address(scope, self._settings))
        if not wait:
            return None
        return Refused(
            429,
            "TooOften",
            f"one client may send {self._settings.per_minute} images in a minute; try again in "
            f"{math.ceil(wait)} s",
            retry_after=math.ceil(wait),
        )


def _digest(text: str) -> bytes:
    """Return a hash of fixed length, so that comparing takes the same time whatever is given."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _call(path: str) -> str:
    """Return the name under which an answer is counted, one of a few."""
    for name in ("predict", "explain", "pixels", "models", "assessments"):
        if path.startswith(f"/v1/{name}"):
            return name
    return next((name for name in ("health", "metrics") if path.startswith(f"/{name}")), "other")


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
