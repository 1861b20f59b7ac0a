import json
import math
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.html import tags_of, text_of
from thorax.bundle import load_bundle
from thorax.errors import DataError, RecipeError, ThoraxError
from thorax.findings import Finding
from thorax.inference.predictor import Predictor
from thorax.inference.torch_engine import TorchEngine
from thorax.notebook import shortened
from thorax.recipe.load import write_recipe
from thorax.training import NonFiniteLoss, TrainingInterrupted, train
from thorax.training.batches import known_labels
from thorax.training.logbook import TIME_FIELDS, read_log
from thorax.training.losses import loss_function, masked_bce
from thorax.training.plan import plan_run
from thorax.training.run_folder import lock_run
from thorax.training.validation import measure


def files_of(run):
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in {"log.jsonl", "report.html"}  # these have times
    }


def log_of(run):
    return [
        {key: value for key, value in event.items() if key not in TIME_FIELDS}
        for event in read_log(run / "log.jsonl")
    ]


def assert_same_run(run, other):
    assert log_of(run) == log_of(other)
    found, expected = files_of(run), files_of(other)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


def step_of(now):
    """The steps of the whole run that are done: an epoch of the toy store has 6 of 16 images."""
    epoch = int(now.stage.split()[1])
    return (epoch - 1) * 6 + now.done // 16


def stop_at(*steps):
    def progress(now):
        if step_of(now) in steps:
            raise KeyboardInterrupt

    return progress


