"""A real node in a process of its own, with other people's senders and archives beside it."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.helpers.dicom_writing import to_bytes
from tests.helpers.studies import study_dataset

ROOT = Path(__file__).parents[2]


def image(number: int, **elements: Any) -> tuple[str, bytes]:
    """Return SOP Instance UID and file of a radiograph of a study of its own."""
    uid = f"1.2.826.0.1.3680043.8.498.7.{number}"
    study, series = f"1.2.826.0.1.3680043.8.498.8.{number}", f"1.2.826.0.1.3680043.8.498.9.{number}"
    given = {"SOPInstanceUID": uid, "StudyInstanceUID": study, "SeriesInstanceUID": series, "side": 128}
    return uid, to_bytes(study_dataset(**{**given, **elements}))


def images(folder, count, **elements):
    """Write radiographs into a folder; return their paths by SOP Instance UID."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for number in range(1, count + 1):
        uid, content = image(number, **elements)
        paths[uid] = folder / f"{number}.dcm"
        paths[uid].write_bytes(content)
    return paths


def free_port():
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


SYSTEM = "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/opt/homebrew/bin"
"""Where programs of other people are: pynetdicom puts some with the names of DCMTK's beside Python."""


def program(name: str) -> str:
    """Return the path of a program of the system; skip the test where it is not installed."""
    path = shutil.which(name, path=SYSTEM)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def needs(*names):
    """Skip a test where a program is not installed."""
    for name in names:
        program(name)


class Node:
    """A running node."""

    def __init__(self, process: subprocess.Popen[bytes], first: str, log: Path) -> None:
        self.process = process
        self.log = log
        self.first = first
        self.port = int(first.partition(";")[0].rpartition(":")[2])
        self.health_port = int(first.rpartition(":")[2].partition("/")[0])

    def get(self, path: str) -> tuple[int, str]:
        """Return status and content of /health or /metrics."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def lines(self, event=None):
        """Return the lines of the log, as far as it is whole."""
        text = self.log.read_text()
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line[:1] == "{"]
        return [line for line in lines if event in {None, line["event"]}]

    def end(self, number: int = signal.SIGTERM, *, seconds: float = 60) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)


@contextmanager
def running_node(
    queue: Path, *options: str, bundle: str = "starter", environment: dict[str, str] | None = None
) -> Iterator[Node]:
    """Run a node; its log lies beside its queue, and several runs add to it."""
    log = queue.with_name(f"{queue.name}.log")
    words = ["node", bundle, "--queue", queue, "--port", "0", "--health-port", "0", "--min-free", "1000000"]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "thorax", *map(str, [*words, *options])],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=queue.parent,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield Node(process, _first_line(process, log), log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def _first_line(process, log, seconds=60):
    readable, _, _ = select.select([process.stdout], [], [], seconds)
    line = process.stdout.readline().decode().strip() if readable else ""
    if "listens on" not in line:
        process.kill()
        raise AssertionError(f"the node did not start: {line} {log.read_text()[-2000:]}")
    return line


def storescu(port, *paths, called="THORAX", calling="TEST", options=(), expect=0):
    """Send files with DCMTK's storescu."""
    command = [
        program("storescu"),
        "-aec",
        called,
        "-aet",
        calling,
        *options,
        "127.0.0.1",
        str(port),
        *map(str, paths),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode == 0) is (expect == 0), done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def storescp(
    folder: Path, *, port: int = 0, title: str = "PACS", options: Sequence[str] = ()
) -> Iterator[int]:
    """Run DCMTK's storescp, which writes what it gets into a folder; yield its port."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    process = subprocess.Popen(
        [program("storescp"), "-aet", title, "-od", str(folder), *options, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: _listens(port), seconds=20)
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(is_so, *, seconds=60.0):
    """Wait until something is so, and return what it is."""
    until = time.monotonic() + seconds
    while not (value := is_so()):
        assert time.monotonic() < until, "it has not become so"
        time.sleep(0.05)
    return value


def received(folder: Path) -> dict[str, Any]:
    """Return the data sets that storescp wrote, whole ones, by SOP Instance UID."""
    datasets = {}
    for path in sorted(folder.iterdir()):
        try:
            dataset = pydicom.dcmread(path)
        except (pydicom.errors.InvalidDicomError, EOFError):
            continue
        assert dataset.SOPInstanceUID not in datasets
        datasets[str(dataset.SOPInstanceUID)] = dataset
    return datasets


def reports(datasets):
    """Return the structured reports by the SOP Instance UID of their image, each with one."""
    by_image = {}
    for dataset in datasets.values():
        if dataset.Modality != "SR":
            continue
        (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
        (series,) = study.ReferencedSeriesSequence
        (reference,) = series.ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID not in by_image
        by_image[str(reference.ReferencedSOPInstanceUID)] = dataset
    return by_image


_LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 1 | 64))
os.environ["THORAX_ISOLATED"] = "1"
os.execvp(sys.argv[1], sys.argv[1:])
"""


def isolated():
    """Return the words that run a program where it reaches this machine alone; () if they fail."""
    words = ("unshare", "-rnm", sys.executable, "-c", _LOOPBACK_UP)
    try:
        tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return ()
    return words if tried.returncode == 0 else ()
