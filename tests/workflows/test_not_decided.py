"""Bands in a bundle: what predict says with them, who sets them, and the same values in every report."""

import csv
import json

import numpy as np
import pytest

from tests.helpers.assessments import CONTEXT, assessment_of, shown_text
from tests.helpers.command import command
from tests.helpers.toy_bundle import NAMES, REFERENCE
from thorax.bands import Band, Bands
from thorax.bundle import load_bundle
from thorax.bundle.manifest import Manifest
from thorax.bundle.writing import copy_bundle
from thorax.evaluation.abstention import choose_bands
from thorax.evaluation.inputs.join import chosen_on
from thorax.evaluation.inputs.prediction_csv import read_predictions
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.rates import measure_rates
from thorax.findings import find_finding
from thorax.inference.engines import open_predictor
from thorax.inference.ensemble import with_test_time
from thorax.reporting.abstention import abstention_rows, abstention_tables
from thorax.reporting.markdown import render_markdown
from thorax.reporting.metrics import metrics
from thorax.reporting.model_card import render_card
from thorax.reporting.report import render_html
from thorax.reporting.summary import short
from thorax.store import open_store
from thorax.workflows.evaluate import evaluate
from thorax.workflows.model import load
from thorax.workflows.predictions import PartSelection, predict_part, select_part
from thorax.workflows.thresholds import Choosers
from thorax.workflows.thresholds import bands_of as reported_bands

WHERE = "This holds for patients like those of validation; at another hospital nothing is guaranteed."


def bands_of(low, high, **changes):
    """A band of Mass; the other findings of the toy have none."""
    band = Band(low=low, high=high, patients_with=9, patients_without=30)
    values = {
        "level": 0.9, "bands": {"Mass": band}, "absent": dict.fromkeys(NAMES[1:], "too few"),
        "chosen_on": REFERENCE, "chose_checkpoint": False,
    }  # fmt: skip
    return Bands(**{**values, **changes})


def with_bands(bundle, folder, bands, **changes):
    old = bundle.manifest
    changed = {"format": 2, "bands": bands, **changes}
    return copy_bundle(bundle, folder, manifest=Manifest.model_validate(old.model_dump() | changed))


def test_the_band_of_a_bundle_decides_in_every_format(bundle, png, tmp_path):
    (plain,) = [p for p in load(bundle, device="cpu").predict(png) if p.finding.name == "Mass"]
    assert plain.undecided is None
    inside = with_bands(bundle, tmp_path / "inside", bands_of(plain.probability, plain.probability))
    prediction = load(inside, device="cpu").predict(png)
    mass, nodule = prediction["Mass"], prediction["Nodule"]
    ends = [min(plain.probability, 0.5), max(plain.probability, 0.5)]
    assert (mass.decision, list(mass.undecided)) == ("not decided", ends)
    assert (nodule.decision, nodule.undecided) == ("yes" if nodule.positive else "no", None)
    assert WHERE in prediction.promise
    # ---- JSON, CSV and the table of the command ----
    as_json = json.loads(command("predict", inside.folder, png, "--json").stdout)
    assert as_json == json.loads(json.dumps(prediction.as_json() | {"source": str(png)}))
    done = command("predict", inside.folder, png, "--csv")
    assert WHERE in done.stderr
    rows = {row["finding"]: row for row in csv.DictReader(done.stdout.splitlines())}
    assert rows["Mass"]["decision"] == "not decided"
    assert [float(rows["Mass"][key]) for key in ("undecided_from", "undecided_to")] == ends
    assert (rows["Nodule"]["undecided_from"], rows["Edema"]["decision"]) == ("", "")
    table = command("predict", inside.folder, png)
    assert WHERE in " ".join(table.stdout.split())
    assert "not decided" in table.stdout
    assert "no band" in table.stdout


def test_a_csv_with_decisions_is_read_like_one_without(bundle, png, tmp_path):
    inside = with_bands(bundle, tmp_path / "inside", bands_of(0.3, 0.6))
    (tmp_path / "predicted.csv").write_text(command("predict", inside.folder, png, "--csv").stdout)
    read = read_predictions(tmp_path / "predicted.csv", findings=inside.findings, images=(png.name,))
    assert {finding.name for finding in read.findings} == set(NAMES)


