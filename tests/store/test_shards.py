"""Killed at any moment, of the parent or of a worker: the same bytes in the end, and nobody left behind."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from thorax.datasets.sources import read_folder
from thorax.errors import DataError
from thorax.store.build import build
from thorax.store.plan import Settings

# Imports once, then gives each run a process of its own: starting an interpreter takes longer than
# the whole store. A run that has ended keeps its number until its status is asked for, so that a late
# kill never meets another process.
BUILDER = """
import os, sys
from pathlib import Path
from thorax.datasets.sources import read_folder
from thorax.recipe.schema import Preparation
from thorax.store.build import build
from thorax.store.plan import Settings

settings = Settings(preparation=Preparation(size=32), shard_rows=32)
source = read_folder(Path(sys.argv[1]))
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        build(source, Path(line.strip()), settings, workers=2)
        os._exit(0)
    print(pid, flush=True)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def gone(pid):
    """Whether a process has ended; one that waits for its parent's look (a zombie) has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def all_gone(pids, *, seconds):
    end = time.monotonic() + seconds
    while not all(gone(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class Builder:
    """Builds stores of one source, each in a process that can be killed."""

    def __init__(self, csv):
        self.process = subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(csv)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )

    def begin(self, out):
        """Return the process that has just begun."""
        self.process.stdin.write(f"{out}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self):
        """Wait for it to end and return its status."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.mark.slow
def test_kill_9_at_ten_moments(images, tmp_path, contents):
    draws, num_killed, num_finished = random.Random(1), 0, 0
    with Builder(images(300)) as builder:
        builder.begin(tmp_path / "whole")
        begun = time.monotonic()
        assert builder.end() == 0
        duration = time.monotonic() - begun
        expected = contents(tmp_path / "whole")
        while num_killed < 10:
            out = tmp_path / f"store-{num_finished}"
            pid = builder.begin(out)
            time.sleep(draws.uniform(0, duration))
            workers = children(pid)
            os.kill(pid, signal.SIGKILL)
            killed = builder.end() == -signal.SIGKILL
            # A worker that is still importing looks for its parent only then, 0.3 s after its start.
            assert all_gone(workers, seconds=10)
            num_killed += killed
            if not killed:
                num_finished += 1
                assert contents(out) == expected
        builder.begin(out)
        assert builder.end() == 0
    assert contents(out) == expected


def test_a_worker_that_dies_is_reported_and_the_run_can_go_on(source, settings, tmp_path, contents):
    def kill_a_worker(done, total):
        if done == 1:
            os.kill(children(os.getpid())[-1], signal.SIGKILL)

    before = children(os.getpid())
    with pytest.raises(
        DataError,
        match=r"a worker process ended by signal 9 while it was reading images/.* to .*\.png; check",
    ):
        build(source, tmp_path / "store", settings, workers=2, progress=kill_a_worker)
    assert children(os.getpid()) == before
    build(source, tmp_path / "store", settings, workers=2)
    build(source, tmp_path / "whole", settings, workers=1)
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_leaves_a_store_that_can_be_resumed(source, settings, tmp_path, contents, workers):
    def interrupt(done, total):
        if done == 24:
            raise KeyboardInterrupt

    before = children(os.getpid())
    with pytest.raises(KeyboardInterrupt):
        build(source, tmp_path / "store", settings, workers=workers, progress=interrupt)
    assert children(os.getpid()) == before
    assert not list((tmp_path / "store").glob(".*.partial"))
    build(source, tmp_path / "store", settings, workers=workers)
    build(source, tmp_path / "whole", settings, workers=1)
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


def test_progress_counts_what_was_there(images, settings, tmp_path):
    source = read_folder(images(36))

    def interrupt(done, total):
        if done == 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(source, tmp_path / "store", settings, workers=1, progress=interrupt)
    seen = []
    build(source, tmp_path / "store", settings, workers=1, progress=lambda *counts: seen.append(counts))
    assert seen == [(done, 36) for done in range(25, 37)]


def test_workers_import_no_tables_and_no_torch():
    modules = "import sys, thorax.imaging.decode_worker, thorax.store.worker; print(*sys.modules)"
    command = [sys.executable, "-c", modules]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "pyarrow", "torch", "matplotlib"} & set(loaded)


def test_more_workers_than_work(images, settings, tmp_path):
    """Twelve images are two chunks; a worker that would have nothing to do is not started."""
    counts = []
    build(
        read_folder(images(12)),
        tmp_path / "store",
        Settings(preparation=settings.preparation),
        workers=50,
        progress=lambda *_: counts.append(len(children(os.getpid()))),
    )
    assert len(counts) == 12
    assert np.ptp(counts) == 0
    assert counts[0] <= 2 + len(children(os.getpid()))
