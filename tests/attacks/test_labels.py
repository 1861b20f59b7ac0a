"""Attacks on labels: edited tables, edited label files, hard cases that are called unknown.

Each went through in an earlier version, or in part; the numbers are those of its trials.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thorax.atomic_io import sha256_of_file
from thorax.auditing import Evidence, audit, lists_of_split
from thorax.datasets.nih_labels import (
    _CODES,
    _places,
    check_values,
    image_key,
    label_columns,
    nih_label_versions,
)
from thorax.datasets.splits import build_split
from thorax.errors import DataError
from thorax.findings import NIH14
from thorax.reporting.metrics import metrics
from thorax.store import open_store
from thorax.store.columns import column_sha256
from thorax.workflows.compare import compare
from thorax.workflows.evaluate import evaluate
from thorax.workflows.prepare import prepare

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
FINDING = "Effusion"


def measured(store, **settings):
    """What is written of the golden run on a store."""
    result = evaluate(GOLDEN / "run", store, gallery=False, resamples=20, device="cpu", **settings)
    return metrics(result.evaluation, result.context), result


def edited_store(folder, change, *, columns):
    """The golden store with other labels of its test images, and all that follows from them in store.json.

    Args:
        folder: Where to put it.
        change: From the old labels of the test images to the new ones.
        columns: Whether the hashes of the columns are forged too.
    """
    shutil.copytree(GOLDEN / "store", folder)
    table = pq.read_table(folder / "table.parquet")
    test = np.array(table["official"].to_pylist()) == "test"
    old = table[FINDING].to_numpy(zero_copy_only=False)
    new = np.where(test, change(old), old)
    column = pa.array([None if np.isnan(value) else int(value) for value in new], pa.int8())
    table = table.set_column(table.column_names.index(FINDING), FINDING, column)
    pq.write_table(table, folder / "table.parquet", compression="zstd")
    manifest = json.loads((folder / "store.json").read_text())
    manifest["table_sha256"] = sha256_of_file(folder / "table.parquet")
    (folder / "store.json").write_text(json.dumps(manifest))
    if columns:
        frame = open_store(folder).table.frame
        manifest["columns"][FINDING] = column_sha256(frame[FINDING])
        (folder / "store.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def honest():
    return measured(GOLDEN / "store")[0]


def test_a_result_names_its_labels(honest):
    labels = honest["labels"]
    assert labels["num_cells"] == honest["num_images"] * len(honest["findings"])
    assert labels["findings"].keys() == honest["findings"].keys()
    assert labels["published"] is None


def test_attack_05_the_table_is_edited(tmp_path):
    shutil.copytree(GOLDEN / "store", tmp_path / "store")
    with (tmp_path / "store" / "table.parquet").open("ab") as file:
        file.write(b" ")
    with pytest.raises(DataError, match=r"table\.parquet is not the file that store\.json describes"):
        measured(tmp_path / "store")


def test_attack_05_the_table_is_edited_with_its_hash(tmp_path):
    store = edited_store(tmp_path / "store", lambda old: 1 - old, columns=False)
    with pytest.raises(DataError, match=rf"column {FINDING!r} of .*table\.parquet is not that of the source"):
        measured(store)


def test_attack_06_labels_are_edited_and_every_hash_of_the_store(honest, tmp_path):
    """From mean AUC .674 to .888, under the same fingerprint of the store."""
    store = edited_store(tmp_path / "store", lambda old: 1 - old, columns=True)
    forged, result = measured(store)
    assert forged["images_sha256"] == honest["images_sha256"]
    assert forged["labels"]["sha256"] != honest["labels"]["sha256"]
    changed = [
        name
        for name, sha256 in honest["labels"]["findings"].items()
        if forged["labels"]["findings"][name] != sha256
    ]
    assert changed == [FINDING]
    assert open_store(store).fingerprint != open_store(GOLDEN / "store").fingerprint
    written = result.write(tmp_path / "report")
    for text in (written.html.read_text(), written.markdown.read_text()):
        assert forged["labels"]["sha256"] in text
    opened = open_store(GOLDEN / "store")
    split = build_split(
        "folder-official", opened.table, dataset=opened.dataset, whole_sha256=opened.split_sha256
    )
    lists = lists_of_split(split, opened.dataset)
    for values, changes in ((forged, 1), (honest, 0)):
        problems = audit(opened, lists, Evidence(metrics=values, pixels=False)).problems
        found = [problem for problem in problems if problem.kind == "labels-changed"]
        assert [(problem.severity, problem.count) for problem in found] == [("error", 1)] * changes
        assert [problem.examples for problem in found] == [(FINDING,)] * changes


def test_attack_06_models_are_not_compared_on_two_versions_of_the_labels(tmp_path):
    store = edited_store(tmp_path / "store", lambda old: 1 - old, columns=True)
    shutil.copytree(GOLDEN / "run", tmp_path / "other")
    with pytest.raises(DataError, match="labels"):
        compare([GOLDEN / "run", tmp_path / "other"], [GOLDEN / "store", store], resamples=20, device="cpu")


def test_attack_08_hard_cases_are_called_unknown(honest, tmp_path):
    """From mean AUC .674 to .940 on 145 images, of which only the count by finding told."""
    store = edited_store(tmp_path / "store", lambda old: np.where(old == 1, -1, old), columns=True)
    forged, result = measured(store)
    unknown = honest["findings"][FINDING]["num_positive"]
    assert unknown > 0
    assert forged["labels"]["num_unknown"] == honest["labels"]["num_unknown"] + unknown
    assert forged["labels"]["sha256"] != honest["labels"]["sha256"]
    (warning,) = [text for text in result.context.warnings if "neither present nor absent" in text]
    count, cells = forged["labels"]["num_unknown"], forged["labels"]["num_cells"]
    assert warning.startswith(f"{count} of {cells} labels (one for each image and finding)")


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_attack_08_hard_cases_of_a_csv_are_left_out(honest, source, rows, tmp_path, hidden):
    changed = [
        {**row, FINDING: hidden if row["split"] == "test" and row[FINDING] == "1" else row[FINDING]}
        for row in rows
    ]
    write_csv(source / "labels.csv", changed)
    prepare(source / "labels.csv", tmp_path / "store", size=32, dataset="golden", workers=1)
    forged, result = measured(tmp_path / "store")
    unknown = honest["findings"][FINDING]["num_positive"]
    assert forged["images_sha256"] == honest["images_sha256"]
    assert forged["labels"]["num_unknown"] == honest["labels"]["num_unknown"] + unknown
    assert forged["labels"]["findings"][FINDING] != honest["labels"]["findings"][FINDING]
    assert any("neither present nor absent" in text for text in result.context.warnings)


# ---- labels of NIH -----------------------------------------------------------------------------------------


def official(count):
    """Names of images of the official test, with their labels found by trying."""
    version, place = nih_label_versions()[0], 0
    rows = []
    for patient, (_, number) in _places().items():
        for image in (f"{int(patient):08}_{n:03}.png" for n in range(number)):
            fits = check_values(np.array([image_key(image)], np.uint64), _CODES) == version.checks[place]
            codes = np.flatnonzero(fits)
            place += 1
            if len(codes) == 1:
                present = label_columns(codes, NIH14)[0]
                names = [f.name for f, label in zip(NIH14, present, strict=True) if label]
                rows.append(
                    {
                        "Image Index": image,
                        "Finding Labels": "|".join(names) or "No Finding",
                        "Patient ID": patient,
                    }
                )
            if len(rows) == count:
                return rows
    raise AssertionError


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def of_nih(tmp_path_factory):
    """A label file of 120 images of NIH's official test, and predictions of them."""
    folder, rng = tmp_path_factory.mktemp("nih"), np.random.default_rng(0)
    rows = official(120)
    predictions = [
        {"Image Index": row["Image Index"], **{f"prob_{f.name}": f"{rng.random():.4f}" for f in NIH14}}
        for row in rows
    ]
    return folder, rows, write_csv(folder / "predictions.csv", predictions)


