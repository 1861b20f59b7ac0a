"""Reports, predictions and pictures that the commands of the rows made."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.bundle import load_bundle
from thorax.findings import NIH14, find_finding


def out(row: Row, workshop: Workshop) -> Path:
    """Run the commands; return what the last one wrote."""
    workshop.show(row)
    match = re.search(r"--out (\S+)", row.run[-1])
    assert match is not None
    return workshop.folder / match[1]


def metrics(row: Row, workshop: Workshop) -> dict[str, Any]:
    """The metrics.json of the row's evaluation."""
    content: dict[str, Any] = json.loads((out(row, workshop) / "metrics.json").read_text())
    return content


def auc_and_f1(row: Row, workshop: Workshop) -> None:
    """AUC and F1 of each finding, and their means over those that have one."""
    content = metrics(row, workshop)
    aucs = [finding["auc"]["value"] for finding in content["findings"].values()]
    assert len(aucs) == row.source["findings"]
    assert content["macro"]["auc"]["value"] == pytest.approx(
        np.mean([auc for auc in aucs if auc is not None])
    )
    point = content["operating_points"][0]
    scores = [finding["f1"]["value"] for finding in point["findings"].values()]
    assert len(scores) == row.source["findings"]
    mean = np.mean([score for score in scores if score is not None])
    assert point["averages"]["macro"]["f1"]["value"] == pytest.approx(mean)


def f1_at(row: Row, workshop: Workshop) -> None:
    """The first operating point is the source's threshold; F1 is that of its counts."""
    point = metrics(row, workshop)["operating_points"][0]
    assert set(point["thresholds"].values()) == {row.source["threshold"]}
    assert point["chosen_on"] is None
    for finding in point["findings"].values():
        counts, score = finding["confusion"], finding["f1"]["value"]
        hits, wrong = counts["true_positives"], counts["false_positives"] + counts["false_negatives"]
        assert score == (pytest.approx(2 * hits / (2 * hits + wrong)) if hits + wrong else None)


def roc_curves(row: Row, workshop: Workshop) -> None:
    """A line for each finding that has an AUC, which stands beside its name."""
    picture_of_curves(out(row, workshop))


def picture_of_curves(report: Path) -> None:
    """What roc.svg says is what metrics.json says; roc.png is a picture."""
    findings = json.loads((report / "metrics.json").read_text())["findings"]
    text = (report / "roc.svg").read_text()
    for name, finding in findings.items():
        auc, label = finding["auc"]["value"], find_finding(name).label
        assert (auc is None) == (f">{label} " not in text), name
        assert auc is None or f">{label} {auc:.3f}".replace(" 0.", " .") in text
    with Image.open(report / "roc.png") as image:
        assert min(image.size) > 800
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def table_of_findings(row: Row, workshop: Workshop) -> None:
    """The report has a line with AUC and one with F1 for each of the 14 findings."""
    report = (out(row, workshop) / "report.md").read_text()
    ranking = report.partition("## Ranking")[2].partition("\n## ")[0]
    decisions = report.partition("## At ")[2].partition("\n## ")[0]
    for text, column in ((ranking, "AUC"), (decisions, "F1")):
        header, *lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
        assert column in header
        assert {finding.label for finding in NIH14} <= {line[0] for line in lines}


def classification_report(row: Row, workshop: Workshop) -> None:
    """Precision, recall, F1 and AUC of a finding, recomputed from its counts."""
    content = metrics(row, workshop)
    point = content["operating_points"][0]
    checked = 0
    for name, finding in point["findings"].items():
        counts, rates = finding["confusion"], finding
        hits, alarms, misses = (
            counts[key] for key in ("true_positives", "false_positives", "false_negatives")
        )
        assert content["findings"][name].keys() >= {"auc"}
        if hits + alarms and hits + misses:
            assert rates["ppv"]["value"] == pytest.approx(hits / (hits + alarms))
            assert rates["sensitivity"]["value"] == pytest.approx(hits / (hits + misses))
            assert rates["f1"]["value"] == pytest.approx(2 * hits / (2 * hits + alarms + misses))
            checked += 1
    assert checked > 2


