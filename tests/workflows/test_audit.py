"""Audits of a store with lists, predictions, a bundle and its figures."""

import pytest

from thorax.bundle import load_bundle
from thorax.errors import DataError
from thorax.store import open_store
from thorax.workflows.audit import audit


def kinds(found):
    return {problem.kind for problem in found.problems}


def test_a_clean_split_has_no_problem_and_progress_is_told(study):
    calls = []
    found = audit(str(study.store), split="folder-official", progress=calls.append)
    assert not found.failed
    assert found.headline.startswith("0 errors, 0 warnings, ")
    assert sum(found.num_images.values()) == len(open_store(study.store))
    assert (calls[-1].stage, calls[-1].done) == ("comparing", 4 * len(open_store(study.store)))
    assert "predictions: not given" in found.unchecked


def test_lists_that_share_patients_are_an_error(study):
    source = study.labels.parent
    train, test = source / "train_val_list.txt", str(source / "test_list.txt")
    found = audit(study.store, lists={"train": train, "val": test, "test": test}, pixels=False)
    assert found.failed
    assert {"patients-in-two-parts", "images-in-two-parts"} <= kinds(found)


def test_predictions_a_bundle_and_its_figures_are_looked_at(study, report, tmp_path):
    images = (study.labels.parent / "train_val_list.txt").read_text().split()
    predictions = tmp_path / "predictions.csv"
    predictions.write_text("\n".join(["image,Mass", *(f"{image},0.5" for image in images)]) + "\n")
    found = audit(
        open_store(study.store), split="folder-official", predictions=predictions,
        bundle=load_bundle(study.run(0)), metrics=report / "metrics.json", pixels=False,
    )  # fmt: skip
    assert {"rows-of-train", "constant"} <= kinds(found)
    assert {"predictions", "what the bundle was chosen on", "what metrics.json says"} <= set(found.checked)


def test_a_file_with_parts_is_audited_though_it_leaks(study, tmp_path):
    images = (study.labels.parent / "train_val_list.txt").read_text().split()
    rows = [f"images/{name},{'train' if number % 2 else 'test'}" for number, name in enumerate(images)]
    (tmp_path / "split.csv").write_text("\n".join(["Image Index,fold", *rows]))
    found = audit(study.store, split=f"file:{tmp_path / 'split.csv'}", pixels=False)
    assert found.split == "file:split.csv"
    assert {"patients-in-two-parts", "split-unknown"} <= kinds(found)


def test_boxes_are_read(study):
    boxes = study.labels.parent / "BBox_List_2017.csv"
    found = audit(study.store, split="folder-official", boxes=boxes, pixels=False)
    assert any("images with boxes in training or validation" in problem.what for problem in found.problems)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "neither is given; give one, such as `split=nih-official`"),
        ({"split": "folder-official", "lists": {"test": "x.txt"}}, "both are given"),
        ({"split": "folder-official", "part": "dev"}, "no part 'dev' in folder-official"),
        ({"lists": {"test": "nothing.txt"}}, r"nothing\.txt does not exist"),
        ({"split": "patient-1-2-3"}, "there is no split 'patient-1-2-3'"),
        ({"split": "folder-official", "metrics": "nothing.json"}, r"nothing\.json cannot be read"),
    ],
)
def test_what_cannot_be_audited_is_refused(study, settings, message):
    with pytest.raises(DataError, match=message):
        audit(study.store, **settings)
