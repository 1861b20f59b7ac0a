"""What an operator sees of a node's queue, and does with what has no results; the node may run meanwhile."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from thorax.errors import DataError
from thorax.pacs.node.queue import DATABASE, Queue
from thorax.pacs.node.records import Failure
from thorax.pacs.node.schema import errors_named

__all__ = [
    "QueueStatus",
    "dismiss_failed",
    "opened_queue",
    "queue_status",
    "retry_failed",
    "retry_skipped",
]

_REASONS: Final = 10
"""The most reasons of skipped objects that are shown."""

_STATES: Final = ("received", "predicted", "sent", "skipped", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """What a queue holds.

    Attributes:
        objects: How many objects are in each state.
        deliveries: How many results are in each state, by destination and state.
        failures: The dead letters.
        oldest: Seconds for which the oldest unfinished object has waited; 0 if none waits.
        skipped: Why objects were skipped, and how many of them, the commonest first.
    """

    objects: dict[str, int]
    deliveries: dict[tuple[str, str], int]
    failures: tuple[Failure, ...]
    oldest: float
    skipped: tuple[tuple[str, int], ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield it for people, a line each."""
        yield ", ".join(f"{count:,} {state}" for state, count in self.objects.items())
        if self.oldest:
            yield f"the oldest that waits came {self.oldest:,.0f} s ago"
        for (destination, state), count in sorted(self.deliveries.items()):
            yield f"{destination}: {count:,} {state}"
        for reason, count in self.skipped:
            yield f"{count:,} skipped: {reason}"
        for failure in self.failures:
            where = f" to {failure.destination}" if failure.destination else ""
            yield f"dead letter {failure.number} (image {failure.sop_uid}){where}: {failure.reason}"

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "objects": self.objects,
            "destinations": [
                {"destination": destination, "state": state, "count": count}
                for (destination, state), count in sorted(self.deliveries.items())
            ],
            "oldest_seconds": self.oldest,
            "skipped": [{"reason": reason, "count": count} for reason, count in self.skipped],
            "dead_letters": [asdict(failure) for failure in self.failures],
        }


def queue_status(folder: Path) -> QueueStatus:
    """Return what a queue holds.

    Args:
        folder: Its folder.

    Raises:
        DataError: There is no queue.
        ServiceError: It cannot be opened or read.
    """
    with opened_queue(folder) as queue:
        counts = queue.counts()
        return QueueStatus(
            objects={state: counts[state] for state in _STATES},
            deliveries=queue.delivery_counts(),
            failures=tuple(queue.failures()),
            oldest=queue.oldest_waiting(),
            skipped=tuple(queue.skip_reasons(_REASONS)),
        )


def retry_failed(folder: Path, numbers: Sequence[int] = ()) -> int:
    """Let dead letters be tried again, and return how many objects they are.

    Args:
        folder: The folder of the queue.
        numbers: Numbers of objects; empty: all.

    Raises:
        DataError: There is no queue, or an object is not a dead letter.
        ServiceError: The queue cannot be opened or read.
    """
    with opened_queue(folder) as queue:
        _refuse_others(queue, numbers)
        return queue.retry(numbers)


def retry_skipped(folder: Path) -> int:
    """Let skipped objects be looked at again, as by other rules; return how many still have their files.

    Raises:
        DataError: There is no queue.
        ServiceError: It cannot be opened or read.
    """
    with opened_queue(folder) as queue:
        return queue.retry_skipped()


def dismiss_failed(folder: Path, numbers: Sequence[int]) -> None:
    """Give dead letters up: they are counted and kept no longer as such.

    Raises:
        DataError: There is no queue, or an object is not a dead letter.
        ServiceError: The queue cannot be opened or read.
    """
    with opened_queue(folder) as queue:
        _refuse_others(queue, numbers)
        queue.dismiss(numbers)


def _refuse_others(queue: Queue, numbers: Sequence[int]) -> None:
    failed = {failure.number for failure in queue.failures()}
    others = sorted(set(numbers) - failed)
    if others:
        raise DataError(
            f"object {others[0]} of {queue.folder} is not a dead letter; thorax node status lists those"
        )


@contextmanager
def opened_queue(folder: Path) -> Iterator[Queue]:
    """Yield the queue in a folder, and close it.

    Raises:
        DataError: There is no queue.
        ServiceError: It cannot be opened, or what is done with it fails.
    """
    if not (folder / DATABASE).is_file():
        raise DataError(
            f"{folder} is not the folder of a node's queue; give the one that the node was started with"
        )
    with closing(Queue(folder, create=False)) as queue, errors_named(folder / DATABASE):
        yield queue
