"""Mutated PDUs and objects at a node: each is answered or aborted in five seconds, and good ones are stored.

`make fuzz-node`, or `python -m tests.long.pdus --count 10000 --seed 7`. Eight clients send requests for
associations, commands and objects with changed bytes; every tenth is a good object, which must be stored. It
fails if a connection stays open, if a good object is not stored, if the node ends, prints other lines
than its log or names a patient there; and if it keeps descriptors or memory.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian

from tests.helpers.dicom_writing import DX
from tests.helpers.dimse import RELEASE, Peer, association_request, content_of, echo_request, store_request
from tests.helpers.node import Node, image, running_node, wait_for
from tests.long.mutations import mutated

CLIENTS = 8
EVERY = 10
SECONDS = 5.0
GROWTH = 200 << 20
"""Bytes by which the node may grow: what it keeps of eight associations and of its decoders."""


class Case:
    """One connection, a pure function of seed and number."""

    def __init__(self, port: int, seed: int, content: bytes, uid: str) -> None:
        self._port = port
        self._seed = seed
        self._content = content
        self._uid = uid

    def run(self, number: int) -> str:
        """Send, and return what became of it."""
        draw = random.Random(f"{self._seed}:{number}")
        if number % EVERY == 0:
            return self._good(number)
        return self._bad(draw)

    def _good(self, number: int) -> str:
        uid, file = image(1_000_000 + number, side=64)
        with Peer(self._port, seconds=60) as peer:
            peer.send(association_request(DX, ExplicitVRLittleEndian))
            if peer.pdu()[0] != 2:
                return "failed: a good association was not accepted"
            peer.send(store_request(DX, uid, content_of(file)))
            status = peer.status()
            peer.send(RELEASE)
            peer.pdu()
        return "good" if status == 0 else f"failed: a good object was answered with {status}"

    def _bad(self, draw: random.Random) -> str:
        request = association_request(DX, ExplicitVRLittleEndian)
        which = draw.randrange(4)
        with Peer(self._port, seconds=SECONDS) as peer:
            began = time.monotonic()
            try:
                if which == 0:
                    peer.send(mutated(request, draw, is_text=False))
                    peer.half_close()
                    peer.ends()
                    return "request"
                peer.send(request)
                if peer.pdu()[0] != 2:
                    return "failed: a good request was not accepted"
                content, sent = self._content, b""
                if which == 1:
                    sent = mutated(echo_request(), draw, is_text=False)
                elif which == 2:
                    sent = mutated(store_request(DX, self._uid, content), draw, is_text=False)
                else:
                    sent = store_request(DX, self._uid, mutated(content, draw, is_text=False))
                peer.send(sent)
                if which == 3:
                    return "object" if peer.status() is not None else "failed: an object was not answered"
                peer.half_close()
                peer.ends()
            except TimeoutError:
                return f"failed: kind {which} was open for {time.monotonic() - began:.1f} s"
        return ("", "echo", "store")[which]


def watch(node: Node) -> tuple[int, int]:
    """Return anonymous memory and open descriptors of a node."""
    folder = Path(f"/proc/{node.process.pid}")
    (line,) = [one for one in (folder / "status").read_text().splitlines() if one.startswith("RssAnon")]
    return int(line.split()[1]) << 10, len(list((folder / "fd").iterdir()))


def fuzz(*, count: int, seed: int) -> str:
    """Send so many cases; return what became of them, or end with a message."""
    with tempfile.TemporaryDirectory(prefix="pdus-") as folder:
        options = ("--forward", "PACS@127.0.0.1:1", "--network-timeout", "9")
        with running_node(Path(folder, "queue"), *options) as node:
            uid, file = image(1, side=64)
            case = Case(node.port, seed, content_of(file), uid)
            case.run(0)
            before, began = watch(node), time.monotonic()
            with ThreadPoolExecutor(CLIENTS) as clients:
                outcomes = Counter(clients.map(case.run, range(1, count + 1)))
            seconds = time.monotonic() - began
            wait_for(lambda: "thorax_node_associations 0" in node.get("/metrics")[1], seconds=60)
            after = watch(node)
            check(node.end() == 0, "the node did not end well")
            log = node.log.read_text()
        failed = {outcome: number for outcome, number in outcomes.items() if outcome.startswith("failed")}
        check(not failed, f"{failed}")
        printed = [line for line in log.splitlines() if not line.startswith("{")]
        check(not printed, f"it printed {printed[:20]}")
        check("Doe" not in log, "the log names a patient")
        check(after[0] - before[0] < GROWTH, f"memory grew by {(after[0] - before[0]) >> 20} MB")
        check(after[1] - before[1] < 2 * CLIENTS, f"descriptors grew from {before[1]} to {after[1]}")
    counted = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(outcomes.items()))
    return f"pdus: {count:,} connections (seed {seed}) in {seconds:.0f} s: {counted}"


def check(is_so: object, otherwise: str) -> None:
    if not is_so:
        sys.exit(otherwise)


def main(arguments: Sequence[str] | None = None) -> None:
    """Send as many as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    print(fuzz(count=options.count, seed=options.seed), flush=True)


if __name__ == "__main__":
    main()
