"""Findings have one display name: their label, wherever people read."""

import re

import pytest

from tests.helpers.assessments import CONTEXT, assessment_of, shown_text
from thorax import starter
from thorax.bundle import Manifest, Member, load_bundle, write_bundle
from thorax.findings import find_finding
from thorax.image_set import ImageSet
from thorax.recipe.sections import Network, Preparation
from thorax.reporting.markdown import render_markdown
from thorax.reporting.metrics import metrics
from thorax.reporting.model_card import render_card
from thorax.reporting.report import render_html
from thorax.reporting.summary import decision_rows, markdown_table, summary_rows, threshold_text

FINDINGS = tuple(find_finding(name) for name in ("Effusion", "Infiltration", "Pleural_Thickening", "Edema"))
NAMES = tuple(finding.name for finding in FINDINGS)
LABELS = tuple(finding.label for finding in FINDINGS)
ASSESSMENT = assessment_of(FINDINGS)


@pytest.fixture
def bundle(tmp_path):
    images = ImageSet(
        dataset="toy", split="toy", part="val", sha256="", images_sha256="", num_images=4, num_patients=4
    )
    trained = {
        "kind": "trained", "recipe": "toy", "recipe_sha256": "", "seed": 0, "dataset": "toy",
        "store_fingerprint": "", "trained_on": images, "selected_on": images, "selected_by": "",
        "epoch": 1, "versions": {},
    }  # fmt: skip
    member = {
        "weights": "weights.safetensors", "sha256": "", "findings": NAMES, "exact_cam": True,
        "model": Network(backbone="resnet10t", input_size=64), "provenance": trained,
    }  # fmt: skip
    manifest = Manifest.model_validate(
        {
            "name": "toy",
            "findings": NAMES,
            "preparation": Preparation(size=80),
            "members": (Member.model_validate(member),),
            "calibration": None,
            "operating_points": {
                "rule": "one-half",
                "thresholds": dict.fromkeys(NAMES, 0.5),
                "chosen_on": None,
            },
            "patients_sha256": "",
        }
    )
    return write_bundle(tmp_path / "bundle", manifest, weights={"weights.safetensors": b""}, patients={})


def first_cells(markdown):
    return [row.split("|")[1].strip() for row in markdown.splitlines() if row.startswith("| ")]


def test_every_table_of_a_model_card_has_labels(bundle):
    card = render_card(bundle, metrics(ASSESSMENT, CONTEXT))
    assert f"Findings: {', '.join(LABELS)}." in card
    cells = first_cells(card)
    assert [cell for cell in cells if cell in {*LABELS, *NAMES}] == [*LABELS, *LABELS, *LABELS]


def test_reports_and_terminal_tables_have_labels():
    rows = [*summary_rows(ASSESSMENT.ranking), *decision_rows(ASSESSMENT.points[0])]
    assert {row[0] for row in rows} >= set(LABELS)
    terminal = "\n".join(row[0] for row in rows)
    for text in (
        terminal,
        render_markdown(ASSESSMENT, CONTEXT),
        shown_text(render_html(ASSESSMENT, CONTEXT)),
    ):
        for finding in FINDINGS:
            bare = re.sub(re.escape(finding.label), "", text)
            assert finding.label in text
            assert not re.search(rf"\b{finding.name}\b", bare), finding.name


@pytest.mark.parametrize(
    ("threshold", "text"),
    [(0.1, "0.100"), (0.335, "0.335"), (0.04567, "0.0457"), (1.0, "1.00"), (None, "none")],
)
def test_thresholds_have_three_digits(threshold, text):
    assert threshold_text(threshold) == text


def test_a_card_has_the_rates_at_the_thresholds():
    bundle = load_bundle(starter.folder())
    points = bundle.manifest.operating_points
    card = render_card(bundle)
    rates = points.measured.findings["Effusion"]
    cells = [
        f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f}), {share.matching} of {share.images}"
        for share in (rates.sensitivity, rates.specificity)
    ]
    assert f"| Effusion | {points.thresholds['Effusion']:.3f} | {cells[0]} | {cells[1]} |" in card
    assert "| Hernia | none | n/a | n/a |" in card


def test_numbers_of_a_table_are_aligned_right_and_words_left():
    rows = [("Mass", "n/a", "-1", "too few"), ("Nodule", "below 0.1", "<.001", "")]
    assert markdown_table(("Finding", "Band", "Change", "Why"), rows).splitlines() == [
        "| Finding | Band | Change | Why |",
        "| --- | ---: | ---: | --- |",
        "| Mass | n/a | -1 | too few |",
        "| Nodule | below 0.1 | &lt;.001 |  |",
    ]
    assert markdown_table(("A", "B"), []) == "| A | B |\n| --- | ---: |\n"
