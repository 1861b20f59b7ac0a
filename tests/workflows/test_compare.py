"""Models beside one another on the same images."""

import csv
import json
import math
import os
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from sklearn.metrics import classification_report

from thorax.bundle import load_bundle
from thorax.errors import BundleError, DataError, LeakError
from thorax.evaluation.thresholds import one_half
from thorax.reporting.comparison import comparison_json
from thorax.workflows.compare import compare
from thorax.workflows.evaluate import evaluate
from thorax.workflows.prepare import prepare

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def test_files_of_predictions_are_compared(study, tmp_path):
    result = compare([str(study.good), study.poor], study.labels, resamples=200)
    assert list(result.contexts) == ["good.csv", "poor.csv"]
    assert {context.where for context in result.contexts.values()} == {"split not stated"}
    written = result.write(tmp_path / "out")
    (pair,) = json.loads(written.json.read_text())["pairs"]
    assert (pair["baseline"], pair["model"]) == ("good.csv", "poor.csv")
    effusion = pair["findings"]["Effusion"]
    assert effusion["baseline_auc"] == 1.0
    assert effusion["difference"]["value"] == pytest.approx(effusion["model_auc"] - 1.0)
    assert effusion["p_adjusted"] >= effusion["p"]
    assert "| Mean of 3 |" in written.markdown.read_text()
    # The picture of the ROC curves: the models' names, and the AUCs of the table.
    png, svg, pdf = (path.read_bytes() for path in written.roc)
    assert (png[:4], pdf[:5]) == (b"\x89PNG", b"%PDF-")
    drawn = re.findall(r">([^<>]+)</text>", svg.decode())
    aucs = [entry[f"{which}_auc"] for entry in pair["findings"].values() for which in ("baseline", "model")]
    assert {"good.csv", "poor.csv", *pair["findings"]} <= set(drawn)
    assert {f"{auc:.3f}".removeprefix("0") for auc in aucs} <= set(drawn)
    assert 'href="roc.pdf"' in written.html.read_text()
    with pytest.raises(DataError, match=r"out is not empty; .* `overwrite`"):
        result.write(tmp_path / "out")
    assert result.write(tmp_path / "out", overwrite=True) == written


def test_bundles_and_files_are_compared_on_the_same_part(study):
    first, calls = load_bundle(study.run(0)), []
    result = compare(
        [first, study.run(1), study.poor], study.store, split="folder-official", baseline=first,
        resamples=50, device="cpu", engine="torch", progress=calls.append,
    )  # fmt: skip
    with pytest.raises(BundleError, match="openvino"):
        compare([first, study.run(1)], study.store, split="folder-official", engine="openvino")
    pairs = result.comparison.pairs
    assert [(pair.baseline, pair.model) for pair in pairs] == [("seed-0", "seed-1"), ("seed-0", "poor.csv")]
    assert {context.split for context in result.contexts.values()} == {"folder-official"}
    by_finding = {figures.finding.name: figures for figures in pairs[1].findings}
    interval = by_finding["Effusion"].auc.difference
    assert interval.low < interval.value < interval.high
    assert math.isnan(by_finding["Edema"].auc.difference.value)  # the file does not have it
    ends = [call.stage for call in calls if call.done == call.total]
    assert ends == ["predicting seed-0", "predicting seed-1"]


def test_models_of_other_images_are_not_compared(study, tmp_path):
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(study.poor.read_text().splitlines()[:-5]) + "\n")
    with pytest.raises(DataError, match=r"fewer\.csv lacks 5 \(first: .*; predict the others .*`common`"):
        compare([study.good, fewer], study.labels)
    with pytest.raises(LeakError, match="patients were seen"):
        compare([study.run(0), study.good], study.store, part="val", device="cpu")


