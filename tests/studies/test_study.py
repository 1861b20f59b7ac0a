"""Studies that are resumed, extended, refused, failing, or spread over devices."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.command import command
from tests.studies.conftest import MINE
from thorax.errors import DataError, RecipeError
from thorax.studies.definition import definition_as_toml, load_study, parse_study, shipped_studies
from thorax.studies.energy import EnergyCounter
from thorax.studies.study import study
from thorax.training.logbook import read_log

PATIENCE = 240


def boards(folder):
    """What a leaderboard says, without time and without how often it was looked at."""
    value = json.loads((folder / "leaderboard.json").read_text())
    for board in value["boards"]:
        del board["looks"]
        for model in board["models"]:
            del model["cost"]
    return value["boards"]


def command_of(recipes, store, out, *further):
    return [
        sys.executable, "-m", "thorax", "study", str(recipes / "mine.toml"), "--store", str(store),
        "--out", str(out), "--device", "cpu", *further,
    ]  # fmt: skip


def wait_for(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "the study ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def epochs_of(folder):
    log = folder / "log.jsonl"
    return [event["event"] for event in read_log(log)].count("epoch") if log.is_file() else 0


@pytest.mark.slow
def test_a_killed_study_ends_as_an_uninterrupted_one(recipes, store, finished, tmp_path):
    out = tmp_path / "killed"
    runs, reports = (out / name / "toy" / "folder-official" for name in ("runs", "reports"))
    moments = (
        lambda: epochs_of(runs / "fast" / "seed-1") == 1,
        (runs / "slow" / "seed-0" / "bundle").exists,
        (reports / "fast" / "seed-0").exists,
        (reports / "slow").exists,
    )
    for moment in moments:
        process = subprocess.Popen(command_of(recipes, store, out), stdout=subprocess.DEVNULL)
        wait_for(moment, process)
        process.kill()
        process.wait()
        assert not (out / "leaderboard.json").exists()
    done = subprocess.run(command_of(recipes, store, out), capture_output=True, text=True, check=True)
    assert "4 of 4 runs" in done.stdout
    assert boards(out) == boards(finished.folder)


@pytest.mark.slow
def test_two_devices_give_the_same_leaderboard_and_ctrl_c_loses_nothing(recipes, store, finished, tmp_path):
    out = tmp_path / "two"
    words = command_of(recipes, store, out, "--device", "cpu")
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    runs = out / "runs" / "toy" / "folder-official" / "fast"
    wait_for(lambda: all(epochs_of(runs / f"seed-{seed}") >= 1 for seed in (0, 1)), process)
    workers = workers_of(process.pid)
    assert len(workers) == 2
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "the same command continues" in said
    assert not any(is_alive(worker) for worker in workers)
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "4 of 4 runs" in done.stdout
    assert boards(out) == boards(finished.folder)


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_run_and_the_workers_of_a_dead_study_end(recipes, store, tmp_path):
    out, alone = tmp_path / "dying", MINE.replace(', "slow.toml"', "")
    (recipes / "alone.toml").write_text(alone)
    words = command_of(recipes, store, out, "--device", "cpu")
    words[4] = str(recipes / "alone.toml")
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    first = out / "runs" / "toy" / "folder-official" / "fast" / "seed-0"
    wait_for(lambda: epochs_of(first) >= 1, process)
    doomed = next(pid for pid in workers_of(process.pid) if holds(pid, first))
    os.kill(doomed, signal.SIGKILL)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4
    assert "fast/seed-0 failed: the worker process was killed by signal 9" in said
    value = json.loads((out / "leaderboard.json").read_text())
    assert [one["run"] for one in value["failed"]] == ["toy/folder-official/fast/seed-0"]
    (model,) = value["boards"][0]["models"]
    assert (model["model"], model["missing_seeds"]) == ("fast", [0])
    (recipes / "again.toml").write_text(alone.replace("[0, 1]", "[0, 1, 2, 3]"))
    words[4] = str(recipes / "again.toml")
    extended = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    later = [out / "runs" / "toy" / "folder-official" / "fast" / f"seed-{seed}" for seed in (2, 3)]
    wait_for(lambda: any(epochs_of(run) >= 1 for run in later), extended)
    workers = workers_of(extended.pid)
    extended.kill()
    extended.wait()
    deadline = time.monotonic() + 30
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


PROCESSES = Path("/proc")


def workers_of(pid):
    """The processes of `thorax.studies.worker` that a process has started."""
    workers = []
    for folder in PROCESSES.iterdir():
        if folder.name.isdecimal() and parent_of(folder) == pid:
            words = (folder / "cmdline").read_text().split("\0")
            workers += [int(folder.name)] if "thorax.studies.worker" in words else []
    return workers


def parent_of(folder):
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def is_alive(pid):
    try:
        return (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def holds(pid, run):
    """Whether a process has a file of a run open."""
    links = [link.readlink() for link in (PROCESSES / str(pid) / "fd").iterdir() if link.is_symlink()]
    return any(str(link).startswith(str(run)) for link in links)


def test_one_failing_run_does_not_stop_the_others(recipes, store, tmp_path):
    bad = (recipes / "fast.toml").read_text().replace('name = "fast"', 'name = "bad"')
    (recipes / "bad.toml").write_text(bad.replace('backbone = "resnet10t"', 'backbone = "resnet1t"'))
    text = MINE.replace('"slow.toml"', '"bad.toml"').replace("[0, 1]", "[0]").replace("test_curve", "# ")
    (recipes / "failing.toml").write_text(text)
    out = tmp_path / "out"
    done = command(
        "study", recipes / "failing.toml", "--store", store, "--out", out, "--device", "cpu", expect=4
    )
    assert "bad/seed-0 failed: RecipeError: " in done.stderr
    assert "study mine: 1 of 2 runs, 1 failed" in done.stdout
    value = json.loads((out / "leaderboard.json").read_text())
    assert [model["model"] for model in value["boards"][0]["models"]] == ["fast"]
    assert value["boards"][0]["pairs"] == []
    assert value["failed"][0]["step"] == "train"
    assert "bad/seed-0 failed (train): RecipeError" in (out / "report.html").read_text()
    assert "only one seed was trained" in (out / "leaderboard.md").read_text()
    # The same command tries it again, and does nothing else: neither trains nor looks again.
    again = command(
        "study", recipes / "failing.toml", "--store", store, "--out", out, "--device", "cpu", expect=4
    )
    assert ": trained " not in again.stdout
    assert ": evaluated " not in again.stdout
    # Not necessarily once: other tests train the same model, whose looks this machine has noted.
    (looks,) = [line for line in done.stdout.splitlines() if "looked at the test part" in line]
    assert looks in again.stdout.splitlines()


def test_a_study_is_extended_but_nothing_is_taken_away(recipes, store, finished, tmp_path):
    (recipes / "fewer.toml").write_text(MINE.replace("[0, 1]", "[1]"))
    with pytest.raises(DataError, match="seed 0 is no longer part of it; a study may be extended"):
        study(recipes / "fewer.toml", finished.folder, stores=store, devices=["cpu"])
    (recipes / "changed.toml").write_text(f"{MINE}\n[settings]\noptim.lr = 0.5\n")
    with pytest.raises(DataError, match="the settings of fast have changed"):
        study(recipes / "changed.toml", finished.folder, stores=store, devices=["cpu"])
    (recipes / "variant.toml").write_text(f"{MINE}\n[variants.flips]\naugment.flip = 0.5\n")
    with pytest.raises(DataError, match="model fast is no longer part of it"):
        study(recipes / "variant.toml", finished.folder, stores=store, devices=["cpu"])


VALID = 'name = "x"\nsummary = "x"\nrecipes = ["small-cpu"]\nseeds = [0]\ndata.a.splits = ["nih-official"]\n'

WRONG = (
    (VALID.replace("[0]", "[]"), "seeds: "),
    (VALID.replace("[0]", "[1, 1]"), "seeds lists 1 twice"),
    (VALID.replace("seeds", "seed"), "no entry seed; did you mean seeds"),
    (VALID + "data.a.phantoms = 30\ndata.a.stores = ['b']", "phantoms and stores do not go together"),
    (VALID + "settings.data.split = 'x'", "settings has data.split, and the study gives every run its split"),
    (VALID + "[settings_of.chexnet]\noptim.lr = 1.0", "settings_of has chexnet, which is not one"),
    (VALID + "=", "is not TOML"),
)


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_study_is_refused(text, message):
    with pytest.raises(RecipeError, match=message):
        parse_study(text, where="mine.toml", folder=None)


REFUSED = (
    ({"recipes = [": 'recipes = ["chexnot", '}, RecipeError, "no recipe 'chexnot'; did you mean chexnet"),
    ({"[data.toy]": "settings.optim.lrr = 1\n[data.toy]"}, RecipeError, "no setting optim.lrr"),
    ({"folder-official": "folder-oficial"}, DataError, "there is no split 'folder-oficial'"),
    ({"recipes = [": 'recipes = ["small-cpu", '}, DataError, "images of 32 pixels .* needs 112"),
    ({"resamples": 'baseline = "medium"\nresamples'}, RecipeError, "its models are fast, slow"),
    (
        {'"fast.toml", ': '"fast.toml", "./fast.toml", '},
        RecipeError,
        "two recipes of study mine are called fast",
    ),
)


@pytest.mark.parametrize(("changes", "kind", "message"), REFUSED)
def test_mistakes_are_found_before_anything_is_written(recipes, store, tmp_path, changes, kind, message):
    text = MINE
    for old, new in changes.items():
        text = text.replace(old, new)
    for name in ("fast", "slow"):
        (tmp_path / f"{name}.toml").write_bytes((recipes / f"{name}.toml").read_bytes())
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(kind, match=message):
        study(tmp_path / "wrong.toml", tmp_path / "out", stores=store, devices=["cpu"])
    assert not (tmp_path / "out").exists()


def test_stores_devices_and_folders_are_checked(recipes, store, tmp_path):
    mine, out = recipes / "mine.toml", tmp_path / "out"
    with pytest.raises(DataError, match="data set toy of study mine has no store"):
        study(mine, out)
    with pytest.raises(DataError, match="there is no store nowhere"):
        study(mine, out, stores="nowhere")
    with pytest.raises(DataError, match="take stores are: toy"):
        study(mine, out, stores={"tooy": store})
    with pytest.raises(RecipeError, match="does not have the device 'gpu'"):
        study(mine, out, stores=store, devices=["cpu", "gpu"])
    with pytest.raises(RecipeError, match="there is no study 'smal'; did you mean small"):
        study("smal", out)
    out.mkdir()
    (out / "x").write_text("")
    with pytest.raises(DataError, match="is not empty and does not hold a study, but x"):
        study(mine, out, stores=store)


def test_the_shipped_studies_are_whole():
    listed = json.loads(command("study", "--list", "--json").stdout)
    assert [one["name"] for one in listed] == sorted(shipped_studies()) == ["field", "small"]
    field = load_study("field")
    assert (len(field.models()), field.seeds, list(field.data)) == (10, (0, 1, 2, 3, 4), ["nih"])
    assert set(load_study("small").models()) == {"small-cpu", "chestxpert", "dannynet"}
    for name in shipped_studies():
        again = parse_study(definition_as_toml(load_study(name)), where=name, folder=None)
        assert again == load_study(name)
    assert command("study", "field", "--show").stdout == shipped_studies()["field"]
    assert "All recipes on NIH's official split" in command("study", "--list").stdout


def test_variants_are_crossed_and_later_settings_win():
    text = """
