"""Runs and studies on a real MLflow server: what arrives there, and what happens when it goes away."""

import contextlib
import json
import logging
import socket
import sys
import threading
import time

import pytest

from tests.helpers.command import command
from tests.tracking.conftest import free_port, running
from tests.training.conftest import toy_recipe
from thorax.errors import MissingExtra, RecipeError
from thorax.recipe.load import load_recipe, recipe_sha256
from thorax.store import open_store
from thorax.tracking.contents import RunContents
from thorax.tracking.service import Target, parse_target, without_secrets
from thorax.training import TrainingInterrupted
from thorax.training.logbook import read_log
from thorax.tuning.tune import tune
from thorax.workflows.train import train

SETTINGS = ("training.epochs=2",)


def client(server):
    return parse_target(f"mlflow:{server.uri}").connect()._client


def tracked(server, folder):
    """The run of a folder on the server."""
    state = json.loads((folder / "tracking.json").read_text())
    return client(server).get_run(state["run"])


def history(server, run, name):
    return [(point.step, point.value) for point in client(server).get_metric_history(run.info.run_id, name)]


def artifacts(server, run, folder=None):
    return {file.path for file in client(server).list_artifacts(run.info.run_id, folder)}


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, logger="thorax.tracking")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "thorax.tracking"]


@pytest.mark.slow
def test_a_run_arrives_whole(server, toy, toy_store, tmp_path, warnings, capfd):
    track = f"mlflow:{server.uri}"
    summary = train(toy, toy_store, tmp_path / "run", settings=SETTINGS, device="cpu", track=track)
    run = tracked(server, summary.folder)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "toy"
    assert run.data.params["optim.lr"] == "0.001"
    assert run.data.params["model.arguments.channels"] == "[8, 16, 16, 16]"
    recipe = load_recipe(str(toy), SETTINGS)
    assert run.data.params["data.findings"] == '["Effusion", "Mass"]'
    assert run.data.tags["thorax.recipe_sha256"] == recipe_sha256(recipe)
    assert run.data.tags["thorax.store_fingerprint"] == open_store(toy_store).fingerprint
    assert not [tag for tag in run.data.tags if "git" in tag or "user" in tag]
    epochs = [event for event in read_log(summary.folder / "log.jsonl") if event["event"] == "epoch"]
    assert history(server, run, "macro_auc") == [(e["epoch"], e["macro_auc"]) for e in epochs]
    assert history(server, run, "auc/Mass") == [(e["epoch"], e["auc"]["Mass"]) for e in epochs]
    assert history(server, run, "train_loss") == [(e["epoch"], e["train_loss"]) for e in epochs]
    assert run.data.metrics["selected/macro_auc"] == summary.macro_auc
    assert {"recipe.toml", "log.jsonl", "bundle"} <= artifacts(server, run)
    assert {"bundle/bundle.json", "bundle/weights.safetensors"} <= artifacts(server, run, "bundle")
    assert warnings() == []
    assert "View run" not in capfd.readouterr().out
    command(
        "evaluate", summary.folder, "--store", toy_store, "--out", tmp_path / "report", "--part", "test",
        "--resamples", "10", "--no-gallery", "--track", track,
    )  # fmt: skip
    measured = json.loads((tmp_path / "report" / "metrics.json").read_text())
    run = tracked(server, summary.folder)
    assert run.data.metrics["test/macro_auc"] == measured["macro"]["auc"]["value"]
    names = {f"report-test/{name}" for name in ("metrics.json", "report.md", "report.html")}
    assert artifacts(server, run, "report-test") == names
    # Once more, with nothing to do: the same run, and no metric twice.
    train(toy, toy_store, tmp_path / "run", settings=SETTINGS, device="cpu", track=track, resume=True)
    again = tracked(server, summary.folder)
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "FINISHED"
    assert len(history(server, run, "macro_auc")) == 2


