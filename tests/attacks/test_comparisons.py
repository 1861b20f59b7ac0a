"""Attacks on comparisons: the best of several seeds, and models measured on other images than one another."""

import csv
import math
import shutil
import statistics

import pytest

from tests.helpers.study import make_study
from thorax.errors import DataError, LeakError
from thorax.workflows.compare import compare


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


def test_attack_33_the_best_of_several_seeds_is_compared_as_one_of_them(study, tmp_path):
    """A folder of runs is one model: its mean is compared, with an interval that holds the seeds."""
    settings = {"split": "folder-official", "resamples": 50, "device": "cpu"}
    recipe = study.run(0).parent
    together = compare([study.poor, recipe], study.store, **settings)
    alone = compare([study.poor, study.run(0), study.run(1)], study.store, baseline=study.poor, **settings)
    assert [model.model for model in together.comparison.models] == ["poor.csv", recipe.name]
    runs = together.comparison.models[1]
    assert runs.runs == (f"{recipe.name}/seed-0", f"{recipe.name}/seed-1")
    (pair,), singles = together.comparison.pairs, alone.comparison.pairs
    aucs = [single.macro.model_auc for single in singles]
    assert runs.aucs == pytest.approx(aucs)
    assert pair.macro.model_auc == pytest.approx(statistics.mean(aucs)) != pytest.approx(max(aucs))
    assert runs.spread == pytest.approx(statistics.stdev(aucs))
    # One network at a time, two differences are shown, and p is adjusted for both.
    assert "all 2 pairs" in alone.comparison.correction
    for single in singles:
        assert single.macro.p_adjusted >= single.macro.p
    written = together.write(tmp_path / "out")
    for text in (written.html.read_text(), written.markdown.read_text()):
        assert "Training runs" in text
        assert f"{runs.spread:.4f}" in text


def test_attack_33_runs_that_are_not_seeds_of_one_recipe_are_not_averaged(study, tmp_path):
    copied = tmp_path / "runs" / "seed-0"
    shutil.copytree(study.run(0), copied)
    settings = {"split": "folder-official", "resamples": 20, "device": "cpu"}
    with pytest.raises(DataError, match=r"have the seeds 0, 0; give runs with different seeds"):
        compare([study.poor, [study.run(0), copied]], study.store, **settings)
    recipe = study.run(1) / "recipe.toml"
    other = tmp_path / "runs" / "seed-1"
    shutil.copytree(study.run(1), other)
    text = recipe.read_text()
    changed = text.replace("\nepochs = 2", "\nepochs = 3")
    assert changed != text
    (other / "recipe.toml").write_text(changed)
    with pytest.raises(DataError, match=r"differ in more than their seed \(recipes .*one recipe"):
        compare([study.poor, tmp_path / "runs"], study.store, **settings)


def test_attack_33_runs_as_csvs_are_averaged_with_a_warning(study, tmp_path):
    second = tmp_path / "again.csv"
    with study.good.open(newline="") as file:
        rows = list(csv.reader(file))
    second.write_text("\n".join(",".join([row[0], *reversed(row[1:])]) for row in rows) + "\n")
    result = compare([study.poor, [study.good, second]], study.labels, resamples=20)
    name = "good.csv and 1 more"
    assert [model.model for model in result.comparison.models] == ["poor.csv", name]
    assert any("differ in more than their seed" in text for text in
               result.contexts[f"{name}/again.csv"].warnings)  # fmt: skip


def test_attack_36_models_are_compared_on_images_that_none_of_them_saw(study, tmp_path):
    settings = {"resamples": 20, "device": "cpu"}
    with pytest.raises(LeakError, match="patients were seen"):
        compare([study.run(0), study.run(1)], study.store, part="train", **settings)
    with pytest.raises(LeakError, match="patients were seen"):
        compare([study.run(0), study.good], study.store, split="folder-official", part="val", **settings)
    on_split = compare([study.run(0), study.good], study.store, **settings)  # that of the run, for both
    assert {context.split for context in on_split.contexts.values()} == {"folder-official"}
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(study.poor.read_text().splitlines()[:-5]) + "\n")
    with pytest.raises(DataError, match="have not predicted the same images"):
        compare([study.good, fewer], study.labels, resamples=20)


def test_attack_36_without_an_interval_there_is_no_p_value(study):
    """p < .001 from findings of one patient, or between two perfect models, is not possible."""
    result = compare([study.good, study.poor], study.labels, resamples=200)
    for finding in result.comparison.pairs[0].findings:
        difference = finding.auc
        assert math.isnan(difference.p) == math.isnan(difference.difference.low)
        if not math.isnan(difference.p):
            excludes = difference.difference.low > 0 or difference.difference.high < 0
            assert excludes == (difference.p < 0.05)