@pytest.fixture(scope="module")
def learnt(toy_store, make_recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "learnt"
    seen = []
    recipe = make_recipe(
        training={"epochs": 6}, optim={"lr": 5e-3, "weight_decay": 0.05}, schedule={"kind": "cosine"}
    )
    summary = train(recipe, toy_store, out, device="cpu", progress=seen.append)
    return recipe, summary, seen


def test_a_planted_problem_is_learnt(learnt):
    _, summary, _ = learnt
    epochs = [event for event in read_log(summary.folder / "log.jsonl") if event["event"] == "epoch"]
    assert [event["epoch"] for event in epochs] == [1, 2, 3, 4, 5, 6]
    assert epochs[-1]["train_loss"] < 0.7 * epochs[0]["train_loss"]
    assert summary.macro_auc > 0.9
    assert summary.macro_auc == max(event["macro_auc"] for event in epochs)
    assert summary.epochs == 6
    assert not summary.stopped_early


def test_progress_counts_steps(learnt):
    _, _, seen = learnt
    assert [now.stage for now in seen[:7]] == [*["epoch 1 of 6"] * 6, "epoch 2 of 6"]
    assert [now.done for now in seen[:7]] == [16, 32, 48, 64, 80, 96, 16]
    assert {(now.total, now.unit) for now in seen} == {(96, "images")}
    assert (seen[0].rate, seen[0].remaining) == (0, None)
    assert seen[-1].rate > 0
    assert seen[-1].remaining == 0
    assert re.fullmatch(r"loss \d\.\d{4}, all epochs: 0:00:00 left", seen[-1].detail)


def test_the_bundle_holds_what_was_selected(learnt, toy_store):
    recipe, summary, _ = learnt
    bundle = load_bundle(summary.folder)
    (provenance,) = bundle.trainings
    assert bundle.exact_cam
    assert provenance.epoch == summary.selected_epoch
    assert provenance.selected_by == "best macro-auc on val"
    assert (provenance.trained_on.num_images, provenance.selected_on.num_images) == (96, 40)
    assert {part: len(ids) for part, ids in bundle.patients.items()} == {"train": 48, "val": 20}
    plan = plan_run(recipe, toy_store)
    logits = Predictor(bundle, TorchEngine(bundle, device="cpu")).logits(toy_store.pixels(plan.val.rows))
    validation = measure(logits, plan.val.targets, plan.findings, loss=masked_bce)
    assert validation.macro_auc == summary.macro_auc
    assert validation.loss == pytest.approx(summary.loss, rel=1e-6)
    assert set(bundle.manifest.operating_points.thresholds) == {"Effusion", "Mass"}
    best = load_file(summary.folder / "checkpoints/best.safetensors")
    kept = load_file(summary.bundle / "weights.safetensors")
    assert all(torch.equal(kept[name], best[name]) for name in kept)


def test_a_finished_run_is_left_as_it_is(learnt, toy_store):
    recipe, summary, _ = learnt
    before = files_of(summary.folder) | {"log": (summary.folder / "log.jsonl").read_bytes()}
    assert train(recipe, toy_store, summary.folder, resume=True, device="cpu") == summary
    assert files_of(summary.folder) | {"log": (summary.folder / "log.jsonl").read_bytes()} == before


VARIANTS = {
    "everything drawn": {
        "augment": {
            "flip": 0.5,
            "rotate": 10,
            "translate": 0.1,
            "zoom": (0.8, 1.2),
            "brightness": 0.1,
            "contrast": 0.2,
            "gamma": (0.8, 1.2),
            "erase": 0.5,
            "mixup": 0.4,
        },
        "model": {"head": {"dropout": 0.2}, "drop_path": 0.1},
        "optim": {"kind": "adamw", "lr": 3e-3, "weight_decay": 0.05},
        "schedule": {"kind": "cosine", "warmup_epochs": 0.5},
        "training": {"ema": 0.9, "epochs": 2, "batch_size": 16},
    },
    "freezing": {
        "model": {"head": {"pool": "attention", "dropout": 0.2}},
        "freeze": {"trained": ["stage4"], "unfreeze_epochs": [1]},
        "loss": {"kind": "asymmetric"},
        "optim": {"kind": "adam", "layer_decay": 0.7},
        "training": {"ema": 0.9, "epochs": 2, "batch_size": 16},
    },
    "plateau and early stopping": {
        "optim": {"kind": "sgd", "lr": 0.05},
        "schedule": {"kind": "plateau", "patience": 0},
        "training": {"gradient_clip": 1.0, "epochs": 2, "batch_size": 16},
        "early_stopping": {"patience": 1, "metric": "loss"},
        "selection": {"checkpoint": "last"},
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_resumed_run_equals_an_uninterrupted_one(name, toy_store, make_recipe, tmp_path):
    recipe = make_recipe(**VARIANTS[name])
    train(recipe, toy_store, tmp_path / "whole", device="cpu")
    # Within the first epoch, at its end before validation, and within the second.
    for step in (4, 6, 8):
        with pytest.raises(TrainingInterrupted):
            train(recipe, toy_store, tmp_path / "parts", resume=True, device="cpu", progress=stop_at(step))
    train(recipe, toy_store, tmp_path / "parts", resume=True, device="cpu")
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_run_without_its_latest_best_recovers_it(toy_store, make_recipe, tmp_path):
    """A kill between the two files leaves a best that is newer than the last."""
    recipe = make_recipe(optim={"lr": 5e-3})
    train(recipe, toy_store, tmp_path / "whole", device="cpu")
    with pytest.raises(TrainingInterrupted):
        train(recipe, toy_store, tmp_path / "parts", device="cpu", progress=stop_at(8))
    shutil.copy(
        tmp_path / "whole/checkpoints/best.safetensors", tmp_path / "parts/checkpoints/best.safetensors"
    )
    train(recipe, toy_store, tmp_path / "parts", resume=True, device="cpu")
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_watch_sees_every_event_and_what_it_raises_ends_the_run(toy_store, make_recipe, tmp_path):
    class EnoughError(Exception):
        pass

    def watch(event):
        seen.append(event)
        if event["event"] == "epoch":
            raise EnoughError

    seen = []
    with pytest.raises(EnoughError):
        train(make_recipe(), toy_store, tmp_path / "run", device="cpu", watch=watch)
    assert [event["event"] for event in seen] == ["run", "start", "steps", "epoch"]
    assert seen[1:] == read_log(tmp_path / "run" / "log.jsonl")
    told = {"event": "run", "folder": str(tmp_path / "run"), "done_epochs": 0, "done_steps": 0}
    assert seen[0] == told | {key: seen[1][key] for key in seen[1] if key not in {"event", "time"}}
    assert {key: seen[0][key] for key in ("train_patients", "val_patients", "test_images")} == {
        "train_patients": 48, "val_patients": 20, "test_images": 8,
    }  # fmt: skip
    events = []
    train(make_recipe(), toy_store, tmp_path / "run", resume=True, device="cpu", watch=events.append)
    assert json.loads(json.dumps(events[1:])) == read_log(
        tmp_path / "run" / "log.jsonl"
    )  # no checkpoint: it began again
    train(make_recipe(), toy_store, tmp_path / "unwatched", device="cpu")
    assert_same_run(tmp_path / "run", tmp_path / "unwatched")


def test_seeds_decide_the_bytes(toy_store, make_recipe, tmp_path):
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(weights))  # what the process did before does not matter
        summary = train(
            make_recipe(training={"epochs": 1, "seed": seed}), toy_store, tmp_path / name, device="cpu"
        )
        weights.append((summary.bundle / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_the_process_is_left_as_it_was(toy_store, make_recipe, tmp_path):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    handler = signal.getsignal(signal.SIGTERM)
    train(make_recipe(training={"epochs": 1}), toy_store, tmp_path / "run", device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    assert signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_run_that_can_be_resumed(
    number, toy_store, toy_store_path, make_recipe, tmp_path, monkeypatch
):
    """In a process of its own: one that comes too late would end a worker of pytest without a word."""
    recipe, run = make_recipe(training={"epochs": 4}), tmp_path / "run"
    write_recipe(recipe, tmp_path / "toy.toml")
    monkeypatch.setenv("COLUMNS", "300")
    words = [sys.executable, "-m", "thorax", "train", tmp_path / "toy.toml", "--device", "cpu"]
    with subprocess.Popen(
        [*words, "--store", toy_store_path, "--out", run], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as running:
        # Each line is in the pipe as soon as its epoch has ended.
        before = b""
        while (line := running.stdout.readline()) and not line.startswith(b"epoch 1/4"):
            before += line
        running.send_signal(number)
        said = running.communicate(timeout=60)[0].decode()
    assert running.returncode == 130, said
    assert f"\nfolder      {run}" in before.decode()
    stopped = re.search(
        r"training was stopped after step (\d+) of 24; nothing is lost: .*continue in \S+: (.*)",
        said,
    )
    assert stopped, said
    assert stopped[2] == f"thorax train --resume --store {toy_store_path} --out {run} --device cpu"
    assert 6 <= int(stopped[1]) < 24
    assert train(recipe, toy_store, run, resume=True, device="cpu").epochs == 4


def test_a_loss_that_is_not_finite_stops_the_run(toy_store, make_recipe, tmp_path):
    recipe = make_recipe(
        optim={"kind": "sgd", "lr": 1e30, "momentum": 0.0}, training={"checkpoint_minutes": 0}
    )
    with pytest.raises(NonFiniteLoss) as raised:
        train(recipe, toy_store, tmp_path / "run", device="cpu")
    message = str(raised.value)
    assert (
        "the loss is not finite at step 2 of epoch 1 (step 2 of the run), with learning rate 1e+30" in message
    )
    assert "optim.lr" in message
    kept = load_file(tmp_path / "run/checkpoints/last.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in kept.values())


def test_early_stopping_counts_epochs_without_improvement(toy_store, make_recipe, tmp_path):
    # With a learning rate of almost 0 nothing improves after the first epoch but by chance.
    recipe = make_recipe(
        optim={"kind": "sgd", "lr": 1e-12, "momentum": 0.0},
        training={"epochs": 9},
        early_stopping={"patience": 2, "metric": "macro-auc"},
    )
    summary = train(recipe, toy_store, tmp_path / "run", device="cpu")
    values = [e["macro_auc"] for e in read_log(tmp_path / "run/log.jsonl") if e["event"] == "epoch"]
    best = int(np.argmax(values))
    assert summary.stopped_early
    assert summary.epochs == len(values) == best + 3
    assert summary.selected_epoch == best + 1


def test_checkpoints_come_at_most_at_one_per_cent_of_the_time(toy_store, make_recipe, tmp_path):
    """Epochs this short are not worth one: only the last is written, at the end."""
    times = set()

    def progress(_now):
        path = tmp_path / "run/checkpoints/last.safetensors"
        if path.exists():
            times.add(path.stat().st_mtime_ns)

    train(make_recipe(training={"epochs": 4}), toy_store, tmp_path / "run", device="cpu", progress=progress)
    assert len(times) <= 1
    assert (tmp_path / "run/checkpoints/last.safetensors").exists()


def test_what_may_not_be_resumed_is_refused(toy_store, make_recipe, tmp_path):
    recipe = make_recipe()
    with pytest.raises(TrainingInterrupted):
        train(recipe, toy_store, tmp_path / "run", device="cpu", progress=stop_at(2))
    with pytest.raises(DataError, match=r"run already holds a run; set `resume` to continue it"):
        train(recipe, toy_store, tmp_path / "run", device="cpu")
    other = make_recipe(optim={"lr": 0.5})
    with pytest.raises(
        DataError,
        match=rf"cannot be resumed: the recipe has changed \(optim\.lr was {recipe.optim.lr}, is 0\.5\)",
    ):
        train(other, toy_store, tmp_path / "run", resume=True, device="cpu")
    kept = (tmp_path / "run/recipe.toml").read_text()
    (tmp_path / "run/recipe.toml").write_text("torn")
    with pytest.raises(
        DataError, match=r"the recipe has changed \(.{12}\.\.\. when it started, now .{12}\.\.\.\)"
    ):
        train(other, toy_store, tmp_path / "run", resume=True, device="cpu")
    (tmp_path / "run/recipe.toml").write_text(kept)
    log = tmp_path / "run/log.jsonl"
    log.write_bytes(log.read_bytes().replace(toy_store.fingerprint.encode(), b"0" * 64))
    with pytest.raises(DataError, match="the store has changed"):
        train(recipe, toy_store, tmp_path / "run", resume=True, device="cpu")


def test_a_folder_of_something_else_is_refused(toy_store, make_recipe, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"is not empty and does not hold a run, but notes.txt"):
        train(make_recipe(), toy_store, tmp_path, resume=True, device="cpu")
    with pytest.raises(DataError, match="is a file; give a folder"):
        train(make_recipe(), toy_store, tmp_path / "notes.txt", device="cpu")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_a_kill_left_behind_is_cleared_away_in_a_run_only(toy_store, make_recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.toml.123.partial").touch()
    train(make_recipe(), toy_store, tmp_path / "run", resume=True, device="cpu")
    assert not list((tmp_path / "run").glob(".*"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    (tmp_path / "other" / ".mine.partial").touch()
    with pytest.raises(DataError, match="is not empty and does not hold a run"):
        train(make_recipe(), toy_store, tmp_path / "other", resume=True, device="cpu")
    assert (tmp_path / "other" / ".mine.partial").exists()


def test_two_processes_never_train_in_one_folder(toy_store, make_recipe, tmp_path):
    with lock_run(tmp_path / "run"), pytest.raises(DataError, match="another process is training in"):
        train(make_recipe(), toy_store, tmp_path / "run", resume=True, device="cpu")


def test_a_lost_best_epoch_is_named(toy_store, make_recipe, tmp_path):
    with pytest.raises(TrainingInterrupted):
        train(make_recipe(), toy_store, tmp_path / "run", device="cpu", progress=stop_at(8))
    (tmp_path / "run" / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(DataError, match=r"best\.safetensors is damaged or not a checkpoint"):
        train(make_recipe(), toy_store, tmp_path / "run", resume=True, device="cpu")


def test_a_damaged_checkpoint_is_named(toy_store, make_recipe, tmp_path):
    with pytest.raises(TrainingInterrupted):
        train(make_recipe(), toy_store, tmp_path / "run", device="cpu", progress=stop_at(2))
    last = tmp_path / "run/checkpoints/last.safetensors"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"last.safetensors is damaged or not a checkpoint of this version"):
        train(make_recipe(), toy_store, tmp_path / "run", resume=True, device="cpu")


@pytest.mark.parametrize(
    ("sections", "kind", "text"),
    [
        ({"store": {"size": 64}}, DataError, r"32 pixels \(fit pad\), but recipe toy needs 64 \(fit pad\)"),
        ({"store": {"fit": "crop"}}, DataError, "thorax prepare SOURCE --recipe toy --out STORE"),
        ({"training": {"batch_size": 97}}, RecipeError, "batch_size = 97 is more than the 96 images"),
        ({"data": {"findings": ["Hernia"]}}, DataError, "Hernia is not labeled in this data set"),
        (
            {"data": {"views": ["AP"]}},
            DataError,
            "no image of the train part of split folder-official with view",
        ),
        ({"training": {"precision": "float16"}}, RecipeError, "'float16' needs a GPU"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    sections, kind, text, toy_store, make_recipe, tmp_path
):
    with pytest.raises(kind, match=text):
        train(make_recipe(**sections), toy_store, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_an_unknown_device_is_refused(toy_store, make_recipe, tmp_path):
    with pytest.raises(RecipeError, match="this machine does not have device 'tpu'; give auto or one of cpu"):
        train(make_recipe(), toy_store, tmp_path / "run", device="tpu")


def test_fast_runs_and_bfloat16_train_too(toy_store, make_recipe, tmp_path):
    recipe = make_recipe(training={"epochs": 1, "determinism": "fast", "precision": "bfloat16"})
    summary = train(recipe, toy_store, tmp_path / "run", device="cpu")
    start = read_log(tmp_path / "run/log.jsonl")[0]
    assert start["precision"] == "bfloat16"
    assert math.isfinite(summary.loss)


def test_every_error_is_thorax_own():
    assert issubclass(NonFiniteLoss, ThoraxError)
    assert issubclass(TrainingInterrupted, ThoraxError)


def test_a_macro_mean_leaves_out_no_finding_and_what_is_undefined():
    findings = (Finding("Effusion"), Finding("Hernia"), Finding("No Finding"))
    targets = np.array([[1, 0, 1], [0, 0, 0], [1, 0, -1], [-2, 0, 0]], np.int8)
    logits = np.array([[2.0, 0.0, 1.0], [1.0, 0.0, 2.0], [0.5, 0.0, 9.0], [9.0, 0.0, 0.0]])
    found = measure(logits, targets, findings, loss=masked_bce)
    assert found.auc[0] == 0.5
    assert math.isnan(found.auc[1])
    assert found.auc[2] == 0.5
    assert found.macro_auc == 0.5
    assert found.score("macro-auc") == 0.5
    # At 0.5 every logit but Hernia's, of exactly 0 and therefore called, is a call: 2 of 3, 0 of 4, 1 of 3.
    assert found.accuracy == (2 / 3, 0.0, 1 / 3)
    assert found.macro_accuracy == pytest.approx(1 / 3)
    assert found.score("loss") == -found.loss


def test_an_accuracy_without_labels_does_not_exist():
    targets, logits = np.array([[-2], [-1]], np.int8), np.zeros((2, 1))
    found = measure(logits, targets, (Finding("Effusion"),), loss=masked_bce)
    assert math.isnan(found.accuracy[0])
    assert math.isnan(found.macro_accuracy)


def test_each_epoch_logs_the_accuracy_of_each_finding(learnt, toy_store):
    recipe, summary, _ = learnt
    epochs = [event for event in read_log(summary.folder / "log.jsonl") if event["event"] == "epoch"]
    chosen = epochs[summary.selected_epoch - 1]
    plan, bundle = plan_run(recipe, toy_store), load_bundle(summary.bundle)
    logits = Predictor(bundle, TorchEngine(bundle, device="cpu")).logits(toy_store.pixels(plan.val.rows))
    for column, name in enumerate(("Effusion", "Mass")):
        right = [
            (logit >= 0) == (target == 1)
            for logit, target in zip(logits[:, column], plan.val.targets[:, column], strict=True)
            if target >= 0
        ]
        assert chosen["accuracy"][name] == sum(right) / len(right)
    assert chosen["macro_accuracy"] == pytest.approx(sum(chosen["accuracy"].values()) / 2)
    scores = [event["macro_auc"] for event in epochs]
    assert [event["best_epoch"] for event in epochs] == [
        scores.index(max(scores[: number + 1])) + 1 for number in range(6)
    ]
    assert epochs[-1]["best_epoch"] == summary.selected_epoch
    assert [event["best"] for event in epochs] == [max(scores[: number + 1]) for number in range(6)]
    assert [event["epochs"] for event in epochs] == [6] * 6
    assert all(event["images_per_second"] > 0 for event in epochs)
    left = [event["seconds_left"] for event in epochs]
    assert min(left[:-1]) > left[-1] == 0


def test_page_and_curves_are_whole_whenever_they_are_read(toy_store, make_recipe, tmp_path):
    run, seen = tmp_path / "run", []

    def look(now):
        curves = (run / "curves.svg").read_text() if (run / "curves.svg").exists() else ""
        seen.append((now.stage, curves, (run / "report.html").read_text()))

    train(make_recipe(training={"epochs": 3}), toy_store, run, device="cpu", progress=look)
    seen.append(("end", (run / "curves.svg").read_text(), (run / "report.html").read_text()))
    assert [stage for stage, _, _ in seen] == [
        f"epoch {epoch} of 3" for epoch in (1, 2, 3) for _ in range(6)
    ] + ["end"]
    for done, (_, curves, page) in zip((0, 1, 2, 3), (seen[0], seen[6], seen[12], seen[-1]), strict=True):
        assert tags_of(page) >= {"html", "section"}
        lengths = [
            path.count("L") for path in re.findall(r'<path class="curve(?: other)?" d="([^"]+)"', curves)
        ]
        # Two losses, the learning rate of one summary an epoch, the mean AUC, and that of each finding.
        assert lengths == ([done - 1] * 6 if done > 1 else [])
        assert curves.count('class="dot') == (6 if done == 1 else 0)
    assert "epoch of 3 is done, and training goes on" in " ".join(text_of(seen[6][2]))
    assert "Finished after 3 epochs of 3." in " ".join(text_of(seen[-1][2]))
    assert "96 images of 48 patients" in " ".join(text_of(seen[-1][2]))
    assert not list(run.glob("*.partial"))


def test_the_page_says_how_a_run_ended(toy_store, make_recipe, tmp_path):
    def page(run):
        return " ".join(text_of((tmp_path / run / "report.html").read_text()))

    with pytest.raises(TrainingInterrupted):
        train(make_recipe(), toy_store, tmp_path / "stopped", device="cpu", progress=stop_at(8))
    assert "Stopped after 1 epoch of 2; it can be continued." in page("stopped")
    train(make_recipe(), toy_store, tmp_path / "stopped", resume=True, device="cpu")
    assert "Finished after 2 epochs of 2." in page("stopped")
    diverging = make_recipe(optim={"kind": "sgd", "lr": 1e30, "momentum": 0.0})
    with pytest.raises(NonFiniteLoss):
        train(diverging, toy_store, tmp_path / "failed", device="cpu")
    assert "Failed after no epochs of 2." in page("failed")
    assert "the loss is not finite at step 2 of epoch 1" in page("failed")
    train(make_recipe(training={"epochs": 1}), toy_store, tmp_path / "quiet", device="cpu", report=False)
    assert {"report.html", "curves.svg"}.isdisjoint(path.name for path in (tmp_path / "quiet").iterdir())


def test_logits_that_are_not_finite_are_refused():
    targets, logits = np.zeros((2, 1), np.int8), np.array([[0.0], [np.inf]])
    with pytest.raises(DataError, match="1 of 2 validation logits are not finite"):
        measure(logits, targets, (Finding("Effusion"),), loss=masked_bce)


LOSSES = {
    "bce": {},
    "weighted-bce": {"max_weight": 2.0},
    "balanced-bce": {},
    "focal": {"gamma": 1.5},
    "asymmetric": {},
    "auc-margin": {},
}


@pytest.mark.parametrize("kind", LOSSES)
def test_validation_follows_the_recipe_s_own_loss(kind, toy_store, make_recipe, tmp_path):
    recipe = make_recipe(
        loss={"kind": kind, **LOSSES[kind]},
        schedule={"kind": "plateau", "patience": 0},
        selection={"metric": "loss"},
        early_stopping={"metric": "loss", "patience": 1},
        training={"epochs": 4},
    )
    summary = train(recipe, toy_store, tmp_path / "run", device="cpu")
    start, *_ = events = read_log(tmp_path / "run/log.jsonl")
    assert start["val_loss"] == kind
    losses = [event["val_loss"] for event in events if event["event"] == "epoch"]
    assert summary.selected_epoch == int(np.argmin(losses)) + 1
    assert summary.loss == pytest.approx(min(losses), rel=1e-12)

    plan = plan_run(recipe, toy_store)
    present, known = known_labels(torch.from_numpy(plan.train.targets), "ignore")
    loss = loss_function(
        recipe.loss,
        positives=present.sum(dim=0).float(),
        negatives=(known & ~present).sum(dim=0).float(),
    )
    bundle = load_bundle(summary.bundle)
    logits = torch.from_numpy(
        Predictor(bundle, TorchEngine(bundle, device="cpu")).logits(toy_store.pixels(plan.val.rows))
    ).float()
    present, known = known_labels(torch.from_numpy(plan.val.targets), "ignore")
    assert summary.loss == pytest.approx(float(loss(logits, present.float(), known)), rel=1e-5)


def test_a_run_that_followed_another_loss_is_not_resumed(toy_store, make_recipe, tmp_path):
    recipe = make_recipe(loss={"kind": "focal"})
    train(recipe, toy_store, tmp_path / "run", device="cpu")
    log = tmp_path / "run/log.jsonl"
    log.write_text(log.read_text().replace('"val_loss": "focal", ', "", 1))
    with pytest.raises(
        DataError, match="the loss on validation that the run follows has changed \\(None when"
    ):
        train(recipe, toy_store, tmp_path / "run", device="cpu", resume=True)


def test_a_summary_shows_its_learning_curves(learnt, tmp_path):
    _, summary, _ = learnt
    said = f"epoch {summary.selected_epoch} of 6, mean AUC {summary.macro_auc:.3f} on validation"
    assert repr(summary) == f"RunSummary({shortened(str(summary.folder))!r}: {said})"
    html = summary._repr_html_()
    assert {"svg", "path"} <= tags_of(html)
    assert f"Run {summary.folder}: {said}" in text_of(html)
    start = json.loads((summary.folder / "log.jsonl").read_text().splitlines()[0])
    images = (
        f"{start['train_images']} training and {start['val_images']} validation images of folder-official."
    )
    assert images in text_of(html)
    elsewhere = replace(summary, folder=tmp_path)
    assert "svg" not in tags_of(elsewhere._repr_html_())