@pytest.mark.slow
def test_a_stopped_run_continues_as_the_same_run(server, toy, toy_store, tmp_path):
    track, out = f"mlflow:{server.uri}", tmp_path / "run"

    def stop(now):
        if now.stage == "epoch 2 of 2":
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted):
        train(toy, toy_store, out, settings=SETTINGS, device="cpu", track=track, progress=stop)
    stopped = tracked(server, out)
    assert stopped.info.status == "KILLED"
    assert len(history(server, stopped, "val_loss")) == 1
    train(toy, toy_store, out, settings=SETTINGS, device="cpu", track=track, resume=True)
    whole = tracked(server, out)
    assert whole.info.run_id == stopped.info.run_id
    assert whole.info.status == "FINISHED"
    assert [step for step, _ in history(server, whole, "val_loss")] == [1, 2]


@pytest.mark.slow
def test_a_run_that_fails_is_marked_so(server, toy, toy_store, tmp_path):
    with pytest.raises(Exception, match="not finite"):
        train(
            toy, toy_store, tmp_path / "run", settings=("optim.lr=1e30",), device="cpu",
            track=f"mlflow:{server.uri}",
        )  # fmt: skip
    assert tracked(server, tmp_path / "run").info.status == "FAILED"


@pytest.mark.slow
def test_more_settings_than_one_request_may_have_and_a_very_long_one(server, tmp_path):
    service = parse_target(f"mlflow:{server.uri}").connect()
    arguments = {f"argument{number}": number for number in range(150)}
    recipe = toy_recipe(summary="long " * 2000, model={"arguments": arguments})
    contents = RunContents(tmp_path, "toy", recipe)
    run = service.open_run("many", parent=None)
    service.send(run, params=contents.params(), tags={}, points=())
    sent = client(server).get_run(run).data.params
    assert sent.keys() == contents.params().keys()
    assert len(sent) > 200
    assert sent["summary"] == ("long " * 2000)[:6000]


@pytest.mark.slow
def test_a_study_is_a_run_with_a_run_for_each_trial(server, toy, toy_store, tmp_path):
    path = tmp_path / "space.toml"
    path.write_text("optim.lr = { choices = [1e-3, 1e-2, 1e30] }\n")
    study = tune(
        toy, toy_store, tmp_path / "study", space=path, trials=3, settings=SETTINGS, device="cpu",
        track=f"mlflow:{server.uri}",
    )  # fmt: skip
    parent = tracked(server, study.folder)
    assert parent.info.status == "FINISHED"
    assert parent.data.params["search.optim.lr"] == "0.001, 0.01, 1e+30"
    assert parent.data.metrics["best"] == study.best.value
    assert {"study.html", "best.toml", "space.toml"} <= artifacts(server, parent)
    status = {"finished": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}
    for trial in study.trials:
        run = tracked(server, study.trial_folder(trial.number))
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.run_name == f"trial {trial.number}"
        assert run.info.status == status[trial.outcome]
        assert run.data.params["optim.lr"] == trial.parameters["optim.lr"]


@pytest.mark.slow
def test_a_server_that_dies_costs_one_warning_and_gets_the_rest_when_it_is_back(
    toy, toy_store, tmp_path, warnings
):
    (tmp_path / "server").mkdir()
    with running(tmp_path / "server") as server:
        out = tmp_path / "run"
        track = f"mlflow:{server.uri}"

        def kill(now):
            if now.stage == "epoch 2 of 4":
                while not (out / "tracking.json").exists():
                    time.sleep(0.05)
                server.kill()

        settings = ("training.epochs=4",)
        summary = train(toy, toy_store, out, settings=settings, device="cpu", track=track, progress=kill)
        assert summary.epochs == 4
        (warning,) = warnings()
        assert f"tracking failed: MLflow at {server.uri}" in warning
        assert f"The work continues, and {out} has everything" in warning
        server.start()
        train(toy, toy_store, out, settings=settings, device="cpu", track=track, resume=True)
        run = tracked(server, out)
        assert run.info.status == "FINISHED"
        assert [step for step, _ in history(server, run, "macro_auc")] == [1, 2, 3, 4]
        assert "bundle" in artifacts(server, run)


