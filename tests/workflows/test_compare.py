"""Models beside one another on the same images."""

import json
import math

import pytest

from thorax.bundle import load_bundle
from thorax.errors import DataError, LeakError
from thorax.workflows.compare import compare


def test_files_of_predictions_are_compared(study, tmp_path):
    result = compare([str(study.good), study.poor], labels=study.labels, resamples=200)
    assert list(result.contexts) == ["good.csv", "poor.csv"]
    assert {context.where for context in result.contexts.values()} == {"split not stated"}
    written = result.write(tmp_path / "out")
    (pair,) = json.loads(written.json.read_text())["pairs"]
    assert (pair["baseline"], pair["model"]) == ("good.csv", "poor.csv")
    effusion = pair["findings"]["Effusion"]
    assert effusion["baseline_auc"] == 1.0
    assert effusion["difference"]["value"] == pytest.approx(effusion["model_auc"] - 1.0)
    assert effusion["p_adjusted"] >= effusion["p"]
    assert "| Mean of 3 |" in written.markdown.read_text()
    with pytest.raises(DataError, match=r"out is not empty; .* `overwrite`"):
        result.write(tmp_path / "out")
    assert result.write(tmp_path / "out", overwrite=True) == written


def test_bundles_and_files_are_compared_on_the_same_part(study):
    first, calls = load_bundle(study.run(0)), []
    result = compare(
        [first, study.run(1), study.poor], store=study.store, split="folder-official", baseline=first,
        resamples=50, device="cpu", progress=calls.append,
    )  # fmt: skip
    pairs = result.comparison.pairs
    assert [(pair.baseline, pair.model) for pair in pairs] == [("seed-0", "seed-1"), ("seed-0", "poor.csv")]
    assert {context.split for context in result.contexts.values()} == {"folder-official"}
    by_finding = {figures.finding.name: figures for figures in pairs[1].findings}
    interval = by_finding["Effusion"].auc.difference
    assert interval.low < interval.value < interval.high
    assert math.isnan(by_finding["Edema"].auc.difference.value)  # the file does not have it
    ends = [call.stage for call in calls if call.done == call.total]
    assert ends == ["predicting seed-0", "predicting seed-1"]


def test_models_of_other_images_are_not_compared(study, tmp_path):
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(study.poor.read_text().splitlines()[:-5]) + "\n")
    with pytest.raises(DataError, match=r"^model fewer\.csv was not evaluated on the images of the compar"):
        compare([study.good, fewer], labels=study.labels)
    with pytest.raises(DataError, match=r"would be measured on different parts .* name one with `split`"):
        compare([study.run(0), study.good], store=study.store, device="cpu")
    with pytest.raises(LeakError, match="patients were seen"):
        compare([study.run(0), study.good], store=study.store, part="val", device="cpu")


@pytest.mark.parametrize(
    ("models", "settings", "message"),
    [
        (["GOOD"], {"labels": "LABELS"}, "1 models are given; give at least two"),
        (["GOOD", "GOOD"], {"labels": "LABELS"}, "2 models are given; give at least two, each once"),
        (["GOOD", "nowhere.csv"], {"labels": "LABELS"}, r"there is no nowhere\.csv"),
        (["GOOD", "POOR"], {}, "neither is given"),
        (["GOOD", "RUN"], {"labels": "LABELS"}, "needs the images of a store; give it as `store`"),
        (["GOOD", "POOR"], {"labels": "LABELS", "baseline": "RUN"}, "is not one of the models"),
    ],
)
def test_what_cannot_be_compared_is_refused(study, models, settings, message):
    places = {"GOOD": study.good, "POOR": study.poor, "LABELS": study.labels, "RUN": study.run(0)}
    given = {name: places.get(value, value) for name, value in settings.items()}
    with pytest.raises(DataError, match=message):
        compare([places.get(model, model) for model in models], **given)


def test_models_of_one_name_are_called_by_their_paths(study, tmp_path):
    other = tmp_path / "good.csv"
    other.write_bytes(study.poor.read_bytes())
    result = compare([study.good, other, study.poor], labels=study.labels, resamples=20)
    assert list(result.contexts) == [str(study.good), str(other), "poor.csv"]
