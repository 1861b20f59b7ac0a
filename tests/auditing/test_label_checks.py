import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from thorax.arrays import NOT_LABELED
from thorax.auditing.label_checks import (
    NIH_OFFICIAL_TEST_POSITIVES,
    _fewer_by_chance,
    check_dropped_findings,
    check_label_version,
    check_prevalence,
    count_prevalence,
    measurable,
)
from thorax.datasets.splits import NIH_DATASET, NIH_OFFICIAL_TEST_IMAGES, nih_official_test_patients
from thorax.findings import NIH15

NEWEST = {"Data_Entry_2017_v2020.csv": "ab"}


def names(patients, images=1, first=1):
    return [
        f"{patient:08d}_{image:03d}.png"
        for patient in range(first, first + patients)
        for image in range(images)
    ]


def test_the_newest_labels_have_no_sign_of_age(table):
    assert check_label_version(table(names(5)), NIH_DATASET, NEWEST) == []


@pytest.mark.parametrize("name", ["Data_Entry_2017.csv", "Data_Entry_2017.csv.gz", "sample_labels.csv"])
def test_an_older_file_is_told_by_its_name(table, name):
    [problem] = check_label_version(table(names(5)), NIH_DATASET, {name: "ab"})
    assert (problem.severity, problem.kind) == ("warning", "label-version")
    assert problem.examples == (f"they come from {name}",)
    assert check_label_version(table(names(5)), "folder", {name: "ab"}) == []


def test_an_older_file_is_told_by_its_ages(table):
    images = table(names(5))
    images.frame.loc[2, "age"] = pd.NA  # what the reader makes of 411
    [problem] = check_label_version(images, NIH_DATASET, NEWEST)
    assert problem.examples == ("1 images have no age below 121",)
    images.frame["age"] = pd.array([50, 96, 50, 50, 50], dtype="Int16")
    [problem] = check_label_version(images, NIH_DATASET, NEWEST)
    assert problem.examples == ("a patient is 96 years old",)


def test_an_older_file_is_told_by_its_follow_up_numbers(table):
    images = table(names(120, images=2))
    images.frame["follow_up"] = pd.array([0, 1] * 120, dtype="Int16")
    [problem] = check_label_version(images, NIH_DATASET, NEWEST)
    assert problem.examples == ("every follow-up number is the one in the image's name",)
    images.frame.loc[0, "follow_up"] = 1
    assert check_label_version(images, NIH_DATASET, NEWEST) == []


def test_the_real_labels_are_the_newest(real):
    assert check_label_version(real.table, real.dataset, real.manifest.label_files) == []


def test_the_counts_of_the_official_test_are_those_of_the_real_file(nih_sample):
    rows = pd.read_csv(nih_sample / "Data_Entry_2017_v2020.csv.gz")
    listed = set((pd.read_csv(nih_sample / "test_list.txt.gz", header=None)[0]).str.strip())
    labels = rows[rows["Image Index"].isin(listed)]["Finding Labels"].str.get_dummies("|").sum()
    assert labels.to_dict() == dict(NIH_OFFICIAL_TEST_POSITIVES)
    assert {finding.name for finding in NIH15} == set(NIH_OFFICIAL_TEST_POSITIVES)


def test_prevalence_is_counted_by_part(table, lists):
    images = table(names(4), Mass=[1, 0, -1, 1], Nodule=[-2, -2, -2, 1])
    found = count_prevalence(images, lists(images, train=names(3), test=names(1, first=4), val=[]))
    assert [(p.finding, p.part, p.num_known, p.num_positive) for p in found] == [
        ("Mass", "train", 2, 1), ("Nodule", "train", 0, 0), ("Mass", "test", 1, 1), ("Nodule", "test", 1, 1),
    ]  # fmt: skip
    assert found[0].share == 0.5
    assert math.isnan(found[1].share)


def test_a_shift_of_prevalence_is_noted(table, lists):
    rare = np.arange(400) % 20 == 0
    common = np.arange(400) % 4 == 0
    images = table(names(800), Mass=[*rare, *common], Nodule=[*rare, *rare])
    split = lists(images, train=names(400), test=names(400, first=401))
    [problem] = check_prevalence(images, split)
    assert (problem.severity, problem.count) == ("note", 1)
    assert problem.examples == ("Mass: 5.00 % in train, 25.00 % in test",)


