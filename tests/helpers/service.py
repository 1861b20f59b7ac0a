"""A real service in a process of its own, which cannot write a single byte to any file."""

import http.client
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Service:
    def __init__(self, process, first, notice):
        self.process = process
        self.address = address = first.split()[-1]
        self.notice = notice
        self.port = int(address.partition("#")[0].rstrip("/").rpartition(":")[2])

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method, path, body=None, headers=None):
        connection = self.connect()
        connection.request(method, path, body, headers or {})
        return finished(connection)

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def post(self, path, body, **headers):
        return self.ask("POST", path, body, headers)

    def end(self, number=signal.SIGINT):
        """Send a signal; return exit code, the rest of standard output, and standard error."""
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=20)
        return self.process.returncode, output, errors


def begin(service, content):
    """Send a request except for the last byte of its file."""
    connection = service.connect()
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Content-Length", str(len(content)))
    connection.endheaders()
    connection.send(content[:-1])
    return connection


def finished(connection):
    """Return the answer to a request that was sent."""
    response = connection.getresponse()
    answer = Answer(
        response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    )
    connection.close()
    return answer


def multipart(content, *, filename="chest.png", field="image"):
    """Return a form with one file, and its content type."""
    head = f'--bound\r\nContent-Disposition: form-data; name="{field}"; filename="{filename}"\r\n'
    body = head.encode() + b"Content-Type: image/png\r\n\r\n" + content + b"\r\n--bound--\r\n"
    return body, "multipart/form-data; boundary=bound"


def _no_file():
    """A write to a file fails from here on; pipes and sockets are none."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@contextmanager
def running(
    *options,
    bundle=GOLDEN / "run",
    environment=None,
    program=(sys.executable, "-m", "thorax"),
    may_write=False,
):
    """Run `thorax serve` on a free port, and end it if the test did not; None serves the starter."""
    command = [*program, "serve", *([bundle] if bundle else []), "--port", "0", *options]
    with started(command, environment or {}, may_write=may_write) as service:
        yield service


@contextmanager
def started(command, environment, *, may_write=False):
    """Run a command that serves, and end it if the test did not."""
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
        preexec_fn=None if may_write else _no_file,  # noqa: PLW1509  (no thread is running here)
    )
    try:
        yield Service(process, _first_line(process), process.stdout.readline())
    finally:
        if process.poll() is None:
            process.kill()
        process.stdout.close()
        process.stderr.close()
        process.wait()


def _first_line(process, seconds=60):
    """Return the line that says where the service is, as soon as it does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([process.stdout], [], [], 0.1)[0]:
            line = process.stdout.readline()
            if line:
                return line
            break
    process.kill()
    raise AssertionError(f"the service did not start: {process.stderr.read()}")