def test_a_server_that_is_not_there_is_one_warning(toy, toy_store, tmp_path, warnings):
    uri = f"http://user:secret@127.0.0.1:{free_port()}"
    summary = train(toy, toy_store, tmp_path / "run", settings=SETTINGS, device="cpu", track=f"mlflow:{uri}")
    assert summary.macro_auc is not None
    (warning,) = warnings()
    assert "secret" not in warning
    assert not (tmp_path / "run" / "tracking.json").exists()
    same = train(toy, toy_store, tmp_path / "plain", settings=SETTINGS, device="cpu")
    weights = "bundle/weights.safetensors"
    assert (summary.folder / weights).read_bytes() == (same.folder / weights).read_bytes()


@contextlib.contextmanager
def silent_server():
    """A server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        accepted = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        for connection in accepted:
            connection.close()


def test_a_server_that_never_answers_does_not_hold_up_the_run(
    toy, toy_store, tmp_path, monkeypatch, warnings
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    epochs = []

    def progress(now):
        if now.done == now.total:
            epochs.append(time.monotonic())

    with silent_server() as port:
        train(
            toy, toy_store, tmp_path / "run", settings=SETTINGS, device="cpu",
            track=f"mlflow:http://127.0.0.1:{port}", progress=progress,
        )  # fmt: skip
        ended = time.monotonic()
    assert len(warnings()) == 1
    # The goodbye waits for one or two requests of two seconds, not for minutes; the rest is a busy machine.
    assert ended - epochs[-1] < 180


@pytest.mark.parametrize(
    ("track", "message"),
    [
        ("wandb:http://x", "there is no tracking service 'wandb'; set `track=mlflow:URI`"),
        ("mlflow", "MLflow's address is missing.*MLFLOW_TRACKING_URI"),
        ("mlflow:localhost", "has no scheme; give one such as http://127.0.0.1:5000"),
    ],
)
def test_a_wrong_address_is_refused_before_any_work(toy, toy_store, tmp_path, monkeypatch, track, message):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(RecipeError, match=message):
        train(toy, toy_store, tmp_path / "run", track=track)
    assert not (tmp_path / "run").exists()


def test_a_report_needs_a_run_that_was_tracked_there(toy, toy_store, tmp_path):
    run = train(toy, toy_store, tmp_path / "run", settings=SETTINGS, device="cpu")
    done = command(
        "evaluate", run.folder, "--store", toy_store, "--out", tmp_path / "report",
        "--track", "mlflow:http://127.0.0.1:1", expect=3,
    )  # fmt: skip
    assert "has no run at the service of --track" in done.stderr
    assert not (tmp_path / "report").exists()


def test_a_report_outlives_a_server_that_is_gone(toy, toy_store, tmp_path, warnings):
    run = train(toy, toy_store, tmp_path / "run", settings=SETTINGS, device="cpu")
    uri = f"http://127.0.0.1:{free_port()}"
    (run.folder / "tracking.json").write_text(json.dumps({"service": uri, "run": "0" * 32, "points": 3}))
    command(
        "evaluate", run.bundle, "--store", toy_store, "--out", tmp_path / "report", "--resamples", "10",
        "--no-gallery", "--track", f"mlflow:{uri}",
    )  # fmt: skip
    assert (tmp_path / "report" / "report.html").is_file()
    (warning,) = warnings()
    assert f"tracking failed: MLflow at {uri}" in warning
    assert "the report is in" in warning


def test_the_address_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert parse_target("mlflow") == Target("http://127.0.0.1:5000")
    assert parse_target("mlflow:sqlite:///runs.db") == Target("sqlite:///runs.db")


def test_without_mlflow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises((MissingExtra, ValueError)) as refused:
        parse_target("mlflow:http://127.0.0.1:5000")
    assert "pip install '.[track]'" in str(refused.value)


def test_passwords_are_not_shown():
    assert without_secrets("http://me:secret@host/x and ftp://a@b") == "http://...@host/x and ftp://...@b"


def test_the_command_says_what_is_wrong_with_flags(toy, toy_store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = command(
        "train", toy, "--store", toy_store, "--out", tmp_path / "run", "--track", "mlflow", expect=2
    )
    assert "--track mlflow:http://127.0.0.1:5000" in done.stderr