def test_one_patient_with_many_images_is_no_shift(table, lists):
    train, test = names(100), [*names(99, first=101), *names(1, images=40, first=900)]
    images = table([*train, *test], Mass=[*([1] * 5 + [0] * 95), *([1] * 5 + [0] * 94), *([1] * 40)])
    assert check_prevalence(images, lists(images, train=train, test=test)) == []


def test_a_rare_finding_dropped_from_the_test_is_found(table, lists):
    test = names(400)
    hernia = np.arange(400) % 8 == 0
    images = table(test, Hernia=hernia, Mass=np.arange(400) % 8 == 1)
    kept = [name for name, positive in zip(test, hernia, strict=True) if not positive]
    split = lists(images, test=kept)
    candidate = measurable(images, split, NIH_DATASET)
    [problem] = check_dropped_findings(images, candidate, np.isin(test, kept), where="the test part")
    assert (problem.severity, problem.kind) == ("error", "findings-dropped")
    assert problem.examples == ("Hernia: 0 of 50 kept",)
    assert problem.what == "findings left out of the test part (which has 88 % of all images): 1"


@pytest.mark.parametrize("unit", ["image", "patient"])
def test_a_random_part_of_the_test_drops_no_finding(table, unit):
    random = np.random.default_rng(0)
    images = names(150, images=4)
    ill = np.repeat(random.random(150) < 0.1, 4)
    made = table(images, Hernia=ill)
    kept = np.repeat(random.random(150) < 0.5, 4) if unit == "patient" else random.random(600) < 0.5
    assert check_dropped_findings(made, np.ones(600, bool), kept, where="the test part") == []


def test_candidates_are_of_patients_that_no_model_learns_from(table, lists):
    images = table(["00000001_000.png", "00000001_001.png", "00000003_000.png", "00000002_000.png"])
    split = lists(images, train=["00000001_000.png"], test=["00000003_000.png"])
    assert measurable(images, split, NIH_DATASET).tolist() == [False, False, True, False]
    assert measurable(images, split, "folder").tolist() == [False, False, True, True]


def test_the_tail_of_the_hypergeometric_law_equals_counting():
    everyone, kept, positive = range(9), set(range(4)), 3
    draws = list(combinations(everyone, positive))
    for both in range(4):
        counted = sum(len(kept & set(draw)) <= both for draw in draws) / len(draws)
        assert _fewer_by_chance(9, 4, positive, both) == pytest.approx(counted)


def test_labels_that_do_not_have_the_official_tests_counts_are_found(table):
    patients = sorted(nih_official_test_patients(), key=int)
    images = [f"{int(patient):08d}_{number:03d}.png" for number in range(10) for patient in patients]
    images = images[:NIH_OFFICIAL_TEST_IMAGES]
    positive = {
        name: np.arange(len(images)) < NIH_OFFICIAL_TEST_POSITIVES[name] for name in ("Mass", "Hernia")
    }
    official = table(images, **positive)
    assert check_label_version(official, NIH_DATASET, NEWEST) == []
    official.frame.loc[0, "Hernia"] = 0
    [problem] = check_label_version(official, NIH_DATASET, NEWEST)
    assert problem.examples == ("the official test has different counts of Hernia",)


def test_prevalence_is_compared_only_where_both_parts_have_labels(table, lists):
    images = table(names(800), Mass=[0] * 400 + [1] * 400)
    train, test = names(400), names(400, first=401)
    assert len(check_prevalence(images, lists(images, train=train, test=test))) == 1
    assert check_prevalence(images, lists(images, train=train)) == []
    assert check_prevalence(images, lists(images, train=train, test=["99999999_000.png"])) == []
    unlabeled = table(names(800), Mass=[NOT_LABELED] * 400 + [1] * 400)
    assert check_prevalence(unlabeled, lists(unlabeled, train=train, test=test)) == []
