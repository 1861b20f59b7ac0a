import csv
import gzip

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from thorax.arrays import NOT_LABELED
from thorax.errors import DataError
from thorax.evaluation.classification import classify
from thorax.evaluation.decisions import LabeledPredictions, binarize
from thorax.evaluation.discrimination import evaluate_discrimination
from thorax.evaluation.inputs.radiologists import (
    MAPPING,
    RADIOLOGIST_FINDINGS,
    RadiologistLabels,
    UnscoredFinding,
    against_radiologists,
    read_radiologist_labels,
)
from thorax.findings import NIH14, find_finding

FRACTURE, PNEUMOTHORAX, OPACITY, NODULE_OR_MASS = RADIOLOGIST_FINDINGS
NODULE, MASS = find_finding("Nodule"), find_finding("Mass")
LABELS = RadiologistLabels(
    RADIOLOGIST_FINDINGS,
    ("a.png", "b.png", "c.png"),
    np.array([[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 0, NOT_LABELED]], dtype=np.int8),
)


def written(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return path


def test_findings_are_those_of_the_vocabulary():
    assert [each.name for each in RADIOLOGIST_FINDINGS] == [
        "Fracture",
        "Pneumothorax",
        "Airspace opacity",
        "Nodule or Mass",
    ]
    assert {each.name: [part.name for part in parts] for each, parts in MAPPING.items()} == {
        "Nodule or Mass": ["Nodule", "Mass"],
        "Airspace opacity": ["Infiltration", "Consolidation", "Pneumonia", "Edema", "Atelectasis"],
    }


@pytest.mark.parametrize("name", ["labels.csv", "labels.csv.gz"])
def test_labels_are_read(tmp_path, name):
    text = "\ufeffImage Index,Nodule or mass,Ignored,Fracture\na.png,YES,x,NO\nb.png,no,y,\n"
    labels = read_radiologist_labels(written(tmp_path, text, name))
    assert labels.findings == (FRACTURE, NODULE_OR_MASS)
    assert labels.images == ("a.png", "b.png")
    assert labels.targets.tolist() == [[0, 1], [NOT_LABELED, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Image Index,Fracture\na.png,maybe\n",
            r"labels.csv, line 2: Fracture is 'maybe'; write YES or NO, or",
        ),
        (
            "Image Index,Fracture\na.png,NO\na.png,NO\n",
            r"image 'a.png' is listed twice, in lines 2 and 3; keep one",
        ),
        (
            "name,Fracture\na.png,NO\n",
            r"labels.csv has no column of images \(it has name, Fracture\)",
        ),
        (
            "Image Index,Edema\na.png,NO\n",
            r"has none of the columns Fracture, Pneumo.*\(it has Image Index, Edema\); give",
        ),
        ("Image Index,Fracture\na.png\n", r"labels.csv, line 2: 1 fields, but the header has 2; down"),
        ("Image Index,Fracture\na.png,NO,NO\n", r"labels.csv, line 2: 3 fields, but the header has 2"),
        ("", r"labels.csv has no rows"),
    ],
)
def test_what_is_no_label_file_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_radiologist_labels(written(tmp_path, text))


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(b"Image Index,Fracture\n" * 99)[:-20])
    (tmp_path / "binary.csv").write_bytes(b"Image Index,Fracture\n\xe4\0.png,NO\n")
    for name in ("broken.csv.gz", "binary.csv"):
        with pytest.raises(DataError, match=rf"{name} cannot be read as CSV \(.*\); download it again"):
            read_radiologist_labels(tmp_path / name)


def test_images_without_endings_and_labels_as_numbers(tmp_path):
    labels = read_radiologist_labels(written(tmp_path, "id;Fracture\na;1\nb;0\nc;\n"))
    assert labels.targets.ravel().tolist() == [1, 0, NOT_LABELED]
    decisions = np.array([[1], [0]], dtype=np.int8)
    reference = against_radiologists(
        labels, ["x.png", "b.png"], probabilities=np.array([[0.9], [0.1]]), decisions=decisions,
        findings=labels.findings,
    )  # fmt: skip
    assert (reference.rows.tolist(), reference.targets.tolist()) == ([1], [[0]])
    assert (reference.num_not_covered, reference.num_elsewhere) == (1, 2)


