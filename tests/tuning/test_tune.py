"""Studies of a recipe that trains in a second: what is drawn, kept, resumed and refused."""

import re
import shlex
import sys
import xml.etree.ElementTree as ET
from statistics import median

import pytest
from PIL import Image

from tests.helpers.command import command
from tests.training.conftest import write_toy_source
from tests.tuning.conftest import store_from
from thorax.atomic_io import exclusive_lock
from thorax.bundle import load_bundle
from thorax.errors import DataError, RecipeError, ThoraxError
from thorax.recipe.load import load_recipe, recipe_sha256
from thorax.store import open_store
from thorax.training import TrainingInterrupted, train
from thorax.training.logbook import read_log
from thorax.tuning.journal import _repair
from thorax.tuning.tune import tune

WEIGHTS = "bundle/weights.safetensors"


def plain(study):
    """What two studies must have in common; without times, numbers and what was interrupted."""
    return [
        (trial.outcome, trial.value, trial.curve, trial.parameters, trial.own)
        for trial in study.trials
        if trial.outcome != "interrupted"
    ]


@pytest.fixture(scope="module")
def whole(toy, toy_store, tmp_path_factory):
    """A study of nine trials, from which nothing was kept away."""
    folder = tmp_path_factory.mktemp("whole")
    space = folder / "space.toml"
    space.write_text(
        "[optim]\nlr = { low = 1e-6, high = 1e-1, log = true }\n"
        "[model.head]\ndropout = { low = 0.0, high = 0.5 }\n"
    )
    return tune(toy, toy_store, folder / "study", space=space, trials=9, device="cpu"), space


def test_the_first_trial_has_the_recipes_own_settings(whole, toy):
    study, _ = whole
    own = study.trials[0]
    assert own.own
    assert own.parameters == {"optim.lr": load_recipe(str(toy)).optim.lr, "model.head.dropout": 0.0}
    assert study.own == own
    assert study.gain == study.best.value - own.value


def test_values_are_those_of_the_runs(whole):
    study, _ = whole
    for trial in study.trials:
        log = read_log(study.trial_folder(trial.number) / "log.jsonl")
        epochs = {event["epoch"]: event["macro_auc"] for event in log if event["event"] == "epoch"}
        assert trial.curve == epochs
        if trial.outcome == "finished":
            assert log[-1]["macro_auc"] == trial.value


def test_pruned_trials_are_below_the_median_of_those_before_them(whole):
    study, _ = whole
    pruned = [trial for trial in study.trials if trial.outcome == "pruned"]
    assert pruned
    for trial in study.trials:
        before = [t for t in study.trials[: trial.number] if t.outcome == "finished"]
        for epoch in [epoch for epoch in trial.curve if epoch < 3]:
            best = max(value for step, value in trial.curve.items() if step <= epoch)
            worse = len(before) >= 5 and best < median(t.curve[epoch] for t in before)
            assert worse == (trial.outcome == "pruned" and epoch == max(trial.curve))
    assert all("worse than the median" in trial.reason for trial in pruned)


def test_only_the_best_keeps_its_weights(whole):
    study, _ = whole
    kept = {path.parts[-3] for path in study.folder.glob(f"trials/*/{WEIGHTS}")}
    assert kept == {f"{study.best.number:04d}"}
    assert len(list(study.folder.glob("trials/*/checkpoints"))) == 1
    assert len(list(study.folder.glob("trials/*/log.jsonl"))) == 9


