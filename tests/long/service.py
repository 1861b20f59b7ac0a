"""Mutated uploads through the service under load: each is answered, and good images meanwhile rightly.

`make fuzz-service`, or `python -m tests.long.service --count 20000 --seed 7`. Eight clients send mutated PNG,
JPEG and DICOM files, as bodies, in forms and in damaged forms, for predictions and maps. Every tenth is a
good image, whose answer must be the library's. It fails if an answer is missing, is not one of the service's,
or says that the service failed; if a decoder uses more memory than its image allows; if the service ends,
prints something or keeps a descriptor or a process.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import thorax
from tests.helpers.service import GOLDEN, Service, multipart, running
from tests.long.mutations import mutated
from tests.long.targets.case import Place, bad_message, input_of
from tests.long.targets.images import write_samples
from thorax.imaging.limits import memory_bytes

CLIENTS = 8
STATUSES = {200, 400, 413, 503}
LARGEST = memory_bytes(72 * 64)
"""What the decoder of a sample may use; a mutated header may claim more pixels, but has no data for them."""


class Watch:
    """Looks at the service's memory, descriptors and decoders, again and again."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self.decoders = self.service = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.1):
            self.service = max(self.service, anonymous(self._folder))
            self.decoders = max(
                [self.decoders, *(anonymous(Path(f"/proc/{pid}")) for pid in self.children())]
            )

    def children(self) -> list[str]:
        pids: list[str] = []
        for task in (self._folder / "task").iterdir():
            with suppress(OSError):  # a thread that has just ended
                pids += (task / "children").read_text().split()
        return pids

    def descriptors(self) -> int:
        return len(list((self._folder / "fd").iterdir()))


def anonymous(folder: Path) -> int:
    """Return the anonymous memory of a process, in bytes; 0 if it has ended."""
    with suppress(OSError):
        for line in (folder / "status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) << 10
    return 0


def send(service: Service, place: Place, number: int) -> tuple[str, str]:
    """Send a case; return its outcome, and what is wrong with the answer."""
    draw = random.Random(f"{place.seed} service {number}")
    _, content = input_of(place, number)
    path = draw.choice(("/v1/predict", "/v1/predict", "/v1/predict?picture=true", "/v1/explain?finding=Mass"))
    headers = {}
    if draw.random() < 0.3:
        content, kind = multipart(content)
        headers["Content-Type"] = kind
        if draw.random() < 0.5:
            content = mutated(content, draw, is_text=False)
    while True:
        answer = service.post(path, content, **headers)
        if answer.status != 503:
            break
        time.sleep(0.05)
    said: Any = answer.json
    if answer.status == 200:
        return "answered", ""
    parts = {"error", "message"} | ({"reasons", "gate"} if said.get("error") == "not-a-radiograph" else set())
    if answer.status not in STATUSES or set(said) != parts:
        return "wrong", f"{answer.status} {answer.body[:200]!r}"
    return said["error"], bad_message(said["message"]).get("what", "")


def check_good(service: Service, contents: list[bytes], expected: list[Any], number: int) -> tuple[str, str]:
    """Send a good image; return what is wrong with the answer."""
    index = number % len(contents)
    answer = service.post("/v1/predict", contents[index])
    if answer.status == 200 and answer.json["findings"] == expected[index]:
        return "good", ""
    return "wrong", f"good image {index}: {answer.status} {answer.body[:200]!r}"


def attack(*, count: int, seed: int) -> tuple[Counter[str], list[str], Watch]:
    """Send cases from several clients; return the outcomes, what failed, and what was seen of the service."""
    paths = sorted((GOLDEN / "source").glob("*.*g"))[:20]
    contents = [path.read_bytes() for path in paths]
    model = thorax.load(GOLDEN / "run")
    expected = [model.predict(content).as_json()["findings"] for content in contents]
    outcomes, failures = Counter[str](), []
    with tempfile.TemporaryDirectory(prefix="service-") as folder, running() as service:
        corpus = Path(folder)
        (corpus / "images").mkdir()
        write_samples(corpus / "images")
        place = Place(corpus, corpus, seed, "images")

        def one(number: int) -> tuple[str, str]:
            if number % 10 == 0:
                return check_good(service, contents, expected, number)
            return send(service, place, number)

        with Watch(service.process.pid) as watch, ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(one, range(200)))  # until as many decoders run as ever will
            before = watch.descriptors(), len(watch.children())
            for number, (outcome, wrong) in enumerate(clients.map(one, range(count))):
                outcomes[outcome] += 1
                if wrong:
                    failures.append(f"case {number}: {wrong}")
            time.sleep(1)
            after = watch.descriptors(), len(watch.children())
        if after[0] > before[0] or after[1] > before[1]:
            failures.append(f"{before} descriptors and processes before, {after} after")
        code, output, errors = service.end(signal.SIGTERM)
        if (code, output, errors) != (0, "", ""):
            failures.append(f"it ended with {code} and printed {json.dumps(errors[:500])}")
    if watch.decoders > LARGEST:
        failures.append(f"a decoder used {watch.decoders / 1e6:.0f} MB")
    return outcomes, failures, watch


def main(arguments: Sequence[str] | None = None) -> None:
    """Send as many cases as the arguments say; the status is 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    outcomes, failures, watch = attack(count=options.count, seed=options.seed)
    counted = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(outcomes.items()))
    print(
        f"service: {options.count:,} uploads (seed {options.seed}) in {time.monotonic() - began:.0f} s: "
        f"{counted}; at most {watch.service / 1e6:.0f} MB, in a decoder {watch.decoders / 1e6:.0f} MB",
        flush=True,
    )
    for failure in failures[:20]:
        print(f"  {failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