@pytest.mark.parametrize(
    ("models", "settings", "message"),
    [
        (["GOOD"], {"data": "LABELS"}, "1 models are given; give at least two"),
        (["GOOD", "GOOD"], {"data": "LABELS"}, "2 models are given; give at least two, all different"),
        (["GOOD", "nowhere.csv"], {"data": "LABELS"}, r"nowhere\.csv does not exist"),
        (["GOOD", "POOR"], {"data": ()}, "no store is given; give at least one, or a label file"),
        (["GOOD", "RUN"], {"data": "LABELS"}, "needs the images of a store, and only a label"),
        (["GOOD", "POOR"], {"data": "LABELS", "baseline": "RUN"}, "is not one of the models"),
    ],
)
def test_what_cannot_be_compared_is_refused(study, models, settings, message):
    places = {"GOOD": study.good, "POOR": study.poor, "LABELS": study.labels, "RUN": study.run(0)}
    given = {name: places.get(value, value) for name, value in settings.items()}
    with pytest.raises(DataError, match=message):
        compare([places.get(model, model) for model in models], **given)


def test_models_of_one_name_are_called_by_their_paths(study, tmp_path):
    other = tmp_path / "good.csv"
    other.write_bytes(study.poor.read_bytes())
    result = compare([study.good, other, study.poor], study.labels, resamples=20)
    assert list(result.contexts) == [str(study.good), str(other), "poor.csv"]


# ---- files of predictions beside a bundle: on the golden run, which needs no training ----------------------


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of the golden run."""
    result = evaluate(GOLDEN / "run", GOLDEN / "store", gallery=False, resamples=2, device="cpu")
    return result.write(tmp_path_factory.mktemp("report") / "out").metrics.parent


def on_golden(*models, **settings):
    return compare(models, GOLDEN / "store", **{"resamples": 20, "device": "cpu", **settings})


def test_a_report_is_its_model(report):
    """The same numbers at the same thresholds, under the model's own hash."""
    result = on_golden(GOLDEN / "run", report)
    for figures in result.comparison.pairs[0].findings:
        assert figures.auc.difference.value == 0
    bundle, read = result.contexts["run"], result.contexts["out"]
    assert (read.model, read.where, read.labels) == (bundle.model, bundle.where, bundle.labels)
    points = [decided.points for decided in result.decisions.values()]
    assert (points[0].rule, points[0].thresholds) == (points[1].rule, points[1].thresholds)
    assert points[0].chosen_on.images_sha256 == points[1].chosen_on.images_sha256