name = "x"
summary = "x"
recipes = ["small-cpu"]
seeds = [0]
data.a.splits = ["nih-official"]
[settings]
optim.lr = 0.1
training.epochs = 9
[settings_of.small-cpu]
optim.lr = 0.2
model.arguments = { channels = [8, 8, 8, 8] }
[variants.one]
optim.lr = 0.3
[variants.two]
augment = { flip = 0.25, rotate = 3.0 }
"""
    models = parse_study(text, where="x", folder=None).models()
    assert {name: recipe.optim.lr for name, recipe in models.items()} == {
        "small-cpu+one": 0.3,
        "small-cpu+two": 0.2,
    }
    assert models["small-cpu+two"].augment.flip == 0.25
    assert {recipe.training.epochs for recipe in models.values()} == {9}
    assert models["small-cpu+one"].model.arguments == {"channels": (8, 8, 8, 8)}


def test_energy_is_read_where_there_is_a_counter(tmp_path):
    assert EnergyCounter("cpu", rapl=tmp_path).joules() is None
    packages = [tmp_path / f"intel-rapl:{number}" for number in (0, 1)]
    for package in packages:
        package.mkdir()
        (package / "energy_uj").write_text("1000000\n")
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of the first
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("7\n")
    counter = EnergyCounter("cpu", rapl=tmp_path)
    (packages[1] / "energy_uj").write_text("3500000\n")
    assert counter.joules() == 2.5
    assert counter.joules() == 0
    (packages[1] / "energy_uj").write_text("0\n")  # began again
    assert counter.joules() is None
    assert counter.joules() == 0
