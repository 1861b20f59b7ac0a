import numpy as np
import pytest

from thorax.auditing.label_checks import check_listed_labels, read_listed_labels
from thorax.auditing.lists import Locator
from thorax.datasets.splits import NIH_DATASET
from thorax.findings import NIH14

NAMES = ["00000001_000.png", "00000001_001.png", "00000002_000.png"]
MASS = NIH14.index(next(finding for finding in NIH14 if finding.name == "Mass"))


def vector(*positive):
    return " ".join("1" if finding.name in positive else "0" for finding in NIH14)


@pytest.mark.parametrize(
    "text",
    [
        f"{NAMES[0]} {vector('Mass')}\nimages/{NAMES[1]} {vector()}\n{NAMES[2]} {vector('Mass', 'Edema')}\n",
        f"Image Index,Finding Labels\n{NAMES[0]},Mass\n{NAMES[1]},No Finding\n{NAMES[2]},Edema|Mass\n",
        f"Image Index,fold,Edema,Mass\n{NAMES[0]},a,0,1\n{NAMES[1]},a,0,0.0\n{NAMES[2]},b,1,1\n",
    ],
)
def test_labels_that_differ_from_the_stores_are_found(tmp_path, table, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    listed = read_listed_labels(path)
    assert listed.targets[:, listed.findings.index(NIH14[MASS])].tolist() == [1, 0, 1]
    equal = table(NAMES, Mass=[1, 0, 1], Edema=[0, 0, 1])
    assert check_listed_labels(equal, Locator(equal, NIH_DATASET), listed) == []
    other = table(NAMES, Mass=[0, 0, -1], Edema=[1, 0, 1])
    [problem] = check_listed_labels(other, Locator(other, NIH_DATASET), listed)
    assert (problem.severity, problem.kind, problem.count) == ("warning", "labels-differ", 1)
    assert "00000001_000.png: " in problem.examples[0]
    assert "Mass 1 (store 0)" in problem.examples[0]
    assert "Edema 0 (store 1)" in problem.examples[0]


@pytest.mark.parametrize("text", ["a.png\nb.png\n", "a.png 1 0\nb.png 0 1\n", "image,part\na.png,train\n"])
def test_a_list_without_labels_has_none(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    assert read_listed_labels(path) is None


def test_the_real_label_file_agrees_with_itself(real, nih_sample):
    table = real.table
    listed = read_listed_labels(nih_sample / "Data_Entry_2017_v2020.csv.gz")
    assert check_listed_labels(table, Locator(table, NIH_DATASET), listed) == []
    listed.targets[0, 1] = 0  # 00000001_000.png has Cardiomegaly
    [problem] = check_listed_labels(table, Locator(table, NIH_DATASET), listed)
    assert problem.examples == ("00000001_000.png: Cardiomegaly 0 (store 1)",)
    assert np.all(listed.targets >= 0)


def test_a_list_of_other_images_or_findings_is_not_compared(tmp_path, table):
    path = tmp_path / "list.txt"
    path.write_text(f"Image Index,Mass\n{NAMES[0]},1\n")
    listed = read_listed_labels(path)
    for store in (table(NAMES, Edema=[0, 0, 0]), table(["00000009_000.png"], Mass=[0])):
        assert check_listed_labels(store, Locator(store, NIH_DATASET), listed) == []