def accuracy(row: Row, workshop: Workshop) -> None:
    """Accuracy of each label, No Finding included, beside that of calling all negative."""
    content = metrics(row, workshop)
    point = content["operating_points"][0]
    assert len(point["findings"]) == row.source["labels"]
    for name, finding in point["findings"].items():
        counts, rates = finding["confusion"], finding
        total, right = sum(counts.values()), counts["true_positives"] + counts["true_negatives"]
        if total:
            assert rates["accuracy"]["value"] == pytest.approx(right / total), name
            negatives = counts["true_negatives"] + counts["false_positives"]
            assert rates["all_negative_accuracy"]["value"] == pytest.approx(negatives / total), name


def mean_without_no_finding(row: Row, workshop: Workshop) -> None:
    """No Finding has an AUC, and the mean is that of the others."""
    content = metrics(row, workshop)
    aucs = {name: finding["auc"]["value"] for name, finding in content["findings"].items()}
    assert aucs.pop("No Finding") is not None
    others = [auc for auc in aucs.values() if auc is not None]
    assert content["macro"]["num_findings"] == len(others)
    assert content["macro"]["auc"]["value"] == pytest.approx(np.mean(others))


def radiologists(row: Row, workshop: Workshop) -> None:
    """The report has scores against the radiologists' labels."""
    content = metrics(row, workshop)["radiologists"]
    assert content["num_images"] > 5
    assert "Pneumothorax" in content["findings"]


def predictions(row: Row, workshop: Workshop) -> None:
    """A probability of each finding for each image."""
    lines = [json.loads(line) for line in workshop.show(row).splitlines() if line.startswith("{")]
    assert len(lines) == len(list((workshop.folder / "nih" / "images").iterdir()))
    for line in lines:
        values = [finding["probability"] for finding in line["findings"].values()]
        assert len(values) == row.source["findings"]
        assert all(0 < value < 1 for value in values)
    # Independent outputs, not shares of one.
    assert max(sum(finding["probability"] for finding in line["findings"].values()) for line in lines) > 1


def decisions(row: Row, workshop: Workshop) -> None:
    """Positive at or above the threshold, negative below, undecided without one."""
    lines = [json.loads(line) for line in workshop.show(row).splitlines() if line.startswith("{")]
    findings = [finding for line in lines for finding in line["findings"].values()]
    for finding in findings:
        expected = None if finding["threshold"] is None else finding["probability"] >= finding["threshold"]
        assert finding["positive"] is expected
    assert {finding["positive"] for finding in findings} >= {True, False}


def picture(row: Row, workshop: Workshop) -> None:
    """A picture with colors, which a radiograph does not have."""
    with Image.open(out(row, workshop)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert np.ptp(pixels, axis=2).max() > 30


def sheets(row: Row, workshop: Workshop) -> None:
    """Gray radiographs in a grid; another seed draws others."""
    workshop.show(row)
    pictures = []
    for name in row.writes:
        with Image.open(workshop.folder / name) as image:
            pictures.append(np.asarray(image.convert("L")).astype(int))
    for pixels in pictures:
        assert pixels.size > row.source["images"] * 64**2
        assert len(np.unique(pixels)) > 100
    assert pictures[0].shape != pictures[1].shape or np.abs(pictures[0] - pictures[1]).max() > 50


def test_time(row: Row, workshop: Workshop) -> None:
    """The bundle averages the views that the command names, and is calibrated with them."""
    manifest = load_bundle(out(row, workshop)).manifest
    words = row.run[-1]
    settings = manifest.members[0].test_time
    assert "flip=true" in words
    assert settings.flip
    assert list(settings.scales) == json.loads(re.findall(r"scales=(\S+)", words)[0])
    assert manifest.calibration is not None


def ensemble(row: Row, workshop: Workshop) -> None:
    """Members of different architectures, with weights that validation chose."""
    manifest = load_bundle(out(row, workshop)).manifest
    backbones = {member.model.backbone for member in manifest.members}
    assert len(backbones) == row.source["architectures"]
    assert manifest.calibration is not None
