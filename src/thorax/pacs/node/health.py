"""/health and /metrics of a node, for programs on its machine."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from thorax.errors import ServiceError
from thorax.pacs.node.metrics import MEDIA_TYPE

__all__ = ["HealthServer"]

_SECONDS: Final = 5.0


class _Handler(BaseHTTPRequestHandler):
    timeout = _SECONDS
    server: "_Server"

    def do_GET(self) -> None:
        """Answer /health and /metrics."""
        if self.path == "/metrics":
            self._answer(200, self.server.metrics().encode(), MEDIA_TYPE)
        elif self.path == "/health":
            is_well, said = self.server.health()
            self._answer(200 if is_well else 503, json.dumps(said).encode(), "application/json")
        else:
            self._answer(404, b'{"error": "only /health and /metrics are here"}', "application/json")

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: Any) -> None:
        """Log nothing."""

    def version_string(self) -> str:
        """Return what the header Server says."""
        return "thorax"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, port: int, health: Callable[[], tuple[bool, dict[str, Any]]], metrics: Callable[[], str]
    ) -> None:
        self.health = health
        self.metrics = metrics
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is its own business."""


class HealthServer:
    """Answers on this machine alone until `stop`.

    Args:
        port: The port; 0 means any free one.
        health: Returns whether the node is well, and what to say.
        metrics: Returns its metrics.

    Raises:
        ServiceError: The port cannot be used.
    """

    def __init__(
        self, port: int, health: Callable[[], tuple[bool, dict[str, Any]]], metrics: Callable[[], str]
    ) -> None:
        try:
            self._server = _Server(port, health, metrics)
        except OSError as error:
            raise ServiceError.of_port("127.0.0.1", port, error, "health_port") from error
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name="health", daemon=True).start()

    def stop(self) -> None:
        """Answer no longer."""
        self._server.shutdown()
        self._server.server_close()
