"""What the input gate would hold back is in every form of an evaluation, with the same numbers."""

import json
import shutil
from dataclasses import replace

import numpy as np

from thorax.bundle import load_bundle
from thorax.inference.engines import open_predictor
from thorax.reporting.held_back import held_back_headline, held_back_json
from thorax.reporting.model_card import model_card
from thorax.reporting.reading_notes import reading_notes
from thorax.store import open_store
from thorax.workflows.evaluate import evaluate
from thorax.workflows.held_back import held_back_of
from thorax.workflows.predictions import PartSelection, predict_part, select_part


def test_an_evaluation_says_it_in_every_form(study, result, report):
    held_back = json.loads((report / "metrics.json").read_text())["input_gate"]
    assert held_back == held_back_json(result.evaluation)
    assert held_back["num_images"] == result.evaluation.ranking.num_images
    line = held_back_headline(result.evaluation)
    assert line.startswith(f"Input gate: {held_back['num_held_back']} of {held_back['num_images']} images")
    assert f"{line}." in (report / "report.md").read_text()
    assert line.removeprefix("Input gate: ") in (report / "report.html").read_text()
    assert line in list(reading_notes(result.evaluation, result.audit))
    card = model_card(study.run(0), metrics=report / "metrics.json")
    assert line in card


def test_predictions_from_a_file_have_no_gate(study):
    measured = evaluate(study.good, study.labels, resamples=10)
    assert measured.evaluation.held_back is None
    assert held_back_headline(measured.evaluation) == ""
    assert held_back_json(measured.evaluation) is None


def test_blank_images_are_counted_by_name_and_left_out_of_the_second_ranking(study, result, tmp_path):
    folder = shutil.copytree(study.store, tmp_path / "store")
    bundle = load_bundle(study.run(0))
    rows = select_part(bundle, open_store(folder), PartSelection()).rows[[2, 5]]
    shard = np.load(folder / "pixels-00000.npy", mmap_mode="r+")
    shard[rows] = 40
    shard.flush()
    part = select_part(bundle, open_store(folder), PartSelection())
    predicted = predict_part(open_predictor(bundle, device="cpu"), part)
    measured = held_back_of(bundle, part, predicted, resamples=10, seed=0)
    assert measured.reasons["no-contrast"] == 2
    assert {part.cohort.images[2], part.cohort.images[5]} <= set(measured.images)
    assert measured.passing.num_images == len(part.rows) - measured.num_held_back
    line = held_back_headline(replace(result.evaluation, held_back=measured))
    assert "no-contrast 2" in line
    assert "mean AUC without them ." in line