def test_worked_by_hand():
    images = ["x.png", "b.png", "a.png"]
    findings = (MASS, PNEUMOTHORAX, NODULE)
    probabilities = np.array([[0.9, 0.9, 0.9], [0.2, 0.4, 0.3], [0.1, 0.8, 0.05]])
    found = against_radiologists(
        LABELS,
        images,
        probabilities=probabilities,
        decisions=binarize(probabilities, [0.15, 0.5, None]),
        findings=findings,
    )
    assert found.findings == (PNEUMOTHORAX, NODULE_OR_MASS)
    assert found.scored_by == ((PNEUMOTHORAX,), (NODULE, MASS))
    assert found.mapped == (NODULE_OR_MASS,)
    assert found.rows.tolist() == [1, 2]
    assert found.targets.tolist() == [[0, 0], [1, 1]]
    assert found.scores.tolist() == [[0.4, 0.3], [0.8, 0.1]]
    # Nodule has no threshold: Mass alone can call, but not rule out.
    assert found.decisions.tolist() == [[0, 1], [1, NOT_LABELED]]
    assert (found.num_covered, found.num_not_covered, found.num_elsewhere) == (2, 1, 1)
    assert found.unscored == (
        UnscoredFinding(FRACTURE, "the model does not give Fracture, and none of its findings covers it"),
        UnscoredFinding(
            OPACITY,
            "our mapping needs Infiltration, Consolidation, Pneumonia, Edema, Atelectasis, which the model "
            "does not give",
        ),
    )


def test_a_model_of_the_same_findings_needs_no_mapping():
    probabilities = np.linspace(0, 1, 12).reshape(3, 4)
    found = against_radiologists(
        LABELS,
        ["a.png", "b.png", "c.png"],
        probabilities=probabilities,
        decisions=binarize(probabilities, [0.5] * 4),
        findings=RADIOLOGIST_FINDINGS,
    )
    assert found.findings == RADIOLOGIST_FINDINGS
    assert found.unscored == found.mapped == ()
    assert (found.scores == probabilities).all()
    assert (found.targets == LABELS.targets).all()


def test_nothing_covered_is_no_error():
    probabilities = np.full((1, 14), 0.5)
    found = against_radiologists(
        LABELS,
        ["z.png"],
        probabilities=probabilities,
        decisions=binarize(probabilities, [0.5] * 14),
        findings=NIH14,
    )
    assert (found.num_covered, found.num_not_covered, found.num_elsewhere) == (0, 1, 3)
    assert found.targets.shape == found.scores.shape == found.decisions.shape == (0, 3)
    only = against_radiologists(
        LABELS,
        ["a.png"],
        probabilities=np.ones((1, 1)),
        decisions=np.ones((1, 1), dtype=np.int8),
        findings=(MASS,),
    )
    assert only.findings == ()
    assert only.scores.shape == only.targets.shape == (1, 0)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(
        DataError, match=r"^probabilities and decisions of shape \(2, 1\), .* do not fit 1 images and 1 find"
    ):
        against_radiologists(
            LABELS,
            ["a.png"],
            probabilities=np.ones((2, 1)),
            decisions=np.ones((2, 1), dtype=np.int8),
            findings=(MASS,),
        )


def test_the_real_labels(shared_data):
    path = shared_data / "radiologist-labels" / "radiologist_labels_google2019.csv.gz"
    labels = read_radiologist_labels(path)
    assert labels.findings == RADIOLOGIST_FINDINGS
    assert labels.targets.shape == (4_376, 4)
    assert labels.targets.sum(axis=0).tolist() == [186, 238, 2_166, 605]


def test_a_real_chexnet_against_radiologists(shared_data):
    path = shared_data / "radiologist-labels" / "radiologist_labels_google2019.csv.gz"
    with gzip.open(shared_data / "chexnet-predictions" / "predictions.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    probabilities = np.array([[float(row[f"prob_{finding}"]) for finding in NIH14] for row in rows])
    images = [row["Image Index"] for row in rows]
    found = against_radiologists(
        read_radiologist_labels(path),
        images,
        probabilities=probabilities,
        decisions=binarize(probabilities, [0.2] * 14),
        findings=NIH14,
    )
    assert (found.num_covered, found.num_not_covered, found.num_elsewhere) == (528, 10_988, 3_848)
    assert [each.finding for each in found.unscored] == [FRACTURE]
    patients = [images[row].partition("_")[0] for row in found.rows]
    evaluation = evaluate_discrimination(
        found.targets, found.scores, patients=patients, findings=found.findings, resamples=50
    )
    for k, each in enumerate(evaluation.findings):
        assert each.auc.value == pytest.approx(roc_auc_score(found.targets[:, k], found.scores[:, k]))
        assert each.auc.low > 0.6
    readings = LabeledPredictions(
        targets=found.targets,
        probabilities=found.scores,
        decisions=found.decisions,
        patients=patients,
        findings=found.findings,
    )
    opacity = classify(readings, resamples=20).findings[1]
    assert opacity.finding == OPACITY
    assert opacity.rates["sensitivity"].interval.exists
