"""Reports, comparisons and cards by hand, of bundles and of anybody's predictions."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.helpers.command import SMALL, thorax
from thorax.cli.card import card
from thorax.cli.compare import compare
from thorax.errors import DataError
from thorax.evaluation.thresholds import TUNED_MARK


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Phantoms, a store, two runs of different seeds, a report, and made-up predictions of all images."""
    folder = tmp_path_factory.mktemp("work")
    thorax("phantom", folder / "phantoms", "--patients", "120", "--size", "64")
    thorax("prepare", folder / "phantoms", "--out", folder / "store", "--size", "64")
    thorax(
        "train", "small-cpu", "--store", folder / "store", "--out", folder / "runs", *SMALL, "--seeds", "2"
    )
    thorax(
        "evaluate", folder / "runs" / "seed-0", "--store", folder / "store", "--out", folder / "report",
        "--resamples", "50", "--rule", "youden",
    )  # fmt: skip
    with (folder / "phantoms" / "Data_Entry_2017_v2020.csv").open() as file:
        labels = list(csv.DictReader(file))
    for name, right in (("good.csv", 0.8), ("poor.csv", 0.4)):
        lines = ["Image Index,prob_Effusion,prob_Infiltration,prob_Nodule"]
        for number, row in enumerate(labels):
            noise = (37 * number) % 101 / 101
            values = [
                f"{right * (each in row['Finding Labels']) + (1 - right) * noise:.4f}"
                for each in ("Effusion", "Infiltration", "Nodule")
            ]
            lines.append(",".join([row["Image Index"], *values]))
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def labels(work):
    return work / "phantoms" / "Data_Entry_2017_v2020.csv"


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_a_bundles_points_carry_where_they_were_chosen(work):
    points = {each["rule"]: each for each in metrics(work / "report")["operating_points"]}
    assert list(points) == ["youden", "f1-optimal", "one-half"]
    manifest = json.loads((work / "runs" / "seed-0" / "bundle" / "bundle.json").read_text())
    chosen_on = manifest["operating_points"]["chosen_on"]
    for rule in ("youden", "f1-optimal"):
        assert points[rule]["chosen_on"]["part"] == "val"
        assert points[rule]["chosen_on"]["images_sha256"] == chosen_on["images_sha256"]
        assert not points[rule]["test_tuned"]
    assert points["f1-optimal"]["thresholds"] == manifest["operating_points"]["thresholds"]
    assert points["one-half"]["chosen_on"] is None


def test_a_file_of_predictions_gets_the_whole_report(work, tmp_path):
    done = thorax(
        "evaluate", "--predictions", work / "good.csv", "--labels", labels(work), "--out", tmp_path / "out",
        "--resamples", "20",
    )  # fmt: skip
    assert "split not stated" in done.stdout
    assert "Calling nothing" in done.stdout
    assert "Which patients this model was trained on is not known" in done.stderr
    read = metrics(tmp_path / "out")
    assert list(read["findings"]) == ["Effusion", "Infiltration", "Nodule"]
    assert read["split"]["name"] is None
    assert read["findings"]["Effusion"]["auc"]["value"] == 1.0
    assert [each["rule"] for each in read["operating_points"]] == ["one-half"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.json",
        "report.html",
        "report.md",
    }


def test_a_part_of_a_file_has_its_split_and_thresholds_of_its_validation_rows(work, tmp_path):
    thorax(
        "evaluate", "--predictions", work / "good.csv", "--store", work / "store", "--out", tmp_path / "out",
        "--split", "folder-official", "--rule", "specificity-95", "--prevalence", "Effusion=0.02",
        "--resamples", "20",
    )  # fmt: skip
    read, bundle = metrics(tmp_path / "out"), metrics(work / "report")
    assert read["split"] == bundle["split"]
    assert read["images_sha256"] == bundle["images_sha256"]
    point = read["operating_points"][0]
    assert point["chosen_on"]["part"] == "val"
    assert point["predictive_values"]["Effusion"]["prevalence"] == 0.02
    assert point["predictive_values"]["Nodule"]["prevalence"] > 0  # that of the training part


def test_calibration_is_tried_on_validation_and_shown_before_and_after(work, tmp_path):
    report = metrics(work / "report")
    bundle = json.loads((work / "runs" / "seed-0" / "bundle" / "bundle.json").read_text())
    plain, temperature, platt = report["calibration"]["recalibrated"]
    assert [each["kind"] for each in (plain, temperature, platt)] == ["none", "temperature", "platt"]
    # What a bundle was calibrated with is what is fitted once more on the same images.
    assert temperature["temperature"] == pytest.approx(bundle["calibration"]["temperature"], rel=1e-3)
    assert temperature["fitted_on"]["images_sha256"] == (bundle["calibration"]["fitted_on"]["images_sha256"])
    shown = report["calibration"]["macro"]["brier"]["value"]
    assert temperature["macro"]["brier"]["value"] == pytest.approx(shown, rel=1e-3)
    assert plain["macro"]["brier"]["value"] != pytest.approx(shown, rel=1e-3)
    assert platt["findings"]["Effusion"]["reliability"]
    page, text = ((work / "report" / name).read_text() for name in ("report.html", "report.md"))
    for name in ("Not calibrated", temperature["name"], platt["name"]):
        assert f'<th scope="row">{name}</th>' in page
        assert f"| {name} |" in text
    assert report["made"]["Computed by"].startswith("onnxruntime ")
    assert report["made"]["Computed by"] in page


