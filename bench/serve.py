"""What the service answers under load, beside one process that predicts the same bytes in batches.

    python bench/serve.py [--bundle starter densenet] [--rounds 5] [--seconds 10] [--minutes 0]

Everything is a ratio of medians over interleaved rounds on the same cores. The clients are threads of this
process, which sleeps while the other process predicts. Each answer is compared with the prediction of its own
image. "densenet" is a DenseNet-121 at 224 pixels with random weights.

- rate: answers/s at 1, 8 and 32 clients with a connection each, to images/s of the other process;
- p99: the 99th percentile of the times at 32 clients, to 32 divided by that rate;
- refused: 128 clients, twice as many as there are places: each gets its answer, or 503 with Retry-After;
- start: from the start of `thorax serve` to its first answer, and the first of 20 files sent two at a time;
- memory: with --minutes, anonymous memory of the service and its decoders in the last minute, to the first.
"""

import argparse
import io
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from threading import Event, Thread

import numpy as np
from PIL import Image
from predict import random_bundle
from rows import Row, print_rows

import thorax
from thorax import starter
from thorax.datasets.phantom import write_phantoms

SIDE = 1024
IMAGES = 48
CLIENTS = (1, 8, 32)
CROWD = 128

OTHER = """
import sys, time
from pathlib import Path
from itertools import cycle
import thorax
model = thorax.load(sys.argv[1])
contents = [path.read_bytes() for path in sorted(Path(sys.argv[2]).iterdir())]
list(model.predict_many(contents))
print("ready", flush=True)
for line in sys.stdin:
    seconds = float(line)
    began, number = time.perf_counter(), 0
    for _ in model.predict_many(cycle(contents)):
        number += 1
        if number % 32 == 0 and time.perf_counter() - began > seconds:
            break
    print(number / (time.perf_counter() - began), flush=True)
"""


def write_images(folder: Path) -> list[bytes]:
    """Write different PNG of 1,024 pixels a side: the test images, moved and with noise of their own."""
    draws = np.random.default_rng(0)
    originals = [np.asarray(Image.open(image.path).convert("L")) for image in starter.test_images()]
    contents = []
    for number, original in zip(range(IMAGES), cycle(originals), strict=False):
        moved = np.roll(original, tuple(draws.integers(-12, 13, 2)), (0, 1)).astype(float)
        moved = np.clip(moved + draws.normal(0, 1 + number % 3, moved.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(moved).resize((SIDE, SIDE)).save(file, "PNG")
        contents.append(file.getvalue())
        (folder / f"{number:03d}.png").write_bytes(file.getvalue())
    return contents


@dataclass
class Load:
    """What the clients saw.

    Attributes:
        seconds: How long each answered request took.
        statuses: How many answers there were of each status.
        wrong: Answers that are not those of their image, or not what a refusal should be.
        rate: Answered requests per second.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    rate: float = 0.0


class Client:
    """One connection that sends one image after the other."""

    def __init__(self, port: int, contents: Sequence[bytes], expected: Sequence[np.ndarray]) -> None:
        head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"
        self.requests = [head.format(len(content)).encode() + content for content in contents]
        self.expected = expected
        self.port = port
        self.connection = socket.create_connection(("127.0.0.1", port), 120)

    def ask(self, number: int, load: Load) -> None:
        """Send an image, and compare the answer with its prediction."""
        began = time.perf_counter()
        try:
            self.connection.sendall(self.requests[number])
            status, headers, body = self.answer()
        except (ConnectionError, ValueError):
            # The service closes a connection whose upload it refuses before it has arrived.
            self.connection.close()
            self.connection = socket.create_connection(("127.0.0.1", self.port), 120)
            load.statuses[0] += 1
            return
        load.statuses[status] += 1
        if status == 200:
            load.seconds.append(time.perf_counter() - began)
            findings = json.loads(body)["findings"].values()
            found = np.array([finding["probability"] for finding in findings])
            load.wrong += not np.allclose(found, self.expected[number], rtol=0, atol=1e-6)
        else:
            load.wrong += status != 503 or b"retry-after" not in headers.lower()
        if b"connection: close" in headers.lower():
            self.connection.close()
            self.connection = socket.create_connection(("127.0.0.1", self.port), 120)

    def answer(self) -> tuple[int, bytes, bytes]:
        """Return status, headers and body of the answer."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.more()
        headers, _, body = received.partition(b"\r\n\r\n")
        length = int(headers.lower().partition(b"content-length:")[2].split(None, 1)[0])
        while len(body) < length:
            body += self.more()
        return int(headers.split(None, 2)[1]), headers, body

    def more(self) -> bytes:
        """Return what has arrived."""
        chunk = self.connection.recv(1 << 16)
        if not chunk:
            raise ConnectionError
        return chunk


def press(
    port: int, contents: list[bytes], expected: list[np.ndarray], *, clients: int, seconds: float
) -> Load:
    """Ask with so many clients at once for so long."""
    load, numbers, end = Load(), count(), time.perf_counter() + seconds

    def run(_: int) -> None:
        client = Client(port, contents, expected)
        while time.perf_counter() < end:
            client.ask(next(numbers) % len(contents), load)
        client.connection.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(run, range(clients)))
    load.rate = load.statuses[200] / (time.perf_counter() - began)
    return load


@contextmanager
def serving(bundle: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "thorax", "serve", bundle, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline().rstrip().rstrip("/").rpartition(":")[2])
    finally:
        process.terminate()
        process.communicate()


def memory(pid: int) -> int:
    """Return the anonymous memory of a process and of all below it, in bytes."""
    total = 0
    with suppress(FileNotFoundError, ProcessLookupError):  # a decoder that has just ended
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError):  # a thread that has just ended
                total += sum(memory(int(child)) for child in (task / "children").read_text().split())
    return total


