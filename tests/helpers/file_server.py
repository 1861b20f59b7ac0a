"""A real HTTP server on loopback that serves files, well or badly."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.helpers.serving import serving

Behavior = Callable[["Handler", bytes], None]
"""Answers a request for a file with this content."""


class FileServer(ThreadingHTTPServer):
    """Serves `files` by path; `behaviors` answers instead of the default, `requests` has all that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.behaviors: dict[str, list[Behavior]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def handle_error(self, request, client_address):
        """The client went away: it was killed, or it refused."""

    def address(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_address[1]}/{path}"

    def ranges(self, path: str) -> list[str | None]:
        """The header Range of each request for a path."""
        return [headers.get("range") for requested, headers in self.requests if requested == path]


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        path = self.path.lstrip("/")
        self.server.requests.append((path, {name.lower(): value for name, value in self.headers.items()}))
        content = self.server.files.get(path)
        queue = self.server.behaviors.get(path, [])
        if queue:
            behavior = queue[0] if len(queue) == 1 else queue.pop(0)
            behavior(self, content or b"")
        elif content is None:
            self.send_error(404)
        else:
            serve(self, content)

    def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'


def asked_range(handler: Handler, content: bytes) -> int:
    """The first byte that the request asks for, of this version of the file."""
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    same = handler.headers.get("If-Range", etag(content)) == etag(content)
    return int(match[1]) if match and same else 0


def serve(handler: Handler, content: bytes, *, until: int | None = None) -> None:
    """What a good server does; `until` breaks the connection off after this byte of the file."""
    first = asked_range(handler, content)
    headers = {"Content-Length": str(len(content) - first), "ETag": etag(content)}
    if first:
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
    handler.send(206 if first else 200, headers, content[first:until])


def breaking_off(*, after: int) -> Behavior:
    """Breaks off after so many bytes of each response."""

    def behave(handler, content):
        serve(handler, content, until=asked_range(handler, content) + after)

    return behave


def ignoring_ranges(handler, content):
    handler.send(200, {"Content-Length": str(len(content))}, content)


def status(code: int, **headers: str) -> Behavior:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: handler.send(code, {"Content-Length": "0", **named})


def redirecting(location: str, code: int = 302) -> Behavior:
    return status(code, Location=location)


def announcing(length: int) -> Behavior:
    """Says that the file has this length, and sends all of it."""
    return lambda handler, content: handler.send(200, {"Content-Length": str(length)}, content)


@contextmanager
def file_server() -> Iterator[FileServer]:
    with serving(FileServer()) as server:
        yield server
