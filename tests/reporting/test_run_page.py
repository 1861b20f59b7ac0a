"""The page and the curves of a training run, from its log."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.helpers.html import tags_of, text_of
from thorax.recipe.load import load_recipe
from thorax.reporting.epoch_curves import run_curves_svg
from thorax.reporting.figures import svg_file
from thorax.reporting.run_log import RunLog, read_log
from thorax.reporting.run_page import RunState, render_run

FINDINGS = ("Effusion", "Pleural_Thickening", "Hernia")
RECIPE = load_recipe("small-cpu", ["training.epochs=12", "optim.lr=1e-3"])


def log_of(aucs, *, ended=False):
    """The log of a run with these mean AUCs; Effusion is .1 better, pleural thickening .1 worse."""
    start = {
        "event": "start", "time": "2026-11-29T17:00:00.000+00:00", "recipe": "small-cpu", "val_loss": "bce",
        "split": "nih-official", "train_images": 1382, "train_patients": 1106, "val_images": 124,
        "val_patients": 108, "test_images": 138, "epochs": 12, "steps_per_epoch": 2, "batch_size": 32,
        "metric": "macro-auc", "checkpoint": "last", "findings": list(FINDINGS), "device": "cpu",
        "threads": 2, "precision": "float32", "notices": ["<b>Hernia</b>: no positive"],
        "train_positives": dict.fromkeys(FINDINGS, 1000), "val_positives": dict.fromkeys(FINDINGS, 7),
        "store_fingerprint": "f" * 64, "torch": "2.13.0", "thorax": "0.1.0",
    }  # fmt: skip
    events = [start]
    for epoch, auc in enumerate(aucs, 1):
        time = f"2026-11-29T17:0{epoch}:00.000+00:00"
        events += [
            {"event": "steps", "time": time, "step": step, "lr": 1e-3 / step, "loss": 0.5}
            for step in (2 * epoch - 1, 2 * epoch)
        ]
        by_finding = {"Effusion": auc and auc + 0.1, "Pleural_Thickening": auc and auc - 0.1, "Hernia": None}
        events.append(
            {
                "event": "epoch",
                "time": time,
                "epoch": epoch,
                "epochs": 12,
                "train_loss": 1 / epoch,
                "val_loss": 1.5 / epoch,
                "macro_auc": auc,
                "auc": by_finding,
                "lr": 1e-3 / (2 * epoch),
                "best_epoch": 1,
                "best": 0.6,
                "seconds": 40.0,
                "images_per_second": 812.4,
            }
        )
    if ended:
        end = {"event": "end", "time": "2026-11-29T17:09:00.000+00:00", "selected_epoch": len(aucs)}
        events.append(end | {"stopped_early": False, "macro_auc": aucs[-1]})
    return RunLog(events)


def page_of(log, state="running", reason="", recipe=RECIPE):
    html = render_run(log, recipe, RunState(state, reason), folder=Path("my run"), store=Path("store"))
    return html, " ".join(" ".join(text_of(html)).split())


def points_of(svg, number):
    """The points of the curve with this number, as pairs of coordinates."""
    paths = re.findall(r'<path class="curve(?: other)?" d="M([^"]+)"', svg)
    return [tuple(map(float, point.split())) for point in paths[number].split("L")]


def test_the_curves_are_those_of_the_log():
    svg = run_curves_svg(log_of([0.6, 0.7, 0.65]), chosen=3)
    training, validation, auc, rate, effusion, thickening = (points_of(svg, number) for number in range(6))
    assert [len(points) for points in (training, validation, auc, rate)] == [3, 3, 3, 6]
    # Losses of 1/epoch and 1.5/epoch on an axis from 0 to 1.5; AUCs on one from 0.6 to 0.7.
    assert [round((152 - 26) * value / 1.5, 1) for value in (1, 1 / 2, 1 / 3)] == [
        round(152 - down, 1) for _, down in training
    ]
    assert [down for _, down in auc] == [152, 26, 89]
    assert [across for across, _ in auc] == [across for across, _ in training] == [128, 210, 292]
    assert [across for across, _ in rate] == [87, 128, 169, 210, 251, 292]
    # All findings share one axis, and lie as far apart as their AUCs.
    assert all(
        lower - upper == pytest.approx(thickening[0][1] - effusion[0][1], abs=0.11)
        for (_, upper), (_, lower) in zip(effusion, thickening, strict=True)
    )
    texts = text_of(svg)
    assert texts.count("n/a") == 2  # Hernia's value and figure
    assert {"Loss", "training", "validation", "Learning rate", "Pleural Thickening", "0.750"} <= set(texts)
    assert tags_of(svg_file(svg)) >= {"svg", "style", "rect", "path", "text"}


def test_one_epoch_is_a_dot_and_none_is_no_picture():
    svg = run_curves_svg(log_of([0.6]), chosen=1)
    assert len(re.findall(r'<circle class="dot', svg)) == 3 + 2  # two losses, the mean, two findings
    assert run_curves_svg(log_of([]), chosen=0) == ""
    assert "n/a" in text_of(run_curves_svg(log_of([None, None]), chosen=2))


def test_equal_and_tiny_values_have_an_axis():
    flat = RunLog([event | {"train_loss": 2e-7, "val_loss": 2e-7} for event in log_of([0.5, 0.5]).events])
    svg = run_curves_svg(flat, chosen=2)
    assert "nan" not in svg
    assert {down for _, down in points_of(svg, 0)} == {89}
    assert "2e-7" in text_of(svg)


def test_ten_thousand_steps_stay_a_small_picture():
    log = log_of([0.6] * 3)
    steps = [{"event": "steps", "step": step, "lr": 1e-3} for step in range(1, 10_000)]
    assert len(run_curves_svg(RunLog([*log.events, *steps]), chosen=1)) < 20_000


def test_a_running_run_says_how_far_it_is_and_reads_itself_again():
    html, text = page_of(log_of([0.6, 0.7]))
    ET.fromstring(html.partition("\n")[2])  # well-formed XML
    assert "2 epochs of 12 are done, and training goes on. Last written 2026-11-29 17:02:00 UTC." in text
    assert '<meta http-equiv="refresh" content="40"/>' in html
    assert "0.700 mean AUC on validation" in text
    assert "This AUC is not a result. " in text
    assert "thorax train --resume --store store --out 'my run'" in text
    assert "Weights kept so far epoch 2, the last one" in text
    assert "Time in epochs 0:01:20" in text
    assert "1,382 images of 1,106 patients" in text
    assert "Test 138 images, not looked at" in text
    assert "optim.lr 0.002 0.001" in text  # shipped, and of this run
    assert "<b>Hernia</b>: no positive" in text  # escaped
    assert "epochs = 12" in text
    assert "f" * 64 in text
    assert "default-src 'none'; style-src 'unsafe-inline'" in html
    assert not re.search(r"<(script|img|link)|https?://(?!www\.w3\.org/)", html)


def test_the_end_and_what_comes_before_it_are_told_apart():
    html, text = page_of(log_of([0.6, 0.7], ended=True), "finished")
    assert "Finished after 2 epochs of 12." in text
    assert "refresh" not in html
    assert "Next: thorax evaluate 'my run' --store store --out 'my run-report'" in text
    _, text = page_of(log_of([0.6]), "stopped")
    assert "Stopped after 1 epoch of 12; it can be continued." in text
    _, text = page_of(log_of([0.6]), "failed", "the loss is not finite & so on")
    assert "Failed after 1 epoch of 12." in text
    assert "the loss is not finite & so on" in text
    html, text = page_of(log_of([]))
    assert "No epochs of 12 are done, and training goes on." in text
    assert "No epoch has ended yet." in text
    assert "n/a mean AUC on validation" in text
    assert "svg" not in tags_of(html)


def test_a_choice_by_validation_is_the_reason_named():
    chosen = load_recipe("small-cpu", ["selection.checkpoint=best", "early_stopping.patience=2"])
    _, text = page_of(log_of([0.6]), recipe=chosen)
    assert "chose the epoch and when to stop, so the best of several values is shown" in text
    _, text = page_of(log_of([0.6]))
    assert "chose the epoch" not in text


def test_a_log_of_an_earlier_version_has_a_page():
    run = Path(__file__).parents[1] / "data" / "golden" / "run"

    log = RunLog(read_log(run / "log.jsonl"))
    html = render_run(
        log, load_recipe(str(run / "recipe.toml")), RunState("finished"), folder=run, store=Path("store")
    )
    assert f"Finished after {len(log.epochs)} epochs" in " ".join(text_of(html))
