"""Worker processes that prepare chunks.

Each worker is a fresh interpreter (`python -m thorax.store.worker_pool`) connected to its parent by a socket
pair: it neither forks a process with threads nor imports the user's script again. If the parent dies, however
suddenly, the socket closes and the worker exits after its current chunk.
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

# The current chunk and the next one. Not more, so that the last files are distributed evenly.
_CHUNKS_AHEAD = 2

_ENVIRONMENT = {
    # One thread per process; OpenBLAS would start one per core in each.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # By default, glibc returns memory to the system after each image and faults it in again: 1,500 pages for
    # one of NIH's, 3 ms of system time on 9 ms of decoding. Up to these limits the next image reuses it.
    # Other C libraries ignore the names; a user's own settings take precedence.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}


class _Worker:
    """One process and its pending chunks."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603  (this interpreter, this module)
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Ctrl-C at a terminal goes to the whole process group; only the parent may handle it.
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
        """Return the outcomes of the oldest pending chunk."""
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
            "check that there is enough memory, then run the same command again: it resumes where it stopped"
        )

    def terminate(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


class WorkerPool:
    """Worker processes; the caller must close the pool."""

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
        """Kill the processes, whatever they are doing."""
        for worker in self._workers:
            worker.terminate()

    def outcomes(self, chunks: Iterator[Chunk]) -> Iterator[Outcome]:
        """Prepare `chunks` and yield the outcome of every file, in order of completion.

        Args:
            chunks: Consumed only as workers become free.

        Raises:
            DataError: A worker raised it, or died; the message then names the files it was reading.
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
    """Keep one chunk queued, so that the worker never waits for its parent."""
    while len(worker.pending) < _CHUNKS_AHEAD:
        chunk = next(chunks, None)
        if chunk is None:
            return
        worker.give(chunk)


def _work(connection: Connection) -> None:
    """Prepare every chunk received and send its outcomes, until the parent exits."""
    with connection, suppress(EOFError, ConnectionError):
        while True:
            try:
                # One message per chunk: with one per file, the parent took 3 % of two cores.
                connection.send(list(prepare_chunk(connection.recv())))
            except DataError as error:
                connection.send(error)


if __name__ == "__main__":
    _work(Connection(int(sys.argv[1])))
