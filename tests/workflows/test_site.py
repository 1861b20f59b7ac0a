"""`site`: a bundle or predictions at another site, the files, and the bundle that keeps its calibration."""

import csv
import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import thorax
from tests.helpers.command import command
from thorax.bundle import load_bundle
from thorax.calibration import logit, sigmoid
from thorax.datasets.label_pins import pin_labels
from thorax.datasets.phantom import write_phantoms
from thorax.errors import BundleError, DataError, LeakError, RecipeError
from thorax.evaluation.looks import LOOKS, read_looks
from thorax.workflows.evaluate import evaluate
from thorax.workflows.prepare import prepare
from thorax.workflows.site import site


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    """A store of other phantoms, whose images have other names and patients."""
    folder = tmp_path_factory.mktemp("ward")
    write_phantoms(folder / "phantoms", patients=90, size=64, seed=5)
    rows = list(csv.DictReader((folder / "phantoms" / "Data_Entry_2017_v2020.csv").read_text().splitlines()))
    lines = ["path,patient,view,Effusion,Infiltration,Nodule,Mass"]
    for row in rows:
        labels = row["Finding Labels"].split("|")
        known = [str(int(name in labels)) for name in ("Effusion", "Infiltration", "Nodule")]
        lines.append(",".join(
            [f"phantoms/images/{row['Image Index']}", row["Patient ID"], row["View Position"], *known, "0"]
        ))  # fmt: skip
    (folder / "ward.csv").write_text("\n".join(lines) + "\n")
    prepare(folder / "ward.csv", folder / "store", size=64, workers=1, dataset="ward")
    return folder / "store"


@pytest.fixture(scope="module")
def result(study, ward):
    return site(study.run(0), ward, name="ward 7", adjust="intercept", repetitions=2, device="cpu")


def test_a_bundle_is_measured_on_all_images_of_the_store(result, ward):
    measured = result.measurement
    assert measured.num_images == len(thorax.prepare(ward.parent / "ward.csv", ward, size=64, dataset="ward"))
    assert result.context.dataset == "ward"
    assert result.context.where == "split not stated"
    findings = {one.finding.name: one for one in measured.findings}
    assert list(findings) == [
        name for name in load_bundle(result.bundle).manifest.findings if name in findings
    ]
    assert set(findings) == {"Effusion", "Infiltration", "Nodule", "Mass"}
    assert findings["Mass"].num_positive == 0
    assert findings["Mass"].adjustment.kind == "none"
    assert findings["Effusion"].adjustment.kind == "intercept"
    assert repr(result).startswith("SiteResult(ward 7: split not stated, ")
    assert "These data do not say how much too high" in result._repr_html_()


def test_the_files_have_the_same_numbers(result, tmp_path):
    files = result.write(tmp_path / "out")
    read = json.loads(files.json.read_text())
    effusion = next(one for one in result.measurement.findings if one.finding.name == "Effusion")
    assert read["site"] == "ward 7"
    assert read["findings"]["Effusion"]["in_the_large"]["value"] == effusion.in_the_large.value
    assert read["findings"]["Mass"]["in_the_large"]["value"] is None
    assert read["findings"]["Mass"]["in_the_large"]["high"] is not None
    assert {point["num_patients"] for point in read["curve"]["points"]} == {25, 50}
    rows = list(csv.DictReader(files.csv.read_text().splitlines()))
    assert float(rows[0]["observed_expected"]) == result.measurement.findings[0].observed_expected.value
    assert result.to_frame()["finding"].tolist() == [row["finding"] for row in rows]
    page = " ".join("".join(ET.fromstring(files.html.read_text()).itertext()).split())
    assert f"{effusion.in_the_large.value:+.2f}" in page
    assert "Not a medical device" in page
    assert "| Effusion |" in files.markdown.read_text()
    ET.fromstring(files.svg.read_text())
    with pytest.raises(DataError, match="not empty"):
        result.write(tmp_path / "out")


