"""Each fault is planted in a clean split, found, and named with its count."""

import pytest

from thorax.auditing.lists import Locator
from thorax.auditing.protocol_checks import (
    check_absent_images,
    check_boxed_images,
    check_known_split,
    check_official_test_patients,
    check_patients,
    check_repeated_images,
)
from thorax.datasets.splits import NIH_DATASET

# Patients 1 and 2 are in NIH's train_val list, 3 and 13 in its test list.
A0, A1, B0, C0, D0 = (
    "00000001_000.png", "00000001_001.png", "00000002_000.png", "00000003_000.png", "00000013_000.png",
)  # fmt: skip
NAMES = (A0, A1, B0, C0, D0)


def test_a_clean_split_has_no_problem(table, lists):
    images = table(NAMES)
    clean = lists(images, train=[A0, A1], val=[B0], test=[C0, D0])
    assert check_patients(clean) == []
    assert check_repeated_images(clean) == []
    assert check_absent_images(clean, Locator(images, NIH_DATASET), {}) == []
    assert check_official_test_patients(clean, NIH_DATASET, known=False) == []
    assert check_boxed_images(clean, {C0, D0}, known=False) == []
    assert check_known_split(clean, {clean.sha256}) == []


def test_an_image_level_split_is_found(table, lists):
    [problem] = check_patients(lists(table(NAMES), train=[A0, B0], test=[A1, C0]))
    assert (problem.severity, problem.kind, problem.count) == ("error", "patients-in-two-parts", 1)
    assert problem.what == "patients in two parts: 1 of 3; no image is, so the split was made by image"
    assert problem.examples == (f"{A0} in train, {A1} in test",)


def test_patients_are_told_by_name_where_the_store_lacks_the_image(table, lists):
    absent = ["00000001_005.png"]
    assert check_patients(lists(table(NAMES), train=[A0], test=absent))[0].count == 1
    assert check_patients(lists(table(NAMES), train=[A0], test=absent, dataset="folder")) == []


def test_oversampling_before_the_split_is_found(table, lists):
    problems = check_repeated_images(lists(table(NAMES), train=[A0, A0, A1, B0], test=[A0, C0]))
    assert [(each.severity, each.kind, each.count) for each in problems] == [
        ("error", "images-in-two-parts", 1),
        ("warning", "repeated-images-in-train", 1),
    ]
    assert problems[0].what == "images in two parts: 1; images repeat: they were oversampled before the split"
    assert problems[0].examples == (A0,)
    [patients] = check_patients(lists(table(NAMES), train=[A0], test=[A0]))
    assert "by image" not in patients.what


@pytest.mark.parametrize("part", ["val", "test"])
def test_an_image_that_is_measured_twice_is_an_error(table, lists, part):
    [problem] = check_repeated_images(lists(table(NAMES), **{part: [C0, f"images/{C0}", D0]}))
    assert (problem.severity, problem.kind, problem.count) == ("error", f"repeated-images-in-{part}", 1)


def test_absent_and_rejected_images_are_told_apart(table, lists):
    images = table(NAMES)
    listed = lists(images, train=[A0, "00000007_000.png", "00000008_000.png"], test=[C0, "00000009_000.png"])
    rejected = {
        "00000008_000.png": "00000008_000.png: the PNG file is truncated (12 bytes of at least 1,300); copy",
        "00000010_000.png": "not an image",
        "00000011_000.png": "00000011_000.png: the PNG file is truncated (99 bytes of at least 100); copy",
    }
    missing, unusable = check_absent_images(listed, Locator(images, NIH_DATASET), rejected)
    assert (missing.kind, missing.count) == ("images-missing", 2)
    assert missing.what == "listed images that are not in the store: 2 (train 1, test 1)"
    assert (unusable.kind, unusable.count) == ("files-rejected", 3)
    assert unusable.what == "files that the store could not use: 3, of which 1 are listed"
    assert unusable.examples == (
        "2 x the PNG file is truncated (N bytes of at least N)",
        "1 x not an image",
    )


def test_augmented_files_in_the_test_are_found(table, lists):
    images = table(NAMES)
    locator = Locator(images, NIH_DATASET)
    listed = lists(images, train=[A0, "00000001_000_flip.png"], test=[C0, "00000003_000_aug1.png"])
    train, test = check_absent_images(listed, locator, {})
    assert (train.severity, train.kind) == ("warning", "copies-in-train")
    assert (test.severity, test.kind, test.count) == ("error", "copies-in-test", 1)
    assert test.examples == (f"00000003_000_aug1.png of {C0}",)


@pytest.mark.parametrize(("known", "severity"), [(False, "error"), (True, "warning")])
@pytest.mark.parametrize("part", ["train", "val"])
def test_official_test_patients_in_training_are_found(table, lists, known, severity, part):
    listed = lists(table(NAMES), **{part: [A0, C0, D0]})
    [problem] = check_official_test_patients(listed, NIH_DATASET, known=known)
    assert (problem.severity, problem.kind, problem.count) == (
        severity, "official-test-patients-learnt-from", 2,
    )  # fmt: skip
    assert "2, of 2 of the 2,797 patients" in problem.what
    assert check_official_test_patients(listed, "nih-layout", known=known) == []


@pytest.mark.parametrize(("known", "severity"), [(False, "error"), (True, "warning")])
def test_boxed_images_in_training_are_found(table, lists, known, severity):
    listed = lists(table(NAMES), train=[A0, C0], test=[D0])
    [problem] = check_boxed_images(listed, {C0, D0, "00000014_000.png"}, known=known)
    assert (problem.severity, problem.count, problem.examples) == (severity, 1, (C0,))
    assert problem.what == "images with boxes in training or validation: 1 of 3"


def test_a_split_that_nobody_knows_is_found(table, lists):
    [problem] = check_known_split(lists(table(NAMES), train=[A0]), {"ab" * 32})
    assert (problem.severity, problem.kind) == ("warning", "split-unknown")
