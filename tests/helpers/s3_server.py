"""A server of the S3 protocol on loopback, which can also drop, delay and corrupt what it sends.

It keeps objects in memory, takes any credentials unless told otherwise, and knows: GET (with Range), HEAD,
PUT (also as a copy, and as a part), LIST version 2, DELETE, and uploads in parts.
"""

import hashlib
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.helpers.serving import serving

Fault = str
"""What goes wrong with a request: "drop", "error", "corrupt" or "cut"; "" for nothing."""


@dataclass
class Object:
    content: bytes
    time: float = field(default_factory=time.time)
    etag: str = ""

    def __post_init__(self):
        self.etag = self.etag or f'"{hashlib.md5(self.content).hexdigest()}"'


class S3Server(ThreadingHTTPServer):
    """Holds `buckets` of objects by key; `requests` has the method and path of all that came.

    `fault` is asked before each request, with method, path and how many requests came before, what goes
    wrong with it. `latency` is waited before each answer.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.buckets: dict[str, dict[str, Object]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.requests: list[tuple[str, str]] = []
        self.fault: Callable[[str, str, int], Fault] = lambda _method, _path, _number: ""
        self.latency = 0.0
        self.denied = False
        self.lock = threading.Lock()

    def handle_error(self, request, client_address):
        """The client went away."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, bucket: str, folder, below: str = "") -> None:
        """Take the files of a folder as objects."""
        for file in folder.rglob("*"):
            if file.is_file():
                name = file.relative_to(folder).as_posix()
                key = f"{below}/{name}" if below else name
                self.buckets.setdefault(bucket, {})[key] = Object(file.read_bytes())

    def keys(self, bucket: str) -> list[str]:
        return sorted(self.buckets[bucket])

    def count(self, method: str) -> int:
        return sum(1 for used, _ in self.requests if used == method)