def test_the_bundle_keeps_the_calibration_and_predict_uses_it(study, result, ward, tmp_path):
    saved = result.save(tmp_path / "both").bundle
    (kept,) = saved.manifest.sites
    assert (kept.site, kept.adjusts) == ("ward 7", "intercept")
    assert kept.calibration.kept["Mass"].startswith("no finite values fit best")
    assert kept.calibration.kept["Hernia"] == "not measured at this site"
    image = study.folder / "phantoms" / "images" / study.rows()[0]["Image Index"]
    own, there = thorax.load(saved), thorax.load(saved, site="ward 7")
    before, after = own.predict(image), there.predict(image)
    for one in result.measurement.findings:
        moved = one.adjustment.intercept + one.adjustment.slope * logit(
            np.array([before[one.finding.name].probability])
        )
        assert after[one.finding.name].probability == pytest.approx(float(sigmoid(moved)[0]), abs=1e-9)
        assert after[one.finding.name].positive == before[one.finding.name].positive
    # The bundle's temperature is kept as an intercept and a slope, which may round the last bit otherwise.
    assert after["Hernia"].probability == pytest.approx(before["Hernia"].probability, rel=1e-12)
    printed = json.loads(command("predict", saved.folder, image, "--json", "--site", "ward 7").stdout)
    assert printed["findings"]["Effusion"]["probability"] == after["Effusion"].probability
    assert (
        "no calibration for the site 'x'"
        in command("predict", saved.folder, image, "--site", "x", expect=5).stderr
    )
    with pytest.raises(LeakError, match=r"seen when this bundle was made \(\d+ in site ward 7\)"):
        site(saved, ward, name="ward 8", device="cpu")
    again = site(saved, ward, name="ward 7", adjust="intercept", repetitions=2, device="cpu")
    assert again.measurement == result.measurement  # the site's own patients may be fitted on again
    with pytest.raises(BundleError, match="no calibration for the site 'ward 8'"):
        thorax.load(saved, site="ward 8")


def test_predictions_alone_and_the_command(study, tmp_path):
    out = tmp_path / "out"
    words = (
        "site", "--predictions", study.poor, "--labels", study.labels, "--name", "here", "--out", out,
        "--repetitions", "1",
    )  # fmt: skip
    done = command(*words)
    assert "Observed : expected" in done.stdout
    assert f"report: {out / 'site.html'}" in done.stdout
    with pytest.raises(DataError, match="only a bundle can keep"):
        site(study.poor, study.labels, name="here", repetitions=0).save(tmp_path / "bundle")
    assert (
        "give a bundle with --store, or --predictions"
        in command("site", "--name", "here", "--out", tmp_path / "other", expect=2).stderr
    )
    one = site(study.poor, study.labels, name="here", findings=["Nodule"], view="PA", repetitions=0)
    assert [each.finding.name for each in one.measurement.findings] == ["Nodule"]
    assert one.measurement.no_curve == "not requested"


def test_labels_looks_and_the_missing_audit_are_part_of_the_result(result, study, tmp_path):
    files = result.write(tmp_path / "out")
    read = json.loads(files.json.read_text())
    cohort = result.cohort.of_findings(tuple(one.finding for one in result.measurement.findings))
    pins = pin_labels(cohort.images, cohort.targets, cohort.findings, dataset="ward")
    assert read["labels"]["sha256"] == pins.sha256
    assert read["labels"]["findings"] == dict(pins.findings)
    assert read["images_sha256"] == result.context.images_sha256
    assert read["made"]["Images"].startswith("64 pixels, pad; store ")
    assert (read["audit"], result.failed) == (None, False)
    look = next(
        look for look in read_looks(study.run(0) / LOOKS) if look.images_sha256 == read["images_sha256"]
    )
    assert (look.dataset, look.split, look.part) == ("ward", "", "")
    assert look.command == "site name=ward 7 adjust=intercept repetitions=2 seed=0"
    assert read["history"]["looks"] == 1
    for text in (files.html.read_text(), files.markdown.read_text()):
        assert pins.sha256 in text
        assert "This is the first look of this model" in text
        assert "No audit was made, because all images of the store are measured" in text


