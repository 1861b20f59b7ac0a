"""A node's durable queue: what was received, what became of it, and what must still be sent where."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from thorax.outputs import make_folder
from thorax.pacs.node.records import LONGEST_PAUSE, Delivery, Failure, Received, State, Stored
from thorax.pacs.node.schema import SharedDatabase

__all__ = ["DATABASE", "Queue"]

DATABASE: Final = "queue.sqlite"
"""Name of the database in the folder of a queue."""

_SUSPECT: Final = 3
"""Tries after which an object is computed alone: perhaps it is what ended the process each time."""


class Queue(SharedDatabase):
    """The queue in a folder; threads share it, and `status` and `retry` open it beside a running node.

    Args:
        folder: The folder; it is made if it does not exist and `create` is set.
        create: Whether to begin one.

    Raises:
        ServiceError: It cannot be used.
        DataError: It cannot be made.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.folder = folder
        if create:
            make_folder(folder, mode=0o700)
            for part in (folder / "received", folder / "results"):
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(folder / DATABASE, create=create)

    # ---- objects -----------------------------------------------------------------------------------

    def file_of(self, sha256: str) -> Path:
        """Return where an object with this content lies."""
        return self.folder / "received" / sha256[:2] / f"{sha256}.dcm"

    def results_of(self, number: int) -> Path:
        """Return the folder of the results of an object."""
        return self.folder / "results" / f"{number}"

    def knows(self, sop_uid: str, sha256: str) -> bool:
        """Return whether this object was received before, whatever became of it."""
        where = "SELECT 1 FROM objects WHERE sop_uid = ? AND sha256 = ?"
        return bool(self._rows(where, (sop_uid, sha256)))

    def add(self, received: Received) -> bool:
        """Add an object whose file is safely stored; return False if it is there already."""
        with self._transaction() as database:
            added = database.execute(
                "INSERT INTO objects (sop_uid, sha256, study_uid, calling, bytes, received_at, state) "
                "VALUES (?, ?, ?, ?, ?, ?, 'received') ON CONFLICT DO NOTHING",
                (
                    received.sop_uid, received.sha256, received.study_uid, received.calling, received.size,
                    time.time(),
                ),
            )  # fmt: skip
            return added.rowcount == 1

    def begin(self, most: int) -> list[Stored]:
        """Return objects to predict now, the oldest first, and count that they were begun.

        One that was begun several times before is returned alone.

        Args:
            most: The most objects.
        """
        rows = self._rows(
            "SELECT id, sop_uid, study_uid, sha256, attempts FROM objects "
            "WHERE state = 'received' AND next_try <= ? ORDER BY id LIMIT ?",
            (time.time(), most),
        )
        suspects = [row for row in rows if row[4] >= _SUSPECT]
        rows = suspects[:1] or rows
        if rows:
            with self._transaction() as database:
                database.executemany(
                    "UPDATE objects SET attempts = attempts + 1 WHERE id = ?", [(row[0],) for row in rows]
                )
        return [
            Stored(
                number=number, sop_uid=sop_uid, study_uid=study_uid, path=self.file_of(sha256),
                attempts=attempts + 1,
            )
            for number, sop_uid, study_uid, sha256, attempts in rows
        ]  # fmt: skip

    def predicted(
        self,
        number: int,
        outcome: Mapping[str, Any],
        destinations: Iterable[str],
        *,
        result_bytes: int,
    ) -> None:
        """Note that the results of an object are safely stored and must go to these destinations."""
        with self._transaction() as database:
            database.execute(
                "UPDATE objects SET state = 'predicted', reason = '', outcome = ?, result_bytes = ?, "
                "done_at = ? WHERE id = ?",
                (json.dumps(outcome, allow_nan=False), result_bytes, time.time(), number),
            )
            database.executemany(
                "INSERT INTO deliveries (object, destination, state) VALUES (?, ?, 'waiting') "
                "ON CONFLICT DO UPDATE SET state = 'waiting', attempts = 0, next_try = 0",
                [(number, destination) for destination in destinations],
            )

    def skipped(self, number: int, reason: str, outcome: Mapping[str, Any] | None = None) -> None:
        """Note that an object gets no results, and why; `outcome` is kept for monitoring."""
        self._end(number, "skipped", reason, outcome)

    def failed(self, number: int, reason: str) -> None:
        """Note that an object could not be predicted, and why; an operator may try it again."""
        self._end(number, "failed", reason)

    def _end(self, number: int, state: State, reason: str, outcome: Mapping[str, Any] | None = None) -> None:
        kept = json.dumps(outcome, allow_nan=False) if outcome else ""
        with self._transaction() as database:
            database.execute(
                "UPDATE objects SET state = ?, reason = ?, outcome = ?, done_at = ? WHERE id = ?",
                (state, reason, kept, time.time(), number),
            )

    def postpone(self, number: int, seconds: float, reason: str) -> None:
        """Try an object again later."""
        with self._transaction() as database:
            database.execute(
                "UPDATE objects SET next_try = ?, reason = ? WHERE id = ?",
                (time.time() + seconds, reason, number),
            )

    # ---- what monitoring reads ---------------------------------------------------------------------------

    def keep_model(self, sha256: str, name: str, described: str) -> None:
        """Keep what is known of a model that predicts from now on, as JSON."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO models (sha256, name, described) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET described = excluded.described",
                (sha256, name, described),
            )

    def models(self) -> dict[tuple[str, str], str]:
        """Return what is known of the models that predicted, by hash and name."""
        return {(sha256, name): text for sha256, name, text in self._rows("SELECT * FROM models")}

    def outcomes(self, most: int) -> list[tuple[float, str]]:
        """Return time of arrival and outcome, as JSON, of the last objects that have one, the oldest first.

        Args:
            most: The most objects.
        """
        rows = self._rows(
            "SELECT received_at, outcome FROM objects WHERE outcome != '' ORDER BY id DESC LIMIT ?", (most,)
        )
        return rows[::-1]

    def daily_counts(self) -> dict[str, Counter[str]]:
        """Return how many objects came on each day of this machine's time zone, by day and state."""
        counts: dict[str, Counter[str]] = {}
        for day, state, count in self._rows(
            "SELECT date(received_at, 'unixepoch', 'localtime') AS day, state, count(*) FROM objects "
            "GROUP BY day, state ORDER BY day"
        ):
            counts.setdefault(day, Counter())[state] = count
        return counts

    # ---- deliveries --------------------------------------------------------------------------------

    def due(self, destination: str, most: int) -> list[Delivery]:
        """Return results that must go to a destination now, the oldest first."""
        rows = self._rows(
            "SELECT object, sop_uid, deliveries.attempts FROM deliveries JOIN objects ON object = id "
            "WHERE destination = ? AND deliveries.state = 'waiting' AND deliveries.next_try <= ? "
            "ORDER BY object LIMIT ?",
            (destination, time.time(), most),
        )
        return [
            Delivery(
                number=number,
                sop_uid=sop_uid,
                destination=destination,
                files=tuple(sorted(self.results_of(number).glob("*.dcm"))),
                attempts=attempts,
            )
            for number, sop_uid, attempts in rows
        ]

    def asking(self, delivery: Delivery, transaction: str) -> None:
        """Note the UID under which a destination will be asked to commit itself to keep results."""
        with self._transaction() as database:
            database.execute(
                "UPDATE deliveries SET commitment = ?, committed = NULL WHERE object = ? AND destination = ?",
                (transaction, delivery.number, delivery.destination),
            )

    def sent(self, delivery: Delivery) -> None:
        """Note that a destination has taken the results of an object.

        Its answer to `asking` may have come already; results that it does not keep stay to be sent.
        """
        with self._transaction() as database:
            database.execute(
                "UPDATE deliveries SET state = 'sent', reason = '' "
                "WHERE object = ? AND destination = ? AND committed IS NOT 0",
                (delivery.number, delivery.destination),
            )
            database.execute(
                "UPDATE objects SET state = 'sent', done_at = ? WHERE id = ? AND NOT EXISTS "
                "(SELECT 1 FROM deliveries WHERE object = id AND state != 'sent')",
                (time.time(), delivery.number),
            )

    def refused(self, delivery: Delivery, reason: str, *, pause: float, most: int) -> bool:
        """Note that a destination refused results; return whether they became a dead letter.

        Args:
            delivery: The results.
            reason: Why, without patient data.
            pause: Seconds until the next attempt.
            most: Refusals after which they are a dead letter.
        """
        attempts = delivery.attempts + 1
        dead = attempts >= most
        state = "failed" if dead else "waiting"
        with self._transaction() as database:
            database.execute(
                "UPDATE deliveries SET state = ?, attempts = ?, next_try = ?, reason = ? "
                "WHERE object = ? AND destination = ?",
                (state, attempts, time.time() + pause, reason, delivery.number, delivery.destination),
            )
            if dead:
                database.execute("UPDATE objects SET state = 'failed' WHERE id = ?", (delivery.number,))
        return dead

    def delay(self, delivery: Delivery, seconds: float) -> None:
        """Send results later, and others before them."""
        with self._transaction() as database:
            database.execute(
                "UPDATE deliveries SET next_try = ? WHERE object = ? AND destination = ?",
                (time.time() + seconds, delivery.number, delivery.destination),
            )

    def committed(self, transaction: str, *, whole: bool) -> bool:
        """Note what a destination has answered to a request for commitment; return whether it is known.

        Results that it does not commit itself to are sent again.
        """
        with self._transaction() as database:
            if whole:
                statement = "UPDATE deliveries SET committed = 1 WHERE commitment = ?"
                return database.execute(statement, (transaction,)).rowcount > 0
            objects = database.execute(
                "UPDATE deliveries SET committed = 0, commitment = '', state = 'waiting', next_try = ?, "
                "attempts = attempts + 1, reason = 'the destination does not commit itself to keep them' "
                "WHERE commitment = ? RETURNING object",
                (time.time() + LONGEST_PAUSE, transaction),
            ).fetchall()
            database.executemany("UPDATE objects SET state = 'predicted' WHERE id = ?", objects)
            return bool(objects)

    # ---- what an operator sees and does ----------------------------------------------------------------

    def counts(self) -> Counter[str]:
        """Return how many objects are in each state."""
        return Counter(dict(self._rows("SELECT state, count(*) FROM objects GROUP BY state")))

    def delivery_counts(self) -> dict[tuple[str, str], int]:
        """Return how many deliveries are in each state, by destination and state."""
        rows = self._rows("SELECT destination, state, count(*) FROM deliveries GROUP BY destination, state")
        return {(destination, state): count for destination, state, count in rows}

    def oldest_waiting(self) -> float:
        """Return for how many seconds the oldest unfinished object has waited; 0 if none waits."""
        ((oldest,),) = self._rows(
            "SELECT min(received_at) FROM objects WHERE state IN ('received', 'predicted')"
        )
        return max(0.0, time.time() - oldest) if oldest else 0.0

    def failures(self) -> list[Failure]:
        """Return the dead letters, the oldest first."""
        rows = self._rows(
            "SELECT id, sop_uid, '', reason FROM objects WHERE state = 'failed' AND NOT EXISTS "
            "(SELECT 1 FROM deliveries WHERE object = id) UNION ALL "
            "SELECT object, sop_uid, destination, deliveries.reason FROM deliveries "
            "JOIN objects ON object = id WHERE deliveries.state = 'failed' ORDER BY 1, 3"
        )
        return [
            Failure(number=number, sop_uid=sop_uid, destination=destination, reason=reason)
            for number, sop_uid, destination, reason in rows
        ]

    def skip_reasons(self, most: int) -> list[tuple[str, int]]:
        """Return the `most` frequent reasons why objects were skipped, and how many they are."""
        return self._rows(
            "SELECT reason, count(*) FROM objects WHERE state = 'skipped' GROUP BY reason "
            "ORDER BY count(*) DESC, reason LIMIT ?",
            (most,),
        )

    def retry_skipped(self) -> int:
        """Let skipped objects whose files are kept be looked at again; return how many they are."""
        with self._transaction() as database:
            return database.execute(
                "UPDATE objects SET state = 'received', attempts = 0, next_try = 0, reason = '' "
                "WHERE state = 'skipped' AND kept = 1"
            ).rowcount

    def dismiss(self, numbers: Sequence[int]) -> None:
        """Give dead letters up: what was not sent is not, and they count as skipped, or as sent elsewhere."""
        with self._transaction() as database:
            for number in numbers:
                database.execute("DELETE FROM deliveries WHERE object = ? AND state = 'failed'", (number,))
                database.execute(
                    "UPDATE objects SET done_at = ?, reason = rtrim('dismissed: ' || reason, ': '), "
                    "state = CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE object = id AND "
                    "state = 'waiting') THEN 'predicted' WHEN EXISTS (SELECT 1 FROM deliveries WHERE "
                    "object = id) THEN 'sent' ELSE 'skipped' END WHERE id = ?",
                    (time.time(), number),
                )

    def retry(self, numbers: Sequence[int] = ()) -> int:
        """Let dead letters be tried again; return how many objects they are.

        Args:
            numbers: Numbers of objects; empty: all.
        """
        failed = {failure.number for failure in self.failures()}
        chosen = sorted(failed.intersection(numbers) if numbers else failed)
        with self._transaction() as database:
            for number in chosen:
                waiting = database.execute(
                    "UPDATE deliveries SET state = 'waiting', attempts = 0, next_try = 0 "
                    "WHERE object = ? AND state = 'failed'",
                    (number,),
                ).rowcount
                database.execute(
                    "UPDATE objects SET state = ?, attempts = 0, next_try = 0 WHERE id = ?",
                    ("predicted" if waiting else "received", number),
                )
        return len(chosen)

    def refuse_other_destinations(self, destinations: Sequence[str]) -> None:
        """Make dead letters of results for destinations that are not among these any more."""
        with self._transaction() as database:
            waiting = database.execute("SELECT DISTINCT destination FROM deliveries WHERE state = 'waiting'")
            for (gone,) in [row for row in waiting.fetchall() if row[0] not in destinations]:
                objects = database.execute(
                    "UPDATE deliveries SET state = 'failed', reason = 'it is not a destination any more' "
                    "WHERE state = 'waiting' AND destination = ? RETURNING object",
                    (gone,),
                ).fetchall()
                database.executemany("UPDATE objects SET state = 'failed' WHERE id = ?", objects)

    # ---- files -------------------------------------------------------------------------------------

    def finished(self) -> list[tuple[int, str, float, int]]:
        """Return number, hash, time and bytes of the objects whose files may go, the oldest first."""
        return self._rows(
            "SELECT id, sha256, done_at, bytes + result_bytes FROM objects "
            "WHERE kept = 1 AND state IN ('sent', 'skipped') ORDER BY done_at"
        )

    def dropped(self, numbers: Sequence[int]) -> None:
        """Note that the files of objects are gone; the objects stay known."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE objects SET kept = 0 WHERE id = ?", [(number,) for number in numbers]
            )

    def hashes(self) -> set[str]:
        """Return the hashes of the objects whose files are kept."""
        return {sha256 for (sha256,) in self._rows("SELECT sha256 FROM objects WHERE kept = 1")}

    def remove_unknown_files(self) -> int:
        """Remove what a process left that ended between writing a file and adding its object.

        Their senders got no answer, and send them again.
        """
        known, removed = self.hashes(), 0
        for path in (self.folder / "received").glob("*/*"):
            if path.suffix != ".dcm" or path.stem not in known:
                path.unlink(missing_ok=True)
                removed += 1
        for path in (self.folder / "results").glob("*/.*.partial"):
            path.unlink(missing_ok=True)
        return removed