def test_predictions_are_audited_on_the_way(work, tmp_path):
    """AUC of binarised predictions is one of the faults of published code: it is said beside the figure."""
    rows = [row.split(",") for row in (work / "good.csv").read_text().splitlines()]
    binary = [[name, *(str(int(float(each) > 0.5)) for each in values)] for name, *values in rows[1:]]
    file = tmp_path / "binary.csv"
    file.write_text("\n".join(",".join(row) for row in [rows[0], *binary]) + "\n")
    asked = ("evaluate", "--predictions", file, "--resamples", "5", "--out", tmp_path / "out", "--overwrite")
    done = thorax(*asked, "--labels", labels(work))
    assert "audit: columns of two values" in done.stderr
    for name in ("report.html", "report.md"):
        text = (tmp_path / "out" / name).read_text()
        assert "columns of two values" in text
        assert "Not looked at: the split" in text
    done = thorax(*asked, "--store", work / "store", "--split", "folder-official")
    assert "audit: columns of two values" in done.stderr
    assert "audit: predictions of patients of the train part" in done.stderr
    assert "Not looked at" not in (tmp_path / "out" / "report.md").read_text()


def test_a_file_of_validation_chooses_thresholds_and_calibration(work, tmp_path):
    rows = (work / "good.csv").read_text().splitlines()
    with labels(work).open() as file:
        patients = {row["Image Index"]: row["Patient ID"] for row in csv.DictReader(file)}
    half = sorted(set(patients.values()))[:60]
    inside = [row for row in rows[1:] if patients[row.split(",")[0]] in half]
    outside = [row for row in rows[1:] if patients[row.split(",")[0]] not in half]
    for name, part in (("validation.csv", inside), ("test.csv", outside), ("leaking.csv", outside[:9])):
        (tmp_path / name).write_text("\n".join([rows[0], *part]) + "\n")
    asked = (
        "evaluate", "--predictions", tmp_path / "test.csv", "--labels", labels(work), "--resamples", "10",
        "--out", tmp_path / "out", "--overwrite", "--validation",
    )  # fmt: skip
    thorax(*asked, tmp_path / "validation.csv")
    read = metrics(tmp_path / "out")
    assert [each["rule"] for each in read["operating_points"]] == [
        "f1-optimal", "youden", "sensitivity-90", "specificity-95", "one-half"
    ]  # fmt: skip
    for each in (*read["operating_points"][:-1], *read["calibration"]["recalibrated"]):
        on = each.get("chosen_on") or each["fitted_on"]
        assert (on["num_images"], on["num_patients"]) == (len(inside), len(half))
    assert not read["test_tuned"]
    assert read["split"]["where"] == "split not stated"
    done = thorax(*asked, tmp_path / "leaking.csv", expect=3)
    assert "choose them on validation" in done.stderr


def test_choosing_on_what_is_reported_is_refused_or_marked(work, tmp_path):
    asked = (
        "evaluate", "--predictions", work / "good.csv", "--labels", labels(work), "--rule", "youden",
        "--resamples", "10", "--out", tmp_path / "out",
    )  # fmt: skip
    done = thorax(*asked, expect=3)
    assert "choose them on validation" in done.stderr
    assert not (tmp_path / "out").exists()
    done = thorax(*asked, "--allow-test-tuning")
    assert done.stdout.count(TUNED_MARK) >= 2
    read = metrics(tmp_path / "out")
    assert read["test_tuned"]
    assert all(each["test_tuned"] for each in read["calibration"]["recalibrated"])
    for name in ("report.html", "report.md"):
        assert TUNED_MARK in (tmp_path / "out" / name).read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--out", "new"), 2, "give a bundle with --store, or --predictions with --labels"),
        (("RUN", "--out", "new"), 2, "a bundle needs --store"),
        (("--predictions", "CSV", "--out", "new"), 2, "--predictions needs --labels"),
        (("--predictions", "CSV", "--labels", "LABELS", "--logits", "--out", "new"), 3, "not logits"),
        (
            ("--predictions", "CSV", "--labels", "LABELS", "--prevalence", "x", "--out", "new"),
            3,
            "Edema=0.05",
        ),
        (("--predictions", "CSV", "--labels", "LABELS", "--rule", "best", "--out", "new"), 3, "no rule"),
        (("--predictions", "CSV", "--labels", "LABELS", "--out", "CSV"), 3, "is a file; give a folder"),
    ],
)
def test_wrong_input_gets_a_message_and_its_exit_code(work, tmp_path, arguments, code, message):
    places = {"RUN": work / "runs" / "seed-0", "CSV": work / "good.csv", "LABELS": labels(work)}
    places["new"] = tmp_path / "new"
    done = thorax("evaluate", *(places.get(each, each) for each in arguments), expect=code)
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "new").exists()


