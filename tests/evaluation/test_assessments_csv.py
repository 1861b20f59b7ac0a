"""Readers' assessments as labels."""

import csv

import numpy as np
import pytest

from thorax.arrays import NOT_LABELED
from thorax.errors import DataError
from thorax.evaluation.inputs.assessments import is_assessments, read_assessments
from thorax.evaluation.inputs.join import join_predictions
from thorax.evaluation.labeled_images import ScoredImages
from thorax.findings import find_finding
from thorax.workflows.predictions import labels_of

EFFUSION, MASS = find_finding("Effusion"), find_finding("Mass")
COLUMNS = ("image", "reader", "finding", "present", "ai_shown", "model", "bundle_sha256")


def written(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows((*row, "small", "ab" * 32) for row in rows)
    return path


@pytest.fixture
def labels(tmp_path):
    return read_assessments(
        written(
            tmp_path / "a.csv",
            [
                ("1.png", "ana", "Effusion", "1", "before"),
                ("1.png", "ana", "Effusion", "0", "after"),  # what she saw first does not count less
                ("1.png", "ben", "Effusion", "1", "after"),
                ("1.png", "cleo", "Effusion", "0", "before"),
                ("2.png", "ana", "Effusion", "0", "after"),
                ("2.png", "ana", "Effusion", "1", "after"),  # the last word of one kind
                ("3.png", "ana", "Effusion", "0", "before"),
                ("3.png", "ben", "Effusion", "1", "before"),  # a tie
                ("3.png", "ana", "Mass", "", "before"),  # uncertain
                ("2.png", "ben", "Mass", "0", "before"),
                ("2.png", "ben", "Mass", "1", "before"),
            ],
        )
    )


def test_most_readers_decide(labels):
    assert labels.table.images == ["1.png", "2.png", "3.png"]
    assert labels.table.findings == (EFFUSION, MASS)
    targets = labels.table.targets((EFFUSION, MASS))
    assert targets.tolist() == [[1, NOT_LABELED], [1, 1], [NOT_LABELED, NOT_LABELED]]


def test_labels_made_after_the_model_was_seen_are_counted(labels):
    after, tie = labels.warnings
    assert after == (
        "2 of 7 labels were made after the reader saw what the model small (abababab) says: they favor it, "
        "and figures on them do not measure it."
    )
    assert tie == "1 label is left out, because as many readers say yes as no."


def test_evaluating_on_them_warns(labels):
    scores = ScoredImages(
        model="m", images=("1.png", "2.png"), scores=np.array([[0.2], [0.7]]), findings=(EFFUSION,)
    )
    joined = join_predictions(scores, labels)
    assert joined.warnings[:2] == labels.warnings
    assert joined.cohort.targets.tolist() == [[1], [1]]


def test_without_a_label_after_there_is_no_such_warning(tmp_path):
    rows = [("1.png", "ana", "Effusion", "1", "before"), ("1.png", "ben", "Effusion", "1", "before")]
    assert labels_of(written(tmp_path / "a.csv", rows)).warnings == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("1.png", "ana", "Effusion", "2", "before"), "line 2: present is '2'; write 0, 1, nothing"),
        (("1.png", "ana", "Effusion", "1", "never"), "line 2: ai_shown is 'never'; write before, after"),
        (("=1+1", "ana", "Effusion", "1", "before"), "line 2: the image '=1\\+1' is a spreadsheet's formula"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_assessments(written(tmp_path / "a.csv", [row]))


def test_other_files_are_not_assessments(tmp_path):
    (tmp_path / "other.csv").write_text("Image Index,Finding Labels,Patient ID\n1.png,Mass,1\n")
    assert not is_assessments(tmp_path / "other.csv")
    assert not is_assessments(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    assert not is_assessments(tmp_path / "binary.csv")
    assert is_assessments(written(tmp_path / "a.csv", []))