@pytest.mark.parametrize(
    ("bands", "changes", "message"),
    [
        (bands_of(0.1, 0.2), {"format": 1}, "the section bands needs format 2"),
        (bands_of(0.1, 0.2, absent={}), {}, "each finding needs a band, or the reason why it has none"),
    ],
)
def test_a_manifest_with_bands_is_checked(bundle, tmp_path, bands, changes, message):
    with pytest.raises(ValueError, match=message):
        with_bands(bundle, tmp_path / "bad", bands, **changes)


def test_bands_go_with_the_calibration_when_the_views_change(bundle, tmp_path):
    inside = with_bands(bundle, tmp_path / "inside", bands_of(0.1, 0.2))
    flipped = with_test_time(inside, lambda old: old.model_copy(update={"flip": True}))
    assert flipped.manifest.bands is None
    assert load_bundle(inside).manifest.bands == bands_of(0.1, 0.2)


def test_training_sets_the_bands_on_its_validation_patients(study):
    """Recomputed from the bundle's own predictions of the validation part."""
    bundle = load_bundle(study.run(0))
    bands, store = bundle.manifest.bands, study.store
    validation = evaluate(bundle, store, resamples=2, gallery=False, device="cpu").validation
    assert validation is not None
    cohort, probabilities = validation
    again = choose_bands(
        cohort, probabilities, chosen_on=bands.chosen_on, chose_checkpoint=bands.chose_checkpoint
    )
    assert bands.absent == again.absent
    assert bands.bands.keys() == again.bands.keys()
    for name, band in bands.bands.items():
        assert (band.low, band.high) == pytest.approx(
            (again.bands[name].low, again.bands[name].high), abs=1e-5
        )
    assert bands.chosen_on == bundle.manifest.calibration.fitted_on


def test_training_keeps_the_rates_of_its_thresholds(study):
    """Those that `evaluate` reports on the validation part at the bundle's own thresholds."""
    bundle = load_bundle(study.run(0))
    points = bundle.manifest.operating_points
    validation = evaluate(bundle, study.store, resamples=2, gallery=False, device="cpu").validation
    assert validation is not None
    again = measure_rates(*validation, points.thresholds, measured_on=points.chosen_on)
    assert {name: counts(rates) for name, rates in points.measured.findings.items()} == {
        name: counts(rates) for name, rates in again.findings.items()
    }
    assert points.measured.measured_on == points.chosen_on


def counts(rates):
    return [
        share and (share.matching, share.images, share.patients)
        for share in (rates.sensitivity, rates.specificity)
    ]


# ---- evaluate --------------------------------------------------------------------------------------------

FINDINGS = tuple(find_finding(name) for name in ("Edema", "Mass", "Hernia"))


def measured():
    bands = Bands(
        level=0.8,
        bands={
            "Edema": Band(low=0.25, high=0.5, patients_with=20, patients_without=40),
            "Mass": Band(low=0.5, high=0.4, patients_with=20, patients_without=40),
        },
        absent={"Hernia": "validation patients with it: 0, without: 60; at 80 % a band needs 4 of each"},
        chosen_on=REFERENCE,
        chose_checkpoint=True,
    )
    return assessment_of(FINDINGS, bands=bands)


def test_report_markdown_terminal_and_metrics_have_the_same_values():
    evaluation = measured()
    written = json.loads(json.dumps(metrics(evaluation, CONTEXT), allow_nan=False))["abstention"]
    assert (written["level"], written["operating_point"]) == (0.8, "one-half")
    assert WHERE in written["promise"]
    assert "chose the checkpoint" in written["promise"]
    assert list(written["findings"]) == ["Edema", "Mass", "Hernia"]
    hernia = written["findings"]["Hernia"]
    assert (hernia["band"], hernia["undecided"]["value"]) == (None, None)
    assert hernia["absent"].startswith("validation patients with it: 0, ")
    html, markdown = shown_text(render_html(evaluation, CONTEXT)), render_markdown(evaluation, CONTEXT)
    ((title, header, rows),) = abstention_tables(evaluation)
    assert title == "Not decided, at 80 %, with the thresholds of one-half"
    assert rows == abstention_rows(evaluation)
    for row, result in zip(rows, evaluation.abstention.findings, strict=True):
        values = written["findings"][result.finding.name]
        assert row[2:] == tuple(
            short(getattr(result, key)) for key in ("covered_with", "covered_without", "undecided")
        )
        assert values["covered_with"]["value"] == (
            None if result.band is None else pytest.approx(result.covered_with.value)
        )
        assert f"| {' | '.join(row)} |" in markdown
        assert "".join(row) in html
    for text in (html, markdown):
        assert WHERE in text
        assert (
            "Without a band, and always decided by the threshold: Hernia (validation patients with it: 0"
            in text
        )
    assert header == ("Finding", "Not decided", "Covered with", "Covered without", "Undecided share")
    assert [row[1] for row in rows] == ["0.250 to 0.500", "never", "no band"]


