"""`kill -9` of a study in the middle of a trial: the resumed study ends as one that was never stopped."""

import subprocess
import sys
import time

import pytest

from thorax.training.logbook import read_log
from thorax.tuning.tune import tune

SETTINGS = ("training.epochs=6", "training.checkpoint_minutes=0")
TRIALS = 3
PATIENCE = 300


def outcomes(study):
    return [
        (trial.outcome, trial.value, trial.curve, trial.parameters)
        for trial in study.trials
        if trial.outcome != "interrupted"
    ]


def epochs_of(folder):
    log = folder / "log.jsonl"
    return [event["event"] for event in read_log(log)].count("epoch") if log.is_file() else 0


def kill_in_trial(number, command, study):
    """Start a study and kill it once a trial has finished some of its epochs."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder, deadline = study / "trials" / f"{number:04d}", time.monotonic() + PATIENCE
    while epochs_of(folder) < 2:
        assert process.poll() is None, "the study ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert epochs_of(folder) < 6


@pytest.mark.slow
def test_a_killed_study_ends_as_an_uninterrupted_one(toy, toy_store, space, tmp_path):
    whole = tune(
        toy, toy_store, tmp_path / "whole", space=space, trials=TRIALS, settings=SETTINGS, device="cpu"
    )
    out = tmp_path / "killed"
    command = [
        sys.executable, "-m", "thorax", "tune", toy, "--store", toy_store, "--out", out, "--space", space,
        "--trials", str(TRIALS), "--device", "cpu", "--resume",
        *(word for setting in SETTINGS for word in ("--set", setting)),
    ]  # fmt: skip
    kill_in_trial(1, command, out)
    kill_in_trial(3, command, out)  # the second trial continues as number 2, the third is number 3
    study = tune(
        toy, toy_store, out, space=space, trials=TRIALS, settings=SETTINGS, device="cpu", resume=True
    )
    assert outcomes(study) == outcomes(whole)
    assert study.best.value == whole.best.value
    killed = [trial for trial in study.trials if trial.outcome == "interrupted"]
    assert [trial.number for trial in killed] == [1, 3]
    assert all("killed" in trial.reason for trial in killed)
    assert [trial.continues for trial in study.trials] == [None, None, 1, None, 3]
    weights = "bundle/weights.safetensors"
    ends = [result.trial_folder(result.best.number) / weights for result in (study, whole)]
    assert ends[0].read_bytes() == ends[1].read_bytes()
    recipes = [
        [line for line in result.best_recipe.read_text().splitlines() if not line.startswith("#")]
        for result in (study, whole)
    ]
    assert recipes[0] == recipes[1]
