"""`kill -9` of a node and of what sends to it, at random moments: every image ends with exactly one result.

`make kills`, or `python -m tests.long.node_kills --count 50 --objects 200 --seed 7`. Images are sent with
DCMTK's storescu, which is run again until the node has answered success for each. Results go to Orthanc, away
for a while in between. All of it runs in a network of its own, since Orthanc listens everywhere.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.helpers.node import images, program, reports
from tests.helpers.orthanc import Orthanc, running_orthanc, stored
from tests.long.kills import check
from tests.long.own_network import enter_own_network

PORT = 11112
NODE_SHARE = 0.8
"""The other kills are of storescu."""

SPAN = 6.0
"""The latest moment of a kill in seconds: starting takes about 3, and the images of one round as long."""

PATIENCE = 600.0


class Forwarder(threading.Thread):
    """Sends images, one process for each, until each has its answer."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(daemon=True)
        self._paths = list(paths)
        self._allowed = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.answered = 0

    def allow(self, count: int) -> None:
        """Let so many more images be sent."""
        self._allowed += count

    def run(self) -> None:
        while self.answered < len(self._paths):
            if self.answered >= self._allowed:
                time.sleep(0.02)
                continue
            words = [program("storescu"), "-aec", "THORAX", "-aet", "TEST", "127.0.0.1", f"{PORT}"]
            self._process = subprocess.Popen(
                [*words, str(self._paths[self.answered])],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if self._process.wait() == 0:
                self.answered += 1
            else:
                time.sleep(0.1)

    def kill(self) -> None:
        """Kill what is sending now."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()


def kill_nodes(work: Path, orthanc: Orthanc, *, count: int, objects: int, seed: int) -> dict[str, int]:
    """Kill at random moments; return what happened."""
    moments = random.Random(seed)
    sent = images(work / "images", objects)
    forwarder = Forwarder(list(sent.values()))
    forwarder.start()
    tally = {"node": 0, "sender": 0, "away": 0}
    away, back = count // 3, max(count // 3 + 1, count // 2)
    node = NodeRuns(work)
    try:
        for number in range(count):
            if number == away:
                orthanc.stop()
                tally["away"] = 1
            if number == back:
                orthanc.start()
            forwarder.allow(-(-objects // count))
            time.sleep(moments.uniform(0, SPAN))
            if moments.random() < NODE_SHARE:
                node.kill()
                tally["node"] += 1
                node.start()
            else:
                forwarder.kill()
                tally["sender"] += 1
        wait(lambda: forwarder.answered == objects, "not every image was taken")
        wait(lambda: len(reports(stored(orthanc))) == objects, "not every image has a report")
        time.sleep(2)
    finally:
        node.kill()
    datasets = stored(orthanc)
    check(reports(datasets).keys() == sent.keys(), "the reports are not those of the images")
    check(not any(dataset.SOPInstanceUID in sent for dataset in datasets.values()), "an image came back")
    return {**tally, "results": len(datasets)}


class NodeRuns:
    """Runs of a node on one queue, one after the other."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._log = (work / "node.log").open("ab")
        self.start()

    def start(self) -> None:
        words = ["node", "starter", "--queue", "queue", "--port", f"{PORT}", "--health-port", "0"]
        words += ["--min-free", "1000000", "--forward", "ORTHANC@127.0.0.1:4242"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "thorax", *words],
            cwd=self._work, stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip

    def kill(self) -> None:
        check(
            self._process.poll() is None, f"the node has ended with {self._process.returncode}; see its log"
        )
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def wait(is_so: Callable[[], Any], otherwise: str) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        check(time.monotonic() < until, otherwise)
        time.sleep(0.5)


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill as the arguments say, and print what was killed and the seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    enter_own_network("tests.long.node_kills", arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-node-") as folder:
        work = Path(folder)
        with running_orthanc(work / "orthanc") as orthanc:
            tally = kill_nodes(work, orthanc, count=options.count, objects=options.objects, seed=options.seed)
    print(
        f"node: {tally['node']} nodes and {tally['sender']} senders killed (seed {options.seed}), "
        f"Orthanc away for a while; {options.objects} images, one report each, {tally['results']} in all; "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
