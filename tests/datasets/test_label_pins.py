"""Pinned labels: one hash for the same labels in any form, and what differs from NIH's own is counted."""

import gzip
import hashlib
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thorax.arrays import NOT_LABELED, UNCERTAIN
from thorax.atomic_io import sha256_of_lines
from thorax.datasets import NIH_DATASET, nih_labels
from thorax.datasets.label_pins import finding_sha256, labels_sha256, pin_labels
from thorax.datasets.nih_labels import (
    check_values,
    image_key,
    label_codes,
    label_columns,
    nih_label_versions,
    official_test_rows,
)
from thorax.datasets.splits import NIH_OFFICIAL_TEST_IMAGES
from thorax.evaluation.inputs.join import read_labels
from thorax.findings import NIH14, NIH15, NO_FINDING, find_finding

MASS, EDEMA = find_finding("Mass"), find_finding("Edema")


def test_the_hash_is_the_one_that_the_documentation_defines():
    images, labels = ["b.png", "a.png", "d.png", "c.png"], np.array([1, 0, NOT_LABELED, UNCERTAIN], np.int8)
    mass = hashlib.sha256(b"a.png\t0\nb.png\t1\nc.png\t-1\nd.png\t\n").hexdigest()
    assert finding_sha256(images, labels) == mass
    assert labels_sha256({"Mass": mass, "Edema": "0"}) == sha256_of_lines(["Edema\t0", f"Mass\t{mass}"])
    pins = pin_labels(images, np.stack([labels, labels], axis=1), (MASS, EDEMA), dataset="ward")
    assert dict(pins.findings) == {"Mass": mass, "Edema": mass}
    assert (pins.num_cells, pins.num_unknown, pins.published) == (8, 4, None)
    (warning,) = pins.warnings()
    assert warning.startswith("4 of 8 labels (one for each image and finding) are neither present nor absent")


@given(
    st.lists(st.tuples(*[st.sampled_from([1, 0, UNCERTAIN, NOT_LABELED])] * 2), min_size=2, max_size=6),
    st.data(),
)
def test_rows_and_columns_in_any_order_have_one_hash_and_any_edit_has_another(rows, data):
    images, labels = [f"{n}.png" for n in range(len(rows))], np.array(rows, np.int8)
    pins = pin_labels(images, labels, (MASS, EDEMA), dataset="ward")
    order = data.draw(st.permutations(range(len(rows))))
    moved = pin_labels([images[n] for n in order], labels[order][:, ::-1], (EDEMA, MASS), dataset="ward")
    assert moved.sha256 == pins.sha256
    row, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, 1))
    edited = labels.copy()
    edited[row, column] = data.draw(st.sampled_from([v for v in (1, 0, -1, -2) if v != labels[row, column]]))
    changed = pin_labels(images, edited, (MASS, EDEMA), dataset="ward")
    assert changed.sha256 != pins.sha256
    assert [name for name in pins.findings if changed.findings[name] != pins.findings[name]] == [
        (MASS, EDEMA)[column].name
    ]


def test_the_files_are_those_that_were_made_together():
    content = nih_labels._content()
    text = (nih_labels.files("thorax.datasets") / "nih_labels.toml").read_text()
    assert f'checks_sha256 = "{hashlib.sha256(content).hexdigest()}"' in text
    versions = nih_label_versions()
    assert [version.name for version in versions] == ["v2020", "2017"]
    for version in versions:
        assert len(version.checks) == NIH_OFFICIAL_TEST_IMAGES
        assert list(version.findings) == [finding.name for finding in NIH15]
    newer, older = (version.checks for version in versions)
    assert (newer != older).sum() == 181


def slow_check(image, code):
    """The definition, on whole numbers of any size."""
    mask = (1 << 64) - 1
    key = int(hashlib.sha256(image.encode()).hexdigest()[:16], 16)
    mixed = ((key ^ (code + 1)) * 0x9E3779B97F4A7C15) & mask
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
    return (mixed ^ (mixed >> 31)) >> 40


def test_check_values_are_what_they_are_defined_to_be():
    images, codes = ["00000003_003.png", "00000013_005.png"], [0, 5, 2**14 - 1]
    ours = [
        int(check_values(np.array([image_key(image)], np.uint64), np.array([code], np.uint64))[0])
        for image, code in product(images, codes)
    ]
    assert ours == [slow_check(image, code) for image, code in product(images, codes)]