class Handler(BaseHTTPRequestHandler):
    server: S3Server
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _begin(self) -> bool:
        """Wait, and let go wrong what should; return whether the request is answered."""
        parts = urlsplit(self.path)
        self.bucket, _, self.key = unquote(parts.path).lstrip("/").partition("/")
        self.query = {
            name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        self.body = self._read_body()
        with self.server.lock:
            number = len(self.server.requests)
            self.server.requests.append((self.command, self.path))
        if self.server.latency:
            time.sleep(self.server.latency)
        self.fault = self.server.fault(self.command, self.path, number)
        if self.fault == "drop":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return False
        if self.fault == "error":
            self._error(503, "SlowDown")
            return False
        if self.server.denied:
            self._error(403, "AccessDenied")
            return False
        if self.bucket not in self.server.buckets:
            self._error(404, "NoSuchBucket")
            return False
        return True

    def _read_body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            raw = bytearray()
            while size := int(self.rfile.readline().split(b";")[0], 16):
                raw += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            body = bytes(raw)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            body = _unchunked(body)
        return body

    def _error(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self._send(status, {"Content-Type": "application/xml"}, b"" if self.command == "HEAD" else body)

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"", *, length: int | None = None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.fault == "corrupt" and body:
            damaged = bytearray(body)
            damaged[random.randrange(len(body))] ^= 0x55
            body = bytes(damaged)
        if self.fault == "cut" and body:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(body)
        self.wfile.flush()

    def _xml(self, text: str, headers: dict[str, str] | None = None) -> None:
        body = f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()
        if self.fault == "corrupt":  # of objects alone: answers of the protocol have no checksum
            self.fault = ""
        self._send(200, {"Content-Type": "application/xml", **(headers or {})}, body)

    def do_HEAD(self):
        if not self._begin():
            return
        found = self.server.buckets[self.bucket].get(self.key)
        if found is None and self.key:
            self._error(404, "NoSuchKey")
            return
        if found is None:
            self._send(200, {"x-amz-bucket-region": "us-east-1"})
            return
        self._send(200, self._headers(found), length=len(found.content))

    def _headers(self, found: Object) -> dict[str, str]:
        return {
            "ETag": found.etag,
            "Last-Modified": formatdate(found.time, usegmt=True),
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }

    def do_GET(self):
        if not self._begin():
            return
        if not self.key:
            self._list()
            return
        found = self.server.buckets[self.bucket].get(self.key)
        if found is None:
            self._error(404, "NoSuchKey")
            return
        headers, content = self._headers(found), memoryview(found.content)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._send(200, headers, content)
            return
        first = int(asked[1])
        last = min(int(asked[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._send(206, headers, content[first : last + 1])

    def _list(self) -> None:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        most = int(self.query.get("max-keys", 1000))
        after = self.query.get("continuation-token", "")
        shown, common, token = [], set(), ""
        for key in sorted(self.server.buckets[self.bucket]):
            if not key.startswith(prefix) or key <= after:
                continue
            if len(shown) + len(common) == most:
                break
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                common.add(prefix + rest.split(delimiter)[0] + delimiter)
            else:
                shown.append(key)
            token = key
        more = any(key.startswith(prefix) and key > token for key in self.server.buckets[self.bucket])
        truncated = bool(token) and more and len(shown) + len(common) == most
        rows = "".join(map(self._row, shown))
        prefixes = "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(common)
        )
        following = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if truncated else ""
        self._xml(
            f"<ListBucketResult><Name>{self.bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(shown) + len(common)}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{following}{rows}{prefixes}</ListBucketResult>"
        )

    def _row(self, key: str) -> str:
        found = self.server.buckets[self.bucket][key]
        written = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(found.time))
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>{written}</LastModified>"
            f"<ETag>{escape(found.etag)}</ETag><Size>{len(found.content)}</Size></Contents>"
        )

    def do_PUT(self):
        if not self._begin():
            return
        bucket = self.server.buckets[self.bucket]
        if "uploadId" in self.query:
            self.server.uploads[self.query["uploadId"]][int(self.query["partNumber"])] = self.body
            self._send(200, {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})
            return
        source = self.headers.get("x-amz-copy-source")
        if source:
            place, _, key = unquote(source).lstrip("/").partition("/")
            bucket[self.key] = Object(self.server.buckets[place][key].content)
            self._xml(f"<CopyObjectResult><ETag>{escape(bucket[self.key].etag)}</ETag></CopyObjectResult>")
            return
        bucket[self.key] = Object(self.body)
        self._send(200, {"ETag": bucket[self.key].etag})

    def do_POST(self):
        if not self._begin():
            return
        if "uploads" in self.query:
            name = f"upload{len(self.server.uploads)}"
            self.server.uploads[name] = {}
            self._xml(
                f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
            )
        elif "uploadId" in self.query:
            parts = self.server.uploads.pop(self.query["uploadId"])
            listed = [
                int(part.text) for part in ET.fromstring(self.body).iter() if part.tag.endswith("PartNumber")
            ]
            whole = b"".join(parts[number] for number in listed)
            etag = f'"{hashlib.md5(whole).hexdigest()}-{len(listed)}"'
            self.server.buckets[self.bucket][self.key] = Object(whole, etag=etag)
            self._xml(
                f"<CompleteMultipartUploadResult><ETag>{escape(etag)}</ETag></CompleteMultipartUploadResult>"
            )
        else:
            self._send(501, {})

    def do_DELETE(self):
        if not self._begin():
            return
        if "uploadId" in self.query:
            self.server.uploads.pop(self.query["uploadId"], None)
        else:
            self.server.buckets[self.bucket].pop(self.key, None)
        self._send(204, {})


def _unchunked(body: bytes) -> bytes:
    """Return what a body in AWS's own chunks holds."""
    content, at = bytearray(), 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if not size:
            return bytes(content)
        content += body[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


def every(number: int, fault: Fault, *, methods: tuple[str, ...] = ("GET", "HEAD")) -> Callable:
    """Each of so many requests of these methods goes wrong."""
    counted = [0]
    lock = threading.Lock()

    def decide(method, path, _number):
        if method not in methods:
            return ""
        with lock:
            counted[0] += 1
            return fault if counted[0] % number == 0 else ""

    return decide


@contextmanager
def s3_server() -> Iterator[S3Server]:
    with serving(S3Server()) as server:
        yield server
