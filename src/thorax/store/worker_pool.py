"""Worker processes that prepare chunks.

Each is a fresh interpreter (`python -m thorax.store.worker_pool`), joined to its parent by a socket pair: no
fork of a process that has threads, no second import of the user's script. When the parent dies, however
suddenly, the socket closes and the worker ends with the chunk it is at.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from thorax.errors import DataError
from thorax.store.worker import Chunk, Outcome, prepare_chunk

__all__ = ["WorkerPool"]

# The one at work and the next. No more, so that the last files are shared out evenly.
_CHUNKS_AHEAD = 2

_ENVIRONMENT = {
    # One thread per process; OpenBLAS would start one per core in each.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # glibc gives an image's memory back after each, and faults it in anew: 1,500 pages for one of NIH's,
    # 3 ms of the system's time on 9 of decoding. Kept up to these limits, the next image takes it over.
    # Other C libraries do not know the names; a user's own settings win.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}


class _Worker:
    """One process, and the chunks it has been given but has not answered for."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603  (this interpreter, this module)
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Ctrl-C at a terminal goes to the whole group; only the parent decides what it means.
                process_group=0,
                env=_ENVIRONMENT | os.environ,
            )
        self.pending: deque[Chunk] = deque()

    def give(self, chunk: Chunk) -> None:
        self.pending.append(chunk)
        try:
            self.connection.send(chunk)
        except ConnectionError as error:
            raise self._died() from error

    def take(self) -> list[Outcome]:
        """Return the outcomes of the chunk that it was given first."""
        try:
            message: Any = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            raise self._died() from error
        if isinstance(message, DataError):
            raise message
        assert len(message) == len(self.pending.popleft().files)
        outcomes: list[Outcome] = message
        return outcomes

    def _died(self) -> DataError:
        self.process.kill()
        status = self.process.wait()
        files = self.pending[0].files
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return DataError(
            f"a worker process ended {how} while it was reading {files[0].path} to {files[-1].path}; "
            "look for lack of memory, then run the same command again: it goes on where it stopped"
        )

    def dismiss(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


class WorkerPool:
    """Worker processes; whoever starts a crew closes it."""

    def __init__(self, count: int) -> None:
        """Start `count` processes; they are ready 0.3 s later."""
        self._workers: list[_Worker] = []
        try:
            for _ in range(count):
                self._workers.append(_Worker())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for worker in self._workers:
            worker.dismiss()

    def outcomes(self, chunks: Iterator[Chunk]) -> Iterator[Outcome]:
        """Have `chunks` prepared, and yield the outcome of every file in whatever order they end.

        Args:
            chunks: Taken only as workers become free.

        Raises:
            DataError: What a worker raised, or that one died, with the files it was at.
        """
        by_connection: dict[object, _Worker] = {worker.connection: worker for worker in self._workers}
        for worker in self._workers:
            _feed(worker, chunks)
        while busy := [worker.connection for worker in self._workers if worker.pending]:
            for connection in wait(busy):
                worker = by_connection[connection]
                yield from worker.take()
                _feed(worker, chunks)


def _feed(worker: _Worker, chunks: Iterator[Chunk]) -> None:
    """Keep a chunk waiting, so that no worker ever waits for its parent."""
    while len(worker.pending) < _CHUNKS_AHEAD:
        chunk = next(chunks, None)
        if chunk is None:
            return
        worker.give(chunk)


def _work(connection: Connection) -> None:
    """Answer for every chunk that comes, until the parent is gone."""
    with connection, suppress(EOFError, ConnectionError):
        while True:
            try:
                # One message a chunk: with one a file the parent took 3 % of two cores.
                connection.send(list(prepare_chunk(connection.recv())))
            except DataError as error:
                connection.send(error)


if __name__ == "__main__":
    _work(Connection(int(sys.argv[1])))