def test_codes_and_columns_are_inverse():
    codes = np.arange(1 << 14, dtype=np.uint64)
    columns = label_columns(codes, NIH14)
    np.testing.assert_array_equal(label_codes(columns, NIH14), codes)
    np.testing.assert_array_equal(label_columns(codes, (NO_FINDING,))[:, 0] == 1, columns.sum(axis=1) == 0)


HERNIA = "00000003_003.png"
"""An image of the official test that the package shows, with its labels: Hernia and Infiltration."""


def labels_of_hernia(findings):
    return np.array([[f.name in {"Hernia", "Infiltration"} for f in findings]], np.int8)


@pytest.mark.parametrize("findings", [NIH15, NIH14, (MASS,), (NO_FINDING, find_finding("Hernia"))])
def test_an_image_of_the_official_test_is_compared(findings):
    labels = labels_of_hernia(findings)
    pins = pin_labels([HERNIA], labels, findings, dataset=NIH_DATASET)
    assert str(pins.published) == "labels as NIH published them (v2020)"
    assert pins.published.num_cells == len(findings)
    assert pins.warnings() == ()
    edited = labels.copy()
    edited[0, 0] = {0: 1, 1: UNCERTAIN}[int(labels[0, 0])]
    pins = pin_labels([HERNIA], edited, findings, dataset=NIH_DATASET)
    assert dict(pins.published.differing) == {findings[0].name: 1}
    assert str(pins.published) == f"1 of {len(findings)} cells differs from NIH's labels (v2020)"
    assert f"{findings[0].name} 1; for example {HERNIA}" in pins.warnings()[0]


def test_what_is_not_in_the_official_test_is_not_compared():
    assert official_test_rows([HERNIA, "00000001_000.png", "x.png", "00000003_999.png"]).tolist() == [0]
    labels = labels_of_hernia(NIH14)
    assert pin_labels(["00000001_000.png"], labels, NIH14, dataset=NIH_DATASET).published is None
    assert pin_labels([HERNIA], labels, NIH14, dataset="ward").published is None
    assert (
        pin_labels([HERNIA], labels[:, :1], (find_finding("Silicosis") or MASS,), dataset="ward").published
        is None
    )


@pytest.fixture(scope="module")
def official(nih_sample):
    """The official test in NIH's newer label file."""
    table = read_labels(nih_sample / "Data_Entry_2017_v2020.csv.gz").table
    return table.take(official_test_rows(table.images))


def test_nihs_own_file_is_recognized_whole(official):
    pins = pin_labels(official.images, official.targets(NIH15), NIH15, dataset=NIH_DATASET)
    assert str(pins.published) == "labels as NIH published them (v2020)"
    assert pins.published.num_images == NIH_OFFICIAL_TEST_IMAGES
    assert dict(pins.findings) == dict(nih_label_versions()[0].findings)


@pytest.mark.parametrize("findings", [NIH15, (MASS, NO_FINDING, EDEMA)])
def test_edits_in_any_subset_are_counted_to_the_cell(official, findings):
    rng = np.random.default_rng(0)
    some = official.take(np.sort(rng.choice(len(official), 138, replace=False)))
    labels = some.targets(findings)
    assert not pin_labels(some.images, labels, findings, dataset=NIH_DATASET).published.differing
    edited = labels.copy()
    cells = rng.choice(labels.size, 40, replace=False)
    edited.flat[cells] = np.where(rng.random(40) < 0.5, 1 - labels.flat[cells], UNCERTAIN)
    published = pin_labels(some.images, edited, findings, dataset=NIH_DATASET).published
    expected = (edited != labels).sum(axis=0)
    assert dict(published.differing) == {
        f.name: count for f, count in zip(findings, expected.tolist(), strict=True) if count
    }
    assert published.num_differing == 40


def test_the_tool_makes_the_same_of_the_newer_file(nih_sample, official):
    """The older file is not at hand; of the newer one, what is in the package is made again."""
    codes = dict(zip(official.images, label_codes(official.targets(NIH14), NIH14).tolist(), strict=True))
    values = [slow_check(image, codes[image]) for image in sorted(codes)]
    assert nih_label_versions()[0].checks.tolist() == values
    with gzip.open(nih_sample / "Data_Entry_2017_v2020.csv.gz") as file:
        assert b"Patient Gender" in file.readline()
