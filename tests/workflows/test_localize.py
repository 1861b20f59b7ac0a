"""A bundle's maps beside the boxes of a store."""

import json
from dataclasses import replace

import pytest

from thorax.bundle import hashed_patients, load_bundle
from thorax.errors import DataError, LeakError, RecipeError
from thorax.store import open_store
from thorax.workflows.localize import localize


def boxed_frame(study):
    """The rows of the test part with a box of a finding that the runs know."""
    frame = open_store(study.store).table.frame
    findings = load_bundle(study.run(0)).findings
    known = frame["boxes"].map(lambda boxes: any(box.finding in findings for box in boxes))
    return frame[known & (frame["official"] == "test")]


def test_maps_are_measured_and_written(study, tmp_path):
    calls = []
    result = localize(
        str(study.run(0)), study.store, methods=["eigen-cam", "cam"], resamples=20, device="cpu",
        progress=calls.append,
    )  # fmt: skip
    assert [scores.name for scores in result.localization.methods] == ["cam", "eigen-cam"]
    assert result.context.where == "folder-official, test part"
    assert "hardly tell methods apart" in result.context.warnings[0]
    frame = boxed_frame(study)
    pairs = {(row, box.finding) for row, boxes in frame["boxes"].items() for box in boxes}
    numbers, table = result.write(tmp_path / "out")
    read = json.loads(numbers.read_text())
    assert read["num_boxes"] + read["num_fitting_boxes"] == len(pairs)
    assert list(read["methods"]) == ["cam", "eigen-cam"]
    assert read["faithfulness"] == {}
    assert "mean-box" in table.read_text()
    assert [(call.stage, call.done) for call in calls if call.done == call.total] == [
        ("explaining", len(frame))
    ]
    with pytest.raises(DataError, match=r"out is not empty; .* `overwrite`"):
        result.write(tmp_path / "out")
    assert result.write(tmp_path / "out", overwrite=True) == (numbers, table)
    # The copy of the bundle says what was measured, and a later measurement replaces it by method.
    kept = load_bundle(result.save(tmp_path / "measured").bundle.folder).manifest
    assert [rates.method for rates in kept.hit_rates] == ["cam", "eigen-cam"]
    for rates, scores in zip(kept.hit_rates, result.localization.methods, strict=True):
        assert {name: rate.value for name, rate in rates.findings.items()} == {
            finding.name: one.pointing.value for finding, one in scores.by_finding.items()
        }
        assert rates.pooled.boxes == result.localization.num_pairs
        assert rates.measured_on.part == "test"
    again = localize(tmp_path / "measured", study.store, methods=["cam"], resamples=20, device="cpu")
    replaced = load_bundle(again.save(tmp_path / "again").bundle.folder).manifest
    assert [rates.method for rates in replaced.hit_rates] == ["eigen-cam", "cam"]
    with pytest.raises(DataError, match="is a source of the new bundle"):
        again.save(tmp_path / "measured", overwrite=True)


def test_maps_are_measured_on_one_view(study):
    result = localize(study.run(0), study.store, methods=["cam"], view="AP", resamples=20, device="cpu")
    frame = boxed_frame(study)
    ap = frame[frame["view"] == "AP"]
    assert 0 < len(ap) < len(frame)
    pairs = {(row, box.finding) for row, boxes in ap["boxes"].items() for box in boxes}
    assert result.localization.num_pairs + result.localization.num_fitting == len(pairs)
    assert "Only images of view AP." in result.context.warnings


def test_what_cannot_be_measured_is_refused(study):
    first = load_bundle(study.run(0))
    with pytest.raises(DataError, match="no part 'x'"):
        localize(first, study.store, part="x", device="cpu")
    with pytest.raises(
        RecipeError, match=r"no method 'gradcam' for maps .*grad-cam.*; choose from .* grad-cam\+\+"
    ):
        localize(first, study.store, methods=["gradcam"], device="cpu")
    patient = boxed_frame(study)["patient"].iloc[0]
    more = frozenset(hashed_patients("nih-layout", [patient]).values())
    saw = replace(first, patients={**first.patients, "train": first.patients["train"] | more})
    with pytest.raises(LeakError, match=r"1 of these .* patients were seen"):
        localize(saw, study.store, device="cpu")
