"""The list of training runs: what each is, and how far it is."""

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.command import command
from thorax.atomic_io import exclusive_lock
from thorax.errors import DataError
from thorax.workflows.runs import list_runs

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "run"


@pytest.fixture
def folder(tmp_path):
    """Runs in several states, and what is none."""
    for name in ("a/finished", "a/early", "b/unfinished", "b/broken", "c/d/new"):
        (tmp_path / name).mkdir(parents=True)
        shutil.copy(GOLDEN / "recipe.toml", tmp_path / name)
        shutil.copy(GOLDEN / "log.jsonl", tmp_path / name)
    events = (GOLDEN / "log.jsonl").read_text().splitlines()
    (tmp_path / "a/early/log.jsonl").write_text(
        "\n".join([*events[:-1], events[-1].replace('"stopped_early": false', '"stopped_early": true'), ""])
    )
    epochs = [number for number, line in enumerate(events) if '"event": "epoch"' in line]
    (tmp_path / "b/unfinished/log.jsonl").write_text("\n".join([*events[: epochs[1] + 1], '{"torn": ']))
    (tmp_path / "b/broken/log.jsonl").write_text("not JSON\n")
    (tmp_path / "c/d/new/log.jsonl").write_text(events[0] + "\n")
    (tmp_path / "a/finished/deeper").mkdir()
    shutil.copytree(tmp_path / "c/d/new", tmp_path / "a/finished/deeper/run")  # a run has no runs within
    (tmp_path / "else").mkdir()
    (tmp_path / "else/log.jsonl").write_text("a log of something else\n")
    return tmp_path


def test_runs_are_found_with_how_far_they_are(folder):
    entries = {str(entry.folder.relative_to(folder)): entry for entry in list_runs(folder)}
    assert {name: entry.state for name, entry in entries.items()} == {
        "a/early": "stopped early",
        "a/finished": "finished",
        "b/broken": "unreadable",
        "b/unfinished": "unfinished",
        "c/d/new": "unfinished",
    }
    events = [json.loads(line) for line in (GOLDEN / "log.jsonl").read_text().splitlines()]
    aucs = [event["macro_auc"] for event in events if event["event"] == "epoch"]
    whole = entries["a/finished"]
    assert (whole.recipe, whole.split, whole.seed) == ("small-cpu", "folder-official", 3)
    assert whole.epochs == len(aucs)
    assert (whole.best_auc, whole.best_epoch) == (max(aucs), aucs.index(max(aucs)) + 1)
    assert whole.kept_auc == aucs[events[-1]["selected_epoch"] - 1]
    assert (entries["b/unfinished"].epochs, entries["b/unfinished"].best_auc) == (2, max(aucs[:2]))
    assert (entries["c/d/new"].epochs, entries["c/d/new"].best_auc) == (0, None)
    assert "log.jsonl, line 1 is not JSON" in entries["b/broken"].problem
    assert [entry.folder for entry in list_runs(GOLDEN)] == [GOLDEN]


def test_a_run_that_a_process_trains_is_running(folder):
    run = folder / "b" / "unfinished"
    with exclusive_lock(run, doing="training in"):
        assert [entry.state for entry in list_runs(run)] == ["running"]
    assert [entry.state for entry in list_runs(run)] == ["unfinished"]


def test_a_list_fits_80_columns_and_is_json_on_request(folder, monkeypatch):
    told = command("runs", folder)
    header, *lines = told.stdout.splitlines()[:6]
    assert header.split("  ")[0] == "Recipe"
    assert [line.split()[-1] for line in lines] == [
        "a/early", "a/finished", "b/broken", "b/unfinished", "c/d/new",
    ]  # fmt: skip
    assert {line[header.index("Best AUC") :][:3] for line in lines} == {"0.6", "n/a"}
    assert max(map(len, told.stdout.splitlines())) <= 80
    assert "line 1 is not JSON" in told.stderr
    assert "not a result" in told.stdout
    entries = json.loads(command("runs", folder, "--json").stdout)
    assert [entry["state"] for entry in entries][:2] == ["stopped early", "finished"]
    assert entries[1]["best_epoch"] == list_runs(folder)[1].best_epoch
    monkeypatch.chdir(folder / "else")
    assert command("runs").stderr == "no runs in .\n"
    assert json.loads(command("runs", "--json").stdout) == []
    assert "is not a folder" in command("runs", "nowhere", expect=3).stderr
    with pytest.raises(DataError, match="is not a folder; give a folder that has runs in it"):
        list_runs(folder / "else" / "log.jsonl")
