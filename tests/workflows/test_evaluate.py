"""Reports of bundles and of any model's predictions, without a process."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from tests.helpers.study import PREDICTED
from thorax.bundle import load_bundle
from thorax.errors import BundleError, DataError, LeakError
from thorax.evaluation.thresholds import TUNED_MARK
from thorax.findings import find_finding
from thorax.reporting.comparison import comparison_json
from thorax.reporting.summary import decisions_title, f1_headline, summary_tables
from thorax.store import open_store
from thorax.workflows.compare import compare
from thorax.workflows.evaluate import evaluate
from thorax.workflows.prepare import prepare
from thorax.workflows.thresholds import STANDARD_RULES

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def manifest(study):
    return json.loads((study.run(0) / "bundle" / "bundle.json").read_text())


def measured(study, file=None, data=None, **settings):
    """Measure predictions; those that rank perfectly, beside the label file, if not said otherwise."""
    return evaluate(file or study.good, data or study.labels, **{"resamples": 10, **settings})


def rules(result):
    return [at.points.rule for at in result.evaluation.points]


# ---- a bundle ---------------------------------------------------------------------------------------------


def test_a_bundles_points_carry_where_they_were_chosen(study, report):
    points = {each["rule"]: each for each in metrics(report)["operating_points"]}
    assert list(points) == ["youden", "f1-optimal", "one-half"]
    own = manifest(study)["operating_points"]
    for rule in ("youden", "f1-optimal"):
        assert points[rule]["chosen_on"]["part"] == "val"
        assert points[rule]["chosen_on"]["images_sha256"] == own["chosen_on"]["images_sha256"]
        assert not points[rule]["test_tuned"]
    assert points["f1-optimal"]["thresholds"] == own["thresholds"]
    assert points["one-half"]["chosen_on"] is None


def test_the_rows_and_columns_give_the_figures(study, result):
    table = open_store(study.store).table
    test = set(table.frame["image"][table.frame["official"] == "test"])
    assert set(result.images) == test
    assert len(result.patients) == len(result.images) == len(result.probabilities)
    assert result.labels.shape == result.probabilities.shape == (len(test), len(result.findings))
    assert result.thresholds.rule == "youden"
    for k, figures in enumerate(result.evaluation.ranking.findings):
        known = result.labels[:, k] >= 0
        target = result.labels[known, k]
        if 0 < target.sum() < len(target):
            assert figures.auc.value == pytest.approx(roc_auc_score(target, result.probabilities[known, k]))


def test_a_bundle_and_a_store_may_be_open_and_progress_is_told(study, result):
    calls = []
    again = evaluate(
        load_bundle(study.run(0)), open_store(study.store), split="folder-official", rules=["youden"],
        gallery=False, resamples=50, device="cpu", progress=calls.append,
    )  # fmt: skip
    assert np.array_equal(again.probabilities, result.probabilities)
    assert again.evaluation.ranking.macro_auc == result.evaluation.ranking.macro_auc
    assert again.gallery is None
    ends = [(call.stage, call.done) for call in calls if call.done == call.total]
    on = again.evaluation.primary.points.chosen_on
    images = len(result.images)
    assert ends == [
        ("predicting", images), ("predicting validation", on.num_images), ("checking with the gate", images),
        ("measuring", calls[-1].total),
    ]  # fmt: skip


def test_calibration_is_tried_on_validation_and_shown_before_and_after(study, report):
    read, own = metrics(report), manifest(study)["calibration"]
    plain, temperature, platt = read["calibration"]["recalibrated"]
    assert [each["kind"] for each in (plain, temperature, platt)] == ["none", "temperature", "platt"]
    # What a bundle was calibrated with is what is fitted once more on the same images.
    assert temperature["temperature"] == pytest.approx(own["temperature"], rel=1e-3)
    assert temperature["fitted_on"]["images_sha256"] == own["fitted_on"]["images_sha256"]
    shown = read["calibration"]["macro"]["brier"]["value"]
    assert temperature["macro"]["brier"]["value"] == pytest.approx(shown, rel=1e-3)
    assert plain["macro"]["brier"]["value"] != pytest.approx(shown, rel=1e-3)
    assert platt["findings"]["Effusion"]["reliability"]
    page, text = ((report / name).read_text() for name in ("report.html", "report.md"))
    for name in ("Not calibrated", temperature["name"], platt["name"]):
        assert f'<th scope="row">{name}</th>' in page
        assert f"| {name} |" in text
    assert read["made"]["Computed by"].startswith("onnxruntime ")
    assert read["made"]["Computed by"] in page


def test_a_report_has_examples_with_maps_at_its_thresholds(result, report):
    page = (report / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") > 10
    assert "with its <code>cam</code> map" in page
    opening = result.gallery.findings[0]
    threshold = result.thresholds.thresholds[result.findings.index(opening.finding)]
    assert opening.threshold == threshold


@pytest.mark.parametrize("where", [{"part": "train"}, {"part": "val"}, {"split": "patient-80-10-10"}])
def test_the_images_that_were_seen_are_refused(study, where):
    with pytest.raises(
        LeakError,
        match=r"patients were seen when this bundle was made .* part of folder-official, with `part=test`$",
    ):
        evaluate(study.run(0), study.store, device="cpu", **where)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"model": "nowhere"}, BundleError, "nowhere does not exist"),
        ({"split": "x"}, DataError, "there is no split 'x'"),
        ({"part": "x"}, DataError, "has no part 'x'"),
        ({"rules": ["best"]}, DataError, "no rule for thresholds is called 'best'"),
        (
            {"prevalence": {"Edma": 0.1}},
            DataError,
            r"`prevalence` has .*Edma.*, which is not evaluated; choose",
        ),
        ({"prevalence": {"Edema": 1.5}}, DataError, r"`prevalence` of Edema is 1\.5; give a share"),
        ({"thresholds": "nowhere.json"}, DataError, r"nowhere\.json cannot be read"),
        ({"radiologists": "nowhere.csv"}, DataError, r"nowhere\.csv does not exist"),
    ],
)
def test_what_cannot_be_measured_is_refused(study, wrong, error, message):
    with pytest.raises(error, match=message):
        evaluate(**{"model": study.run(0), "data": study.store, "device": "cpu", **wrong})


def test_an_earlier_report_is_kept_unless_its_end_is_asked_for(result, tmp_path):
    out = tmp_path / "out"
    written = result.write(str(out))
    names = {
        "metrics.json",
        "report.html",
        "report.md",
        "predictions.csv",
        "validation.csv",
        "roc.png",
        "roc.svg",
    }
    assert {path.name for path in out.iterdir()} == names
    content = written.metrics.read_bytes()
    written.metrics.write_text("{}")
    with pytest.raises(DataError, match=r"out is not empty; .* set `overwrite` to replace"):
        result.write(out)
    assert written.metrics.read_text() == "{}"
    result.write(out, overwrite=True)
    assert written.metrics.read_bytes() == content
    with pytest.raises(DataError, match=r"metrics\.json is a file; give a folder"):
        result.write(written.metrics, overwrite=True)


def test_a_bundle_whose_rule_is_one_half_is_reported_at_one_half_first(study, tmp_path):
    """As CheXNet's replicas report F1: at 0.5, in the headline and the first table of the terminal."""
    folder = tmp_path / "bundle"
    shutil.copytree(study.run(0) / "bundle", folder)
    bundle = manifest(study)
    halves = dict.fromkeys(bundle["findings"], 0.5)
    bundle["operating_points"] = {"rule": "one-half", "thresholds": halves, "chosen_on": None}
    (folder / "bundle.json").write_text(json.dumps(bundle))
    result = evaluate(folder, study.store, gallery=False, resamples=10, device="cpu")
    assert rules(result) == ["one-half", *STANDARD_RULES]
    known = (result.labels >= 0).all(axis=0) & (result.labels == 1).any(axis=0)
    called = result.probabilities >= 0.5
    measured_f1 = {
        each.finding: each.rates["f1"].interval.value
        for each in result.evaluation.primary.classification.findings
    }
    expected = f1_score(result.labels[:, known], called[:, known], average=None, zero_division=0)
    assert [measured_f1[result.findings[k]] for k in np.flatnonzero(known)] == pytest.approx(expected)
    assert "at one-half, mean over" in f1_headline(result.evaluation.primary)
    ((title, _, _),) = summary_tables(result.evaluation, result.context)  # only the ranking: too few patients
    assert title.startswith("TOO FEW PATIENTS TO SAY ANYTHING: ")
    assert (
        decisions_title(result.evaluation.primary)
        == "At one-half (0.5 for every finding, whatever its prevalence)"
    )
    written = result.write(tmp_path / "out")
    assert "<dt>Mean F1 at one-half</dt>" in written.html.read_text()
    assert f"\n{f1_headline(result.evaluation.primary)}.\n" in written.markdown.read_text()


