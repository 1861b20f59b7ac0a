"""Removes the files of objects that are finished, by age and by size; what waits or failed stays."""

import shutil
import time
from collections.abc import Iterator
from typing import Final

from thorax.pacs.node.queue import Queue
from thorax.pacs.node.settings import NodeSettings

__all__ = ["remove_old_files"]

_DAY: Final = 86_400.0


def remove_old_files(queue: Queue, settings: NodeSettings) -> int:
    """Remove received objects and results that are older or more than the settings allow; return how many.

    Their rows stay, so that an object that is sent again later still gets no second result.
    """
    finished = queue.finished()
    gone = list(_beyond(finished, settings))
    for number, sha256 in gone:
        queue.file_of(sha256).unlink(missing_ok=True)
        shutil.rmtree(queue.results_of(number), ignore_errors=True)
    if gone:
        queue.dropped([number for number, _ in gone])
    return len(gone)


def _beyond(finished: list[tuple[int, str, float, int]], settings: NodeSettings) -> Iterator[tuple[int, str]]:
    """Yield number and hash of the objects that go, of these with the oldest first."""
    oldest = time.time() - _DAY * settings.keep_days
    total = sum(size for *_, size in finished)
    for number, sha256, done_at, size in finished:
        if done_at >= oldest and total <= settings.keep_bytes:
            break
        total -= size
        yield number, sha256
