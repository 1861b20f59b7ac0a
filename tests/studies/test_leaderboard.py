"""A finished study: its leaderboard against a slow twin, and everything else that it shows."""

import csv
import json
import xml.etree.ElementTree as ET
from itertools import product
from statistics import mean, stdev

import pytest

import thorax
from tests.studies.conftest import FINDINGS
from thorax.training.logbook import read_log


def slow_auc(labels, scores):
    pairs = list(product(*([score for label, score in zip(labels, scores, strict=True) if label == wanted]
                           for wanted in ("1", "0"))))  # fmt: skip
    return sum(1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs) / len(pairs)


@pytest.fixture(scope="module")
def twin(finished, source):
    """The mean AUC of each run, from its predictions and the labels alone."""
    with source.open() as file:
        labels = {row["path"]: row for row in csv.DictReader(file)}
    aucs = {}
    for file in sorted((finished.folder / "reports").rglob("predictions.csv")):
        with file.open() as opened:
            rows = list(csv.DictReader(opened))
        assert len(rows) == 60
        values = []
        for finding in FINDINGS:
            known = [row for row in rows if labels[row["Image Index"]][finding]]
            values.append(
                slow_auc(
                    [labels[row["Image Index"]][finding] for row in known],
                    [float(row[finding]) for row in known],
                )
            )
        model, seed = file.parts[-3], file.parts[-2]
        aucs[model, seed] = mean(values)
    return aucs


def test_the_leaderboard_is_what_a_slow_twin_computes(finished, twin):
    assert set(twin) == {(model, f"seed-{seed}") for model in ("fast", "slow") for seed in (0, 1)}
    with (finished.folder / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = sorted(
        ((mean(runs), stdev(runs), model, runs)
         for model in ("fast", "slow")
         for runs in [[twin[model, "seed-0"], twin[model, "seed-1"]]]),
        reverse=True,
    )  # fmt: skip
    assert [row["model"] for row in rows] == [model for _, _, model, _ in expected]
    for rank, (row, (auc, sd, _, runs)) in enumerate(zip(rows, expected, strict=True), start=1):
        assert int(row["rank"]) == rank
        assert float(row["auc"]) == pytest.approx(auc, abs=1e-12)
        assert float(row["sd_over_seeds"]) == pytest.approx(sd, abs=1e-12)
        assert [float(text) for text in row["auc_by_seed"].split()] == pytest.approx(runs, abs=1e-12)
        assert float(row["best_seed_excess"]) == pytest.approx(max(runs) - auc, abs=1e-12)
        assert float(row["auc_low"]) < auc < float(row["auc_high"])
        assert (row["num_findings"], row["num_images"], row["num_patients"]) == ("2", "60", "30")
    assert float(rows[1]["less_reference"]) == pytest.approx(expected[1][0] - expected[0][0], abs=1e-12)
    assert rows[0]["less_reference"] == ""


def test_differences_are_those_of_compare(finished, store):
    """Which predicts the runs again, and compares them as two models of two runs."""
    runs = finished.folder / "runs" / "toy" / "folder-official"
    comparison = thorax.compare([runs / "fast", runs / "slow"], store, resamples=50, device="cpu").comparison
    ours = finished.boards[0].leaderboard.comparison
    assert ours.pairs == comparison.pairs
    assert [(one.aucs, one.mean, one.spread) for one in ours.models] == [
        (one.aucs, one.mean, one.spread) for one in comparison.models
    ]


def test_what_selection_on_the_test_part_would_have_added(finished):
    for entry in finished.boards[0].entries:
        for cell, excess in zip(entry.cells, entry.excesses, strict=True):
            log = read_log(cell.run / "log.jsonl")
            curve = [event["macro_auc"] for event in log if event["event"] == "test-curve"]
            assert len(curve) == 2
            assert excess == pytest.approx(max(curve) - curve[log[-1]["selected_epoch"] - 1])
        honest = entry.standing.macro
        both = max(auc + excess for auc, excess in zip(honest.aucs, entry.excesses, strict=True))
        assert entry.both_excess == pytest.approx(both - honest.mean.value)


def test_each_run_looked_once_and_after_all_were_trained(finished):
    looks = finished.boards[0].looks
    assert (looks.own, looks.test_curve_epochs) == (4, 8)
    cells = [cell for entry in finished.boards[0].entries for cell in entry.cells]
    ends = [read_log(cell.run / "log.jsonl")[-1]["time"] for cell in cells]
    for cell in cells:
        first, *_ = (cell.run / "looks.jsonl").read_text().splitlines()
        assert json.loads(first)["time"] >= max(ends)[:19]
        assert json.loads((cell.report / "metrics.json").read_text())["history"]["looks"] == 1


def test_progress_says_which_run_of_how_many(finished, told):
    names = [cell.name for cell in cells_of(finished)]
    assert told["finished"] == [
        (step, name, number, 4)
        for step in ("train", "evaluate")
        for number, name in enumerate(names, start=1)
    ]
    stages = {now.stage.rpartition(", ")[0] for now in told["progress"]}
    assert stages == {f"run {number} of 4: {name}" for number, name in enumerate(names, start=1)}


def cells_of(finished):
    """The cells in the order in which they are worked on."""
    cells = [cell for entry in finished.boards[0].entries for cell in entry.cells]
    return sorted(cells, key=lambda cell: (cell.model, cell.seed))


def test_runs_and_reports_are_ordinary_ones(finished):
    runs = finished.folder / "runs"
    assert len(thorax.load(runs / "toy" / "folder-official" / "fast" / "seed-0").findings) == 2
    assert not list(runs.rglob("checkpoints"))
    assert "study.json" not in {path.name for path in finished.folder.iterdir()}
    assert thorax.info(finished.folder).kind == "leaderboard"


def test_costs_are_those_of_the_clock(finished):
    for entry in finished.boards[0].entries:
        logs = [read_log(cell.run / "log.jsonl") for cell in entry.cells]
        epochs = sum(event["seconds"] for log in logs for event in log if event["event"] == "epoch")
        assert entry.cost.seconds > epochs > 0
        assert entry.images_per_second > 0


def test_the_page_is_whole_and_loads_nothing(finished):
    text = finished.page.read_text()
    root = ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))
    shown = " ".join("".join(root.itertext()).split())
    for entry in finished.boards[0].entries:
        assert str(entry.standing.macro.mean) in shown
    assert "4 of 4 runs are trained and evaluated" in shown
    links = [link.get("href") for link in root.iter("{http://www.w3.org/1999/xhtml}a")]
    assert len(links) == 8
    assert all((finished.folder / link).is_file() for link in links)
    assert "://" not in text.replace('xmlns="http://www.w3.org/1999/xhtml"', "")


def test_the_result_shows_itself(finished):
    assert repr(finished).endswith("study mine: 4 of 4 runs)")
    frame = finished.to_frame()
    assert list(frame["model"]) == [entry.standing.model for entry in finished.boards[0].entries]
    assert "<table" in finished._repr_html_()
    markdown = (finished.folder / "leaderboard.md").read_text()
    assert "| 1 | " in markdown
    assert "## toy: folder-official, test part, 60 images of 30 patients" in markdown