def test_without_bands_the_report_says_why():
    reason = "the bundle has none; calibrate it on validation to set them"
    evaluation = assessment_of(FINDINGS, no_bands=reason)
    assert metrics(evaluation, CONTEXT)["abstention"] == {"level": None, "absent": reason, "findings": {}}
    for text in (shown_text(render_html(evaluation, CONTEXT)), render_markdown(evaluation, CONTEXT)):
        assert f"No bands: {reason}." in text
    assert abstention_tables(evaluation) == []


def test_the_card_has_the_bands_and_how_they_did(bundle, tmp_path):
    inside = with_bands(bundle, tmp_path / "inside", bands_of(0.1, 0.6))
    card = render_card(inside, metrics(measured(), CONTEXT))
    assert "## Not decided" in card
    assert "| Mass | 0.100 to 0.600 |  |" in card
    assert "| Nodule | no band | too few |" in card
    assert card.count(WHERE) == 2
    assert short(measured().abstention.findings[0].covered_with) in card
    assert "## Not decided" not in render_card(bundle)


def written_csv(path, cohort, probabilities):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *(finding.name for finding in cohort.findings)])
        writer.writerows([image, *row] for image, row in zip(cohort.images, probabilities, strict=True))
    return path


def test_predictions_of_another_model_get_bands_from_their_validation_images(study, result, tmp_path):
    """And at evaluate the measured shares are those that a count by hand gives."""
    cohort, probabilities = result.validation
    test = LabeledImages(
        images=result.images, patients=result.patients, targets=result.labels, findings=result.findings
    )
    everything = LabeledImages(
        images=[*test.images, *cohort.images],
        patients=[*test.patients, *cohort.patients],
        targets=np.concatenate([test.targets, cohort.targets]),
        findings=test.findings,
    )
    file = written_csv(
        tmp_path / "all.csv", everything, np.concatenate([result.probabilities, probabilities])
    )
    split = load_bundle(study.run(0)).split
    evaluation = evaluate(file, study.store, split=split, resamples=2).evaluation
    bands = evaluation.abstention.bands
    assert bands.chose_checkpoint is None
    assert "is not known" in bands.promise
    expected = choose_bands(cohort, probabilities, chosen_on=bands.chosen_on, chose_checkpoint=None)
    assert bands == expected
    alone = evaluate(written_csv(tmp_path / "test.csv", test, result.probabilities), study.store, split=split)
    assert alone.evaluation.abstention is None
    assert alone.evaluation.no_bands == "there are no predictions of validation images to set them on"


def test_bands_of_the_reported_images_are_not_measured_on_them(study, tmp_path):
    bundle = load_bundle(study.run(0))
    result = evaluate(bundle, study.store, resamples=2, gallery=False, device="cpu")
    assert result.evaluation.abstention.bands == bundle.manifest.bands
    part = select_part(bundle, open_store(study.store), PartSelection())
    predictor = open_predictor(bundle, device="cpu")
    predicted = predict_part(predictor, part)
    own = chosen_on(part.split, "test", part.cohort, dataset=part.store.dataset)
    tuned = bundle.manifest.bands.model_copy(update={"chosen_on": own})
    changed = with_bands(bundle, tmp_path / "tuned", tuned)
    choice = Choosers(predicted, None, own=(), allow=True, bundle=changed)
    assert reported_bands(choice) == (
        None, f"those of the bundle were set on the {own}, which must not measure them",
    )  # fmt: skip