def test_predictions_are_read_back_to_the_same_figures(study, result, report, tmp_path):
    """Every figure of the bundle but those at its own thresholds and calibrations, which no CSV has."""
    again = evaluate(
        report / "predictions.csv", study.store, validation=report / "validation.csv",
        split="folder-official", rules=["youden", "f1-optimal"], resamples=50,
    )  # fmt: skip
    assert again.images == result.images
    assert np.array_equal(again.probabilities, result.probabilities)
    again.write(tmp_path / "again")
    ours, read = metrics(report), metrics(tmp_path / "again")
    for key in ("findings", "macro", "micro", "subgroups", "images_sha256", "num_patients"):
        assert read[key] == ours[key]
    youden, _, half = read["operating_points"]
    assert youden == ours["operating_points"][0]
    assert half == ours["operating_points"][2]
    for name in ("predictions.csv", "validation.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (report / name).read_bytes()


def test_compare_reads_the_predictions_to_the_same_figures(study, report):
    both = [study.run(1), report / "predictions.csv"]
    (from_file,), (from_bundle,) = (
        comparison_json(compared.comparison, compared.contexts)["pairs"]
        for compared in (
            compare(models, study.store, split="folder-official", resamples=20, device="cpu")
            for models in (both, [study.run(1), study.run(0)])
        )
    )
    assert from_file["model"] == "predictions.csv"
    for key in ("macro", "findings"):
        assert from_file[key] == from_bundle[key]


def test_some_findings_are_evaluated_in_their_order(study, result):
    names = ["Nodule", "Effusion"]
    some = evaluate(
        study.run(0), study.store, findings=names, rules=["youden"], gallery=False, resamples=50,
        device="cpu",
    )  # fmt: skip
    assert [finding.name for finding in some.findings] == names
    whole = {figures.finding: figures for figures in result.evaluation.ranking.findings}
    assert [figures.auc for figures in some.evaluation.ranking.findings] == [
        whole[finding].auc for finding in some.findings
    ]
    for ours, theirs in zip(some.evaluation.points, result.evaluation.points, strict=True):
        by_finding = dict(zip(theirs.points.findings, theirs.points.thresholds, strict=True))
        assert ours.points.thresholds == tuple(by_finding[finding] for finding in some.findings)
        classified = {each.finding: each for each in theirs.classification.findings}
        assert ours.classification.findings == tuple(classified[finding] for finding in some.findings)
    assert some.evaluation.ranking.num_findings == 2
    assert some.validation[0].findings == some.findings


@pytest.mark.parametrize("names", [["Effusion", "Fracture"], "Fracture"])
def test_findings_that_are_not_predicted_are_refused(study, names):
    with pytest.raises(DataError, match="`findings` has Fracture, and there are only Atelectasis, "):
        evaluate(study.run(0), study.store, findings=names, device="cpu")
    with pytest.raises(DataError, match="`findings` has Fracture, and there are only Effusion, "):
        measured(study, findings=names)


def without_columns(folder, *names):
    """The golden source without these columns of labels, as a store."""
    shutil.copytree(GOLDEN / "source", folder / "source")
    labels = folder / "source" / "labels.csv"
    pd.read_csv(labels, dtype=str).drop(columns=list(names)).to_csv(labels, index=False)
    return prepare(labels, folder / "store", size=32, workers=1, dataset="golden")


def test_findings_that_the_store_does_not_label_are_left_out_and_named(tmp_path):
    settings = {"rules": ["youden"], "gallery": False, "resamples": 20, "device": "cpu"}
    some = evaluate(GOLDEN / "run", without_columns(tmp_path, "Infiltration"), **settings)
    assert [finding.name for finding in some.findings] == ["Effusion", "Mass"]
    warning = "The model also predicts Infiltration, which the data set does not label."
    assert warning in some.context.warnings
    whole = evaluate(GOLDEN / "run", GOLDEN / "store", findings=["Effusion", "Mass"], **settings)
    assert np.array_equal(some.probabilities, whole.probabilities)
    assert some.evaluation.ranking == whole.evaluation.ranking
    assert some.thresholds.thresholds == whole.thresholds.thresholds
    file = some.write(tmp_path / "report").predictions
    compared = compare([GOLDEN / "run", file], tmp_path / "store", split="folder-official", resamples=20)
    assert [figures.finding for figures in compared.comparison.pairs[0].findings] == list(some.findings)


def test_a_store_that_labels_none_of_the_findings_is_refused(tmp_path):
    labels = tmp_path / "source" / "labels.csv"
    store = without_columns(tmp_path, "Infiltration")
    labels.write_text(labels.read_text().replace("Effusion,Mass", "Hernia,Nodule"))
    store = prepare(labels, tmp_path / "other", size=32, workers=1, dataset="golden")
    with pytest.raises(
        DataError, match=r"labels .*Hernia, Nodule, and .* predicts none of these; give a sto"
    ):
        evaluate(GOLDEN / "run", store, device="cpu")


def test_a_report_without_validation_leaves_none_of_an_earlier_one(study, result, tmp_path):
    result.write(tmp_path / "out")
    files = measured(study, findings="Nodule").write(tmp_path / "out", overwrite=True)
    assert not files.validation.exists()
    assert files.predictions.read_text().startswith("Image Index,Patient ID,Nodule\n")


# ---- predictions ------------------------------------------------------------------------------------------


def test_a_file_of_predictions_gets_the_whole_report(study, tmp_path):
    result = measured(study)
    assert result.context.where == "split not stated"
    assert result.context.warnings[0].startswith("It is not known which patients this model was trained on")
    assert [finding.name for finding in result.findings] == list(PREDICTED)
    assert result.evaluation.ranking.findings[0].auc.value == 1.0
    assert rules(result) == ["one-half"]
    read = metrics(result.write(tmp_path / "out").metrics.parent)
    assert read["split"]["name"] is None
    assert list(read["findings"]) == list(PREDICTED)


def test_a_part_of_a_file_has_its_split_and_thresholds_of_its_validation_rows(study, result):
    found = measured(
        study, data=study.store, split="folder-official", rules=["specificity-95"],
        prevalence={"Effusion": 0.02},
    )  # fmt: skip
    for name in ("split", "part", "split_sha256", "images_sha256", "dataset"):
        assert getattr(found.context, name) == getattr(result.context, name)
    first = found.evaluation.primary
    assert first.points.chosen_on.part == "val"
    stated = dict(zip(found.findings, first.predictive_values, strict=True))
    effusion, nodule = (find_finding(name) for name in ("Effusion", "Nodule"))
    assert stated[effusion].prevalence == 0.02
    assert found.evaluation.stated[effusion].source == "stated by the user"
    training = open_store(study.store).table.frame["official"] == "train_val"
    assert training.any()
    assert stated[nodule].prevalence == found.evaluation.trained[nodule].value > 0


def test_one_view_is_measured_alone(study):
    views = {row["Image Index"]: row["View Position"] for row in study.rows()}
    found = measured(study, view="AP")
    assert set(found.images) == {image for image, view in views.items() if view == "AP"}
    assert "Only images of view AP." in found.context.warnings
    with pytest.raises(DataError, match="no predicted image has view LL; leave out `view`"):
        measured(study, view="LL")


def test_without_the_search_for_copies_a_note_says_that_it_was_left_out(study, tmp_path):
    """The phantoms of a patient are alike, so the search finds pairs; without it nothing is said of them."""
    split = {"split": "folder-official"}
    for model, settings in ((study.good, split), (study.run(0), {"device": "cpu", "gallery": False})):
        searched = measured(study, model, study.store, **settings)
        left_out = measured(study, model, study.store, pixels=False, **settings)
        assert left_out.audit[-1][1].startswith(
            "Not looked at: identical, nearly identical and blank images."
        )
        assert "Not looked at" not in str(searched.audit)
        others = [problem for problem in searched.audit if "images" not in problem[1]]
        assert set(others) <= set(left_out.audit)
        written = left_out.write(tmp_path / str(model.name))
        assert "Not looked at: identical" in written.html.read_text()


def test_predictions_are_audited_on_the_way(study, tmp_path):
    """AUC of binarised predictions is one of the faults of published code: it is said beside the figure."""
    header, *rows = [row.split(",") for row in study.good.read_text().splitlines()]
    binary = [[name, *(str(int(float(value) > 0.5)) for value in values)] for name, *values in rows]
    file = tmp_path / "binary.csv"
    file.write_text("\n".join(",".join(row) for row in [header, *binary]) + "\n")
    alone = measured(study, file)
    assert ("error", "columns with only two values") in [
        (severity, text[:28]) for severity, text in alone.audit
    ]
    assert alone.audit[-1][0] == "note"
    assert "Not looked at: the split" in alone.audit[-1][1]
    written = alone.write(tmp_path / "out")
    for path in (written.html, written.markdown):
        assert "columns with only two values" in path.read_text()
    whole = measured(study, file, study.store, split="folder-official")
    told = "\n".join(text for severity, text in whole.audit if severity == "error")
    assert "columns with only two values" in told
    assert "Not looked at" not in str(whole.audit)
    assert whole.failed
    read = json.loads(whole.write(tmp_path / "whole").metrics.read_text())["audit"]
    assert read["failed"] is True
    assert [(problem["severity"], problem["what"]) for problem in read["problems"]] == list(whole.audit)
    assert read["num_errors"] == told.count("\n") + 1


def test_rows_of_other_parts_are_left_out_and_no_error(study, tmp_path):
    """The file has a row for every image; those of training are not evaluated."""
    whole = measured(study, study.good, study.store, split="folder-official")
    assert "of the train part" not in str(whole.audit)
    assert len(whole.images) < len(study.rows())
    logits = tmp_path / "logits.csv"
    header, *rows = [row.split(",") for row in study.good.read_text().splitlines()]
    values = [[name, *(str(9 * float(value) - 4) for value in cells)] for name, *cells in rows]
    logits.write_text("\n".join(",".join(row) for row in [header, *values]) + "\n")
    declared = measured(study, logits, study.store, split="folder-official", logits=True)
    assert "logits instead of probabilities" not in str(declared.audit)


def test_a_file_of_validation_chooses_thresholds_and_calibration(study, tmp_path):
    header, *rows = study.good.read_text().splitlines()
    patients = {row["Image Index"]: row["Patient ID"] for row in study.rows()}
    half = sorted(set(patients.values()))[:60]
    inside = [row for row in rows if patients[row.split(",")[0]] in half]
    outside = [row for row in rows if patients[row.split(",")[0]] not in half]
    for name, some in (("validation.csv", inside), ("test.csv", outside), ("leaking.csv", outside[:9])):
        (tmp_path / name).write_text("\n".join([header, *some]) + "\n")
    result = measured(study, tmp_path / "test.csv", validation=tmp_path / "validation.csv")
    assert rules(result) == [*STANDARD_RULES, "one-half"]
    chosen_on = [at.points.chosen_on for at in result.evaluation.points[:-1]]
    fitted_on = [how.calibration.fitted_on for how, _ in result.evaluation.recalibrated]
    for on in (*chosen_on, *fitted_on):
        assert (on.num_images, on.num_patients) == (len(inside), len(half))
    assert not result.evaluation.test_tuned
    assert result.context.where == "split not stated"
    with pytest.raises(DataError, match="choose them on validation"):
        measured(study, tmp_path / "test.csv", validation=tmp_path / "leaking.csv")


def test_validation_of_other_findings_is_refused(study, tmp_path):
    rows = [row.split(",")[:3] for row in study.good.read_text().splitlines()]
    (tmp_path / "two.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")
    with pytest.raises(DataError, match=r"two\.csv has predictions of .*; give the same findings"):
        measured(study, validation=tmp_path / "two.csv")


def test_choosing_on_what_is_reported_is_refused_or_marked(study, tmp_path):
    with pytest.raises(DataError, match=r"choose them on validation, or mark .* with `allow_test_tuning`"):
        measured(study, rules=["youden"])
    result = measured(study, rules=["youden"], allow_test_tuning=True)
    assert result.evaluation.test_tuned
    assert all(how.test_tuned for how, _ in result.evaluation.recalibrated)
    written = result.write(tmp_path / "out")
    for path in (written.html, written.markdown):
        assert TUNED_MARK in path.read_text()
    assert metrics(tmp_path / "out")["test_tuned"]


@pytest.mark.parametrize(
    ("rule", "expected"), [("one-half", ["one-half"]), ("0.5", ["one-half"]), ("0.3", ["own", "one-half"])]
)
def test_a_fixed_threshold_needs_no_validation_and_is_never_called_chosen(study, tmp_path, rule, expected):
    result = measured(study, rules=[rule])
    assert rules(result) == expected
    assert not result.evaluation.test_tuned
    read = metrics(result.write(tmp_path / "out").metrics.parent)
    assert [each["chosen_on"] for each in read["operating_points"]] == [None] * len(expected)
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.count("## At one-half") == 1
    assert "chosen on" not in text.split("## Ranking")[1].split("## Calibration")[0]


def test_thresholds_come_from_a_file_with_their_origin(study, tmp_path):
    file = tmp_path / "thresholds.json"
    file.write_text(json.dumps({"rule": "mine", "thresholds": {"Nodule": 0.25}, "chosen_on": None}))
    result = measured(study, thresholds=file)
    assert rules(result) == ["mine", "one-half"]
    assert result.thresholds.thresholds == (None, None, 0.25)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"logits": True}, "they are probabilities, not logits; leave out `logits`"),
        ({"split": "folder-official", "part": "val", "data": "STORE", "view": "LL"}, "has view LL"),
    ],
)
def test_what_does_not_go_together_is_refused(study, settings, message):
    places = {"STORE": study.store}
    with pytest.raises(DataError, match=message):
        measured(study, **{name: places.get(value, value) for name, value in settings.items()})