app = typer.Typer(pretty_exceptions_enable=False)
app.command()(compare)
app.command()(card)


def run(*arguments, expect=0):
    """Run a verb in this process; errors of Thorax are raised."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(each) for each in arguments])
    if isinstance(done.exception, DataError):
        raise done.exception
    assert done.exit_code == expect, done.output
    return done


def test_files_of_predictions_are_compared(work, tmp_path):
    done = run(
        "compare", work / "good.csv", work / "poor.csv", "--labels", labels(work), "--out", tmp_path / "out",
        "--resamples", "200",
    )  # fmt: skip
    assert "poor.csv less good.csv: split not stated" in done.output
    read = json.loads((tmp_path / "out" / "comparison.json").read_text())
    (pair,) = read["pairs"]
    assert (pair["baseline"], pair["model"]) == ("good.csv", "poor.csv")
    effusion = pair["findings"]["Effusion"]
    assert effusion["baseline_auc"] == 1.0
    assert effusion["difference"]["value"] == pytest.approx(effusion["model_auc"] - 1.0)
    assert effusion["p_adjusted"] >= effusion["p"]
    assert "| Mean of 3 |" in (tmp_path / "out" / "comparison.md").read_text()


def test_bundles_and_files_are_compared_on_the_same_part(work, tmp_path):
    runs = [work / "runs" / f"seed-{seed}" for seed in (0, 1)]
    run(
        "compare", *runs, work / "poor.csv", "--store", work / "store", "--out", tmp_path / "out",
        "--resamples", "50", "--split", "folder-official", "--baseline", runs[0],
    )  # fmt: skip
    read = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [(each["baseline"], each["model"]) for each in read["pairs"]] == [
        ("seed-0", "seed-1"),
        ("seed-0", "poor.csv"),
    ]
    assert read["split"]["name"] == "folder-official"
    assert read["pairs"][1]["findings"]["Edema"]["difference"]["value"] is None


def test_models_of_other_images_are_not_compared(work, tmp_path):
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join((work / "poor.csv").read_text().splitlines()[:-5]) + "\n")
    with pytest.raises(
        DataError, match=r"^model fewer.csv was not evaluated on the images of the comparison"
    ):
        run("compare", work / "good.csv", fewer, "--labels", labels(work), "--out", tmp_path / "out")
    with pytest.raises(DataError, match="would be measured on different parts"):
        run(
            "compare", work / "runs" / "seed-0", work / "good.csv", "--store", work / "store", "--out",
            tmp_path / "out",
        )  # fmt: skip
    with pytest.raises(DataError, match=r"there is no nowhere\.csv"):
        run("compare", work / "good.csv", "nowhere.csv", "--labels", labels(work), "--out", tmp_path / "out")
    done = run("compare", work / "good.csv", "--labels", labels(work), "--out", tmp_path / "out", expect=2)
    assert "at least two" in done.output
    assert not (tmp_path / "out").exists()


def test_a_card_has_the_results_of_its_bundle(work, tmp_path):
    bundle, file = work / "runs" / "seed-0", tmp_path / "card.md"
    run("card", bundle, "--metrics", work / "report" / "metrics.json", "--out", file)
    text, read = file.read_text(), metrics(work / "report")
    assert read["model"]["bundle_sha256"] in text
    assert read["split"]["sha256"] in text
    assert "Not a medical device" in text
    assert f"folder-official, test part, {read['num_images']} images" in text
    assert "chosen on the val part of folder-official" in text
    run("card", bundle, "--out", tmp_path / "bare.md")
    assert "None were given" in (tmp_path / "bare.md").read_text()


def test_a_card_refuses_the_results_of_another_bundle(work, tmp_path):
    other = work / "runs" / "seed-1"
    with pytest.raises(DataError, match=r"and the bundle is small-cpu .*; evaluate this bundle"):
        run("card", other, "--metrics", work / "report" / "metrics.json", "--out", tmp_path / "card.md")
    with pytest.raises(DataError, match="is a folder; name the file"):
        run("card", other, "--out", tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(work / "report", broken)
    (broken / "metrics.json").write_text("[]")
    with pytest.raises(DataError, match=r"is no metrics\.json"):
        run("card", other, "--metrics", broken / "metrics.json", "--out", tmp_path / "card.md")