def test_a_part_of_a_split_is_audited(study, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    part = {"split": "folder-official", "repetitions": 0, "device": "cpu"}
    tested = site(study.run(1), study.store, name="home", **part)
    files = tested.write(tmp_path / "out")
    assert tested.audit == evaluate(study.run(1), study.store, resamples=5, gallery=False, device="cpu").audit
    assert json.loads(files.json.read_text())["audit"]["failed"] is False
    assert "Audit: no errors, " in files.markdown.read_text()
    assert tested.context.labels.sha256 == pinned_sha256(tested)
    again = site(study.run(1), study.store, name="home", **part)
    before = tested.context.history.looks  # with those of other tests, beside the run
    assert again.context.history.looks == before + 2  # with that of `evaluate`


def pinned_sha256(result):
    cohort = result.cohort
    return pin_labels(cohort.images, cohort.targets, cohort.findings, dataset=result.context.dataset).sha256


def test_errors_of_the_audit_are_shown_and_end_the_command_with_1(study, tmp_path):
    header, *rows = study.poor.read_text().splitlines()
    binary = [",".join([image, *(f"{float(value) > 0.3:d}" for value in values)])
              for image, *values in (row.split(",") for row in rows)]  # fmt: skip
    (tmp_path / "binary.csv").write_text("\n".join([header, *binary]) + "\n")
    out = tmp_path / "out"
    done = command(
        "site", "--predictions", tmp_path / "binary.csv", "--labels", study.labels, "--name", "here",
        "--repetitions", "0", "--out", out, expect=1,
    )  # fmt: skip
    assert "audit, error: " in done.stderr
    assert "These numbers are not a result until the errors are resolved" in done.stdout
    read = json.loads((out / "site.json").read_text())
    assert read["audit"]["num_errors"] >= 1
    (error, *_) = [one["what"] for one in read["audit"]["problems"] if one["severity"] == "error"]
    page = " ".join("".join(ET.fromstring((out / "site.html").read_text()).itertext()).split())
    assert page.count(error) == 2  # among the warnings, and in the section of the audit
    assert "not a result until" in (out / "site.md").read_text()


def test_what_cannot_be_measured_is_refused(study, ward, tmp_path):
    with pytest.raises(LeakError, match="patients were seen when this bundle was made"):
        site(study.run(0), study.store, name="home", device="cpu")
    with pytest.raises(RecipeError, match="`name` has 0 characters"):
        site(study.run(0), ward, name="")
    nothing = site(study.run(0), ward, name="ward", adjust="none", repetitions=0, device="cpu")
    with pytest.raises(DataError, match="nothing is adjusted at ward"):
        nothing.save(tmp_path / "bundle")
    tested = site(
        study.run(0), study.store, name="home", split="folder-official", repetitions=0, device="cpu"
    )
    assert tested.context.where == "folder-official, test part"


@pytest.mark.usefixtures("shapes_unchecked")  # the type, too, allows only the adjustments that there are
def test_another_adjustment_is_refused(study):
    with pytest.raises(RecipeError, match="no adjustment 'some'; there are auto, none"):
        site(study.poor, study.labels, name="here", adjust="some")


@pytest.mark.usefixtures("shapes_unchecked")
def test_real_predictions_at_the_other_view_position(shared_data):
    """A real CheXNet retraining: what was seen of it in docs/experiments.md."""
    file = shared_data / "chexnet-predictions" / "predictions.csv.gz"
    labels = shared_data / "nih-sample" / "Data_Entry_2017_v2020.csv.gz"
    first = site(file, labels, name="PA", view="PA", adjust="all", repetitions=0)
    second = site(file, labels, name="AP", view="AP", repetitions=0)
    assert (first.measurement.num_images, second.measurement.num_images) == (6886, 4630)
    assert (first.measurement.num_patients, second.measurement.num_patients) == (2906, 917)
    by_name = {one.finding.name: one for one in second.measurement.findings}
    assert by_name["Mass"].adjustment.kind == "all"
    assert by_name["Mass"].slope.high < 1
    assert by_name["Hernia"].num_positive == 2
    assert by_name["Hernia"].not_said[0].startswith("the slope: 2 patients")
    assert second.measurement.mean_log_loss_change.high < 0