def test_a_report_brings_its_split_and_its_validation_images(report, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(report, other)
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["operating_points"][0]["test_tuned"] = True  # such thresholds are not used
    (other / "metrics.json").write_text(json.dumps(metrics))
    result = on_golden(report, other)
    assert {context.where for context in result.contexts.values()} == {"folder-official, test part"}
    assert result.decisions["other"].points.chosen_on.part == "val"
    metrics["split"]["name"] = "patient-70-15-15"
    (other / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(DataError, match=r"on different parts .*patient-70|is in the test part of patient-70"):
        on_golden(report, other)
    metrics["images_sha256"] = "0" * 64
    (other / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(DataError, match=r"predictions\.csv has other images than the metrics\.json beside"):
        on_golden(report, other)


def test_a_report_is_evaluated_again_to_the_same_figures(report, tmp_path):
    """From its folder alone: split, thresholds and validation images come from the report."""
    settings = {"gallery": False, "resamples": 2, "device": "cpu"}
    again = evaluate(report, GOLDEN / "store", **settings).write(tmp_path / "again").metrics
    figures = [json.loads(file.read_text()) for file in (report / "metrics.json", again)]
    for name in (
        "split",
        "images_sha256",
        "labels",
        "model",
        "findings",
        "macro",
        "operating_points",
        "micro",
    ):
        assert figures[0][name] == figures[1][name], name
    fixed = evaluate(report, GOLDEN / "store", thresholds=report, **settings).evaluation.primary.points
    assert (
        dict(zip([finding.name for finding in fixed.findings], fixed.thresholds, strict=True))
        == (figures[0]["operating_points"][0]["thresholds"])
    )
    for name in ("predictions.csv", "validation.csv"):
        assert (again.parent / name).read_bytes() == (report / name).read_bytes()


def test_a_file_is_measured_on_the_bundles_split(report):
    result = on_golden(GOLDEN / "run", report / "predictions.csv")
    assert {context.where for context in result.contexts.values()} == {"folder-official, test part"}
    note = "No split was named: predictions.csv is measured on that of the other models."
    assert note in result.contexts["run"].warnings


@pytest.fixture(scope="module")
def fewer(report, tmp_path_factory):
    """Other predictions, of all but two images."""
    folder = tmp_path_factory.mktemp("fewer")
    with (report / "predictions.csv").open() as file:
        header, *rows = csv.reader(file)
    kept = [[*row[:2], *row[:1:-1]] for row in rows[2:]]
    (folder / "fewer.csv").write_text("\n".join(map(",".join, [header, *kept])) + "\n")
    (folder / "trimmed.csv").write_text("\n".join(map(",".join, [header, *rows[2:]])) + "\n")
    return folder


def test_models_that_lack_images_are_compared_on_the_common_ones_and_it_is_said(report, fewer, tmp_path):
    with pytest.raises(DataError, match=r"all of them have 9 of 11: fewer\.csv lacks 2 \(first: "):
        on_golden(GOLDEN / "run", fewer / "fewer.csv")
    result = on_golden(GOLDEN / "run", fewer / "fewer.csv", common=True)
    assert (result.comparison.num_images, result.comparison.common.num_all) == (9, 11)
    slow = on_golden(fewer / "trimmed.csv", fewer / "fewer.csv", split="folder-official")
    ours, theirs = (each.comparison.pairs[0] for each in (result, slow))
    for one, other in zip(ours.findings, theirs.findings, strict=True):
        assert (one.auc.baseline_auc, one.auc.model_auc) == pytest.approx(
            (other.auc.baseline_auc, other.auc.model_auc), nan_ok=True
        )
    images = {context.images_sha256 for each in (result, slow) for context in each.contexts.values()}
    assert len(images) == 1
    files = result.write(tmp_path / "out")
    written = json.loads(files.json.read_text())
    assert written["common_images"] == {"num_images": 9, "of": 11, "lacking": {"fewer.csv": 2}}
    loud = "ONLY THE IMAGES THAT ALL MODELS HAVE (9 of 11: fewer.csv lacks 2)"
    assert all(any(loud in text for text in model["warnings"]) for model in written["models"].values())
    text, page = files.markdown.read_text(), files.html.read_text()
    assert text.count(loud) >= 3  # above everything, in the title, among the notes
    lead, warning = page.index(loud), page.rindex(loud)
    assert page.index('<p class="lead">') < lead < page.index("</header>") < warning < page.index("<h2>")
    assert loud in result._repr_html_()


def test_a_folder_of_predicted_images_is_one_model(report, tmp_path):
    """Also beside the list of files that could not be read; a missing CSV is called missing."""
    shutil.copy(report / "predictions.csv", tmp_path)
    (tmp_path / "rejected.csv").write_text("path,reason\n")
    result = on_golden(GOLDEN / "run", tmp_path)
    assert [figures.auc.difference.value for figures in result.comparison.pairs[0].findings] == [0, 0, 0]
    with pytest.raises(DataError, match=r"nope\.csv does not exist; correct the path"):
        evaluate(tmp_path / "nope.csv", GOLDEN / "store")
    (tmp_path / "labels.csv").write_text("Image Index,Finding Labels,Patient ID\na.png,Mass,1\n")
    with pytest.raises(DataError, match=r"labels\.csv has labels in NIH's layout, not predictions"):
        evaluate(tmp_path / "labels.csv", GOLDEN / "store")


def test_where_all_images_are_common_nothing_is_said(report):
    result = on_golden(GOLDEN / "run", report, common=True)
    assert comparison_json(result.comparison, result.contexts)["common_images"] == {
        "num_images": 11, "of": 11, "lacking": {},
    }  # fmt: skip
    assert "ONLY" not in result._repr_html_()


def test_a_comparison_of_few_patients_says_so_above_everything(report, tmp_path):
    files = on_golden(GOLDEN / "run", report).write(tmp_path / "out")
    text = files.markdown.read_text()
    assert text.startswith("# Comparison\n\n**TOO FEW PATIENTS TO SAY ANYTHING: no finding has at least 10")
    assert "patients, TOO FEW PATIENTS TO SAY ANYTHING; p after Holm" in text
    page = files.html.read_text()
    assert page.index("TOO FEW PATIENTS") < page.index("</header>")
    assert json.loads(files.json.read_text())["too_few_patients"].startswith("TOO FEW PATIENTS")


# ---- decisions side by side, and stores of several sizes: on the golden run, which needs no training -------


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """The golden run and store, and the same bundle and source at 40 pixels instead of 32."""
    folder = tmp_path_factory.mktemp("sizes")
    prepare(GOLDEN / "source" / "labels.csv", folder / "store", size=40, workers=1, dataset="golden")
    shutil.copytree(GOLDEN / "run" / "bundle", folder / "larger")
    manifest = json.loads((folder / "larger" / "bundle.json").read_text())
    manifest["preparation"]["size"], manifest["engines"] = 40, []
    (folder / "larger" / "bundle.json").write_text(json.dumps(manifest))
    return folder


def compared(sizes, models=None, **settings):
    both = [GOLDEN / "run", sizes / "larger"]
    stores = [GOLDEN / "store", sizes / "store"]
    return compare(models or both, **{"data": stores, "resamples": 20, "device": "cpu", **settings})


def test_models_of_two_store_sizes_stand_side_by_side_as_scikit_learn_reports_each(sizes, tmp_path):
    files = compared(sizes, findings=["Infiltration", "Effusion"], rule="youden").write(tmp_path / "out")
    with files.classification.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows[:2]] == ["Infiltration", "Effusion"]
    text, page = files.markdown.read_text(), files.html.read_text()
    ET.fromstring(page.removeprefix("<!DOCTYPE html>"))
    for model, bundle, store in (
        ("run", GOLDEN / "run", GOLDEN / "store"),
        ("larger", sizes / "larger", sizes / "store"),
    ):
        alone = evaluate(
            bundle, store, findings=["Infiltration", "Effusion"], rules=["youden"], gallery=False,
            resamples=2, device="cpu",
        )  # fmt: skip
        points = alone.evaluation.primary.points
        called = alone.probabilities >= np.array(points.thresholds)
        expected = classification_report(
            alone.labels, called, target_names=["Infiltration", "Effusion"], zero_division=0, output_dict=True
        )
        ours = [row for row in rows if row["model"] == model]
        assert len(ours) == len(expected) == 6
        for row in ours:
            for name, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
                number = float(row[name] or 0)  # a finding that is never called has no precision
                assert number == pytest.approx(expected[row["row"]][theirs], abs=1e-12)
            assert int(row["support"]) == expected[row["row"]]["support"]
            assert (row["rule"], row["thresholds"]) == ("youden", points.describe())
        assert [float(row["threshold"]) for row in ours[:2]] == list(points.thresholds)
        assert f"{model}: youden, {points.describe()}" in text
        assert f"{model}: youden, {points.describe()}" in page
    assert "val part" in rows[0]["thresholds"]
    assert text.index("## larger less run") < text.index("## Decisions")


def test_a_model_is_named_after_its_path_in_whatever_form_that_is_given(sizes):
    (entry,) = [entry for entry in os.scandir(GOLDEN) if entry.name == "run"]
    assert set(compared(sizes, models=[entry, sizes / "larger"]).contexts) == {"run", "larger"}


def test_images_that_one_store_lacks_are_left_out(sizes, tmp_path):
    lines = (GOLDEN / "source" / "labels.csv").read_text().splitlines()
    gone = next(line.split(",")[0] for line in lines if ",test," in line)
    shutil.copytree(GOLDEN / "source", tmp_path / "source")
    (tmp_path / "source" / gone).unlink()
    prepare(tmp_path / "source" / "labels.csv", tmp_path / "fewer", size=40, workers=1, dataset="golden")
    whole = compared(sizes)
    fewer = compared(sizes, data=[GOLDEN / "store", tmp_path / "fewer"])
    assert fewer.comparison.num_images == whole.comparison.num_images - 1
    images = {context.images_sha256 for context in fewer.contexts.values()}
    assert len(images) == 1
    left_out = f"1 image of the part is only in some of the stores and is left out ({gone})."
    assert all(left_out in context.warnings for context in fewer.contexts.values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("01.png,000,train,0,0,0", "01.png,000,train,0,0,1", r"differ in the labels of 1 images \(first: 01"),
        ("01.png,000,train", "01.png,001,train", r"differ in the patients of 1 images \(first: 01\.png\)"),
        ("path,patient,split,Effusion", "path,patient,split,Hernia", "they label different findings"),
    ],
)
def test_stores_of_other_sources_are_refused(sizes, tmp_path, old, new, message):
    shutil.copytree(GOLDEN / "source", tmp_path / "source")
    labels = tmp_path / "source" / "labels.csv"
    assert old in labels.read_text()
    labels.write_text(labels.read_text().replace(old, new))
    prepare(labels, tmp_path / "other", size=40, workers=1, dataset="golden")
    with pytest.raises(DataError, match=f"are not of the same source: .*{message}"):
        compared(sizes, data=[GOLDEN / "store", tmp_path / "other"])


def test_stores_of_other_files_or_data_are_refused(sizes, tmp_path):
    shutil.copytree(GOLDEN / "source", tmp_path / "source")
    shutil.copy(GOLDEN / "source" / "00.png", tmp_path / "source" / "01.png")
    prepare(tmp_path / "source" / "labels.csv", tmp_path / "other", size=40, workers=1, dataset="golden")
    with pytest.raises(DataError, match="images of the same names were prepared from different files"):
        compared(sizes, data=[GOLDEN / "store", tmp_path / "other"])
    prepare(GOLDEN / "source" / "labels.csv", tmp_path / "named", size=40, workers=1, dataset="else")
    with pytest.raises(DataError, match="their data sets are golden and else; prepare both from the same"):
        compared(sizes, data=[GOLDEN / "store", tmp_path / "named"])
    with pytest.raises(DataError, match=r"requires images prepared with size 40 and fit pad.*has size 32"):
        compared(sizes, data=GOLDEN / "store")


def test_files_have_their_own_thresholds_from_validation(sizes, tmp_path):
    """A CSV chooses F1-optimal thresholds on its validation images, and has 0.5 without any."""
    report = evaluate(GOLDEN / "run", GOLDEN / "store", gallery=False, resamples=2, device="cpu").write(
        tmp_path / "report"
    )
    other = tmp_path / "other.csv"
    other.write_bytes(report.predictions.read_bytes())
    settings = {"data": GOLDEN / "store", "split": "folder-official"}
    models = [report.predictions, other]
    given = compared(sizes, models, validation=[report.validation, report.validation], **settings)
    own = compared(sizes, [GOLDEN / "run", other], **settings).decisions
    for decisions in given.decisions.values():
        assert decisions.points.rule == "f1-optimal"
        assert decisions.points.chosen_on == own["run"].points.chosen_on
        assert decisions.points.thresholds == pytest.approx(own["run"].points.thresholds, abs=1e-6)
    assert own["other.csv"].points == one_half(own["other.csv"].points.findings)
    with pytest.raises(DataError, match="`validation` has 1 files for 2 CSVs of predictions; give one for"):
        compared(sizes, models, validation=[report.validation], **settings)
    with pytest.raises(DataError, match="choose them on validation"):
        compared(sizes, models, rule="youden", **settings)
    with pytest.raises(DataError, match="`findings` has Hernia, and there are only Effusion, Infiltration"):
        compared(sizes, models, findings=["Hernia"], **settings)