def test_the_best_recipe_trains_to_the_weights_of_the_trial(whole, toy_store, tmp_path):
    study, _ = whole
    folder = study.trial_folder(study.best.number)
    recipe = load_recipe(str(study.best_recipe))
    assert recipe.name == "toy-tuned"
    assert recipe_sha256(recipe) == recipe_sha256(load_recipe(str(folder / "recipe.toml")))
    again = train(recipe, open_store(toy_store), tmp_path / "run", device="cpu")
    assert (again.folder / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    assert load_bundle(again.folder).manifest == load_bundle(folder).manifest
    comments = [line for line in study.best_recipe.read_text().splitlines() if line.startswith("#")]
    provenance = "\n".join(comments)
    assert f"macro-auc on validation: {study.best.value:.6f} (trial {study.best.number})" in provenance
    assert study.space.sha256 in provenance
    assert open_store(toy_store).fingerprint in provenance
    assert f"expected {study.flattery.excess:.6f} from their mean by chance (an estimate" in provenance


def test_the_result_is_a_table_and_shows_itself(whole):
    study, _ = whole
    frame = study.to_frame()
    assert list(frame.columns[:5]) == ["outcome", "value", "epochs", "seconds", "reason"]
    assert frame.loc[study.best.number, "value"] == study.best.value == frame["value"].max()
    assert study.flattery.trials == 9
    assert repr(study).startswith("StudyResult(")
    assert "an estimate" in study._repr_html_()


def test_the_page_is_one_file_with_all_trials(whole):
    study, _ = whole
    page = (study.folder / "study.html").read_text()
    body = ET.fromstring(page.removeprefix("<!DOCTYPE html>"))
    text = re.sub(r"\s+", " ", "".join(body.find("{*}body").itertext()))
    assert f"{study.best.value:.3f}" in text
    assert f"the best of them would be expected {study.flattery.excess:.4f} above their mean" in text
    rows = body.findall(".//{*}section/{*}div/{*}table")[-1].findall("{*}tbody/{*}tr")
    assert [row.find("{*}th").text for row in rows] == [str(number) for number in range(9)]
    assert len(body.findall(".//{*}svg")) == 2
    assert not re.search(r'(?:src|href)="|url\(|@import', page)


@pytest.mark.slow
def test_a_study_that_is_extended_equals_one_of_all_trials(whole, toy, toy_store, tmp_path):
    study, space = whole
    tune(toy, toy_store, tmp_path / "study", space=space, trials=4, device="cpu")
    trials = []
    longer = tune(
        toy, toy_store, tmp_path / "study", space=space, trials=9, device="cpu", resume=True,
        finished=trials.append,
    )  # fmt: skip
    assert plain(longer) == plain(study)
    assert longer.trials[4:] == tuple(trials)
    assert longer.best_recipe.read_bytes() == study.best_recipe.read_bytes()


def test_a_stopped_study_continues_inside_the_trial(whole, toy, toy_store, tmp_path):
    study, space = whole

    def stop(now):
        if now.stage.startswith("trial 3 of 9, epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted, match=r"stopped after 2 of 9 trials.* set `resume`"):
        tune(toy, toy_store, tmp_path / "study", space=space, trials=9, device="cpu", progress=stop)
    resumed = tune(toy, toy_store, tmp_path / "study", space=space, trials=9, device="cpu", resume=True)
    assert plain(resumed) == plain(study)
    assert (resumed.trials[2].outcome, resumed.trials[2].reason) == ("interrupted", "the study was stopped")
    assert resumed.trials[3].continues == 2
    assert not resumed.trial_folder(2).exists()
    log = read_log(resumed.trial_folder(3) / "log.jsonl")
    assert [event["event"] for event in log].count("start") == 1


def test_a_trial_that_fails_is_recorded_and_the_study_continues(toy, toy_store, tmp_path):
    space = tmp_path / "space.toml"
    space.write_text("optim.lr = { choices = [1e-3, 1e30] }\n")
    study = tune(toy, toy_store, tmp_path / "study", space=space, trials=4, device="cpu")
    failed = [trial for trial in study.trials if trial.outcome == "failed"]
    assert failed
    assert study.count("finished") + len(failed) == 4
    assert all("not finite" in trial.reason for trial in failed)
    assert "not finite" in (study.folder / "study.html").read_text()


def test_a_study_in_which_all_fail_says_why(toy, toy_store, tmp_path):
    space = tmp_path / "space.toml"
    space.write_text("optim.lr = { choices = [1e30, 1e31] }\n")
    with pytest.raises(ThoraxError, match=r"none of 2 trials .* finished.*not finite.*Narrow the space"):
        tune(toy, toy_store, tmp_path / "study", space=space, trials=2, device="cpu")
    assert not (tmp_path / "study" / "best.toml").exists()


@pytest.mark.slow
def test_the_test_part_is_not_looked_at(toy, tmp_path, space):
    """A study of a store whose test images and labels are others ends the same."""
    studies = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        labels = write_toy_source(tmp_path / name)
        if name == "other":
            lines = labels.read_text().splitlines()
            flipped = [re.sub(r"(test),\d?,\d", r"\1,1,0", line) for line in lines]
            assert flipped != lines
            labels.write_text("\n".join(flipped) + "\n")
            for number in range(136, 144):
                Image.new("L", (64, 64), number).save(tmp_path / name / f"{number}.png")
        store = store_from(labels, tmp_path / name / "store")
        studies.append(tune(toy, store, tmp_path / name / "study", space=space, trials=2, device="cpu"))
    assert plain(studies[0]) == plain(studies[1])


@pytest.mark.slow
def test_a_study_selected_by_its_loss_compares_by_it(toy, toy_store, tmp_path):
    space = tmp_path / "space.toml"
    space.write_text("optim.lr = { low = 1e-4, high = 1e-2, log = true }\n")
    settings = ["selection.metric=loss", "training.epochs=1"]
    study = tune(toy, toy_store, tmp_path / "s", space=space, trials=3, settings=settings, device="cpu")
    assert study.best.value == study.to_frame()["value"].min()
    assert study.metric == "loss"
    space.write_text('loss.kind = { choices = ["bce", "focal"] }\n')
    with pytest.raises(RecipeError, match=r"selected by the loss itself.*`selection.metric=macro-auc`"):
        tune(toy, toy_store, tmp_path / "t", space=space, settings=settings)


def test_what_may_not_be_resumed_is_refused(whole, toy, toy_store, space):
    study, own_space = whole
    with pytest.raises(DataError, match=r"already holds a study; set `resume`"):
        tune(toy, toy_store, study.folder, space=own_space, trials=9)
    with pytest.raises(DataError, match="cannot be resumed: the search space has changed"):
        tune(toy, toy_store, study.folder, space=space, resume=True)
    with pytest.raises(DataError, match=r"the seed has changed \(0 when it started, now 1\)"):
        tune(toy, toy_store, study.folder, space=own_space, seed=1, resume=True, device="cpu")
    with pytest.raises(DataError, match=r"the recipe .* has changed"):
        tune(toy, toy_store, study.folder, space=own_space, settings=["optim.weight_decay=0.1"], resume=True)


def test_wrong_settings_are_refused_before_anything_is_written(toy, toy_store, tmp_path, space):
    out = tmp_path / "study"
    with pytest.raises(RecipeError, match="`trials` is 0"):
        tune(toy, toy_store, out, space=space, trials=0)
    with pytest.raises(DataError, match="holds images of 32 pixels"):
        tune(toy, toy_store, out, space=space, settings=["store.size=64"])
    assert not out.exists()
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"does not hold a study, but thesis\.txt"):
        tune(toy, toy_store, out, space=space, resume=True)
    with pytest.raises(DataError, match="is a file; give a folder for the study, `out`"):
        tune(toy, toy_store, out / "thesis.txt", space=space)


def test_two_processes_never_tune_in_one_folder(toy, toy_store, tmp_path, space):
    out = tmp_path / "study"
    out.mkdir()
    with (
        exclusive_lock(out, doing="tuning in"),
        pytest.raises(DataError, match="another process is tuning in"),
    ):
        tune(toy, toy_store, out, space=space)


def test_what_a_kill_leaves_in_the_journal_is_repaired(tmp_path):
    journal = tmp_path / "journal.log"
    _repair(journal)
    assert not journal.exists()
    journal.write_bytes(b'{"op_code":0}\n{"op_co')
    (tmp_path / "journal.log.lock").symlink_to(journal)
    _repair(journal)
    assert journal.read_bytes() == b'{"op_code":0}\n'
    assert list(tmp_path.iterdir()) == [journal]


def test_a_journal_of_something_else_is_named(toy, toy_store, tmp_path, space):
    out = tmp_path / "study"
    tune(toy, toy_store, out, space=space, trials=1, device="cpu")
    (out / "journal.log").write_text("not a journal\n\n")
    with pytest.raises(DataError, match=r"journal\.log is not a journal of this version of Optuna"):
        tune(toy, toy_store, out, space=space, trials=2, device="cpu", resume=True)


def test_the_command_prints_each_trial_and_where_the_best_is(toy, toy_store, tmp_path, space):
    done = command(
        "tune", toy, "--store", toy_store, "--out", tmp_path / "study", "--space", space, "--trials", "2",
        "--set", "training.epochs=1", "--no-prune", "--device", "cpu",
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"trial 0 finished 0\.\d{4}", lines[0])
    assert re.match(r"best of 2 trials: macro-auc 0\.\d{3} on validation \(trial [01]\)", lines[2])
    assert f"recipe: {tmp_path / 'study' / 'best.toml'}" in lines
    store = shlex.quote(str(toy_store))
    best = tmp_path / "study" / "best.toml"
    assert lines[-1] == f"next: thorax train {best} --store {store} --out {tmp_path / 'study-best'}"
    assert not list((tmp_path / "study" / "trials").glob("*/report.html"))


def test_without_optuna_the_extra_is_named(toy, toy_store, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("thorax.tuning.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = command("tune", toy, "--store", toy_store, "--out", tmp_path / "study", expect=7)
    assert (
        "thorax tune needs optuna, which is not installed; install it with pip install '.[tune]'"
        in done.stderr
    )
