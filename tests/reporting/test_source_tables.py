"""What the source projects print about themselves, beside this model, and never as a comparison."""

import dataclasses
import re

import pytest
from sklearn.metrics import roc_auc_score

from tests.helpers.assessments import CONTEXT, assessment_of, drawn, shown_text
from thorax.evaluation.source_tables import SOURCE_TABLES
from thorax.findings import NIH14, NO_FINDING, find_finding
from thorax.reporting.markdown import render_markdown
from thorax.reporting.report import render_html
from thorax.reporting.source_tables import published_by_finding, source_tables
from thorax.reporting.summary import short

CHEXNET = [
    ".8094",
    ".9248",
    ".8638",
    ".7345",
    ".8676",
    ".7802",
    ".768",
    ".8887",
    ".7901",
    ".8878",
    ".9371",
    ".8047",
    ".8062",
    ".9164",
]
NIH = dataclasses.replace(CONTEXT, dataset="nih-chestxray14")
# The last of the drawn findings has no positive, so No Finding is not the last.
FINDINGS = (NO_FINDING, *NIH14)


@pytest.fixture(scope="module")
def assessment():
    return assessment_of(FINDINGS, images=120, resamples=5, context=NIH)


def test_every_figure_of_the_five_projects_is_there():
    tables = {f"{table.project}: {table.title}": table for table in SOURCE_TABLES}
    assert [len(table.rows) for table in SOURCE_TABLES] == [3, 0, 12, 12, 3, 2]
    danny, _, own, foreign, chestxpert, targets = tables.values()
    assert [row.values["auc"][0] for row in danny.rows] == [0.8527, 0.7928, 0.794]
    assert danny.rows[0].values["f1"] == (0.386, 0.386)
    effusion = next(row for row in own.rows if row.of == find_finding("Effusion"))
    assert [low for low, _ in effusion.values.values()] == [0.327322, 0.797603, 0.464161]
    assert own.rows[-1].values["f1"] == (0.205426, 0.205426)
    # The printed macro averages are the means of the printed rows: no figure was copied wrongly.
    for table in (own, foreign):
        for measure in ("ppv", "sensitivity", "f1"):
            mean = sum(row.values[measure][0] for row in table.rows[:8]) / 8
            macro = next(row for row in table.rows if row.of == "macro")
            assert macro.values[measure][0] == pytest.approx(mean, abs=2e-6)
    assert chestxpert.measures == ("auc", "sensitivity", "specificity")
    assert targets.rows[1].values["auc"] == (0.85, 0.88)


def test_their_numbers_stand_beside_ours_as_another_split(assessment):
    tables = {table.title: table for table in source_tables(assessment, NIH)}
    own = tables["DenseNet-121, last block: Classification report of its own model"]
    rates = {each.finding.label: each.rates for each in assessment.primary.classification.findings}
    row = next(row for row in own.rows if row[0] == "Pneumothorax")
    ours = [short(rates["Pneumothorax"][rate].interval) for rate in ("ppv", "sensitivity", "f1")]
    assert row == ("Pneumothorax", ".2013", ours[0], ".8253", ours[1], ".3237", ours[2])
    samples = assessment.primary.classification.zero_averages["samples"]
    assert own.rows[-1][6] == short(samples["f1"].interval)
    assert "over these 8 findings, this model's over 14." in own.note
    for table in tables.values():
        assert table.note.startswith("Another split, not a comparison. ")
        theirs = table.header[1::2]
        assert all("another split" in name for name in theirs)


def test_a_mean_with_no_finding_is_in_the_sources_table_alone(assessment):
    targets, probabilities = drawn(15, images=120)
    aucs = [roc_auc_score(targets[:, k], probabilities[:, k]) for k in range(14)]  # the last has no positive
    text = render_markdown(assessment, NIH)
    (line,) = (line for line in text.splitlines() if "Mean of 15" in line)
    shown = f"{sum(aucs) / 14:.3f}".removeprefix("0")
    assert line.startswith("| Mean of 15 with No Finding, as the source counts it | .85 to .88 |")
    assert shown in line
    assert assessment.ranking.num_findings == 13
    fewer = source_tables(assessment_of(NIH14, resamples=2, context=NIH), NIH)[-1]
    assert fewer.rows[1][2] == "n/a"


def test_chexnets_aucs_stand_beside_ours_also_on_the_official_split(assessment):
    table = published_by_finding(assessment, NIH)
    column = next(k for k, name in enumerate(table.header) if name.startswith("CheXNet"))
    assert table.header[column] == "CheXNet (random split, another split)"
    assert [row[column] for row in table.rows[:14]] == CHEXNET
    aucs = {result.finding.label: short(result.auc) for result in assessment.ranking.findings}
    assert all(row[1] == aucs[row[0]] for row in table.rows)
    random = dataclasses.replace(NIH, split="nih-random-patient", whole_part=True)
    same = published_by_finding(assessment_of(NIH14, resamples=2, context=random), random)
    assert same.header[column] == "CheXNet (random split)"
    assert "Wang 2017 (official split, another split)" in same.header


def test_both_reports_show_them_and_other_data_does_not(assessment):
    page = shown_text(render_html(assessment, NIH))
    text = re.sub(r"\s+", " ", render_markdown(assessment, NIH))
    for shown in (page, text):
        for expected in ("The source projects' own tables", "CheXNet (random split, another split)"):
            assert expected in shown
        for number in (".9371", ".8527", ".2013", ".1861"):
            assert number in shown
    for render in (render_html, render_markdown):
        other = render(assessment_of(NIH14, resamples=2), CONTEXT)
        assert "own tables" not in other
        assert "CheXNet (random" not in other
