"""The queue: once only, in order, through every state, whatever process ends in between."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.helpers.command import command
from thorax.errors import DataError, ServiceError
from thorax.pacs.node.operating import queue_status, retry_failed
from thorax.pacs.node.queue import DATABASE, Queue
from thorax.pacs.node.records import Received, back_off
from thorax.pacs.node.retention import remove_old_files
from thorax.pacs.node.settings import NodeSettings


@pytest.fixture
def queue(tmp_path):
    opened = Queue(tmp_path / "queue")
    yield opened
    opened.close()


def add(queue, number, *, content=b"image"):
    """Put an object with its file into the queue."""
    received = Received(
        sop_uid=f"1.2.{number}", sha256=f"{number:064x}", study_uid="1.2", calling="A", size=len(content)
    )
    path = queue.file_of(received.sha256)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return queue.add(received)


def predict(queue, number, *destinations):
    """Note results of an object, with a file."""
    folder = queue.results_of(number)
    folder.mkdir()
    (folder / "0.dcm").write_bytes(b"result")
    queue.predicted(number, {"view": "PA"}, destinations, result_bytes=6)


def test_an_object_is_added_once_and_goes_through_its_states(queue):
    assert add(queue, 1)
    assert not add(queue, 1)
    assert queue.knows("1.2.1", f"{1:064x}")
    assert not queue.knows("1.2.1", f"{2:064x}")
    (stored,) = queue.begin(8)
    assert (stored.number, stored.sop_uid, stored.attempts) == (1, "1.2.1", 1)
    predict(queue, 1, "a", "b")
    assert queue.begin(8) == []
    (to_a,), (to_b,) = queue.due("a", 8), queue.due("b", 8)
    assert [path.read_bytes() for path in to_a.files] == [b"result"]
    queue.sent(to_a)
    assert queue.counts() == {"predicted": 1}
    queue.sent(to_b)
    assert queue.counts() == {"sent": 1}
    assert queue.due("a", 8) == []


def test_what_fails_waits_longer_and_longer_and_then_is_a_dead_letter_that_can_be_retried(queue):
    assert [back_off(attempts) for attempts in (1, 2, 3, 20, 2000)] == [2, 4, 8, 300, 300]
    add(queue, 1)
    queue.begin(8)
    predict(queue, 1, "a", "b")
    for refusal in (1, 2):
        (delivery,) = queue.due("a", 8)
        assert queue.refused(delivery, "status 0xC000", pause=0, most=2) is (refusal == 2)
    assert queue.due("a", 8) == []
    (failure,) = queue.failures()
    assert (failure.number, failure.destination, failure.reason) == (1, "a", "status 0xC000")
    assert queue.counts() == {"failed": 1}
    assert retry_failed(queue.folder) == 1
    queue.sent(queue.due("b", 8)[0])
    queue.sent(queue.due("a", 8)[0])
    assert queue.counts() == {"sent": 1}
    (paused,) = [add(queue, 2)]
    assert paused
    queue.begin(8)
    queue.postpone(2, 60, "the disk is full")
    assert queue.begin(8) == []


def test_an_object_that_was_begun_again_and_again_is_computed_alone(queue):
    for number in (1, 2, 3):
        add(queue, number)
    for _ in range(3):
        assert [stored.number for stored in queue.begin(3)] == [1, 2, 3]
    assert [(stored.number, stored.attempts) for stored in queue.begin(3)] == [(1, 4)]
    queue.failed(1, "damaged")
    assert [stored.number for stored in queue.begin(3)] == [2]


def test_results_that_a_destination_does_not_keep_are_sent_again_also_if_it_says_so_early(queue):
    for number in (1, 2):
        add(queue, number)
        queue.begin(8)
        predict(queue, number, "a")
    first, second = queue.due("a", 8)
    queue.asking(first, "2.25.1")
    queue.sent(first)
    assert queue.committed("2.25.1", whole=True)
    queue.asking(second, "2.25.2")
    assert queue.committed("2.25.2", whole=False)  # before the association has ended
    queue.sent(second)
    assert queue.counts() == {"sent": 1, "predicted": 1}
    assert not queue.committed("2.25.3", whole=True)


def test_results_for_a_destination_that_is_gone_are_dead_letters(queue):
    add(queue, 1)
    queue.begin(8)
    predict(queue, 1, "a", "old")
    queue.refuse_other_destinations(["a"])
    assert [failure.destination for failure in queue.failures()] == ["old"]


def test_files_go_by_age_and_by_size_but_never_those_that_wait_or_failed(queue, monkeypatch):
    for number in (1, 2, 3, 4, 5):
        add(queue, number, content=bytes(1000))
    queue.begin(8)
    for number in (1, 2, 3):
        predict(queue, number, "a")
        queue.sent(queue.due("a", 8)[0])
    queue.failed(4, "damaged")
    settings = NodeSettings(queue=queue.folder, forward=("A@127.0.0.1:1",), keep_bytes=2100, keep_days=1)
    assert remove_old_files(queue, settings) == 1
    kept = sorted(int(path.stem, 16) for path in (queue.folder / "received").glob("*/*.dcm"))
    assert kept == [2, 3, 4, 5]
    assert sorted(path.name for path in (queue.folder / "results").iterdir()) == ["2", "3"]
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 90_000)
    assert remove_old_files(queue, settings) == 2
    assert queue.knows("1.2.1", f"{1:064x}")
    assert not add(queue, 1)


def test_files_without_a_row_are_removed_and_files_with_one_stay(queue):
    add(queue, 1)
    left = queue.file_of("ab" * 32)
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"never answered")
    half = left.with_name(".half.partial")
    half.write_bytes(b"half")
    assert queue.remove_unknown_files() == 2
    assert not left.exists()
    assert queue.file_of(f"{1:064x}").exists()


ADDING = """
import sys
from pathlib import Path
from thorax.pacs.node.queue import Queue
from thorax.pacs.node.records import Received
queue = Queue(Path(sys.argv[1]))
for number in range(100_000):
    queue.add(Received(sop_uid=f"1.2.{number}", sha256=f"{number:064x}", study_uid="1", calling="A", size=1))
    print(number, flush=True)