def start_times(bundle: str, contents: list[bytes], expected: list[np.ndarray]) -> tuple[float, float]:
    """Return the seconds to the first answer, and to the first of 20 files, of services just started."""
    began = time.perf_counter()
    with serving(bundle) as (_, port):
        Client(port, contents, expected).ask(0, Load())
        first = time.perf_counter() - began
    with serving(bundle) as (_, port):
        client, began = Client(port, contents, expected), time.perf_counter()
        other = Thread(target=Client(port, contents, expected).ask, args=(1, Load()))
        other.start()
        client.ask(0, Load())
        twenty = time.perf_counter() - began
        other.join()
    return first, twenty


def grown(bundle: str, contents: list[bytes], expected: list[np.ndarray], *, minutes: float) -> Row:
    """Measure the memory of a service at full load, minute by minute."""
    with serving(bundle) as (process, port):
        samples: list[tuple[float, int]] = []
        done, began = Event(), time.perf_counter()

        def look() -> None:
            while not done.wait(1):
                samples.append((time.perf_counter() - began, memory(process.pid)))

        watch = Thread(target=look)
        watch.start()
        load = press(port, contents, expected, clients=32, seconds=60 * minutes)
        done.set()
        watch.join()
    first = statistics.fmean(size for at, size in samples if at < 60)
    last = statistics.fmean(size for at, size in samples if at > 60 * (minutes - 1))
    text = f"{last / 1e6:,.0f} / {first / 1e6:,.0f} MB, {load.statuses[200]:,} answers, {load.wrong} wrong"
    return Row(
        f"memory of minute {minutes:g}",
        "minute 1",
        text,
        f"{last / first:.3f}",
        "1.05",
        last <= 1.05 * first and load.wrong == 0,
    )


def measured(name: str, bundle: str, folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    contents = [path.read_bytes() for path in sorted(folder.iterdir())]
    model = thorax.load(bundle)
    expected = [
        np.array([finding.probability for finding in model.predict(content).findings]) for content in contents
    ]
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, bundle, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdout.readline()
    alone: list[float] = []
    loads: dict[int, list[Load]] = {number: [] for number in CLIENTS}
    with serving(bundle) as (_, port):
        press(port, contents, expected, clients=8, seconds=2)
        for _ in range(options.rounds):
            other.stdin.write(f"{options.seconds}\n")
            other.stdin.flush()
            alone.append(float(other.stdout.readline()))
            for number in CLIENTS:
                loads[number].append(press(port, contents, expected, clients=number, seconds=options.seconds))
        crowd = press(port, contents, expected, clients=CROWD, seconds=options.seconds)
    other.communicate()
    theirs = statistics.median(alone)
    for number in CLIENTS:
        rate = statistics.median(load.rate for load in loads[number])
        row = Row.rate(f"{name}: answers/s, {number} clients", "one process", rate, theirs, reach=0.8)
        yield row if number == CLIENTS[-1] else Row.note(row.what, f"{row.measured}, ratio {row.ratio}")
    slowest = [float(np.quantile(load.seconds, 0.99)) for load in loads[CLIENTS[-1]]]
    queue = CLIENTS[-1] / theirs
    yield Row.limit(
        f"{name}: p99, {CLIENTS[-1]} clients",
        f"{statistics.median(slowest):.2f} s, {CLIENTS[-1]} / rate {queue:.2f} s",
        statistics.median(slowest) / queue,
        unit="times",
        below=3,
    )
    wrong = crowd.wrong + sum(load.wrong for rounds in loads.values() for load in rounds)
    refused = sum(load.statuses[503] for rounds in loads.values() for load in rounds)
    yield Row(
        f"{name}: {CROWD} clients",
        "",
        f"{crowd.statuses[200]:,} answered, {crowd.statuses[503]:,} refused, {crowd.statuses[0]:,} closed "
        f"early; with {CLIENTS[-1]} or fewer {refused} refused",
        f"{wrong} wrong",
        "0",
        wrong == 0 and refused == 0 and crowd.statuses[503] > 0,
    )
    starts = [start_times(bundle, contents, expected) for _ in range(options.rounds)]
    for what, seconds, below in (
        ("start to first answer", [first for first, _ in starts], 2.0),
        ("first of 20 files", [twenty for _, twenty in starts], 1.0),
    ):
        median = statistics.median(seconds)
        yield Row.limit(f"{name}: {what}", f"{median:.2f} s", median, unit="s", below=below)
    if options.minutes:
        yield grown(bundle, contents, expected, minutes=options.minutes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--bundle", nargs="+", default=["starter", "densenet"], choices=["starter", "densenet"]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--minutes", type=float, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "images").mkdir()
        write_images(work / "images")
        print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}")
        rows: list[Row] = []
        for bundle in options.bundle:
            path = "starter"
            if bundle == "densenet":
                written = write_phantoms(work / "phantoms", patients=4, size=256)
                images = sorted(written.folder.rglob("*.png"))
                path = str(random_bundle(work, images).folder)
            rows += measured(bundle, path, work / "images", options)
    print_rows(rows)


if __name__ == "__main__":
    main()