def test_labels_as_nih_published_them_are_called_so(of_nih, tmp_path):
    folder, rows, predictions = of_nih
    result = evaluate(predictions, write_csv(folder / "labels.csv", rows), resamples=20)
    written = result.write(tmp_path / "report")
    values = json.loads(written.metrics.read_text())
    assert values["labels"]["published"] == {
        "stated": "labels as NIH published them (v2020)", "version": "v2020", "num_images": 120,
        "num_cells": 120 * 14, "num_differing": 0, "differing": {}, "examples": [],
    }  # fmt: skip
    for text in (written.html.read_text(), written.markdown.read_text(), repr(result)):
        assert "labels as NIH published them (v2020)" in text
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = [dict(reversed(rows[row].items())) for row in order]
    again = evaluate(predictions, write_csv(folder / "shuffled.csv", shuffled), resamples=20)
    assert again.context.labels == result.context.labels


def test_attack_07_labels_of_a_csv_are_edited(of_nih, tmp_path):
    """From mean AUC .674 to .888, with only the file's name in the report."""
    _, rows, predictions = of_nih
    edited = [dict(row) for row in rows]
    normal = [row for row in edited if row["Finding Labels"] == "No Finding"][:6]
    for row in normal:
        row["Finding Labels"] = "Mass|Nodule"
    labels = write_csv(tmp_path / "labels.csv", edited)
    result = evaluate(predictions, labels, resamples=20)
    written = result.write(tmp_path / "report")
    stated = "12 of 1,680 cells differ from NIH's labels (v2020)"
    pins = json.loads(written.metrics.read_text())["labels"]
    honest = evaluate(predictions, write_csv(tmp_path / "honest.csv", rows), resamples=5).context.labels
    assert {name for name, sha256 in honest.findings.items() if pins["findings"][name] != sha256} == {
        "Mass", "Nodule"
    }  # fmt: skip
    assert pins["sha256"] != honest.sha256
    values = pins["published"]
    assert (values["stated"], values["differing"]) == (stated, {"Mass": 6, "Nodule": 6})
    assert values["examples"] == [row["Image Index"] for row in normal[:3]]
    for text in (written.html.read_text(), written.markdown.read_text(), repr(result)):
        assert stated.replace("'", "&#39;") in text or stated in text
    assert any(
        text.startswith("The labels are not those that NIH published: 12 of")
        for text in result.context.warnings
    )
    assert any(severity == "warning" and "cells differ from NIH's" in text for severity, text in result.audit)


def test_attack_09_a_patient_in_two_parts(tmp_path):
    with (GOLDEN / "source" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    first = rows[0]["patient"]
    parts = [{"image": row["path"], "part": row["split"]} for row in rows]
    moved = [n for n, row in enumerate(rows) if row["patient"] == first]
    assert len(moved) > 1
    parts[moved[-1]]["part"] = "test"
    split = write_csv(tmp_path / "split.csv", parts)
    with pytest.raises(DataError, match="patient"):
        measured(GOLDEN / "store", split=f"file:{split}")
