"""Making the shards of a store: which files go to which worker, and what is done when a shard is full."""

import os
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby, repeat
from math import ceil
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from thorax.errors import DataError
from thorax.hardware import cores
from thorax.imaging.decode_pool import DecodePool, Done, Lost, Work
from thorax.imaging.read import decodes_safely
from thorax.objects.mirror import Mirror
from thorax.progress import CountCallback
from thorax.store.manifest import StorePlan
from thorax.store.plan import Listing
from thorax.store.worker import DraftTask, FileEntry, Outcome, ShardDraft, prepare_row

__all__ = ["Sent", "ShardJob", "make_shards"]

_WORK_ROWS: Final = 8
"""Files that a worker gets at once: few, so that the last ones are distributed evenly."""

_MAX_ROWS_IN_PROCESS: Final = 64
"""Up to this many rows, a single worker reads files of safe kinds in this process. Another process takes
0.3 s to start, but has the memory settings that suit decoding."""

_WORKS_AHEAD: Final = 8
"""Works whose files are being brought from object storage."""

_TASK: Final = "thorax.store.worker:prepare_file"


@runtime_checkable
class Sent(Protocol):
    """What takes the shards of a store that will be in object storage."""

    def begin(self) -> None:
        """Write the plan there, so that the store is seen to be unfinished."""

    def has(self, plan: StorePlan, number: int) -> bool:
        """Return whether a shard was sent, and its record is in the work folder."""

    def send(self, number: int) -> None:
        """Write a finished shard there, and remove it here."""


@dataclass(frozen=True)
class ShardJob:
    """What all shards of a store have in common.

    Attributes:
        root: The source's folder.
        out: The store's folder.
        plan: Its plan.
        listing: The files of the source, or some of them.
        mirror: Brings the files, if they are in object storage.
        sent: Takes finished shards, if the store will be in object storage.
        first_row: The source row of the first file of `listing`.
    """

    root: Path
    out: Path
    plan: StorePlan
    listing: Listing
    mirror: Mirror | None = None
    sent: "Sent | None" = None
    first_row: int = 0

    def of_shard(self, number: int) -> "ShardJob":
        """Return the job with the files of one shard alone."""
        rows = self.plan.rows_of(number)
        return replace(self, listing=self.listing.part(slice(rows.start, rows.stop)), first_row=rows.start)

    def works(self, draft: ShardDraft) -> Iterator[Work[DraftTask, FileEntry]]:
        """Yield the works of a shard."""
        task = DraftTask(
            root=self.root, preparation=self.plan.preparation, draft=draft.path, first_row=draft.rows.start
        )
        rows = draft.rows_to_do()
        for start in range(0, len(rows), _WORK_ROWS):
            yield Work(task, tuple(map(self._entry, rows[start : start + _WORK_ROWS])))

    def brought(self, works: Iterator[Work[DraftTask, FileEntry]]) -> Iterator[Work[DraftTask, FileEntry]]:
        """Yield works when their files have arrived, while those of the next ones are being brought."""
        if self.mirror is None:
            yield from works
            return
        waiting: deque[tuple[Work[DraftTask, FileEntry], list[Future[None]]]] = deque()
        for work in chain(works, repeat(None, _WORKS_AHEAD)):
            if work is not None:
                waiting.append((work, [self.mirror.bring(entry.path) for entry in work.items]))
            if waiting and (work is None or len(waiting) > _WORKS_AHEAD):
                first, coming = waiting.popleft()
                for future in coming:
                    future.result()
                yield first

    def let_go(self, row: int) -> None:
        """Remove the bytes of a file that was brought."""
        if self.mirror is not None:
            self.mirror.let_go(self.listing.paths.iloc[row])

    def finish(self, draft: ShardDraft, number: int) -> None:
        """Finish a shard, and send it if it does not stay here."""
        draft.finish()
        if self.sent is not None:
            self.sent.send(number)

    def _entry(self, row: int) -> FileEntry:
        listing, at = self.listing, row - self.first_row
        return FileEntry(row, listing.paths.iloc[at], int(listing.sizes[at]), int(listing.mtimes_ns[at]))


def make_shards(
    job: ShardJob, todo: list[int], *, workers: int | None, progress: CountCallback | None
) -> None:
    """Make some shards, in order; the next one starts while the last one is written to disk.

    What stops it, such as Ctrl-C, leaves the drafts to the next call.

    Args:
        job: What they have in common.
        todo: Their numbers.
        workers: Processes; None means one per core.
        progress: Receives the number of finished rows.

    Raises:
        DataError: A file has changed since it was listed, or the disk failed.
    """
    plan, drafts = job.plan, dict[int, ShardDraft]()
    num_todo = sum(len(plan.rows_of(number)) for number in todo)
    done = plan.num_rows - num_todo

    def works() -> Iterator[Work[DraftTask, FileEntry]]:
        nonlocal done
        for number in todo:
            draft = ShardDraft(job.out, plan, number)
            done += draft.num_done
            if draft.is_complete:
                job.finish(draft, number)
            else:
                drafts[number] = draft
                yield from job.works(draft)

    finishing: Future[None] | None = None
    outcomes = _outcomes(job.brought(works()), workers=_num_workers(workers, num_todo), num_rows=num_todo)
    with _kept_when_stopped(drafts), closing(outcomes), ThreadPoolExecutor(1) as thread:
        for outcome in outcomes:
            number = outcome.row // plan.shard_rows
            drafts[number].add(outcome)
            job.let_go(outcome.row)
            done += 1
            if progress:
                progress(done, plan.num_rows)
            if drafts[number].is_complete:
                if finishing:
                    finishing.result()
                finishing = thread.submit(job.finish, drafts.pop(number), number)
        if finishing:
            finishing.result()


@contextmanager
def _kept_when_stopped(drafts: Mapping[int, ShardDraft]) -> Iterator[None]:
    """Keep the unfinished drafts when anything stops their making, after the workers have ended."""
    try:
        yield
    except BaseException:
        with suppress(DataError):  # such as that of a full disk, which is what stopped it
            for draft in drafts.values():
                draft.keep()
        raise


def _num_workers(requested: int | None, num_rows: int) -> int:
    return min(requested or cores(), ceil(num_rows / _WORK_ROWS))


def _outcomes(
    works: Iterator[Work[DraftTask, FileEntry]], *, workers: int, num_rows: int
) -> Generator[Outcome, None, None]:
    """Yield the outcome of every file, in order of completion."""
    if workers > 1 or num_rows > _MAX_ROWS_IN_PROCESS:
        yield from _apart(works, workers)
        return
    for work in works:
        for safe, entries in groupby(work.items, partial(_is_safe, work.context.root)):
            if safe:
                yield from (prepare_row(work.context, entry) for entry in entries)
            else:
                yield from _apart(iter([Work(work.context, tuple(entries))]), 1)


def _apart(works: Iterator[Work[DraftTask, FileEntry]], workers: int) -> Generator[Outcome, None, None]:
    # Tried again: a store must not depend on how busy the machine was.
    with closing(DecodePool[DraftTask, FileEntry](_TASK, workers, again=True)) as pool:
        for result in pool.results(works):
            match result:
                case Done(answer=answer):
                    yield Outcome(**answer)
                case Lost(item=entry, reason=reason):
                    yield Outcome(entry.row, reason=f"{entry.path.rpartition('/')[2]}: {reason}")


def _is_safe(root: Path, entry: FileEntry) -> bool:
    try:
        # What has become a pipe is not waited for.
        with os.fdopen(os.open(root / entry.path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return decodes_safely(file.read(1 << 10))
    except OSError:
        return True  # it is read again, with a message