"""


def test_what_was_added_is_there_after_a_kill(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", ADDING, str(tmp_path / "queue")], stdout=subprocess.PIPE, text=True
    ) as adding:
        for _ in range(40):
            last = int(adding.stdout.readline())
        os.kill(adding.pid, signal.SIGKILL)
        rest = adding.stdout.read().splitlines()
    last = int(rest[-1]) if rest else last
    queue = Queue(tmp_path / "queue")
    assert queue.counts()["received"] in {last + 1, last + 2}
    queue.close()


def test_an_operator_sees_and_retries_from_the_command_line(queue):
    add(queue, 1)
    add(queue, 2)
    queue.begin(8)
    queue.failed(2, "the image: the DICOM file is truncated")
    shown = command("node", "status", queue.folder).stdout
    assert "1 received, 0 predicted, 0 sent, 0 skipped, 1 failed" in shown
    assert "dead letter 2 (image 1.2.2): the image: the DICOM file is truncated" in shown
    assert json.loads(command("node", "status", queue.folder, "--json").stdout)["objects"]["failed"] == 1
    wrong = command("node", "retry", queue.folder, "--number", "1", expect=DataError.exit_code)
    assert "object 1 of" in wrong.stderr
    assert "1 object is tried again" in command("node", "retry", queue.folder, "--number", "2").stdout
    assert queue_status(queue.folder).failures == ()
    nothing = command("node", "status", queue.folder / "received", expect=DataError.exit_code)
    assert "is not the folder of a node's queue" in nothing.stderr


def test_what_was_skipped_says_why_and_is_looked_at_again(queue):
    for number in (1, 2, 3):
        add(queue, number)
    queue.begin(8)
    for number in (1, 2):
        queue.skipped(number, "rule 1 leaves it out")
    queue.skipped(3, "modality CT")
    queue.dropped([2])  # its file is gone
    assert "2 skipped: rule 1 leaves it out\n1 skipped: modality CT" in "\n".join(
        queue_status(queue.folder).lines()
    )
    assert "2 objects are tried again" in command("node", "retry", queue.folder, "--skipped").stdout
    assert [stored.number for stored in queue.begin(8)] == [1, 3]
    assert queue.counts() == {"received": 2, "skipped": 1}


def test_dead_letters_that_are_given_up_count_no_longer(queue):
    for number in (1, 2, 3):
        add(queue, number)
    queue.begin(8)
    queue.failed(1, "the image: truncated")
    predict(queue, 2, "a", "old")
    predict(queue, 3, "a", "old")
    queue.sent(queue.due("a", 8)[0])
    queue.refuse_other_destinations(["a"])
    assert len(queue.failures()) == 3
    wrong = command("node", "dismiss", queue.folder, "--number", "4", expect=DataError.exit_code)
    assert "object 4 of" in wrong.stderr
    words = [word for number in (1, 2, 3) for word in ("--number", number)]
    assert "dismissed: 1, 2, 3" in command("node", "dismiss", queue.folder, *words).stdout
    assert queue.failures() == []
    assert queue.counts() == {"skipped": 1, "sent": 1, "predicted": 1}
    assert queue.skip_reasons(8) == [("dismissed: the image: truncated", 1)]
    queue.sent(queue.due("a", 8)[0])
    assert queue.counts() == {"skipped": 1, "sent": 2}


def test_another_database_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    with sqlite3.connect(tmp_path / "other" / DATABASE) as database:
        database.execute("CREATE TABLE things (id INTEGER)")
    database.close()
    with pytest.raises(ServiceError, match="not the database of a node's queue"):
        Queue(tmp_path / "other")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / DATABASE).write_text("not a database at all" * 100)
    with pytest.raises(ServiceError, match="not the database of a node's queue"):
        Queue(tmp_path / "text")
