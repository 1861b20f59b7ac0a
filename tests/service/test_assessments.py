"""Readers' assessments: kept whole, never changed, exported as labels, and compared."""

import csv
import io
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest
from pydantic import ValidationError

from thorax.errors import ServiceError
from thorax.evaluation.inputs.assessments import read_assessments
from thorax.service.assessments import Assessment, Assessments
from thorax.service.reader_agreement import agreement_of

VALUES = {
    "reader": "ana",
    "image": "chest.png",
    "image_sha256": "1f" * 32,
    "bundle_sha256": "2e" * 32,
    "finding": "Effusion",
    "verdict": "agree",
    "present": True,
    "ai_shown": "after",
    "comment": "small",
    "probability": 0.75,
    "decision": "yes",
}


def assessment(**changes):
    return Assessment.model_validate(VALUES | changes)


@pytest.fixture
def kept(tmp_path):
    return Assessments(tmp_path / "readers.sqlite")


def test_what_is_added_is_there_in_order_and_after_opening_again(kept):
    first = kept.add(assessment(), model="small")
    second = kept.add(assessment(verdict="disagree", present=False), model="small")
    third = kept.add(assessment(verdict="amended", present=None, comment="left\nonly"), model="small")
    assert Assessments(kept.path).all() == [first, second, third] == kept.all()
    assert (second.present, third.present) == (0, None)
    assert first.assessed_at <= second.assessed_at <= third.assessed_at
    assert first.assessed_at.endswith("+00:00")
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "read"},
        {"ai_shown": "before"},
        {"verdict": "agree", "present": False},
        {"verdict": "disagree", "present": True},
        {"verdict": "agree", "decision": "not decided"},
        {"verdict": "agree", "present": None},
        {"probability": 1.5},
        {"probability": float("nan")},
        {"image_sha256": "1f" * 32 + "\n"},
        {"bundle_sha256": "2E" * 32},
        {"reader": ""},
        {"comment": "x" * 2001},
        {"other": 1},
    ],
)
def test_what_cannot_be_is_refused(changes):
    with pytest.raises(ValidationError):
        assessment(**changes)


def test_the_csv_is_read_as_labels_and_runs_nothing(kept, tmp_path):
    kept.add(assessment(verdict="read", ai_shown="before", present=False), model="small")
    kept.add(assessment(), model="small")
    kept.add(assessment(reader="=cmd()", image="other.png", comment='=HYPERLINK("x"),\n2'), model="small")
    file = tmp_path / "labels.csv"
    file.write_text(kept.as_csv(), newline="")
    rows = list(csv.DictReader(io.StringIO(kept.as_csv())))
    assert [row["present"] for row in rows] == ["0", "1", "1"]
    assert rows[2]["reader"] == "'=cmd()"
    assert rows[2]["comment"] == '\'=HYPERLINK("x"),\\n2'
    labels = read_assessments(file)
    assert labels.table.images == ["chest.png", "other.png"]
    assert labels.table.targets(labels.table.findings).tolist() == [[0], [1]]
    assert labels.warnings[0].startswith("1 of 2 labels were made after the reader saw what the model small")


@pytest.mark.parametrize("content", [b"hello, I am a letter\n" * 50, b"SQLite format 3\0" + b"\xff" * 200])
def test_another_file_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    with pytest.raises(ServiceError, match=r"letter.txt is not a file of assessments .*set `assessments`"):
        Assessments(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE patients (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(ServiceError, match="tables of another program or version"):
        Assessments(path)
    assert path.read_bytes() == before


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ServiceError, match=r"none/a.sqlite cannot be written \(No such file"):
        Assessments(tmp_path / "none" / "a.sqlite")


def test_many_at_once_are_all_kept(kept):
    def add(reader):
        for number in range(10):
            kept.add(assessment(reader=reader, image=f"{number}.png"), model="small")

    threads = [threading.Thread(target=add, args=(f"reader {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(entry.reader, entry.image) for entry in kept.all()}) == 40


ADDING = """
import sys
from pathlib import Path
from thorax.service.assessments import Assessment, Assessments
kept = Assessments(Path(sys.argv[1]))
for number in range(10**6):
    kept.add(Assessment.model_validate_json(sys.argv[2]), model="small")
    print(number, flush=True)
"""


def test_what_was_said_to_be_kept_survives_a_kill(kept):
    command = [sys.executable, "-c", ADDING, str(kept.path), assessment().model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline() for _ in range(20)]
        process.kill()
        said += process.stdout.readlines()
    assert len(said) <= len(Assessments(kept.path).all()) <= len(said) + 1


def test_agreement_of_readers_and_model_before_and_after(kept):
    def add(reader, number, *, present, decision, before):
        called = decision == "yes"
        answer = "agree" if present == called else "disagree"
        kept.add(
            assessment(
                reader=reader,
                image=f"{number}.png",
                image_sha256=f"{number:064x}",
                present=present,
                decision=decision,
                verdict="read" if before else answer,
                ai_shown="before" if before else "after",
            ),
            model="small",
        )

    for number in range(8):
        decision = "yes" if number < 4 else "no"
        add("ana", number, present=number < 2, decision=decision, before=True)
        add("ben", number, present=number < 3, decision=decision, before=True)
        add("ana", number, present=number < 4, decision=decision, before=False)
    add("ben", 9, present=True, decision="no", before=False)
    entries = {
        (entry["first"], entry["second"], entry["ai_shown"]): entry for entry in agreement_of(kept.all())
    }
    assert {key: (entry["agreed"], entry["images"]) for key, entry in entries.items()} == {
        ("ana", "ben", "before"): (7, 8),
        ("ana", "the model small", "before"): (6, 8),
        ("ben", "the model small", "before"): (7, 8),
        ("ana", "the model small", "after"): (8, 8),
        ("ben", "the model small", "after"): (0, 1),
    }
    kappa, low, high = entries["ana", "ben", "before"]["kappa"]
    assert kappa == pytest.approx(1 - 1 / (16 * 5 / 16 * 11 / 16))
    assert low < kappa < high
    assert entries["ana", "the model small", "after"]["kappa"][0] == 1
    assert entries["ben", "the model small", "after"]["kappa"] is None
    assert {entry["bundle_sha256"] for entry in entries.values()} == {"", "2e" * 32}
